# SPDX-License-Identifier: Apache-2.0
"""Runs a process in a root tree: plan, OCI runtime or unshare, user mapping."""
