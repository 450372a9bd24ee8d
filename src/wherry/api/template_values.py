# SPDX-License-Identifier: Apache-2.0
"""What the names in templates stand for: facts of git and of the environment.

Only what some template uses is asked for, and just that is an input of the build. A date is
SOURCE_DATE_EPOCH or the commit's time and never now, so that the same inputs give the same bytes.
"""

from __future__ import annotations

import calendar
import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from wherry.api.epoch import source_date_epoch
from wherry.api.project_settings import module_root
from wherry.api.stamp import NO_STAMP, Stamp, read_stamp
from wherry.process.cancel import CancelToken
from wherry.settings.templates import Template, Values
from wherry.vcs.git import Degraded, GitFacts, RefFacts, ref_facts

_RFC3339 = "%Y-%m-%dT%H:%M:%SZ"
# What costs three more calls of git, and changes with what a branch is called.
_REFS = frozenset(("Git.Branch", "Git.Tag", "Git.ShortCommit"))
# ko gives this variable to templates where nobody set it: projects count on it.
_EMPTY_BY_DEFAULT = "LDFLAGS"


class TemplateInputs(NamedTuple):
    """What templates look at, as a build record keeps it: names of facts, and variables.

    `salt` goes into the digests of the variables' values.
    """

    facts: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    salt: str = ""


class TemplateFacts(NamedTuple):
    """Values for templates, and all that was looked at as one text, by which a record knows it.

    The text holds salted digests of the environment's values only.
    """

    values: Values
    words: str


def inputs_of(templates: Iterable[Template], salt: str = "") -> TemplateInputs:
    """What `templates` look at, each once, in a stable order."""
    templates = tuple(templates)
    names = {name for template in templates for name in template.names}
    env = {name for template in templates for name in template.uses_env}
    facts = {name for name in names if not name.startswith("Env.")}
    return TemplateInputs(tuple(sorted(facts)), tuple(sorted(env)), salt)


def template_facts(
    inputs: TemplateInputs,
    directory: str,
    env: Mapping[str, str],
    cancel: CancelToken,
    stamp: Stamp = NO_STAMP,
) -> TemplateFacts:
    """Ask for what `inputs` name, in the module around `directory`.

    `stamp` is that of the image where one was read: image, binary and templates then tell one
    version. The words are the same without it. What git cannot tell is missing from the values;
    rendering says so. Raises `UsageError` for a SOURCE_DATE_EPOCH that is no time.
    """
    epoch = source_date_epoch(env)
    wanted = set(inputs.facts)
    asks_git = bool(wanted - {"Date", "Timestamp"}) or (bool(wanted) and epoch is None)
    if asks_git and stamp is NO_STAMP:
        stamp = read_stamp(directory, env, cancel)
    refs = ref_facts(module_root(directory), env, cancel) if wanted & _REFS else None
    facts = _facts(stamp, refs, epoch if epoch is not None else _seconds(stamp.created))
    variables = {name: env[name] for name in inputs.env if name in env}
    if _EMPTY_BY_DEFAULT in inputs.env:
        variables.setdefault(_EMPTY_BY_DEFAULT, "")
    told = {name: facts[name] for name in inputs.facts if name in facts}
    seen = dict(told)
    if "Version" in seen and stamp.facts is not None:
        # Which of the two it is depends on the Go in force, which a record knows by itself.
        seen["Version"] = f"{stamp.facts.version} {stamp.facts.go_version}"
    digests = {name: _digest(variables.get(name), inputs.salt) for name in inputs.env}
    words = json.dumps([seen, digests], sort_keys=True) if inputs.facts or inputs.env else ""
    return TemplateFacts(Values(told, variables, stamp.note), words)


def _facts(stamp: Stamp, refs: RefFacts | Degraded | None, date: int | None) -> dict[str, str]:
    found: dict[str, str] = {}
    if date is not None:
        found |= {"Date": _rfc3339(date), "Timestamp": str(date)}
    if stamp.facts is not None:
        found |= {"Version": stamp.version, **_commit_facts(stamp.facts)}
    if isinstance(refs, RefFacts):
        found |= {"Git.Branch": refs.branch, "Git.ShortCommit": refs.short}
        if refs.tag:
            found["Git.Tag"] = refs.tag
    return found


def _commit_facts(facts: GitFacts) -> dict[str, str]:
    return {
        "Commit": facts.revision,
        "Git.FullCommit": facts.revision,
        "Git.CommitDate": facts.time,
        "Git.CommitTimestamp": str(_seconds(facts.time)),
        "Git.IsDirty": str(facts.dirty).lower(),
        "Git.IsClean": str(not facts.dirty).lower(),
        "Git.TreeState": "dirty" if facts.dirty else "clean",
    }


def _seconds(moment: str) -> int | None:
    return calendar.timegm(time.strptime(moment, _RFC3339)) if moment else None


def _rfc3339(seconds: int) -> str:
    return time.strftime(_RFC3339, time.gmtime(seconds))


def _digest(value: str | None, salt: str) -> str:
    if value is None:
        return ""
    return hashlib.sha256(f"{salt}\0{value}".encode("utf-8", "surrogateescape")).hexdigest()
