# SPDX-License-Identifier: Apache-2.0
"""`wherry.toml`: what it gives, and what it says about every mistake."""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wherry.fstree.capabilities as layer_capabilities
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings import image_values
from wherry.settings.declaration import declared
from wherry.settings.load import load_settings
from wherry.settings.model import BuildSettings, FileEntry, ImageSettings, Settings
from wherry.settings.reading import parse_settings, parse_user_settings
from wherry.settings.reference import (
    render_example,
    render_lock_reference,
    render_reference,
    render_user_example,
    render_user_reference,
)
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings, merged_store

ROOT = Path(__file__).resolve().parents[2]


def parse(text: str) -> Settings:
    return parse_settings(text, "wherry.toml")


def errors_of(text: str) -> list[WherryError]:
    with pytest.raises(WherryError) as caught:
        parse(text)
    error = caught.value
    return list(error.errors) if isinstance(error, SeveralErrors) else [error]


def test_no_file_means_empty_settings_without_tomllib(tmp_path: Path):
    assert load_settings(str(tmp_path)) == Settings()
    script = (
        "import sys; from wherry.settings.load import load_settings;"
        f"load_settings({str(tmp_path)!r}); print('tomllib' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert shown.stdout == "False\n"


def test_whole_file(tmp_path: Path):
    (tmp_path / "wherry.toml").write_text(
        """
        [build]
        base = "docker.io/library/debian:12-slim"
        libc-base = "debian"
        platforms = ["linux/amd64/v1", "amd64", "linux/arm64", "arm64/v8", "arm/v7"]
        go = "1.26.8"
        cgo = true
        stamp = "labels"
        ldflags = ["-X main.a=b"]
        gcflags = ["all=-N -l"]
        build-tags = ["netgo"]
        compression = "zstd"
        compression-level = 22
        user = "0"
        env = { B = "2", A = "1" }
        ports = [8000, "8125/udp", "8000/tcp"]
        labels."org.example.team" = "{{.Git.Branch}}"
        args = []
        volumes = ["/data/", "//data", "/x"]
        capabilities = ["CAP_NET_BIND_SERVICE", "net_bind_service", "CHOWN"]

        [image.api]
        packages = ["./cmd/api", "example.com/shop/cmd/migrate"]
        tags = ["registry.example.com/shop/api:{{.Version}}", "api"]
        workdir = "/srv//www/"
        capabilities = []
        files = [
          { from = "web/dist/**", to = "/srv/www/" },
          { from = ".", to = "/", owner = "app:1", mode = 0o640 },
          { from = "a", to = "/b", mode = "0400" },
        ]
        [image.api.env]
        A = "own"
        C = "3"
        [store]
        size = "1.5 GiB"
        """
    )
    settings = load_settings(str(tmp_path))
    assert settings == Settings(
        BuildSettings(
            base="docker.io/library/debian:12-slim",
            libc_base="debian",
            platforms=("linux/amd64/v1", "linux/arm64", "linux/arm/v7"),
            go="1.26.8",
            cgo=True,
            stamp="labels",
            ldflags=("-X main.a=b",),
            gcflags=("all=-N -l",),
            build_tags=("netgo",),
            compression="zstd",
            compression_level=22,
            user="0",
            env=(("B", "2"), ("A", "1")),
            ports=("8000/tcp", "8125/udp"),
            labels=(("org.example.team", "{{.Git.Branch}}"),),
            args=(),
            volumes=("/data", "/x"),
            capabilities=("net_bind_service", "chown"),
        ),
        (
            ImageSettings(
                name="api",
                packages=("./cmd/api", "example.com/shop/cmd/migrate"),
                tags=("registry.example.com/shop/api:{{.Version}}", "api"),
                workdir="/srv/www",
                capabilities=(),
                files=(
                    FileEntry("web/dist/**", "/srv/www/"),
                    FileEntry(".", "/", "app:1", 0o640),
                    FileEntry("a", "/b", "", 0o400),
                ),
                env=(("A", "own"), ("C", "3")),
            ),
        ),
        str(tmp_path / "wherry.toml"),
        store=StoreSettings(size=1536 * 1024**2),
    )
    assert hash(settings) == hash(load_settings(str(tmp_path)))


def test_resolved_merges_tables_and_replaces_the_rest():
    settings = parse(
        '[build]\nenv = {A = "1", B = "2"}\nports = [1]\nuser = "u"\nargs = ["x"]\n'
        '[image.api]\npackages = ["."]\nenv = {B = "own"}\nports = []\n'
    )
    resolved = settings.resolved(settings.images[0])
    assert resolved.env == (("A", "1"), ("B", "own"))
    assert (resolved.ports, resolved.user, resolved.args) == ((), "u", ("x",))
    assert resolved.packages == (".",)
    assert resolved.ldflags is None


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[build]\nbas = 1", 2, "did you mean 'base'?"),
        ("[biuld]\n", 1, "did you mean 'build'?"),
        ("x = 1\n[build]", 1, "unknown key x"),
        ("build = 3", 1, "build is no table"),
        ("image = []", 1, "image is no table"),
        ('[build]\n\nbase = "statik"', 3, "did you mean 'static'?"),
        ('[build]\nbase = "statc"', 2, "the image is docker.io/library/statc"),
        ('[build]\nbase = "Scratch"', 2, "did you mean 'scratch'?"),
        ('[build]\nbase = "Debian:12"', 2, "a repository name is lower case"),
        ('[build]\nbase = ""', 2, "not an image reference"),
        ('[build]\nbase = "debian:{{.Version}}"', 2, "is a template"),
        ('[build]\nlibc-base = "static"', 2, "'static' holds no C library"),
        ('[build]\nlibc-base = "scratch"', 2, "'scratch' holds no C library"),
        ('[build]\nlibc-base = "a b"', 2, "not an image reference"),
        ('[build]\nlib-base = "debian"', 2, "did you mean 'libc-base'?"),
        ('[build]\nplatforms = ["linux/amd65"]', 2, "did you mean 'amd64'?"),
        ('[build]\nplatforms = ["linux/amd64,linux/arm64"]', 2, "one for each item"),
        ('[build]\nplatforms = ["Linux/AMD64"]', 2, 'write "linux/amd64"'),
        ('[build]\nplatforms = ["windows/amd64"]', 2, "linux images only"),
        ("[build]\ngo = 1.26", 2, "wants a string, not a number"),
        ('[build]\ngo = "1.26"', 2, 'write the release, for example "1.26.0"'),
        ('[build]\ngo = "go1.26.8"', 2, 'write "1.26.8"'),
        ('[build]\ngo = "latest"', 2, "wants an exact Go version"),
        ('[build]\ncgo = "yes"', 2, "wants true or false, not a string"),
        ('[build]\nstamp = "ful"', 2, "did you mean 'full'?"),
        ('[build]\nldflags = "-s"', 2, "wants a list, not a string"),
        ('[build]\nldflags = ["-X v={{.Versoin}}"]', 2, "did you mean '.Version'?"),
        ('[build]\nenv = { A = "{{.Version" }', 2, "without '}}'"),
        ('[build]\nvolumes = ["data"]', 2, "is no absolute path"),
        ('[build]\ncompression = "gz"', 2, "did you mean 'gzip'?"),
        ('[build]\ncapabilities = ["net_bind"]', 2, "did you mean 'net_bind_service'?"),
        ('[build]\ncapabilities = ["Net_Raw"]', 2, "did you mean 'net_raw'?"),
        ('[build.files]\nfrom = "a"\nto = "/a"', 1, "as in [[build.files]]"),
        ('[build]\npackages = ["."]', 2, "it belongs into [image.NAME]"),
        ('[image.a]\npackages = ["."]\ngo = "1.26.1"', 3, "it belongs into [build]"),
        ('[store]\nsize = "20"', 2, 'write it as "20GB" or "20GiB"'),
        ('[store]\nsize = "2MB"', 2, "too little"),
        ("[store]\nsize = 5", 2, "wants a string"),
        ('[build]\nbuild-tags = ["a,b"]', 2, "'a,b' is no build tag"),
        ("[build]\ncompression-level = 23", 2, "from 0 to 22"),
        ("[build]\ncompression-level = true", 2, "from 0 to 22"),
        ('[build]\nuser = "a b"', 2, "is no user"),
        ("[build]\nuser = 0", 2, 'put it in quotes: "0"'),
        ("[build]\nenv = { A = 1 }", 2, "build.env.A: wants a string"),
        ('[build.env]\nB = "1"\n"C=D" = "x"', 3, "is no name of an environment variable"),
        ("[build]\nports = [0]", 2, "0 is no port"),
        ("[build]\nports = [65536]", 2, "65536 is no port"),
        ("[build]\nports = [true]", 2, "True is no port"),
        ('[build]\nports = ["80/icmp"]', 2, "is no port"),
        ("[build]\nargs = [1979-05-27]", 2, "not a date or time"),
        ('[build]\nargs = ["a\\u0000b"]', 2, "NUL"),
        ("[image.a]\ntags = []", 1, "image.a names no package"),
        ("[image.a]\npackages = []", 2, "names no package"),
        ('[image.a]\npackages = ["./a", "./b", "./a/"]', 2, "names './a/' twice"),
        ('[image.a]\npackages = ["./..."]', 2, "patterns are for the command line"),
        ('[image.a]\npackages = ["a b"]', 2, "is no package"),
        ('[image.a]\npackages = ["-exec=x"]', 2, "is no package"),
        ('[image.a]\npackages = ["/abs"]', 2, "is no package"),
        ('[image.a]\npackages = ["."]\ntags = ["UP"]', 3, "a repository name is lower case"),
        ('[image.a]\npackages = ["."]\ntags = ["X:{{.Version}}"]', 3, "with 1 for each template"),
        ('[image.a]\npackages = ["."]\ntags = ["x:{{ if }}"]', 3, "templates do not know"),
        (
            f'[image.a]\npackages = ["."]\ntags = ["x@sha256:{"0" * 64}"]',
            3,
            "names a digest",
        ),
        ('[image.a]\npackages = ["."]\nworkdir = "srv"', 3, "is no absolute path"),
        ('[image."a b"]\npackages = ["."]', 1, "is no name of an image"),
        ('[image]\npackages = ["./cmd/api"]', 2, "[image.api]"),
    ],
)
def test_each_mistake_has_its_line_and_a_way_out(text: str, line: int, words: str):
    (error,) = errors_of(text)
    assert isinstance(error, UsageError)
    assert error.where == f"wherry.toml:{line}"
    assert words in str(error)


