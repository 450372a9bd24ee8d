# SPDX-License-Identifier: Apache-2.0
"""The public library and composition root."""
