# SPDX-License-Identifier: Apache-2.0
"""Where keys stand in a TOML text."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from wherry.settings.lines import KeyPath, line_of, locate_keys

TEXT = '''# [comment]
top = 1
[build] # a table
base = "x"
"quoted key" = 1
notes = """
base2 = "not a key"
[nor.a.table]
"""
literal = \'\'\'one line\'\'\'
a.b . c = 3
list = [
  "[image.fake]",
  "x = y",
]

[image."a.b".env]
  K = "1"
[[many]]
  n = 1
[[many]]
  n = 2
[many.inner]
  x = 1
'''


def test_every_key_and_table_is_found_at_its_first_line():
    assert locate_keys(TEXT) == {
        ("top",): 2,
        ("build",): 3,
        ("build", "base"): 4,
        ("build", "quoted key"): 5,
        ("build", "notes"): 6,
        ("build", "literal"): 10,
        ("build", "a"): 11,
        ("build", "a", "b"): 11,
        ("build", "a", "b", "c"): 11,
        ("build", "list"): 12,
        ("build", "list", 0): 13,
        ("build", "list", 1): 14,
        ("image",): 17,
        ("image", "a.b"): 17,
        ("image", "a.b", "env"): 17,
        ("image", "a.b", "env", "K"): 18,
        ("many",): 19,
        ("many", 0): 19,
        ("many", 0, "n"): 20,
        ("many", 1): 21,
        ("many", 1, "n"): 22,
        ("many", 1, "inner"): 23,
        ("many", 1, "inner", "x"): 24,
    }


def test_unknown_keys_are_told_at_the_table_around_them():
    keys = locate_keys(TEXT)
    assert line_of(keys, ("build", "env", "X")) == 3
    assert line_of(keys, ("nowhere",)) == 1


TRICKY = r'''a = """"
[x]
b = 1\"  """"" # five quotes end it, and two are its own
c = ["]", '[', # ] "
  [ 1, [
    "d = 1" ]],
  { e = ["}", { f = 1 }], g.h = "\"" },
  1979-05-27 07:32:00, 1e5, """
]
""", 2]
"i\u0041" . 'j.k' = true
l = @@@"[m]"@@@ # n = 1
o = {} # { p = 1
q = [
]
[ r . "s" ] # t
u = { v = [1], w = {x = 2} }
'''.replace("@", "'").replace("\n", "\r\n")


def test_what_looks_like_a_key_in_a_value_is_none():
    tables = tomllib.loads(TRICKY)
    assert locate_keys(TRICKY) == {
        ("a",): 1,
        ("c",): 4,
        ("c", 0): 4,
        ("c", 1): 4,
        ("c", 2): 5,
        ("c", 2, 0): 5,
        ("c", 2, 1): 5,
        ("c", 2, 1, 0): 6,
        ("c", 3): 7,
        ("c", 3, "e"): 7,
        ("c", 3, "e", 0): 7,
        ("c", 3, "e", 1): 7,
        ("c", 3, "e", 1, "f"): 7,
        ("c", 3, "g"): 7,
        ("c", 3, "g", "h"): 7,
        ("c", 4): 8,
        ("c", 5): 8,
        ("c", 6): 8,
        ("c", 7): 10,
        ("iA",): 11,
        ("iA", "j.k"): 11,
        ("l",): 12,
        ("o",): 13,
        ("q",): 14,
        ("r",): 16,
        ("r", "s"): 16,
        ("r", "s", "u"): 17,
        ("r", "s", "u", "v"): 17,
        ("r", "s", "u", "v", 0): 17,
        ("r", "s", "u", "w"): 17,
        ("r", "s", "u", "w", "x"): 17,
    }
    assert set(locate_keys(TRICKY)) == set(paths(tables))


def paths(value: object, path: KeyPath = ()) -> list[KeyPath]:
    """Every key and item in what tomllib gives."""
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found: list[KeyPath] = []
    for name, item in inner:
        found.append((*path, name))
        if isinstance(item, dict | list):
            found += paths(item, (*path, name))
    return found


NAMES = st.text("a.\"'=[]{}#, \n\\é1", max_size=4)
VALUES = st.recursive(
    NAMES | st.integers() | st.booleans() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=8,
)


def toml(value: object, gap: str) -> str:
    match value:
        case str():
            escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
            return f'"{escaped}"'
        case list():
            return f"[{gap}" + f",{gap}".join(toml(item, gap) for item in value) + f"{gap}]"
        case dict():
            # Inline tables of TOML 1.0 stay on one line, but for the lists in them.
            inner = ", ".join(
                f"{toml(key, gap)} = {toml(item, gap)}" for key, item in value.items()
            )
            return f"{{ {inner} }}"
        case bool():
            return str(value).lower()
        case _:
            return str(value)


@given(
    st.dictionaries(NAMES, st.dictionaries(NAMES, VALUES, max_size=3), max_size=3),
    st.sampled_from(["", " ", "\n", "\r\n\t", ' # ]}"\n']),
)
def test_every_key_and_item_of_any_text_is_found(tables: dict, gap: str):
    text = ""
    for name, table in tables.items():
        text += f"[{toml(name, gap)}]\n"
        text += "".join(f"{toml(key, gap)} = {toml(item, gap)}\n" for key, item in table.items())
    assert tomllib.loads(text) == tables
    found = locate_keys(text)
    assert set(found) == set(paths(tables))
    starts = {name: found[(name,)] for name in tables}
    assert all(text.split("\n")[line - 1].startswith("[") for line in starts.values())
