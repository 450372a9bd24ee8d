# SPDX-License-Identifier: Apache-2.0
"""A client of the OCI distribution specification 1.1: pull, push, referrers, authentication."""
