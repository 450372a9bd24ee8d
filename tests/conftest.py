# SPDX-License-Identifier: Apache-2.0
"""Fixtures that several rooms' tests share."""

import signal

from hypothesis import HealthCheck, settings

pytest_plugins = ["wherry_fixtures", "registry_servers"]

# How long an example takes tells of the machine's load, not of what is tested.
settings.register_profile("any load", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any load")

# What a shell starts with `&` ignores interrupts; so would all commands that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
