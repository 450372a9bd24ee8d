# SPDX-License-Identifier: Apache-2.0
"""`[registry]` in a project's file and in the user's own, and what the two mean together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.reading import parse_settings, parse_user_settings
from wherry.settings.registry import ClientCertificate, RegistrySettings, merged
from wherry.settings.user import load_user_settings, user_settings_path

USER_FILE = "/home/me/.config/wherry/config.toml"
WHOLE = """
[registry]
default = "registry.example.com/team"
insecure = ["Registry.LAN:5000", "10.0.0.1", "[fe80::1]:80", "registry.lan:5000"]
ca = ["ca.pem", "/etc/ca.pem", "../up.pem"]
concurrency = 64
[registry.mirrors]
"docker.io" = ["mirror", "https://Mirror.example.com:444/hub/", "http://localhost:5000"]
"index.docker.io" = ["mirror", "[::1]:5000/x"]
"registry.example.com:5000" = []
"""


def project(text: str) -> RegistrySettings:
    return parse_settings(text, "/src/shop/wherry.toml").registry


def user(text: str, home: str = "/home/me") -> RegistrySettings:
    return parse_user_settings(text, USER_FILE, home).registry


def errors_of(read: object, text: str) -> list[WherryError]:
    with pytest.raises(WherryError) as caught:
        read(text)
    error = caught.value
    return list(error.errors) if isinstance(error, SeveralErrors) else [error]


def test_whole_table_of_a_project():
    assert project(WHOLE) == RegistrySettings(
        default="registry.example.com/team",
        mirrors=(
            (
                "docker.io",
                ("mirror", "https://mirror.example.com:444/hub", "http://localhost:5000",
                 "[::1]:5000/x"),
            ),
            ("registry.example.com:5000", ()),
        ),
        insecure=("registry.lan:5000", "10.0.0.1", "[fe80::1]:80"),
        ca=("/src/shop/ca.pem", "/etc/ca.pem", "/src/shop/../up.pem"),
        concurrency=64,
    )  # fmt: skip
    hash(project(WHOLE))


def test_only_what_the_user_says_is_the_users():
    assert project(WHOLE).insecure_by_user == ()
    assert user(WHOLE).insecure_by_user == user(WHOLE).insecure == project(WHOLE).insecure
    assert user(WHOLE).ca[0] == "/home/me/.config/wherry/ca.pem"


def test_the_users_files_may_be_below_home():
    text = """
    [registry]
    ca = ["~/ca.pem", "a/~b"]
    [registry.client-certificates]
    "Registry.Example.com:5000" = { cert = "~/me.pem", key = "me.key" }
    "other" = { cert = "/both.pem" }
    """
    found = user(text)
    assert found.ca == ("/home/me/ca.pem", "/home/me/.config/wherry/a/~b")
    assert found.client_certificates == (
        (
            "registry.example.com:5000",
            ClientCertificate("/home/me/me.pem", "/home/me/.config/wherry/me.key"),
        ),
        ("other", ClientCertificate("/both.pem")),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('ca = ["~/ca.pem"]', "everybody who builds this project has another one"),
        ('client-certificates = { "a.b" = { cert = "x" } }', "move it to [registry] in $XDG"),
        ("client-certificates = 3", "is for the user's own settings"),
    ],
)
def test_what_a_project_may_not_say(text: str, words: str):
    (error,) = errors_of(project, f"[registry]\n{text}")
    assert isinstance(error, UsageError)
    assert error.where == "wherry.toml:2"
    assert words in str(error)
    assert "config.toml" in error.hint


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defualt = 1", "did you mean 'default'?"),
        ("default = 1", "wants a string, not a number"),
        ('default = ""', "'' is not a registry"),
        ('default = "team"', "Docker Hub is docker.io"),
        ('default = "https://registry.example.com"', "not an address"),
        ('default = "registry.example.com/Team"', "a repository name is lower case"),
        ('default = "registry.example.com/"', "is not a repository name"),
        ('default = "registry.example.com/a:1"', "is not a repository name"),
        ('default = "registry.example.com:65536/a"', "is not a registry"),
        ('mirrors = ["a"]', "wants a table, not a list"),
        ("mirrors = { docker = [] }", "'docker' is not a registry"),
        ('mirrors = { "docker.io/library" = [] }', "name the host alone: 'docker.io'"),
        ('mirrors = { "docker.io" = "a.b" }', "wants a list, not a string"),
        ('mirrors = { "docker.io" = ["ftp://a.b"] }', "not an address"),
        ('mirrors = { "docker.io" = ["https://http://a.b"] }', "not an address"),
        ('mirrors = { "docker.io" = ["http://"] }', "is no mirror"),
        ('mirrors = { "docker.io" = [""] }', "'' is no host"),
        ('mirrors = { "docker.io" = ["a.b/C"] }', "is no path of repositories"),
        ('mirrors = { "docker.io" = ["a.b?x=1"] }', "not an address"),
        ('insecure = "a.b"', "wants a list, not a string"),
        ('insecure = ["http://a.b"]', "write the host alone"),
        ('insecure = ["a.b/c"]', "leave everything from / out"),
        ('insecure = ["*.a.b"]', "is no host"),
        ('insecure = ["a b"]', "is no host"),
        ('insecure = ["[::g]"]', "is no host"),
        ('insecure = ["a:0"]', "is no host"),
        ('ca = "a"', "wants a list, not a string"),
        ('ca = [""]', "holds an empty path"),
        ('ca = ["a\\u0000"]', "NUL"),
        ('ca = ["~other/a"]', "home directory"),
        ("concurrency = 0", "from 1 to 64"),
        ("concurrency = 65", "from 1 to 64"),
        ("concurrency = true", "from 1 to 64"),
        ('concurrency = "4"', "from 1 to 64"),
    ],
)
@pytest.mark.parametrize("read", [project, user])
def test_each_mistake_has_its_line_and_a_way_out(read: object, text: str, words: str):
    (error,) = errors_of(read, f"[registry]\n{text}")
    assert isinstance(error, UsageError)
    assert error.where == f"{USER_FILE if read is user else 'wherry.toml'}:2"
    assert "registry." in error.what
    assert words in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"a.b" = "x"', "wants a table, not a string"),
        ('"a.b" = { key = "x" }', "names no cert"),
        ('"a.b" = { cret = "x" }', "did you mean 'cert'?"),
        ('"a.b" = { cert = "" }', "holds an empty path"),
        ('"a.b" = { cert = 1 }', "wants a string"),
        ('"https://a.b" = { cert = "x" }', "write the host alone"),
    ],
)
def test_each_mistake_about_a_client_certificate(text: str, words: str):
    (error,) = errors_of(user, f'[registry.client-certificates]\n"c.d" = {{ cert = "x" }}\n{text}')
    assert error.where == f"{USER_FILE}:3"
    assert words in str(error)


def test_all_mistakes_in_a_table_are_told_at_their_own_lines():
    text = '[registry.mirrors]\nx = []\n"a.b" = ["c"]\n"c.d" = 1\n[registry]\nconcurrency = 0\n[y]'
    for read, file in ((project, "wherry.toml"), (user, USER_FILE)):
        found = errors_of(read, text)
        assert [error.where for error in found] == [f"{file}:{line}" for line in (2, 4, 6, 7)]
        assert found[0].what.startswith("registry.mirrors.x: ")


@pytest.mark.parametrize(
    "text",
    [
        'default = "https://me:hunter2@registry.example.com"',
        'default = "me:hunter2@registry.example.com"',
        'mirrors = { "docker.io" = ["http://me:hunter2@mirror.example.com"] }',
        'mirrors = { "docker.io" = ["mirror.example.com?token=hunter2"] }',
        'insecure = ["me:hunter2@registry.example.com"]',
    ],
)
def test_a_password_in_the_file_is_not_told_again(text: str):
    (error,) = errors_of(project, f"[registry]\n{text}")
    assert "hunter2" not in str(error) + repr(error) + repr(error.__cause__)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[regsitry]", "did you mean 'registry'?"),
        ("[build]", "it belongs into a project's wherry.toml"),
        ("[image.api]", "it belongs into a project's wherry.toml"),
        ("[stor]", "did you mean 'store'?"),
        ("registry = 1", "registry is no table"),
    ],
)
def test_the_users_file_holds_two_tables_only(text: str, words: str):
    (error,) = errors_of(user, text)
    assert error.where == f"{USER_FILE}:1"
    assert words in str(error)


def test_a_project_wins_over_the_user_and_gets_no_secret_of_the_users():
    mine = user(
        '[registry]\ndefault = "a.example/x"\nconcurrency = 2\nca = ["/1.pem", "/2.pem"]\n'
        'insecure = ["mine.lan"]\n'
        'mirrors = { "docker.io" = ["m1"], "a.example" = ["m2"] }\n'
        'client-certificates = { "a.example" = { cert = "/c.pem" } }\n'
    )
    theirs = project(
        '[registry]\ndefault = "b.example"\nca = ["/2.pem", "/3.pem"]\n'
        'insecure = ["theirs.lan", "mine.lan"]\nmirrors = { "docker.io" = [], "c.example" = ["m"] }'
    )
    assert merged(mine, theirs) == RegistrySettings(
        default="b.example",
        mirrors=(("docker.io", ()), ("a.example", ("m2",)), ("c.example", ("m",))),
        insecure=("mine.lan", "theirs.lan"),
        ca=("/1.pem", "/2.pem", "/3.pem"),
        client_certificates=(("a.example", ClientCertificate("/c.pem")),),
        concurrency=2,
        insecure_by_user=("mine.lan",),
        ca_by_user=("/1.pem", "/2.pem"),
    )
    assert merged(mine, RegistrySettings()) == mine
    assert merged(RegistrySettings(), theirs) == theirs


@pytest.mark.parametrize(
    ("env", "path"),
    [
        ({}, ""),
        ({"HOME": ""}, ""),
        ({"HOME": "here"}, ""),
        ({"HOME": "/h"}, "/h/.config/wherry/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": ""}, "/h/.config/wherry/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "rel"}, "/h/.config/wherry/config.toml"),
        ({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}, "/c/wherry/config.toml"),
        ({"XDG_CONFIG_HOME": "/c"}, "/c/wherry/config.toml"),
    ],
)
def test_where_the_users_file_lies(env: dict[str, str], path: str):
    assert user_settings_path(env) == path


def write(directory: Path, text: str) -> str:
    (directory / "wherry").mkdir(parents=True)
    file = directory / "wherry" / "config.toml"
    file.write_text(text)
    return str(file)


def test_the_users_file_is_read(tmp_path: Path):
    write(tmp_path / ".config", '[registry]\ninsecure = ["a.b"]\nca = ["~/c", "d"]')
    found = load_user_settings({"HOME": str(tmp_path)})
    assert found.insecure_by_user == ("a.b",)
    assert found.ca == (str(tmp_path / "c"), str(tmp_path / ".config" / "wherry" / "d"))


def test_without_home_nothing_is_below_it(tmp_path: Path):
    path = write(tmp_path, '[registry]\nca = ["~/c"]')
    with pytest.raises(UsageError, match="HOME is not set") as caught:
        load_user_settings({"XDG_CONFIG_HOME": str(tmp_path)})
    assert caught.value.where == f"{path}:2"


def test_no_file_is_no_settings_and_no_tomllib(tmp_path: Path):
    assert load_user_settings({}) == RegistrySettings()
    script = (
        "import sys; from wherry.settings.user import load_user_settings;"
        f"load_user_settings({{'HOME': {str(tmp_path)!r}}}); print('tomllib' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "False\n"
    (tmp_path / ".config").write_text("a file")
    assert load_user_settings({"HOME": str(tmp_path)}) == RegistrySettings()


def test_files_that_are_none_are_told_by_their_path(tmp_path: Path):
    path = write(tmp_path, "[registry\n")
    env = {"XDG_CONFIG_HOME": str(tmp_path)}
    with pytest.raises(UsageError, match="not valid TOML") as caught:
        load_user_settings(env)
    assert caught.value.where.startswith(f"{path}:1")
    Path(path).write_bytes(b"[registry]\n\xff")
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        load_user_settings(env)
    assert caught.value.where == f"{path}:2"
    os.unlink(path)
    os.mkdir(path)
    with pytest.raises(UsageError, match="cannot read") as caught:
        load_user_settings(env)
    assert path in str(caught.value)


HOSTILE = st.text("ab.:/@-[]~ \n\"'\\é", max_size=12)
VALUES = (
    HOSTILE
    | st.integers()
    | st.lists(HOSTILE, max_size=2)
    | st.dictionaries(HOSTILE, st.lists(HOSTILE, max_size=2) | st.integers(), max_size=2)
)
KEYS = st.sampled_from(["default", "mirrors", "insecure", "ca", "client-certificates", "x"])


def toml(value: object) -> str:
    match value:
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            return str(value)


@given(st.dictionaries(KEYS, VALUES, max_size=5))
def test_any_table_gives_settings_or_errors_with_their_own_lines(table: dict):
    lines = ["[registry]", *(f"{key} = {toml(value)}" for key, value in table.items())]
    try:
        found = user("\n".join(lines))
    except WherryError as error:
        for item in error.errors if isinstance(error, SeveralErrors) else (error,):
            line = lines[int(item.where.removeprefix(f"{USER_FILE}:")) - 1]
            name = f"registry.{line.partition(' ')[0]}"
            assert item.what.removeprefix("unknown key ").startswith(name)
    else:
        assert set(table) <= {"default", "mirrors", "insecure", "ca", "client-certificates"}
        assert all(path.startswith("/") for path in found.ca)
