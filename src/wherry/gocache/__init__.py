# SPDX-License-Identifier: Apache-2.0
"""Go caches that travel: used build-cache entries and modules, kept in a registry or directory."""
