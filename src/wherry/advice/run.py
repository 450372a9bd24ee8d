# SPDX-License-Identifier: Apache-2.0
"""Asks rules about a Dockerfile: which are asked, what they find, what was switched off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.catalogue import ALIASES, BUILD_CHECKS, RULES
from wherry.advice.model import Finding, Need, Rule, Severity
from wherry.advice.reading.copy_sources import wrong_sources
from wherry.advice.reading.secret_values import hidden
from wherry.advice.switches import UNKNOWN, Switches
from wherry.errors import UsageError, near
from wherry.frontends.dockerfile.checks import Checks, read_checks
from wherry.frontends.dockerfile.refusals import BadValue

if TYPE_CHECKING:
    from wherry.advice.subject import Subject

SYNTAX: Final = Rule(
    "GO000", "syntax", Severity.ERROR, "what is no Dockerfile", lambda _subject, _rule: iter(())
)
"""What the parser says: no rule of its own, so that it cannot be switched off."""


class Choice(NamedTuple):
    """Which rules are asked: `ignored` are left out, `only` (if any) are the only ones asked.

    `severities` change what a finding of a rule counts as. All by the ids that rules have.
    """

    ignored: frozenset[str] = frozenset()
    only: frozenset[str] = frozenset()
    severities: Mapping[str, Severity] = {}


class Advice(NamedTuple):
    """What was found in one file, by line; the rules that could not be asked, with the reason."""

    path: str
    findings: tuple[Finding, ...]
    skipped: tuple[tuple[str, str], ...] = ()


def rule_named(text: str) -> Rule:
    """The rule of an id or a name; raises `UsageError` with near names."""
    wanted = text.strip().lower()
    for rule in RULES:
        if wanted in (rule.id.lower(), rule.name.lower()):
            return rule
    raise UsageError(f"there is no rule {text!r}", hint=_near(text))


def _near(text: str) -> str:
    names = [name for rule in RULES for name in (rule.id, rule.name)]
    return near(text, tuple(names)) or "`wherry check --list` lists them"


def advise(subject: Subject, choice: Choice) -> Advice:
    """Ask the chosen rules about one Dockerfile."""
    found: list[Finding] = [
        # A line that lost the one before it is told by its words.
        Finding(SYNTAX, problem.range, hidden(problem.message), hidden(problem.hint))
        for problem in (*subject.problems, *wrong_sources(subject))
    ]
    skipped: dict[str, str] = {}
    checks = _checks(subject)
    experiments = checks.experimental
    for rule in RULES:
        if not _is_asked(rule, choice, experiments):
            continue
        reason = _missing(subject, rule)
        if reason:
            skipped[rule.id] = reason
            continue
        found.extend(rule.look(subject, rule))
        if Need.CLOSURE in rule.needs and subject.module is not None and subject.module.unanswered:
            skipped[rule.id] = subject.module.unanswered
    switches = Switches(subject, ALIASES)
    if _is_asked(UNKNOWN, choice, experiments):
        found.extend(_unknown(switches))
    starts = tuple(node.range.start.line for node in subject.parsed.nodes)
    kept = [
        _weighed(finding, choice, are_errors=checks.error)
        for finding in _once(found)
        if finding.rule is SYNTAX
        or not switches.hides(finding.rule.id, finding.rule.name, finding.range, starts)
    ]
    kept.sort(key=lambda finding: (finding.range.start, finding.rule.id))
    return Advice(subject.path, tuple(kept), tuple(skipped.items()))


def _unknown(switches: Switches) -> Iterator[Finding]:
    """The names in wherry's own comments that no rule has, each told where it first stands."""
    known = {"all"}
    known.update(name.lower() for rule in RULES for name in (rule.id, rule.name))
    known.update(name for names in ALIASES.values() for name in names)
    for name, place in sorted(switches.named, key=lambda item: item.range.start):
        if name.lower() not in known:
            known.add(name.lower())
            yield UNKNOWN.find(place, f"there is no rule {name!r}", _near(name))


def _is_asked(rule: Rule, choice: Choice, experiments: frozenset[str]) -> bool:
    if choice.only:
        return rule.id in choice.only and rule.id not in choice.ignored
    is_wanted = not rule.experimental or not experiments.isdisjoint(("all", rule.id))
    return is_wanted and rule.id not in choice.ignored


def _checks(subject: Subject) -> Checks:
    """What the file's `check` directive says."""
    directive = subject.parsed.directive("check")
    try:
        return read_checks(directive) if directive else Checks()
    except BadValue:
        return Checks()


def _missing(subject: Subject, rule: Rule) -> str:
    """Why a rule cannot be asked; empty where it can."""
    if subject.unread and rule is not UNKNOWN:
        return subject.unread
    if rule.needs and subject.context is None:
        return "the build context is not known"
    if {Need.MODULE, Need.CLOSURE} & rule.needs and subject.module is None:
        return "there is no go.mod in the build context"
    return ""


def _once(found: Iterable[Finding]) -> list[Finding]:
    seen: dict[tuple[object, ...], Finding] = {}
    for finding in found:
        seen.setdefault((finding.rule.id, finding.range, finding.message), finding)
    return list(seen.values())


def _weighed(finding: Finding, choice: Choice, *, are_errors: bool) -> Finding:
    """With the severity that the user wants, else an error where `check=error=true` makes it one.

    A build that finds one of BuildKit's checks fails then.
    """
    severity = choice.severities.get(finding.rule.id)
    if severity is None and are_errors and finding.rule.id in BUILD_CHECKS:
        severity = Severity.ERROR
    if severity is None or severity is finding.rule.severity:
        return finding
    return finding._replace(rule=finding.rule._replace(severity=severity))
