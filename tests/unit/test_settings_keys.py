# SPDX-License-Identifier: Apache-2.0
"""Every declared key, wrong in type and in value: each is told with its line, name and a reason.

The keys come from the declarations: one that is declared and has no wrong values here fails.
"""

import tomllib
from collections.abc import Mapping
from typing import Any

import pytest

from declared_keys import IDS, KEYS, Key
from json_schema import accepts, says_more
from wherry.errors import UsageError, WherryError

# For lists: wrong items.
WRONG_ITEMS = {
    "platforms": ('"amd65"', '"linux/arm/v9"', '"darwin/arm64"', '"linux/amd64,linux/arm64"',
                  '" linux/amd64"', '""', "1"),
    "ports": ("0", "65536", '"0080"', '"80/icmp"', '"80-90"', "-1", "80.5", "true", '"٨٠"'),
    "volumes": ('"data"', '"/a/../b"', '"/."', '""', "1"),
    "args": ('"{{.Versio}}"', '"a\\u0000b"', "1", "[]"),
    "mounts": ('""', '" "', '"a\\nb"', "1", "[]"),
    "ldflags": ('"-X a={{.Tag}}"', '"{{"', "true"),
    "gcflags": ('"{{.}}"', "1.5"),
    "build-tags": ('"a,b"', '""', '"a b"', '"!a"', "1"),
    "packages": ('""', '"-o"', '"/abs"', '"./..."', '"a b"', '" ."', '".\\n"', "1"),
    "tags": ('"UP"', '"a:b:c"', '"{{.Env.}}"', '"https://a.b/c"', '"a b"', '""', "1"),
    "files": ("{}", '{ from = "a" }', '{ to = "/a" }', '{ from = "/a", to = "/a" }',
              '{ from = "../a", to = "/a" }', '{ from = "", to = "/a" }',
              '{ from = "a", to = "b" }',
              '{ from = "a", to = "/a/../b" }', '{ from = "a", to = "/a", own = "1" }',
              '{ from = "a", to = "/a", owner = "a b" }', '{ from = "a", to = "/a", owner = 0 }',
              '{ from = "a", to = "/a", mode = 644 }', '{ from = "a", to = "/a", mode = 0o10000 }',
              '{ from = "a", to = "/a", mode = "rwx" }', '{ from = "a", to = "/a", mode = "89" }',
              '{ from = "a", to = "/a", mode = true }', '{ from = 1, to = 2 }', '"web/dist"', "1"),
    "capabilities": ('"net_bind"', '"Net_Raw"', '"cap_"', '"CAP_chown"', '""', "1"),
    "insecure": ('"http://a.b"', '"a b"', '"a:0"', '""', "1"),
    "ca": ('""', '"a\\u0000"', "1"),
    "from": ('""', '"a\\u0000"', '"a\\nb"', "1"),
    "trust": ('""', '"./cache"', '"shop/cache"', '"https://a.b"', '"~me/x"', "1"),
    "to": ('""', '"a\\u0000"', '"a\\rb"', "[]"),
    "ignore": ('""', '"GO 1"', '"GO1,GO2"', "1"),
    "only": ('""', '"1GO"', '"a_b"', "[]"),
}  # fmt: skip
# For anything else: wrong values.
WRONG = {
    "base": ('"statik"', '"Debian"', '""', '"a:{{.Version}}"', '"https://a.b/c"', "1"),
    "libc-base": ('"static"', '"scratch"', '"A"', '"a b"', "[]"),
    "go": ('"1.26"', '"go1.26.8"', '"latest"', '"1.26.08"', '">=1.26.1"', '"1.20.14"', "1.26"),
    "user": ('"a b"', '""', '"a:b:c"', '":1"', "0", '"-1"'),
    "env": ('{ "" = "x" }', '{ "A=B" = "x" }', "{ A = 1 }", '{ A = "{{.Git}}" }', '["A=1"]'),
    "labels": ('{ "" = "x" }', "{ a = true }", "{ a = {} }", '{ a = "{{.Foo}}" }', '"a=b"'),
    "annotations": ('{ "" = "x" }', "{ a = 1979-05-27 }", "{ a.b = 1 }", '"a"'),
    "workdir": ('"srv"', '"/srv/.."', '""', '["/srv"]'),
    "cgo": ('"true"', "1", '"yes"'),
    "stamp": ('"ful"', '"OFF"', '""', "true"),
    "compression": ('"gz"', '"none"', "6"),
    "compression-level": ("-1", "23", '"6"', "true", "1.0"),
    "default": ('"team"', '"https://a.b"', '"a.b/"', "1"),
    "ca": ('["~/ca.pem"]', '"ca.pem"'),
    "mirrors": ('{ docker = ["a.b"] }', '{ "a.b" = "c.d" }', '{ "a.b" = ["ftp://c"] }', '["a"]'),
    "client-certificates": ('{ "a.b" = "c" }', '{ "a.b" = {} }', '{ "a b" = { cert = "x" } }'),
    "concurrency": ("0", "65", '"4"', "true"),
    "key": ('"~/cache.pub"', '"a\\u0000"', '""', '["cache.pub"]'),
    "size": ('"20"', '"1MB"', '"-1GB"', '"20 G B"', '"20PB"', '""', "20"),
    "fail-on": ('"errors"', '"none"', '""', "true"),
    "severity": ('{ GO001 = "bad" }', "{ GO001 = 1 }", '{ "" = "info" }', '["GO001"]'),
}
TYPES = ("true", "7", "-1", "1.5", '""', '"a b"', "[]", "[[]]", "[{}]", "{}", '{ a = {} }',
         "1979-05-27", "07:32:00", "nan", "inf")  # fmt: skip


