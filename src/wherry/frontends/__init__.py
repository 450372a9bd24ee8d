# SPDX-License-Identifier: Apache-2.0
"""Front ends: user input to graph and image config."""
