# SPDX-License-Identifier: Apache-2.0
"""Rules about the bases that a FROM names: tags that move, releases that are no longer mended."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.reading.base_facts import GO_RELEASES, TABLE_DATE, end_of_life, is_old_go
from wherry.advice.reading.word_places import base_arguments, base_place
from wherry.errors import UsageError
from wherry.oci.reference import Reference, parse_reference

if TYPE_CHECKING:
    from wherry.advice.subject import StageView, Subject

_MOVING: Final = "latest"
# Tags of golang that say what it stands on, and not which Go.
_NO_GO_VERSION: Final = re.compile(r"(?:alpine|bookworm|trixie|bullseye|buster|stretch)[\d.]*")
# All tags that a distroless image has, but for names of commits.
_DISTROLESS: Final = re.compile(r"(?:latest|nonroot|debug|debug-nonroot)(?:-[a-z0-9]+)?")
_CHAINGUARD: Final = re.compile(r"latest(?:-dev)?")
# What is written for a base that is over: a release that is maintained at the table's date.
_INSTEAD: Final = {"alpine": "3.24", "debian": "trixie", "ubuntu": "24.04"}
_DEBIAN_NOW: Final = frozenset(("bookworm", "trixie"))
_DISTROLESS_NOW: Final = "debian13"
_GO_TAG: Final = re.compile(r"v?\d+\.\d+(?:\.\d+)?(?:(?:rc|beta)\d+)?(?P<rest>-.*)?")


def _unpinned(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage, reference in _images(subject):
        if reference.digest is not None:
            continue
        name = reference.familiar
        if _has_only_moving_tags(reference):
            if _moves(reference):
                yield _told(
                    rule._replace(severity=Severity.INFO), stage,
                    f"{name} changes with time: its publisher gives it no other tags",
                    "only a digest pins it: write it as NAME:TAG@sha256:...",
                )  # fmt: skip
        elif reference.tag == _MOVING:
            yield _told(
                rule, stage, f"{name} is another image with each release",
                _pin_hint(stage, reference),
            )  # fmt: skip
        elif stage.facts.family == "golang" and _NO_GO_VERSION.fullmatch(reference.tag):
            yield _told(
                rule, stage, f"{name} names no version of Go: it changes with each release",
                f"write {_with_tag(reference, f'{GO_RELEASES[-1]}-{reference.tag}')}",
            )  # fmt: skip


def _ended(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage, reference in _images(subject):
        facts = stage.facts
        if is_old_go(facts.go):
            line = ".".join(facts.go.split(".")[:2])
            yield _told(
                rule, stage,
                f"Go {line} gets no security fixes: {_listed(GO_RELEASES)} do"
                f" (table of {TABLE_DATE})",
                f"write {_with_tag(reference, _newer_go(reference.tag))}",
            )  # fmt: skip
            continue
        day = "" if facts.family == "golang" else end_of_life(facts.release)
        if day and (day.startswith("before") or day < TABLE_DATE):
            since = day if day.startswith("before") else f"on {day}"
            yield _told(
                rule, stage,
                f"{_shown(facts.release)} is no longer maintained: it ended {since}"
                f" (table of {TABLE_DATE})",
                _newer(stage, reference),
            )  # fmt: skip


def _images(subject: Subject) -> Iterator[tuple[StageView, Reference]]:
    """The stages that stand on an image whose name is known, with that name."""
    for stage in subject.stages:
        if stage.below is None and stage.image and not stage.is_scratch:
            try:
                yield stage, parse_reference(stage.image)
            except UsageError:
                continue


def _told(rule: Rule, stage: StageView, message: str, hint: str) -> Finding:
    arguments = base_arguments(stage)
    related = tuple((place, f"{name} stands there") for place, name in arguments)
    if arguments:
        message = f"{message}; the default of ARG {arguments[0][1]} says so"
    return rule.find(base_place(stage), message, hint, related=related)


def _has_only_moving_tags(reference: Reference) -> bool:
    if reference.registry == "gcr.io":
        return reference.repository.startswith("distroless/")
    return reference.registry == "cgr.dev" and reference.repository.startswith("chainguard/")


def _moves(reference: Reference) -> bool:
    pattern = _DISTROLESS if reference.registry == "gcr.io" else _CHAINGUARD
    return pattern.fullmatch(reference.tag) is not None


def _pin_hint(stage: StageView, reference: Reference) -> str:
    family = stage.facts.family
    tag = GO_RELEASES[-1] if family == "golang" else _INSTEAD.get(family, "")
    if tag:
        return f"name a release: {_with_tag(reference, tag)}"
    return "name a release, or a digest: NAME:TAG or NAME@sha256:..."


def _newer_go(tag: str) -> str:
    """The same tag for the newest Go; a Debian or Alpine that is not built for it is left out."""
    found = _GO_TAG.fullmatch(tag)
    rest = (found["rest"] or "") if found else ""
    if rest.startswith("-alpine"):
        rest = "-alpine"
    elif rest and rest[1:] not in _DEBIAN_NOW:
        rest = ""
    return GO_RELEASES[-1] + rest


def _newer(stage: StageView, reference: Reference) -> str:
    family = stage.facts.family
    if family == "distroless":
        name = re.sub(r"-debian\d+\Z", f"-{_DISTROLESS_NOW}", reference.repository)
        return f"write {_with_tag(reference._replace(repository=name), reference.tag)}"
    tag = _INSTEAD.get(family, "")
    if not tag:
        return "take a release that is maintained"
    if family == "debian" and reference.tag.endswith("-slim"):
        tag += "-slim"
    return f"write {_with_tag(reference, tag)}"


def _with_tag(reference: Reference, tag: str) -> str:
    return reference._replace(tag=tag, digest=None).familiar


def _shown(release: str) -> str:
    return release[:1].upper() + release[1:]


def _listed(names: tuple[str, ...]) -> str:
    return f"only {' and '.join(names)}"


RULES: Final = (
    Rule("GO306", "unpinned-base", Severity.WARNING,
         "a base without a tag, or with one that moves", _unpinned),
    Rule("GO308", "end-of-life", Severity.WARNING,
         "a base or a Go that gets no more security fixes", _ended),
)  # fmt: skip
"""In the order of their ids."""