def test_every_key_has_wrong_values_here():
    assert {key.name for key in KEYS} == WRONG.keys() | WRONG_ITEMS.keys()


def check(key: Key, value: str) -> list[WherryError]:
    """The errors of `value`, which all are the key's own and say what is expected."""
    line = key.head.count("\n") + 1
    file = "config.toml" if key.users else "wherry.toml"
    errors = key.errors(value)
    for error in errors:
        assert isinstance(error, UsageError)
        assert error.exit_code == 2
        assert error.where == f"{file}:{line}"
        assert error.what.removeprefix("unknown key ").startswith(f"{key.full}")
        assert error.why or error.hint or "wants" in error.what or "holds" in error.what, error
    return errors


def described(schema: Mapping, value: str) -> bool:
    """Whether the JSON schema of a key takes what the parser refuses."""
    return accepts(schema, tomllib.loads(f"v = {value}")["v"])


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_wrong_values_are_told_at_the_key(key: Key):
    schema = key.item.metadata["kind"].schema
    for value in WRONG.get(key.name, ()):
        check(key, value)
        # JSON knows no difference between 1 and 1.0.
        assert says_more(schema) or value == "1.0" or not described(schema, value)
    for item in WRONG_ITEMS.get(key.name, ()):
        check(key, f"[{item}]")
        assert says_more(schema["items"]) or not described(schema, f"[{item}]")


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_wrong_types_are_told_at_the_key(key: Key):
    refused = 0
    for value in TYPES:
        schema = key.item.metadata["kind"].schema
        if described(schema, value):
            continue
        check(key, value)
        refused += 1
    assert refused >= 10


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_all_wrong_items_of_a_list_are_told_each_at_its_own_line(key: Key):
    items = WRONG_ITEMS.get(key.name)
    if items is None:
        assert not key.item.metadata["kind"].name.startswith("list")
        return
    value = '[ # a comment, with ] and , and "\n' + "".join(f"  {item},\n\n" for item in items)
    found = {int(error.where.rpartition(":")[2]) for error in key.errors(value + "]")}
    first = key.head.count("\n") + 2
    assert found == {first + 2 * number for number in range(len(items))}


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_the_example_is_right(key: Key):
    key.read(key.item.metadata["kind"].example)


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_a_misspelt_key_is_told_by_its_near_name(key: Key):
    wrong = key.name[:-1] if key.name not in ("go", "ca") else f"{key.name}s"
    # Besides, an image without `packages` lacks them.
    error = key._replace(item=renamed(key, wrong)).errors("1")[-1]
    assert error.what == f"unknown key {key.table}.{wrong}"
    assert error.where.endswith(f":{key.head.count(chr(10)) + 1}")
    assert error.hint.startswith("did you mean '")


def renamed(key: Key, name: str) -> Any:
    class Renamed:
        metadata = key.item.metadata

    Renamed.name = name
    return Renamed
