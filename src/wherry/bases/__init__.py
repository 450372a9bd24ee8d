# SPDX-License-Identifier: Apache-2.0
"""Bases that wherry composes offline, as trees."""
