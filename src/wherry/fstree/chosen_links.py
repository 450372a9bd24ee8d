# SPDX-License-Identifier: Apache-2.0
"""Whether a symbolic link among chosen files stays among them.

A link is kept as it is written, so it must lead, in the image as on this machine, to what was taken
with it. It is followed as the kernel would, through other links of the tree, without a look at the
disk: a way that climbs above the tree has left it, wherever it comes back to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from wherry.errors import UsageError

# As many as Linux follows; more are a circle, which never leaves the tree.
_MOST_LINKS: Final = 40
_MOST_STEPS: Final = 16_384


def refuse_leaving(
    links: Mapping[str, str], sources: tuple[str, ...], shown: Mapping[str, str]
) -> None:
    """Raise `UsageError` for the first link that leads out of what was taken.

    `links` are targets by path below the copied tree, `sources` the paths there that were taken
    whole (the empty one: all of it), `shown` the links' paths for people.
    """
    for path, target in links.items():
        if target.startswith("/"):
            raise _leaving(shown[path], target, "its target is absolute")
        end = _end(path, links)
        if end is None:
            raise _leaving(shown[path], target, "it leads out of the directory that is taken")
        if not any(not source or end == source or end.startswith(f"{source}/")
                   for source in sources):  # fmt: skip
            raise _leaving(shown[path], target, f"{end or '.'!r} is not taken with it")


def _leaving(path: str, target: str, why: str) -> UsageError:
    return UsageError(
        f"the symbolic link {path!r} leads to {target!r}, which is not in the copied tree",
        why=why,
        hint="make it lead to something beside it, or name in `from` what it leads to",
    )


def _end(link: str, links: Mapping[str, str]) -> str | None:
    """Where the link leads, below the tree; None if it leaves it."""
    parent = link.rpartition("/")[0]
    done = parent.split("/") if parent else []
    todo = links[link].split("/")[::-1]
    followed = 0
    for _ in range(_MOST_STEPS):
        if not todo:
            return "/".join(done)
        part = todo.pop()
        if part in ("", "."):
            continue
        if part == "..":
            if not done:
                return None
            done.pop()
            continue
        target = links.get("/".join((*done, part)))
        if target is None:
            done.append(part)
            continue
        followed += 1
        if target.startswith("/"):
            return None
        if followed > _MOST_LINKS:
            return link
        todo.extend(target.split("/")[::-1])
    return None
