# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the comparisons with BuildKit's and moby's own packages."""

from oracle_program import oracle, oracle_program

__all__ = ["oracle", "oracle_program"]
