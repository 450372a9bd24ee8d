# SPDX-License-Identifier: Apache-2.0
"""Files for a project that has none: what is read, what is decided, and the text of each."""
