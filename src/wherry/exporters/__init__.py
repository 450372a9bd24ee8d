# SPDX-License-Identifier: Apache-2.0
"""Send an image to where it is wanted."""
