# SPDX-License-Identifier: Apache-2.0
"""Composed bases: trees and defaults of the image config."""

from __future__ import annotations

import pytest

from wherry.bases.compose import base_environment, base_tree, base_user
from wherry.bases.static import static_tree
from wherry.graph.ops import ComposedBase


def test_scratch_holds_nothing() -> None:
    assert base_tree(ComposedBase.SCRATCH).entries == ()


def test_static_is_the_static_tree() -> None:
    assert base_tree(ComposedBase.STATIC).digest == static_tree().digest


@pytest.mark.parametrize("base", ComposedBase)
def test_programs_run_as_nonroot_by_number(base: ComposedBase) -> None:
    assert base_user(base) == "65532:65532"


@pytest.mark.parametrize("base", ComposedBase)
def test_path_is_what_other_images_have(base: ComposedBase) -> None:
    environment = dict(base_environment(base))
    assert environment["PATH"] == "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def test_only_static_names_a_bundle_and_it_is_there() -> None:
    assert "SSL_CERT_FILE" not in dict(base_environment(ComposedBase.SCRATCH))
    named = dict(base_environment(ComposedBase.STATIC))["SSL_CERT_FILE"]
    assert named.lstrip("/") in {entry.path for entry in static_tree().entries}
