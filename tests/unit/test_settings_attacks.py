# SPDX-License-Identifier: Apache-2.0
"""Settings of somebody who means harm, or of a generator gone wrong.

Every declared key gets values that are huge, negative, of another kind or full of control
characters; whole files are endless, deep, no UTF-8 or no files at all. Each is either taken or told
with its line, in a text of bounded length that holds no terminal controls, and nothing else is
raised. The keys come from the declarations, so that new ones are attacked by themselves.
"""

import os
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from declared_keys import IDS, KEYS, Key
from wherry.cli.errors import render_error
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.load import load_settings
from wherry.settings.lock import load_lock

HUGE = "x" * 100_000
_CONTROLS = ("\\u0000", "\\n", "\\r", "\\u001b[31m", "\\u007f", "\\u0085", "\\u202e", "\\t")
HOSTILE = (
    f'"{HUGE}"', "9" * 4000, "9" * 5000, "-9223372036854775809", "-1", "1e400", "0x" + "f" * 40,
    "[" + '"a",' * 2000 + "]", "[" + '"\\u001b",' * 2000 + "]",
    "{" + ",".join(f'k{number} = "\\u001b"' for number in range(1000)) + "}",
    "[" * 50 + "]" * 50, "{ a = " * 50 + "1" + "}" * 50, f'{{ "{HUGE}" = 1 }}', f'["{HUGE}"]',
    f'{{ a = "{HUGE}" }}', "{ base = { x = 1 } }", "'''\na\nb\n'''", '"é\\U0001F600"',
    '{ "\\u001b[31m\\n\\u0007" = "x" }', '{ "\\u001b[31m\\n\\u0007" = 1 }',
    '[{ "\\u001b[1m" = 1 }]', '[{ from = "a\\u001b", to = "b\\n", owner = "\\n", mode = "\\r" }]',
    *(f'"a{text}b"' for text in _CONTROLS),
    *(f'["a{text}b"]' for text in _CONTROLS),
    *(f'{{ a = "a{text}b" }}' for text in _CONTROLS),
)  # fmt: skip


def assert_told(error: WherryError) -> None:
    """As people should see it: in bounded words, with a place, without controls."""
    errors = error.errors if isinstance(error, SeveralErrors) else (error,)
    for one in errors:
        assert isinstance(one, UsageError)
        assert one.where
        assert "\n" not in one.what
        text = render_error(one, False)
        assert len(text) < 2500, text[:200]
        assert text.count("\n") <= 6
        assert not [
            letter for letter in text
            if letter not in "\n\t" and unicodedata.category(letter) in ("Cc", "Cf", "Cs")
        ], repr(text)  # fmt: skip


def outcome(key: Key, value: str) -> WherryError | None:
    """What is wrong with `value`, None where it is taken; all else that is raised comes through."""
    try:
        key.read(value)
    except WherryError as error:
        assert_told(error)
        return error
    return None


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_any_hostile_value_is_taken_or_told(key: Key):
    began = time.process_time()
    refused = sum(outcome(key, value) is not None for value in HOSTILE)
    assert refused >= len(HOSTILE) // 2
    assert time.process_time() - began < 10


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_a_key_that_stands_twice_is_told_once_with_its_line(key: Key):
    example = key.item.metadata["kind"].example
    error = outcome(key, f"{example}\n{key.name} = {example}")
    assert error is not None
    assert f":{key.head.count(chr(10)) + 2}:" in str(error)
    assert "twice" in str(error)


@pytest.mark.parametrize("key", KEYS, ids=IDS)
def test_a_table_in_the_place_of_a_value(key: Key):
    # Such a header may give a right value to a key that is a table.
    error = outcome(key._replace(head=f"{key.head}[{key.table}.{key.name}.a.b]\n"), "1")
    assert error is not None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(KEYS), st.text(max_size=40))
def test_any_text_is_taken_or_told(key: Key, text: str):
    escaped = "".join(
        f"\\U{ord(letter):08x}" for letter in text if not "\ud800" <= letter < "\ue000"
    )
    for value in (f'"{escaped}"', f'["{escaped}"]', f'{{ "{escaped}" = "{escaped}" }}'):
        outcome(key, value)