@pytest.mark.parametrize(
    "base",
    [
        "static", "scratch", "debian", "alpine", "statsd", "docker.io/library/statc", "shop/statc",
        "statc:1", "golang:1.26", "registry.example.com:5000/shop/base",
        f"debian:12@sha256:{'0' * 64}", f"debian@sha256:{'0' * 64}",
    ],
)  # fmt: skip
def test_a_base_is_a_composed_one_or_any_image(base: str):
    assert parse(f'[build]\nbase = "{base}"').build.base == base
    if base not in ("static", "scratch"):
        assert parse(f'[build]\nlibc-base = "{base}"').build.libc_base == base


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file():
    text = '[image.a]\npackages = 3\nusr = 1\n[build]\ncgo = 1\n[x]\n[build.env]\nA = "1"\nB = 2'
    assert [error.where for error in errors_of(text)] == [
        f"wherry.toml:{line}" for line in (2, 3, 5, 6, 9)
    ]
    with pytest.raises(SeveralErrors) as caught:
        parse(text)
    assert caught.value.code == 2


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("[build]\nbase = static", "wherry.toml:2:8", "not valid TOML"),
        ("[build", "wherry.toml:1", "not valid TOML"),
        ('[build]\nbase = "static"\nbase = "static"', "wherry.toml:3", "base stands twice"),
        ("[build]\n[build]", "wherry.toml:2", "build stands twice"),
    ],
)
def test_bad_toml_is_told_with_its_place(text: str, where: str, what: str):
    (error,) = errors_of(text)
    assert error.where.startswith(where)
    assert error.what == what
    assert error.why
    assert "at line" not in error.why


