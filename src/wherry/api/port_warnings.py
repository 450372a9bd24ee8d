# SPDX-License-Identifier: Apache-2.0
"""Warnings about rights that the image's program will lack, or ask for in vain, where it runs.

Ports below 1024 belong to root, or to programs with the capability net_bind_service. Docker lifts
that rule inside of containers (sysctl net.ipv4.ip_unprivileged_port_start), most others do not.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from wherry.fstree.capabilities import unusual
from wherry.oci.run_config import RunConfig

_BINDS: Final = "net_bind_service"
_FIRST_FREE: Final = 1024
_ROOT: Final = frozenset(("", "0", "root"))


def low_ports(run: RunConfig, capabilities: Iterable[str]) -> str:
    """A warning where `run` names ports that its user may not listen on; else empty.

    `capabilities` are those of the program's file, as `wherry.fstree.capabilities` names them.
    """
    ports = sorted({number for port in run.exposed_ports if (number := _number(port)) > 0})
    low = [port for port in ports if port < _FIRST_FREE]
    if not low or run.user.partition(":")[0] in _ROOT or _BINDS in capabilities:
        return ""
    noun = f"port {low[0]}" if len(low) == 1 else f"ports {', '.join(map(str, low))}"
    return (
        f"{noun}: the program runs as {run.user}, who may not listen below {_FIRST_FREE}. Docker "
        "allows it in its containers, Podman and many Kubernetes clusters do not. Set "
        f'capabilities = ["{_BINDS}"] in wherry.toml, take a port above {_FIRST_FREE - 1}, or set '
        'user = "root"'
    )


def rare_capabilities(capabilities: Iterable[str]) -> str:
    """A warning where a program's capabilities keep it from starting in most containers."""
    rare = unusual(capabilities)
    if not rare:
        return ""
    flags = " ".join(f"--cap-add {name.upper()}" for name in rare)
    return (
        f"capabilities: many containers do not have {', '.join(rare)} unless they are started so "
        f"(docker run {flags}), and then the kernel does not start the program at all"
    )


def _number(port: str) -> int:
    """The number of `80/tcp`; the first one of a range, and 0 for what is none."""
    text = port.partition("/")[0].partition("-")[0]
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
