# SPDX-License-Identifier: Apache-2.0
"""`--add-host`, `--shm-size` and `--ulimit`: their texts, read as `docker buildx build` reads them.

Each reader takes one flag's value and raises `UsageError` for one that docker would refuse, too.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Final

from wherry.errors import UsageError, near

_HOST_HINT: Final = "write it as --add-host db.internal=10.0.0.7"
_SIZE_HINT: Final = "write it as --shm-size 128m or 1g"
_ULIMIT_HINT: Final = "write it as --ulimit nofile=1024:4096; -1 is unlimited"
_GATEWAY: Final = "host-gateway"
# What would divide or end a line of /etc/hosts.
_NO_NAME: Final = re.compile(r"[\s:,#\x00-\x1f\x7f]")
_SIZE: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+) ?(?:b|([kmgtp])(?:i?b)?)?", re.IGNORECASE)
_NUMBER: Final = re.compile(r"-?[0-9]{1,19}")
_LARGEST: Final = 2**63 - 1
ULIMITS: Final = (
    "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc",
    "rss", "rtprio", "rttime", "sigpending", "stack",
)  # fmt: skip


def read_host(text: str) -> tuple[str, str]:
    """`NAME=ADDRESS` or `NAME:ADDRESS`, an IPv6 address in brackets or not: both in lower case."""
    name, separator, address = text.partition("=" if "=" in text else ":")
    if not name or not separator or not address:
        raise UsageError(f"--add-host {text!r} is not NAME=ADDRESS", hint=_HOST_HINT)
    if _NO_NAME.search(name):
        raise UsageError(f"--add-host {text!r}: {name!r} cannot be a host's name", hint=_HOST_HINT)
    if address == _GATEWAY:
        raise UsageError(
            f"--add-host {text!r}: there is no gateway",
            why="RUN is in this machine's own network",
            hint=f"reach this machine as 127.0.0.1: --add-host {name}=127.0.0.1",
        )
    return name.lower(), _address(text, address)


def _address(text: str, address: str) -> str:
    if len(address) > 2 and address[0] == "[" and address[-1] == "]":
        address = address[1:-1]
    try:
        # A zone means nothing in another machine's /etc/hosts, and nothing to docker.
        found = ipaddress.ip_address(address.replace("%", " "))
    except ValueError:
        raise UsageError(
            f"--add-host {text!r}: {address!r} is no IP address", hint=_HOST_HINT
        ) from None
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return str(mapped or found)


def read_shm_size(text: str) -> int:
    """A size as docker writes memory: units are of 1024, `b`, `k`, `m`, `g`, `t`, `p`; in bytes."""
    match = _SIZE.fullmatch(text)
    if match is None:
        raise UsageError(f"--shm-size {text!r} is not a size", hint=_SIZE_HINT)
    unit = (match[2] or "").lower()
    size = int(float(match[1]) * 1024 ** (" kmgtp".index(unit) if unit else 0))
    if not 0 < size <= _LARGEST:
        raise UsageError(f"--shm-size {text!r} is too {'large' if size else 'small'}",
                         hint=_SIZE_HINT)  # fmt: skip
    return size


def read_ulimit(text: str) -> tuple[str, int, int]:
    """`NAME=SOFT[:HARD]`: name, soft and hard limit, -1 for none; HARD is SOFT where left out."""
    name, equals, limits = text.partition("=")
    if not equals:
        raise UsageError(f"--ulimit {text!r} is not NAME=SOFT[:HARD]", hint=_ULIMIT_HINT)
    if name not in ULIMITS:
        hint = near(name, ULIMITS) or f"one of: {', '.join(ULIMITS)}"
        raise UsageError(f"--ulimit {text!r}: no limit is called {name!r}", hint=hint)
    first, colon, second = limits.partition(":")
    soft = _limit(text, first)
    hard = _limit(text, second) if colon else soft
    if hard != -1 and (soft == -1 or soft > hard):
        raise UsageError(
            f"--ulimit {text!r}: the soft limit is above the hard one",
            hint="the first number is the soft limit, the second the hard one",
        )
    return name, soft, hard


def _limit(text: str, number: str) -> int:
    value = int(number) if _NUMBER.fullmatch(number) else -2
    if not -1 <= value <= _LARGEST:
        raise UsageError(f"--ulimit {text!r}: {number!r} is no limit", hint=_ULIMIT_HINT)
    return value
