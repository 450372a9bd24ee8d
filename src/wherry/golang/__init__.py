# SPDX-License-Identifier: Apache-2.0
"""The Go toolchain as a library: find it, ask it, run it, and know what a build depended on."""