def test_a_mark_before_the_text_is_no_part_of_it(tmp_path: Path):
    (tmp_path / "wherry.toml").write_text('[build]\ngo = "1.26.8"\nx = 1', "utf-8-sig")
    with pytest.raises(UsageError, match=r"unknown key build\.x") as caught:
        load_settings(str(tmp_path))
    assert caught.value.where == "wherry.toml:3"


def test_unreadable_files_are_usage_errors(tmp_path: Path):
    (tmp_path / "wherry.toml").write_bytes(b'[build]\nuser = "\xff"\n')
    with pytest.raises(UsageError, match="not UTF-8") as caught:
        load_settings(str(tmp_path))
    assert caught.value.where == "wherry.toml:2"
    (tmp_path / "wherry.toml").unlink()
    (tmp_path / "wherry.toml").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        load_settings(str(tmp_path))


def test_capabilities_are_those_that_a_layer_can_hold():
    assert image_values.CAPABILITIES == layer_capabilities.NAMES
    for name in image_values.CAPABILITIES:
        for text in (name, name.upper(), f"cap_{name}", f"CAP_{name.upper()}"):
            assert image_values.parse_capabilities([text]) == layer_capabilities.parse([text])


def test_the_user_decides_how_large_the_store_becomes():
    mine, theirs = StoreSettings(size=10**9), StoreSettings(size=2 * 10**9)
    assert merged_store(mine, theirs) == mine
    assert merged_store(StoreSettings(), theirs) == theirs


