# SPDX-License-Identifier: Apache-2.0
"""The benchmark: wherry beside bare `go build`, ko and others, in one run.

`make bench` runs it. A *side* is one tool with one command; a *row* is one situation, measured on
every side in turn (A B C A B C ...), so that a change of the machine's mood meets all sides alike.
Nothing here is part of the package that users install. Only the standard library is imported; the
rows of Dockerfiles start the tests' BuildKit, and time the front end in a process of its own.
"""
