# SPDX-License-Identifier: Apache-2.0
"""Durations, numbers, sizes, truth values and comma-separated fields inside instructions."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.frontends.dockerfile.durations import parse_duration
from wherry.frontends.dockerfile.fields import split_fields
from wherry.frontends.dockerfile.numbers import (
    parse_signed,
    parse_size,
    parse_truth,
    parse_unsigned,
)
from wherry.frontends.dockerfile.refusals import BadValue


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        ("0", 0), ("-0", 0), ("+0", 0), ("0s", 0), ("5s", 5 * 10**9), ("+5s", 5 * 10**9),
        ("-5s", -5 * 10**9), ("1478s", 1478 * 10**9), ("5.0s", 5 * 10**9), ("5.6s", 5600 * 10**6),
        ("5.s", 5 * 10**9), (".5s", 5 * 10**8), ("1.004s", 1004 * 10**6), ("10ns", 10),
        ("11us", 11_000), ("12\u00b5s", 12_000), ("12\u03bcs", 12_000), ("13ms", 13 * 10**6),
        ("15m", 900 * 10**9), ("16h", 57_600 * 10**9), ("3h30m", 12_600 * 10**9),
        ("10.5s4m", 250_500 * 10**6), ("1h2m3s4ms5us6ns", 3723_004_005_006),
        ("0.3333333333333333333h", 20 * 60 * 10**9), ("0.100000000000000000000h", 360 * 10**9),
        ("9223372036854775807ns", 2**63 - 1), ("-9223372036854775808ns", -(2**63)),
        ("00000000000000000000000001s", 10**9), ("1s1s", 2 * 10**9),
        ("0.0000000000000000000001h", 0), (f"0.{'0' * 500}1h", 0),
        ("0.00000000002h", 72), ("0.9223372036854775807h", 3_320_413_933_267),
    ],
)  # fmt: skip
def test_durations(text: str, nanoseconds: int) -> None:
    assert parse_duration(text) == nanoseconds


@pytest.mark.parametrize(
    "text",
    [
        "", "3", "-", "s", ".", "-.", ".s", "+.s", "1d", "1 s", " 1s", "1s ", "1e3s", "1_0s",
        "--1s", "1S", "9223372036854775808ns", "-9223372036854775809ns", "3000000h", "1ss",
        "9" * 5000 + "s", "1\u0660s", "1s2",
    ],
)  # fmt: skip
def test_wrong_durations(text: str) -> None:
    with pytest.raises(BadValue):
        parse_duration(text)


@given(st.integers(0, 10**5), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_sums_of_durations(hours: int, minutes: int, seconds: int, rest: int) -> None:
    text = f"{hours}h{minutes}m{seconds}s{rest}ms"
    total = ((hours * 60 + minutes) * 60 + seconds) * 10**9 + rest * 10**6
    assert parse_duration(text) == total
    assert parse_duration(f"-{text}") == -total


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0), ("32", 32), ("32b", 32), ("32B", 32), ("32k", 32 << 10), ("32K", 32 << 10),
        ("32kb", 32 << 10), ("32KiB", 32 << 10), ("32Mb", 32 << 20), ("1.5g", 3 << 29),
        ("32 gb", 32 << 30), ("32.5kB", 33280), ("0.1k", 102), ("1e3", 1000), ("1t", 1 << 40),
        ("1p", 1 << 50), ("32.", 32), (".5k", 512), ("32 ", 32), ("-0", 0), ("+1", 1),
        ("1_000.5_0k", 1_024_512),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "k", "hello", "-32", "-32k", " 32", "32  kb", "32 k b", "32bb", "32kbb", "32kib ", "32ib",
     "32e", "32kb1", "32.3.4", "1,5k", "9p9p", "9000p", "1e400", "inf", "nan", "1__0", "_1",
     "1_", "1_.5", "1._5k", "0x1p4"],
)  # fmt: skip
def test_wrong_sizes(text: str) -> None:
    with pytest.raises(BadValue, match="is not a size"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "base", "number"),
    [("0", 8, 0), ("0755", 8, 0o755), ("37777777777", 8, 2**32 - 1), ("00000000000000001", 8, 1),
     ("0", 10, 0), ("0010", 10, 10), ("4294967295", 10, 2**32 - 1), ("0" * 5000 + "7", 10, 7)],
)  # fmt: skip
def test_unsigned_numbers(text: str, base: int, number: int) -> None:
    assert parse_unsigned(text, base) == number


@pytest.mark.parametrize(
    ("text", "base"),
    [("", 8), ("8", 8), ("0o7", 8), ("+7", 8), ("40000000000", 8), ("", 10), ("-1", 10),
     ("1_0", 10), (" 1", 10), ("4294967296", 10), ("1\u0660", 10), ("9" * 5000, 10), ("0x1", 10)],
)  # fmt: skip
def test_wrong_unsigned_numbers(text: str, base: int) -> None:
    with pytest.raises(BadValue):
        parse_unsigned(text, base)


def test_signed_numbers() -> None:
    texts = ("0", "-0", "+3", "-2147483648", "2147483647", "0000000000000007")
    assert [parse_signed(text) for text in texts] == [0, 0, 3, -(2**31), 2**31 - 1, 7]
    for text in ("", "+", "2147483648", "-2147483649", "1.0", "9" * 5000, "1_0", "--1"):
        with pytest.raises(BadValue):
            parse_signed(text)


def test_truth() -> None:
    assert all(parse_truth(text) for text in ("1", "t", "T", "true", "True", "TRUE"))
    assert not any(parse_truth(text) for text in ("0", "f", "F", "false", "False", "FALSE"))
    for text in ("", "yes", "tRUE", "2", " true"):
        with pytest.raises(BadValue):
            parse_truth(text)


@given(st.lists(st.text(alphabet='ab=,"/ ', max_size=6), min_size=1, max_size=5))
def test_fields_come_back_as_they_were_written(fields: list[str]) -> None:
    line = io.StringIO()
    csv.writer(line, quoting=csv.QUOTE_ALL, lineterminator="").writerow(fields)
    assert split_fields(line.getvalue()) == tuple(fields)


def test_plain_fields() -> None:
    assert split_fields("a,b=c,,d") == ("a", "b=c", "", "d")
    assert split_fields('"a,b",c,"d"') == ("a,b", "c", "d")
    assert split_fields('"a",') == ("a", "")


@pytest.mark.parametrize("text", ["", 'a"b', '"a"b', '"a', '"', 'a,"b', '"a"",b'])
def test_wrong_fields(text: str) -> None:
    with pytest.raises(BadValue):
        split_fields(text)
