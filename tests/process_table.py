# SPDX-License-Identifier: Apache-2.0
"""What runs on this machine, read from /proc: a fresh machine need not have ps."""

from pathlib import Path


def command_lines() -> list[str]:
    """The command lines of all living processes, zombies aside."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if state != "Z":
            found.append(line)
    return found
