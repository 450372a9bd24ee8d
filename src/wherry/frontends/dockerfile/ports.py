# SPDX-License-Identifier: Apache-2.0
"""Ports of EXPOSE: `PORT[-PORT][/PROTOCOL]`, and the address and host port that BuildKit allows.

`[ADDRESS:][HOST-PORT:]PORT` is `docker run`'s form: what stands before the container's port is
checked and then ignored.
"""

from __future__ import annotations

import re
from typing import Final

from wherry.frontends.dockerfile.refusals import BadValue

_HINT: Final = "write it as 8080, 8080/udp or 8000-8010/tcp"
_PROTOCOLS: Final = ("tcp", "udp", "sctp")
_NUMBER: Final = re.compile(r"[+-]?[0-9]+", re.ASCII)
_MOST: Final = 65535


def expand_port(text: str) -> tuple[str, ...]:
    """`8000-8001/TCP` -> `8000/tcp`, `8001/tcp`; raises `BadValue`."""
    if len(text) < 5 and text.isascii() and text.isdecimal():
        return (f"{int(text)}/tcp",)
    *before, container = text.split(":")
    port, _, protocol = container.partition("/")
    if not port:
        raise BadValue(f"EXPOSE {text}: there is no port", _HINT)
    protocol = protocol.lower() or "tcp"
    if protocol not in _PROTOCOLS:
        known = ", ".join(_PROTOCOLS)
        raise BadValue(f"EXPOSE {text}: unknown protocol {protocol!r}", f"choose from: {known}")
    first, last = _range(text, port)
    host = before.pop() if before else ""
    if before:
        _check_address(text, ":".join(before))
    if host:
        host_first, host_last = _range(text, host)
        if last != first and last - first != host_last - host_first:
            raise BadValue(f"EXPOSE {text}: the two ranges differ in length", _HINT)
    return tuple(f"{number}/{protocol}" for number in range(first, last + 1))


def _range(text: str, ports: str) -> tuple[int, int]:
    start, dash, end = ports.partition("-")
    first = _number(text, start)
    last = _number(text, end) if dash and end != start else first
    if last < first:
        raise BadValue(f"EXPOSE {text}: {ports} is no range", "write the lower port first")
    return first, last


def _number(text: str, port: str) -> int:
    if not _NUMBER.fullmatch(port):
        raise BadValue(f"EXPOSE {text}: {port!r} is not a port", _HINT)
    number = int(port) if len(port.lstrip("+-0")) < 10 else -1
    if not 0 <= number <= _MOST:
        raise BadValue(f"EXPOSE {text}: ports are 0 to {_MOST}, not {port[:20]}", _HINT)
    return number


def _check_address(text: str, address: str) -> None:
    import ipaddress  # noqa: PLC0415 - hardly an EXPOSE has one

    if address.startswith("[") and address.endswith("]"):
        address = address[1:-1]
    try:
        if address and "%" not in address:
            ipaddress.ip_address(address)
            return
    except ValueError:
        pass
    if address:
        raise BadValue(f"EXPOSE {text}: {address!r} is not an IP address", _HINT)
