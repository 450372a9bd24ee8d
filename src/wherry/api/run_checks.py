# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about RUN: its mode, runtime, snapshots, ids, network, platforms."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from wherry.api.checks import Check, State
from wherry.api.proving import Proof
from wherry.errors import WherryError
from wherry.sandbox import emulation, refusals
from wherry.sandbox.mapping import Mapping
from wherry.sandbox.modes import Lack, lacks

_VERSION_SECONDS = 10.0
_NETWORK = "the host's: steps reach what this machine reaches, its loopback too"


def run_checks(proof: Proof) -> tuple[Check, ...]:
    """All findings about RUN, the mode first."""
    if proof.error is not None:
        return (_refused(proof, proof.error), _platforms())
    return (*_mode(proof), _runtime(proof), _snapshots(proof), _ids(proof),
            Check("network", State.NOTE, _NETWORK), _platforms())  # fmt: skip


def not_here(error: WherryError) -> Check:
    """The finding where RUN was not even tried."""
    return Check("RUN", State.MISSING, error.what, _lines(error.why), error.hint)


def _refused(proof: Proof, error: WherryError) -> Check:
    remedy = refusals.remedy(proof.facts, error.why)
    return Check("RUN", State.MISSING, error.what, _lines(error.why), remedy)


def _mode(proof: Proof) -> Iterator[Check]:
    short = lacks(proof.mode, proof.facts, "\n".join(proof.refused))
    state = State.LIMITED if short else State.OK
    yield Check("RUN", state, str(proof.mode))
    for lack in short:
        yield _lack(lack)


def _lack(lack: Lack) -> Check:
    return Check("", State.LIMITED, lack.what, (lack.means,), lack.remedy)


def _runtime(proof: Proof) -> Check:
    if not proof.runtime:
        # One that is here and does not work is no matter of another package.
        remedy = "" if proof.problems else "apt-get install runc (or crun)"
        found = "none that works here: steps are held less tightly"
        return Check("OCI runtime", State.LIMITED, found, proof.problems, remedy)
    version, features = _version(proof.runtime)
    if "seccomp" not in features.lower():
        return Check(
            "OCI runtime",
            State.LIMITED,
            f"{version} ({proof.runtime}), without libseccomp: no seccomp filter around steps",
            remedy="install a build of it that has libseccomp",
        )
    return Check("OCI runtime", State.OK, f"{version} ({proof.runtime}), with seccomp")


def _version(runtime: str) -> tuple[str, str]:
    """The runtime's name and version, and all that it says about itself."""
    try:
        done = subprocess.run(
            (runtime, "--version"),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return os.path.basename(runtime), ""
    text = done.stdout.decode("utf-8", "replace")
    words = text.partition("\n")[0].replace(" version ", " ")
    return words or os.path.basename(runtime), text


def _snapshots(proof: Proof) -> Check:
    if proof.snapshots == "whole":
        return Check(
            "snapshots",
            State.LIMITED,
            "whole copies: the kernel refuses overlayfs here, each step copies its root",
            remedy="use Linux 5.11 or later, and a store on ext4, xfs or btrfs (--store)",
        )
    return Check("snapshots", State.OK, "overlayfs")


def _ids(proof: Proof) -> Check:
    facts = proof.facts
    match proof.mode.mapping:
        case Mapping.ROOT:
            count = "all" if facts.initial else str(facts.ids)
            return Check("user ids", State.OK, f"{count}, as root")
        case Mapping.RANGES:
            found = f"{facts.ranges}: user ids {facts.users}, group ids {facts.groups}"
            return Check("user ids", State.OK, found)
        case _:
            return Check("user ids", State.LIMITED, "1")


def _platforms() -> Check:
    ways = emulation.platforms()
    native, others = ways[0], ways[1:]
    found = ", ".join([str(native.platform), *(f"{way.platform} ({way.by})" for way in others)])
    emulated = any("emulator" in way.by for way in others)
    remedy = "" if emulated else f"for others, register an emulator: {emulation.REGISTER}"
    return Check("platforms", State.NOTE, found, remedy=remedy)


def _lines(text: str) -> tuple[str, ...]:
    return tuple(text.splitlines())
