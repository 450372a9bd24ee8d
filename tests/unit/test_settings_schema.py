# SPDX-License-Identifier: Apache-2.0
"""The JSON schema in the package: up to date, and of one mind with the parser.

Whatever the parser takes the schema takes. What the schema takes the parser takes, too, but where a
`$comment` says what else is checked.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from json_schema import accepts, says_more
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.cache import CacheSettings, UserCacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.declaration import Kind, declared
from wherry.settings.json_schema import packaged_schema, render_schema, schema
from wherry.settings.model import BuildSettings, ImageSettings
from wherry.settings.reading import parse_settings
from wherry.settings.reference import render_example
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings

SCHEMA = json.loads(packaged_schema())


def kinds() -> Iterator[Kind]:
    caches = (CacheSettings, UserCacheSettings, CheckSettings)
    for owner in (BuildSettings, ImageSettings, RegistrySettings, StoreSettings, *caches):
        for item in declared(owner):
            yield item.metadata["kind"]


KINDS = list({id(kind): kind for kind in kinds()}.values())
IDS = [f"{kind.name}-{kind.parse.__name__}" for kind in KINDS]


EXACT = [kind for kind in KINDS if not says_more(kind.schema)]


def takes(kind: Kind, value: object) -> bool:
    try:
        kind.parse(value)
    except (UsageError, SeveralErrors):
        return False
    return True


def test_the_file_in_the_package_is_what_the_declarations_say():
    assert packaged_schema() == render_schema(), "write it anew: tools/reference.py"
    assert json.loads(json.dumps(schema())) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_is_in_it_with_its_meaning():
    build = SCHEMA["properties"]["build"]["properties"]
    image = SCHEMA["properties"]["image"]["additionalProperties"]["properties"]
    assert build.keys() - image.keys() == {"go"}
    assert image.keys() - build.keys() == {"packages", "tags"}
    for table in (build, image, SCHEMA["properties"]["registry"]["properties"]):
        for key in table.values():
            assert key["description"].endswith(".")
    # Keys for the user's file only are none of a project's.
    assert "client-certificates" not in SCHEMA["properties"]["registry"]["properties"]


def test_it_takes_the_file_with_every_key():
    assert accepts(SCHEMA, tomllib.loads(render_example()))


@pytest.mark.parametrize(
    "text",
    [
        "[biuld]", "build = 1", "[build]\nbas = 1", '[build]\npackages = ["."]',
        '[image.a]\ntags = ["a"]', "[image.a]\npackages = []", '[image."a b"]\npackages = ["."]',
        '[image.a]\npackages = ["."]\ngo = "1.26.1"', '[image]\npackages = ["."]',
        '[registry]\nclient-certificates = { "a.b" = { cert = "x" } }', "[store]\nsize = 1",
    ],
)  # fmt: skip
def test_it_refuses_what_the_parser_refuses_about_tables(text: str):
    with pytest.raises(WherryError):
        parse_settings(text, "wherry.toml")
    assert not accepts(SCHEMA, tomllib.loads(text))


WORD = "[a-zA-Z0-9._-]{1,3}"
REFERENCES = st.from_regex(
    rf"({WORD}\.a(:[0-9]{{1,5}})?/|localhost/|\[::1\]/)?[a-z0-9]{{1,3}}(/{WORD})?(:{WORD})?"
    rf"(@sha256:[0-9a-f]{{64}})?\Z"
)
TEXTS = (
    st.text("ab1./:-_@{}[] \n\0é", max_size=8)
    | REFERENCES
    | st.sampled_from(
        ["static", "gzip", "CAP_CHOWN", "chown", "linux/arm64", "8000/tcp", "65536", "1.26.8",
         "1.20", "1.21", "1.21rc2", "..", "./..", "/a/..", "/..a", "full", "{{.Version}}", "{{",
         "x:{{.Date}}", "0640", "640", "20GB", "100.5 MiB", "a.b:5000", "65532:65532", "arm/v7"]
    )
)  # fmt: skip
VALUES = st.recursive(
    # 1.0 is an integer to JSON, but not to TOML.
    TEXTS | st.booleans() | st.integers(-2, 70000) | st.just(1.5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            TEXTS | st.sampled_from(["from", "to", "owner", "mode", "docker.io"]), inner, max_size=3
        )
    ),
    max_leaves=6,
)


@pytest.mark.parametrize("kind", KINDS, ids=IDS)
@settings(max_examples=30)
@given(value=VALUES)
def test_it_takes_what_the_parser_takes(kind: Kind, value: object):
    taken, described = takes(kind, value), accepts(kind.schema, value)
    assert described or not taken
    if kind in EXACT:
        assert taken == described


def made_by(rule: Mapping[str, Any]) -> st.SearchStrategy[object]:
    """Values that `rule` describes."""
    if "enum" in rule:
        return st.sampled_from(rule["enum"])
    if "anyOf" in rule:
        return st.one_of(*map(made_by, rule["anyOf"])).filter(lambda value: accepts(rule, value))
    match rule["type"]:
        case "string":
            texts = st.from_regex(rule["pattern"].removesuffix("$") + r"\Z")
            return texts.filter(lambda value: accepts(rule, value))
        case "integer":
            numbers = st.integers(rule["minimum"], rule["maximum"])
            return numbers.filter(lambda value: accepts(rule, value))
        case "boolean":
            return st.booleans()
        case "array":
            return st.lists(made_by(rule["items"]), min_size=rule.get("minItems", 0), max_size=3)
        case _:
            fields = {name: made_by(one) for name, one in rule.get("properties", {}).items()}
            needed = {name: fields.pop(name) for name in rule.get("required", ())}
            return st.fixed_dictionaries(needed, optional=fields)


@pytest.mark.parametrize("kind", EXACT, ids=[IDS[KINDS.index(kind)] for kind in EXACT])
@settings(max_examples=25)
@given(data=st.data())
def test_the_parser_takes_what_it_describes(kind: Kind, data: st.DataObject):
    value = data.draw(made_by(kind.schema))
    assert accepts(kind.schema, value)
    assert takes(kind, value), value


def test_most_kinds_are_described_in_full():
    names = {kind.parse.__name__ for kind in EXACT}
    assert names >= {
        "parse_flag", "parse_user", "parse_ports", "parse_path", "parse_paths", "parse_go_version",
        "parse_capabilities", "parse_level", "parse_concurrency",
    }  # fmt: skip
    assert len(EXACT) >= 10


def test_every_mode_that_a_file_can_have_can_be_written_and_is_described():
    files = next(kind for kind in KINDS if "mode" in kind.name)
    for number in range(-1, 0o10001):
        entry = {"from": "a", "to": "/a"}
        text = [{**entry, "mode": f"{number:04o}"}]
        assert takes(files, text) == accepts(files.schema, text) == (0 <= number <= 0o7777)
        value = [{**entry, "mode": number}]
        assert takes(files, value) == accepts(files.schema, value)