def test_a_thousand_mistakes_are_told_as_far_as_anybody_reads():
    text = "[build]\n" + "".join(f"bas{number} = 1\n" for number in range(1000))
    errors = errors_of(text)
    assert [error.where for error in errors[:2]] == ["wherry.toml:2", "wherry.toml:3"]
    assert "did you mean 'base'?" in str(errors[0])
    assert (len(errors), errors[-1].what) == (501, "500 more errors")


def test_tables_in_one_another_without_end_are_no_fault_of_wherrys():
    (error,) = errors_of(f"x = {'[' * 100_000}")
    assert (error.code if isinstance(error, SeveralErrors) else error.exit_code) == 2
    assert "without end" in error.what


def test_long_files_take_no_time():
    images = (
        f'[image.i{number}]\npackages = ["./cmd/{number}"]\ntags = ["r.example.com/i{number}:1"]\n'
        f"ports = [80]\n"
        for number in range(2500)
    )
    began = time.process_time()
    settings = parse("".join(images))
    # 0.3 s on a quiet machine.
    assert time.process_time() - began < 3
    assert len(settings.images) == 2500


VALUES = st.recursive(
    st.booleans() | st.integers() | st.text("ab /.:=-{}\n\"'", max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["A", "b c", ""]), inner, max_size=2)
    ),
    max_leaves=4,
)
KEYS = sorted({item.name.replace("_", "-") for item in fields(ImageSettings)} | {"base", "go", "x"})


def toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int():
            return str(value)
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case list():
            return "[" + ", ".join(map(toml, value)) + "]"
        case dict():
            return "{" + ", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items()) + "}"
        case _:
            raise AssertionError(value)


@given(st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_table_gives_settings_or_errors_with_their_own_lines(table: dict):
    lines = [f"{key} = {toml(value)}" for key, value in table.items()]
    text = "\n".join(["[build]", *lines])
    try:
        parse(text)
    except WherryError as error:
        found = error.errors if isinstance(error, SeveralErrors) else (error,)
        for item in found:
            number = int(item.where.removeprefix("wherry.toml:"))
            assert item.what.removeprefix("unknown key ").startswith(
                f"build.{lines[number - 2].partition(' ')[0]}"
            )


@pytest.mark.parametrize(
    ("name", "render"),
    [
        ("wherry-toml.md", render_reference),
        ("config-toml.md", render_user_reference),
        ("wherry-lock.md", render_lock_reference),
    ],
)
def test_reference_pages_are_what_the_declarations_say(name: str, render: Callable[[], str]):
    page = (ROOT / "docs" / "reference" / name).read_text()
    assert page == render(), f"write it anew: wherry.settings.reference.{render.__name__}"


def test_example_of_the_reference_sets_every_key():
    settings = parse(render_example())
    tables = (settings.registry, settings.store, settings.cache)
    for owner in (settings.build, settings.images[0], *tables):
        for item in declared(type(owner)):
            if not item.metadata["users"]:
                assert getattr(owner, item.name) not in (None, ()), item.name
    users = parse_user_settings(render_user_example(), "/home/me/config.toml", "/home/me")
    for item in declared(RegistrySettings):
        assert getattr(users.registry, item.name) not in (None, ()), item.name
    assert users.cache.trust == ("registry.example.com/shop", "/home/me/go-caches")
    assert users.store == settings.store == StoreSettings(size=20 * 10**9)
