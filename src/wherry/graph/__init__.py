# SPDX-License-Identifier: Apache-2.0
"""The build graph: frozen ops, vertices, images, validation. No I/O, no knowledge of engines."""