DEEP = (
    ".".join(["a"] * 20_000) + " = 1\n",
    "[" + ".".join(["a"] * 20_000) + "]\n",
    "[build]\nenv = { " + ".".join(["a"] * 20_000) + " = 1 }\n",
    "a = " + "[" * 50_000,
    "a = " + "{a=" * 50_000,
    '[build]\n"' + '"."'.join(["a"] * 20_000) + '" = 1\n',
)


@pytest.mark.parametrize("text", DEEP, ids=range(len(DEEP)))
def test_depth_without_end_costs_no_time(tmp_path: Path, text: str):
    (tmp_path / "wherry.toml").write_text(text)
    began = time.process_time()
    with pytest.raises(UsageError, match="without end") as caught:
        load_settings(str(tmp_path))
    assert_told(caught.value)
    assert time.process_time() - began < 2


WIDE = {
    "tables": "".join(f"[t{number}]\n" for number in range(50_000)),
    "keys": "[build]\n" + "".join(f"labelz{number} = 1\n" for number in range(40_000)),
    "labels": "[build.labels]\n" + "".join(f'"{number}" = 1\n' for number in range(60_000)),
    "items": "[build]\nports = [" + "0," * 300_000 + "]\n",
    "quotes": '[build]\nx = "' + '\\"' * 300_000 + '"\n',
    "templates": '[build]\nldflags = ["' + "{{.Version}}" * 50_000 + '{{"]\n',
    "braces": '[build]\nldflags = ["' + "{{" * 300_000 + '"]\n',
    "blanks": '[build]\nldflags = ["{{' + " " * 600_000 + '"]\n',
    "names": '[build]\nbase = "' + "a." * 300_000 + '!"\n',
    "tags": '[image.a]\npackages = ["."]\ntags = ["' + "a-" * 300_000 + '"]\n',
    "paths": '[build]\nworkdir = "' + "/a" * 300_000 + '/.."\n',
}


@pytest.mark.parametrize("name", WIDE)
def test_a_long_file_costs_little_time(tmp_path: Path, name: str):
    (tmp_path / "wherry.toml").write_text(WIDE[name])
    began = time.process_time()
    with pytest.raises(WherryError) as caught:
        load_settings(str(tmp_path))
    assert_told(caught.value)
    # All of them take a second on a quiet machine.
    assert time.process_time() - began < 10


LOADERS = {"wherry.toml": load_settings, "wherry.lock": load_lock}


@pytest.mark.parametrize("name", LOADERS)
def test_files_without_end_and_such_that_are_none(tmp_path: Path, name: str):
    path, load = tmp_path / name, LOADERS[name]
    assert_refused(path, load, lambda: path.write_bytes(b"#" * (17 << 20)), "too large")
    assert_refused(path, load, lambda: path.symlink_to("/dev/zero"), "no file")
    assert_refused(path, load, lambda: os.mkfifo(path), "no file")
    assert_refused(path, load, lambda: path.symlink_to(name), "symbolic links")


def assert_refused(
    path: Path, load: Callable[[str], object], make: Callable[[], object], word: str
) -> None:
    make()
    with pytest.raises(UsageError) as caught:
        load(str(path.parent))
    assert word in str(caught.value)
    path.unlink()


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("[build]\n[build]\n", 2, "build stands twice"),
        ('[image.a]\npackages = ["."]\n[image.a]\n', 3, "image.a stands twice"),
        ('[build]\nbase = "a"\nbase = "b"\n', 3, "twice"),
        ('[build]\nenv = { a = "1" }\nenv.b = "2"\n', 3, "twice"),
        ("[build]\ncompression-level = " + "9" * 5000, 2, "number"),
        ('["\\u001b[31m\\nerror"]\n', 1, "'\\x1b[31m\\nerror'"),
    ],
)
def test_what_tomllib_says_is_said_in_words_for_people(text: str, line: int, words: str):
    key = KEYS[0]._replace(head=text)
    with pytest.raises(WherryError) as caught:
        key.read('"a"')
    first = caught.value.errors[0] if isinstance(caught.value, SeveralErrors) else caught.value
    assert first.where.startswith(f"wherry.toml:{line}")
    assert words in str(first)
