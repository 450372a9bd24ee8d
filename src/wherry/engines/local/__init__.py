# SPDX-License-Identifier: Apache-2.0
"""The local engine: an executor for each op kind, running on this machine."""
