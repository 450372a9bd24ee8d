# SPDX-License-Identifier: Apache-2.0
"""The release of wherry: one place for the packaging metadata, `--version` and cache keys."""

__version__ = "0.1.0"
