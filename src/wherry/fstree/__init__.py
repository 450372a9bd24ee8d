# SPDX-License-Identifier: Apache-2.0
"""File trees as values: entries, deterministic tar, layers, unpacking."""
