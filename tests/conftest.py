# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several rooms' tests share."""

from hypothesis import HealthCheck, settings

pytest_plugins = ["wherry_fixtures", "registry_servers"]

# How long an example takes tells of the machine's load, not of what is tested.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")
