# SPDX-License-Identifier: Apache-2.0
"""What Dockerfiles and Go modules say, as rules ask for it."""
