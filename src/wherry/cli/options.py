# SPDX-License-Identifier: Apache-2.0
"""Flags that several verbs share, each declared once, and what they come to.

Verbs that speak to registries take the same few flags, which reach them as one `Common`;
`around` turns that into what `wherry.api` asks of its surroundings.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import reduce, wraps
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

import click

from wherry.api.places import default_store
from wherry.cli.flags import PROGRESS_MODES
from wherry.cli.listening import listening
from wherry.cli.place import working_directory
from wherry.cli.progress.select import Mode
from wherry.errors import UsageError

if TYPE_CHECKING:
    from wherry.api.registries import RegistryAround
    from wherry.events import Sink
    from wherry.process.cancel import CancelToken

__all__ = [
    "Common", "around", "ca_option", "default_store", "json_option", "known", "parse_size",
    "progress_option", "quiet_option", "registry_options", "store_option", "surroundings", "tell",
]  # fmt: skip

_UNITS: Final = {
    "": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12,
    "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40,
}  # fmt: skip

store_option = click.option(
    "--store", metavar="DIR", default=None, envvar="WHERRY_STORE",
    help="The local store.  [env: WHERRY_STORE; default: wherry/v1 in the user's cache directory]",
)  # fmt: skip

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")

quiet_option = click.option("-q", "--quiet", is_flag=True, help="No progress and no summary.")

progress_option = click.option(
    "--progress", type=click.Choice(PROGRESS_MODES), default="auto",
    help="How to tell what happens, on stderr.",
)  # fmt: skip

ca_option = click.option(
    "--ca", multiple=True, metavar="FILE",
    help="Trust this PEM file's certificates besides the system's; repeatable.",
)  # fmt: skip


class Common(NamedTuple):
    """The flags that all verbs about registries share."""

    ca: tuple[str, ...] = ()
    store: str | None = None
    progress: str = "auto"
    quiet: bool = False
    as_json: bool = False

    @property
    def mode(self) -> Mode:
        """How progress is told."""
        return cast("Mode", "quiet" if self.quiet else self.progress)

    @property
    def tells(self) -> bool:
        """Whether lines for people may follow the progress on stderr."""
        return self.mode not in ("quiet", "json")


def registry_options(function: Callable[..., int | None]) -> Callable[..., int | None]:
    """Declare the flags of `Common`; the verb gets them as its argument `common`."""

    @wraps(function)
    def collect(*args: Any, **values: Any) -> int | None:  # noqa: ANN401 - what click calls with
        common = Common(**{name: values.pop(name) for name in Common._fields})
        return function(*args, common=common, **values)

    flags = (store_option, quiet_option, json_option, progress_option, ca_option)
    # As with stacked decorators, the last one is shown first.
    return reduce(lambda inner, flag: flag(inner), flags, collect)


@contextmanager
def around(common: Common) -> Iterator[RegistryAround]:
    """What surrounds a verb: store, environment, directory, certificates, listener, signals.

    Inside the block Ctrl-C cancels, outside it interrupts as usual.
    """
    with listening(common.mode, "") as (sink, token):
        yield surroundings(common, sink, token)


def surroundings(common: Common, sink: Sink, token: CancelToken) -> RegistryAround:
    """The same for a verb that has its listener and token already."""
    # urllib3 and its kind are for verbs that ask registries, not for all that read this module.
    from wherry.api.registries import RegistryAround  # noqa: PLC0415 - see above

    cwd = working_directory()
    store = os.path.abspath(common.store) if common.store else default_store(os.environ)
    return RegistryAround(store, os.environ, cwd, common.ca, sink, token)


def known(name: str, store: str) -> str:
    """An image's name as the store at `store` knows it, by the default registry too."""
    from wherry.api.registries import known_name  # noqa: PLC0415 - for verbs about one image

    return known_name(name, store, os.environ, working_directory())


def tell(*lines: str) -> None:
    """Write lines for people to stderr; as all progress, one that takes nothing fails no verb."""
    with suppress(OSError):
        sys.stderr.write("".join(f"{line}\n" for line in lines))


def parse_size(text: str) -> int:
    """`10GB`, `512MiB` or plain bytes as a number of bytes; raises `UsageError`."""
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?([kmgt]?i?)b?", text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"not a size: {text!r}", hint="write it as 500MB, 10GB or 2GiB")
    return int(float(match[1]) * _UNITS[match[2]])
