# SPDX-License-Identifier: Apache-2.0
"""Child processes: spawned from argument vectors, cancelled as a group, told in replayable form."""
