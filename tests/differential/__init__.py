# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles built by BuildKit and by wherry, and their images compared.

A *case* (`model`, `cases/`) is a Dockerfile with its context and options, or a *sequence* of builds
with the changes between them; a *world* (`world`) is a BuildKit with a registry, HTTP and git
servers and an agent of ssh beside it; an *answer* (`answers`) is what one builder makes of a case,
as plain data; `compare` tells in which facts two answers differ, `sequences` which steps only one
of the builders ran again. wherry runs as root or as an ordinary user (`user`).
"""
