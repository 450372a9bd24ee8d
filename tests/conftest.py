# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several rooms' tests share."""

pytest_plugins = ["wherry_fixtures", "registry_servers"]
