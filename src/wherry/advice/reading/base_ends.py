# SPDX-License-Identifier: Apache-2.0
"""Until when bases and lines of Go are maintained: a table with a date.

Sources: the distributions' own announcements and distroless' SUPPORT_POLICY.md; for Go its release
policy (go.dev/doc/devel/release): the two newest lines get security fixes.
"""

from __future__ import annotations

import re
from typing import Final

TABLE_DATE: Final = "2026-11-15"
"""When this table, and that of `wherry.advice.reading.base_facts`, was last compared."""

GO_RELEASES: Final = ("1.26", "1.27")
"""The lines of Go that get security fixes on that date, oldest first."""

_ENDS: Final = {
    # Debian: the end of long term support.
    "debian wheezy": "2018-05-31", "debian jessie": "2020-06-30", "debian stretch": "2022-06-30",
    "debian buster": "2024-06-30", "debian bullseye": "2026-08-31", "debian bookworm": "2028-06-30",
    "debian trixie": "2030-06-30",
    # Alpine: two years from its release.
    "alpine 3.10": "2021-05-01", "alpine 3.11": "2021-11-01", "alpine 3.12": "2022-05-01",
    "alpine 3.13": "2022-11-01", "alpine 3.14": "2023-05-01", "alpine 3.15": "2023-11-01",
    "alpine 3.16": "2024-05-23", "alpine 3.17": "2024-11-22", "alpine 3.18": "2025-05-09",
    "alpine 3.19": "2025-11-01", "alpine 3.20": "2026-04-01", "alpine 3.21": "2026-11-01",
    "alpine 3.22": "2027-05-01", "alpine 3.23": "2027-11-01", "alpine 3.24": "2028-05-01",
    # Ubuntu: the end of standard support.
    "ubuntu 14.04": "2019-04-25", "ubuntu 16.04": "2021-04-30", "ubuntu 18.04": "2023-05-31",
    "ubuntu 19.10": "2020-07-17", "ubuntu 20.04": "2025-05-31", "ubuntu 20.10": "2021-07-22",
    "ubuntu 21.04": "2022-01-20", "ubuntu 21.10": "2022-07-14", "ubuntu 22.04": "2027-04-01",
    "ubuntu 22.10": "2023-07-20", "ubuntu 23.04": "2024-01-25", "ubuntu 23.10": "2024-07-11",
    "ubuntu 24.04": "2029-05-31", "ubuntu 24.10": "2025-07-10", "ubuntu 25.04": "2026-01-15",
    "ubuntu 25.10": "2026-07-01", "ubuntu 26.04": "2031-05-31",
    # Fedora: a month after the second release that follows.
    "fedora 35": "2022-12-13", "fedora 36": "2023-05-16", "fedora 37": "2023-12-05",
    "fedora 38": "2024-05-21", "fedora 39": "2024-11-26", "fedora 40": "2025-05-13",
    "fedora 41": "2025-12-15", "fedora 42": "2026-05-13",
    # A year after the Debian that follows, or when its publisher says so.
    "distroless debian9": "2022-06-30", "distroless debian10": "2024-06-30",
    "distroless debian11": "2024-06-01", "distroless debian12": "2026-08-09",
    "centos 5": "2017-03-31", "centos 6": "2020-11-30", "centos 7": "2024-06-30",
    "centos 8": "2021-12-31",
    "amazonlinux 1": "2023-12-31", "amazonlinux 2": "2026-06-30",
    "oraclelinux 6": "2021-03-31", "oraclelinux 7": "2024-12-31",
}  # fmt: skip
_OLDEST_ALPINE: Final = (3, 10)
_MINOR: Final = re.compile(r"(\d+)\.(\d+)(?![0-9])")


def end_of_life(release: str) -> str:
    """The day (YYYY-MM-DD) until which a release such as `debian buster` is maintained, or empty.

    A Go line (`go 1.24`) ends when the second line after it comes out: known ones that are not
    maintained at the table's date give that date's words, `before TABLE_DATE`.
    """
    kind, _, version = release.partition(" ")
    if kind == "go":
        return f"before {TABLE_DATE}" if is_old_go(version) else ""
    if kind == "alpine" and release not in _ENDS:
        number = minor_of(version)
        if number is not None and number < _OLDEST_ALPINE:
            return "before 2021"
    return _ENDS.get(release, "")


def is_old_go(version: str) -> bool:
    """Whether a version such as `1.24.3` belongs to a line without security fixes."""
    number, oldest = minor_of(version), minor_of(GO_RELEASES[0])
    return number is not None and oldest is not None and number < oldest


def minor_of(version: str) -> tuple[int, int] | None:
    """The first two numbers of a version, `(3, 22)` of `3.22.1`; None without them."""
    found = _MINOR.match(version)
    return (int(found[1]), int(found[2])) if found else None
