# SPDX-License-Identifier: Apache-2.0
"""The Go module front end."""
