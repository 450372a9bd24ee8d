# SPDX-License-Identifier: Apache-2.0
"""The environment that Go commands run in: the user's own, with little set on top.

What wherry sets is a value of its own, the *overlay*: it belongs to the op's key, where the user's
whole environment does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from wherry.golang.variants import variant_environment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.golang.toolchain import GoCommand
    from wherry.oci.image import Pairs
    from wherry.oci.platform import Platform


def overlay(
    go: GoCommand, platform: Platform, *, cgo: bool = False, toolchain: Pairs = ()
) -> Pairs:
    """What wherry sets on top of the user's environment, sorted.

    GOOS, GOARCH and CGO_ENABLED always, whatever the environment says; the variant's variable only
    where the platform names a variant, the least one too (`wherry.oci.platform.parse_exact`); what
    the found Go needs; `toolchain` from `wherry.golang.facts.require_version`.
    """
    variables = {
        "CGO_ENABLED": "1" if cgo else "0",
        "GOARCH": platform.architecture,
        "GOOS": platform.os,
        **dict(go.env),
        **dict(toolchain),
    }
    variables.update(variant_environment(platform))
    return tuple(sorted(variables.items()))


def build_environment(user_env: Mapping[str, str], on_top: Pairs, directory: str) -> dict[str, str]:
    """The whole environment of a Go command that runs in `directory`.

    PWD is set to `directory` as it was named: Go takes its working directory from there, so that
    a symlinked source directory keeps its name in messages and in what `go list` reports.
    """
    return {**user_env, **dict(on_top), "PWD": directory}
