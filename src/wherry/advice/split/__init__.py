# SPDX-License-Identifier: Apache-2.0
"""Two stages out of one."""
