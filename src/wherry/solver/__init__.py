# SPDX-License-Identifier: Apache-2.0
"""Schedules vertices in parallel, shares equal work, looks up caches; knows no op kind."""
