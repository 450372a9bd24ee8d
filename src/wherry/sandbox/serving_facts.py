# SPDX-License-Identifier: Apache-2.0
"""The facts of the machine on their way into the worker: inside, other ids and limits hold."""

from __future__ import annotations

import json

from wherry.sandbox.host_facts import Container, HostFacts, Range


def facts_json(facts: HostFacts) -> str:
    """The facts for the worker, which cannot read them itself: inside, other ids hold."""
    return json.dumps(facts._asdict())


def parse_facts(text: str) -> HostFacts:
    """What `facts_json` wrote."""
    fields = json.loads(text)
    for name in ("users", "groups", "free"):
        fields[name] = Range(*fields[name])
    for name in ("missing_tools", "masked"):
        fields[name] = tuple(fields[name])
    return HostFacts(**{**fields, "container": Container(fields["container"])})
