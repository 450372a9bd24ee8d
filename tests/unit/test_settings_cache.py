# SPDX-License-Identifier: Apache-2.0
"""`[cache]`: directories are seen from the file, references are as they were, flags beat it."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from wherry.api.asked_caches import AskedCaches, asked_caches, check_cache_flags
from wherry.api.building import check_request
from wherry.api.request import BuildRequest
from wherry.api.settings_shown import shown_settings
from wherry.errors import UsageError
from wherry.settings.cache import CacheSettings
from wherry.settings.model import Settings
from wherry.settings.reading import parse_settings, parse_user_settings
from wherry.settings.sources import Line, explain_cache

TEXT = """\
[cache]
from = [
  "registry.example.com/shop/cache:main",
  "./go-cache",
]
to = ["type=wherry,dest=../out,ignore-error=false"]
key = "keys/cache.pub"
"""


def settings(text: str, path: str = "/p/m/wherry.toml") -> Settings:
    return parse_settings(text, path)


def request(**values: object) -> BuildRequest:
    # On a machine of CI, unless said otherwise.
    return BuildRequest(".", "/cwd", {"CI": "1"}, "/store")._replace(**values)


def test_a_file_that_says_nothing_asks_for_nothing() -> None:
    assert settings("").cache == CacheSettings()
    assert asked_caches(request(), settings("")) == AskedCaches()


def test_directories_and_the_key_are_seen_from_the_file() -> None:
    asked = asked_caches(request(), settings(TEXT))
    assert [spec.path or spec.place for spec in asked.sources] == [
        "registry.example.com/shop/cache:main", "/p/m/go-cache",
    ]  # fmt: skip
    (target,) = asked.targets
    assert (target.path, target.ignore_error) == ("/p/out", False)
    assert asked.key == settings(TEXT).cache.key == "/p/m/keys/cache.pub"


def test_flags_beat_the_file_each_for_itself() -> None:
    asked = asked_caches(request(cache_to=("./b", "reg.test/a"), cache_key="k"), settings(TEXT))
    assert len(asked.sources) == 2
    assert [spec.path or spec.place for spec in asked.targets] == ["/cwd/b", "reg.test/a"]
    assert asked.key == "/cwd/k"
    assert asked_caches(request(), settings(TEXT)).key == "/p/m/keys/cache.pub"


def test_an_empty_flag_leaves_out_what_the_file_says() -> None:
    asked = asked_caches(request(cache_from=("",), cache_to=(" ",)), settings(TEXT))
    assert (asked.sources, asked.targets) == ((), ())


def test_a_place_named_twice_is_asked_once() -> None:
    twice = asked_caches(request(cache_from=("a", "b", "a")), settings(""))
    assert [spec.place for spec in twice.sources] == ["a", "b"]


def test_what_is_no_place_is_told_at_its_line() -> None:
    wrong = settings('[cache]\nfrom = [\n "a",\n "type=gha,scope=x",\n]')
    with pytest.raises(UsageError) as caught:
        asked_caches(request(), wrong)
    assert caught.value.where == "wherry.toml:4"
    assert caught.value.what.startswith("cache.from: ")
    with pytest.raises(UsageError) as caught:
        asked_caches(request(), settings('[cache]\nto = ["src=a"]'))
    assert caught.value.where == "wherry.toml:2"
    with pytest.raises(UsageError, match=r"^--cache-to: "):
        check_cache_flags(request(cache_to=("type=s3,bucket=b",)))


def test_each_file_has_keys_of_its_own() -> None:
    with pytest.raises(UsageError) as caught:
        parse_user_settings('[cache]\nfrom = ["a"]', "/home/me/config.toml", "/home/me")
    assert "project's wherry.toml" in caught.value.hint
    with pytest.raises(UsageError) as caught:
        settings('[cache]\ntrust = ["a.b"]')
    assert "the user's own config.toml" in caught.value.hint
    text = '[cache]\ntrust = ["a.b/team", "~/x/", "/y"]'
    user = parse_user_settings(text, "/home/me/config.toml", "/home/me")
    assert user.cache.trust == ("a.b/team", "/home/me/x", "/y")


def at_home(tmp_path: Path, *trust: str) -> dict[str, str]:
    """The environment of somebody whose file trusts these places."""
    place = tmp_path / "config" / "wherry"
    place.mkdir(parents=True, exist_ok=True)
    (place / "config.toml").write_text(f"[cache]\ntrust = {json.dumps(trust)}\n")
    return {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}


@pytest.mark.parametrize(
    ("trust", "places"),
    [
        ((), []),
        (("registry.example.com",), ["registry.example.com/shop/cache:main"]),
        (("registry.example.com/shop",), ["registry.example.com/shop/cache:main"]),
        (("registry.example.com/shop/cache",), ["registry.example.com/shop/cache:main"]),
        # No beginning of a word is a place above it.
        (("registry.example.com/sho", "registry.example", "/p/m/go"), []),
        (("/p/m/go-cache",), ["./go-cache"]),
        (("/p", "registry.example.com"), ["registry.example.com/shop/cache:main", "./go-cache"]),
    ],
)
def test_a_projects_places_are_read_where_the_user_trusts_them(
    tmp_path: Path, trust: tuple[str, ...], places: list[str]
) -> None:
    asked = asked_caches(request(env=at_home(tmp_path, *trust)), settings(TEXT))
    assert [spec.place for spec in asked.sources] == places
    # The place to write to is nowhere trusted but as a directory.
    assert len(asked.targets) == ("/p" in trust)
    named = 3 - len(places) - len(asked.targets)
    assert len(asked.untrusted) == len(asked.notes) == named


@pytest.mark.parametrize(("value", "count"), [("true", 2), ("1", 2), ("", 0), ("false", 0)])
def test_a_machine_of_ci_reads_all(tmp_path: Path, value: str, count: int) -> None:
    env = {**at_home(tmp_path), "CI": value}
    assert len(asked_caches(request(env=env), settings(TEXT)).sources) == count


def test_flags_are_read_whatever_is_trusted(tmp_path: Path) -> None:
    asked = asked_caches(request(env=at_home(tmp_path), cache_from=("a.b/c",)), settings(TEXT))
    assert [spec.place for spec in asked.sources] == ["a.b/c"]
    assert [spec.place for spec in asked.untrusted] == ["../out"]
    both = request(env=at_home(tmp_path), cache_from=("a.b/c",), cache_to=("./x",))
    assert asked_caches(both, settings(TEXT)).untrusted == ()


def test_a_project_cannot_make_a_trusted_name_mean_another_registry(tmp_path: Path) -> None:
    text = '[registry]\ndefault = "evil.test"\n[cache]\nfrom = ["shop/cache"]\n'
    env = at_home(tmp_path, "docker.io/shop", "docker.io")
    assert asked_caches(request(env=env), settings(text)).sources == ()
    mine = at_home(tmp_path, "evil.test/shop")
    assert len(asked_caches(request(env=mine), settings(text)).sources) == 1


def test_each_value_is_told_with_its_place() -> None:
    lines = explain_cache(settings(TEXT), {"key": "mine.key"})
    assert lines == (
        Line("cache", "from", ("registry.example.com/shop/cache:main", "./go-cache"),
             "wherry.toml:2"),
        Line("cache", "to", ("type=wherry,dest=../out,ignore-error=false",), "wherry.toml:6"),
        Line("cache", "mounts", None, "default"),
        Line("cache", "key", "mine.key", "--cache-key"),
    )  # fmt: skip
    assert {line.source for line in explain_cache(settings(""), {})} == {"default"}


@pytest.fixture
def module(tmp_path: Path) -> BuildRequest:
    (tmp_path / "go.mod").write_text("module example.com/m\n\ngo 1.21\n")
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    return BuildRequest(".", str(tmp_path), {}, str(tmp_path / "store"))


def test_print_settings_shows_them(module: BuildRequest) -> None:
    Path(module.cwd, "wherry.toml").write_text('[cache]\nfrom = ["./a"]\nto = ["r.test/c:x"]\n')
    text = shown_settings(module._replace(cache_to=("",), cache_key="k.pem"))
    shown = tomllib.loads(text)["cache"]
    assert shown == {"from": ["./a"], "to": [], "key": "k.pem"}
    table = text.partition("[cache]\n")[2]
    untrusted = "wherry.toml:2, not used, since config.toml does not trust it: ./a"
    assert [line.rpartition("# ")[2] for line in table.splitlines()] == [
        untrusted, "--cache-to", "default", "--cache-key",
    ]  # fmt: skip


def test_print_settings_refuses_what_a_build_refuses(module: BuildRequest) -> None:
    with pytest.raises(UsageError, match="--cache-from: not a cache"):
        shown_settings(module._replace(cache_from=("type=registry,ref=a",)))


def test_caches_are_for_dockerfiles_too(module: BuildRequest) -> None:
    Path(module.cwd, "Dockerfile").write_text("FROM scratch\n")
    asked = module._replace(cache_from=("./a",), cache_to=("r.test/a",), cache_key="k")
    assert check_request(asked) == "dockerfile"
    with pytest.raises(UsageError, match="--cache-to: not a cache"):
        check_request(module._replace(cache_to=("type=gha",)))
    # What the file says is for both.
    Path(module.cwd, "wherry.toml").write_text('[cache]\nfrom = ["./a"]\n')
    assert check_request(module) == "dockerfile"


def test_wrong_flags_are_told_before_anything_is_asked(module: BuildRequest) -> None:
    with pytest.raises(UsageError, match="--cache-to: not a cache"):
        check_request(module._replace(cache_to=("type=gha",)))
    assert check_request(module._replace(cache_from=("", "./a"))) == "gomodule"
