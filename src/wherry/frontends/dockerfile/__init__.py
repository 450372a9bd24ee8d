# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile front end: text to instructions to a build graph and image configuration.

Written from the language's documentation (Dockerfile reference, docs.docker.com); what that leaves
open is as BuildKit does it, compared case by case. Pure: what it asks of the world, such as the
configuration of a base, comes through injected resolvers.
"""
