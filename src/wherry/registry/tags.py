# SPDX-License-Identifier: Apache-2.0
"""The tags of a repository (distribution specification 1.1, "Listing Tags"), for people to see."""

from __future__ import annotations

from wherry.errors import NetworkError, UsageError, near
from wherry.registry.documents import read_object, refuse
from wherry.registry.endpoint import Call, Endpoint, Wanted, parse_wanted
from wherry.registry.kinds import content_type

_LIMIT = 4 << 20
_NEAR = 100
_SHOWN = 5


def list_tags(endpoint: Endpoint, limit: int) -> tuple[str, ...] | None:
    """The first page, at most `limit` tags; None where there is no such repository.

    What is no tag is left out. Raises `NetworkError`.
    """
    what = f"cannot list the tags of {endpoint.full_name}"
    whole = endpoint.read(Call("GET", f"tags/list?n={limit}"), what, _LIMIT)
    if not whole.found:
        if content_type(whole.headers.get("content-type", "")) == "text/html":
            raise NetworkError(what, why=f"{endpoint.name} answers with a web page",
                               hint="check that it is a registry")  # fmt: skip
        return None
    tags = read_object(whole.data, f"the list of tags of {endpoint.full_name}").get("tags")
    if tags is None:
        return ()
    if not isinstance(tags, list):
        refuse(f"the list of tags of {endpoint.full_name}", "it has no list")
    return tuple(tag for tag in tags[:limit] if isinstance(tag, str) and _is_tag(tag))


def not_found(endpoint: Endpoint, wanted: Wanted) -> NetworkError:
    """The error for a manifest that is not there, with what there is instead."""
    name = endpoint.full_name
    if wanted.digest is not None:
        return NetworkError(
            f"there is no manifest {wanted.text} in {name}",
            hint="it may have been deleted, or be in another repository",
        )
    what = f"there is no tag {wanted.text} in {name}"
    try:
        tags = list_tags(endpoint, _NEAR)
    except NetworkError as error:
        return NetworkError(what, why=error.why, hint="check the name and the tag")
    if tags is None:
        return NetworkError(f"{endpoint.name} has no repository {endpoint.repository}",
                            hint="check the name; it may also be private: "
                                 f"`wherry login {endpoint.name}`")  # fmt: skip
    if not tags:
        return NetworkError(what, why="it has no tags at all", hint="name it by digest")
    # A tag may be listed though its manifest is gone.
    tags = tuple(tag for tag in tags if tag != wanted.text)
    shown = ", ".join(tags[:_SHOWN]) + (", …" if len(tags) > _SHOWN else "")
    return NetworkError(what, hint=near(wanted.text, tags) or f"it has {shown}")


def _is_tag(text: str) -> bool:
    try:
        return parse_wanted(text).digest is None
    except UsageError:
        return False
