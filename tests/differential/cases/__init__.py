# SPDX-License-Identifier: Apache-2.0
"""All cases, by topic. A name is unique within its topic."""

from differential.cases import adding, config, copy_flags, copying, language, stages
from differential.model import Case

_MODULES = (copying, copy_flags, adding, stages, language, config)


def _all() -> dict[str, Case]:
    found = {}
    for module in _MODULES:
        topic = module.__name__.rpartition(".")[2]
        for case in module.CASES:
            name = f"{topic}/{case.name}"
            assert name not in found, name
            found[name] = case._replace(topic=topic)
    return found


CASES = _all()
