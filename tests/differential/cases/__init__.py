# SPDX-License-Identifier: Apache-2.0
"""All cases, by topic. A name is unique within its topic."""

from differential.cases import (
    adding,
    config,
    copy_flags,
    copying,
    language,
    run_caches,
    run_debian,
    run_files,
    run_forms,
    run_interplay,
    run_mistakes,
    run_mounts,
    run_options,
    run_stages,
    run_users,
    stages,
)
from differential.model import Case, Sequence

_MODULES = (
    copying, copy_flags, adding, stages, language, config, run_forms, run_files, run_users,
    run_mounts, run_caches, run_options, run_stages, run_mistakes, run_interplay, run_debian,
)  # fmt: skip


def _all() -> dict[str, Case | Sequence]:
    found: dict[str, Case | Sequence] = {}
    for module in _MODULES:
        topic = module.__name__.rpartition(".")[2]
        for case in module.CASES:
            name = f"{topic}/{case.name}"
            assert name not in found, name
            found[name] = case._replace(topic=topic)
    return found


CASES = _all()
