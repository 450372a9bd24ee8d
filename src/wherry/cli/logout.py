# SPDX-License-Identifier: Apache-2.0
"""`wherry logout`: forget a registry's credentials."""

from __future__ import annotations

import click

from wherry.api.signing_in import log_out
from wherry.cli.login import one_registry
from wherry.cli.options import Common, around, quiet_option, tell


@click.command("logout", short_help="forget a registry's credentials")
@click.argument("registries", nargs=-1, metavar="[REGISTRY]")
@quiet_option
def command(registries: tuple[str, ...], quiet: bool) -> None:
    """Remove what `wherry login` or `docker login` kept for REGISTRY (default: docker.io)."""
    registry = one_registry(registries, "logout")
    with around(Common(quiet=quiet)) as surroundings:
        was_there = log_out(registry, surroundings)
    if not quiet:
        tell(f"{'signed out of' if was_there else 'was not signed in to'} {registry}")
