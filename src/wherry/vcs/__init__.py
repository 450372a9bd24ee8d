# SPDX-License-Identifier: Apache-2.0
"""Git facts, asked of the git command."""

from wherry.vcs.git import Degraded, GitFacts, facts_of_go, git_facts

__all__ = ["Degraded", "GitFacts", "facts_of_go", "git_facts"]
