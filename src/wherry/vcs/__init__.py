# SPDX-License-Identifier: Apache-2.0
"""Git facts, asked of the git command."""

from wherry.vcs.git import Degraded, GitFacts, GoPlace, RefFacts, git_facts, go_place, ref_facts

__all__ = ["Degraded", "GitFacts", "GoPlace", "RefFacts", "git_facts", "go_place", "ref_facts"]
