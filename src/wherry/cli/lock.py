# SPDX-License-Identifier: Apache-2.0
"""`wherry lock`: what a build takes from elsewhere, by digest and version, in `wherry.lock`."""

from __future__ import annotations

import json

import click

from wherry.api.locking import LockRequest, write_lock
from wherry.cli.options import Common, around, registry_options, tell
from wherry.errors import UsageError

_EPILOG = """\b
Examples:
  wherry lock                           pin what is not pinned yet
  wherry lock --update                  ask for the newest of everything
  wherry lock --update debian:12-slim   of one base; `go` is the Go version
  wherry build --locked                 fail where anything differs
"""


@click.command("lock", epilog=_EPILOG, short_help="pin bases and Go version in wherry.lock")
@click.argument("words", nargs=-1, metavar="[SOURCE] | --update [NAME]...")
@click.option("--update", is_flag=True,
              help="Ask again for what is pinned: for these bases, or for everything.")  # fmt: skip
@registry_options
def command(words: tuple[str, ...], update: bool, common: Common) -> None:
    """Write wherry.lock at the module's root.

    It holds the digests of every base that wherry.toml names, for all platforms, the versions of
    the static base's data and the Go version. SOURCE is the module's directory (default: this
    one). stdout gets the file's path.
    """
    if len(words) > 1 and not update:
        raise UsageError(f"lock takes one SOURCE, and here are {len(words)}",
                         hint="to pin bases anew, say: wherry lock --update NAME...")  # fmt: skip
    with around(common) as surroundings:
        result = write_lock(
            LockRequest(
                source="." if update or not words else words[0],
                cwd=surroundings.cwd,
                env=surroundings.env,
                store=surroundings.store,
                update=update,
                names=words if update else (),
                ca=surroundings.ca,
                sink=surroundings.sink,
                cancel=surroundings.cancel,
            )
        )
    if common.tells:
        tell(*(result.changed or ("nothing changed",)))
    if common.as_json:
        click.echo(json.dumps({"path": result.path, "changed": list(result.changed)}))
    else:
        click.echo(result.path)
