# SPDX-License-Identifier: Apache-2.0
"""Where keys stand in a TOML text."""

from wherry.settings.lines import line_of, locate_keys

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
