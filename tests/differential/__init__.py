# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles built by BuildKit and by wherry, and their images compared.

A *case* (`model`, `cases/`) is a Dockerfile with its context and options; a *world* (`world`) is a
BuildKit with a registry, an HTTP and a git server beside it; an *answer* (`answers`) is what one
builder makes of a case, as plain data; `compare` tells in which facts two answers differ.
"""
