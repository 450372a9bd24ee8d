# SPDX-License-Identifier: Apache-2.0
"""Rules about the bases that a FROM names: tags that move, releases that are no longer mended."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final

from wherry.advice.model import Edit, Finding, Fix, Rule, Severity
from wherry.advice.reading.base_ends import GO_RELEASES, TABLE_DATE, end_of_life, is_old_go
from wherry.advice.reading.lock_file import lock_of, locked
from wherry.advice.reading.official_names import may_be_there
from wherry.advice.reading.word_places import base_arguments, base_place
from wherry.advice.views import expanded
from wherry.errors import UsageError
from wherry.oci.reference import DEFAULT_REGISTRY, Reference, parse_reference

if TYPE_CHECKING:
    from wherry.advice.subject import Subject
    from wherry.advice.views import StageView

_MOVING: Final = "latest"
# Tags of golang that say what it stands on, and not which Go.
_NO_GO_VERSION: Final = re.compile(r"(?:alpine|bookworm|trixie|bullseye|buster|stretch)[\d.]*")
_GO_LINE: Final = re.compile(r"\d+\.\d+")
# All tags that a distroless image has, but for names of commits.
_DISTROLESS: Final = re.compile(r"(?:latest|nonroot|debug|debug-nonroot)(?:-[a-z0-9]+)?")
_CHAINGUARD: Final = re.compile(r"latest(?:-dev)?")
# What is written for a base that is over: a release that is maintained at the table's date.
_INSTEAD: Final = {"alpine": "3.24", "debian": "trixie", "ubuntu": "26.04"}
_DEBIAN_NOW: Final = frozenset(("bookworm", "trixie"))
_DISTROLESS_NOW: Final = "debian13"
_GO_TAG: Final = re.compile(r"v?\d+\.\d+(?:\.\d+)?(?:(?:rc|beta)\d+)?(?P<rest>-.*)?")


def _unpinned(subject: Subject, rule: Rule) -> Iterator[Finding]:
    lock = lock_of(subject)
    for stage, reference in images(subject):
        if reference.digest is not None or locked(lock, reference) is not None:
            continue
        name = reference.familiar
        if _has_only_moving_tags(reference):
            if _moves(reference) and not _over_since(stage):
                yield _told(
                    rule._replace(severity=Severity.INFO), stage,
                    f"{name} changes with time: its publisher gives it no other tags",
                    "only a digest pins it: write it as NAME:TAG@sha256:...",
                )  # fmt: skip
        elif reference.tag == _MOVING:
            tag = _release(stage)
            hint = "name a release, or a digest: NAME:TAG or NAME@sha256:..."
            if tag:
                hint = f"name a release: {_with_tag(reference, tag)}"
            message = f"{name} is another image with each release{_by_default(stage, _tag_of)}"
            yield _told(rule, stage, message, hint, _pinned(stage, reference, tag))
        elif stage.facts.family == "golang" and _NO_GO_VERSION.fullmatch(reference.tag):
            tag = f"{_release(stage)}{_built_for(f'-{reference.tag}')}"
            # Variants that are over have no new releases.
            moves = ": it changes with each release" if tag.endswith(f"-{reference.tag}") else ""
            message = f"{name} names no version of Go{moves}{_by_default(stage, _tag_of)}"
            hint = f"write {_with_tag(reference, tag)}"
            yield _told(rule, stage, message, hint, _pinned(stage, reference, tag))


def _ended(subject: Subject, rule: Rule) -> Iterator[Finding]:
    for stage, reference in images(subject):
        facts = stage.facts
        if is_old_go(facts.go):
            line = ".".join(facts.go.split(".")[:2])
            if _is_for(subject, line):
                continue
            yield _told(
                rule, stage,
                f"Go {line} gets no security fixes: {_listed(GO_RELEASES)} do"
                f" (table of {TABLE_DATE}){_by_default(stage, _release_of)}",
                f"write {_with_tag(reference, _newer_go(reference.tag))}",
            )  # fmt: skip
            continue
        since = _over_since(stage)
        if since:
            yield _told(
                rule, stage,
                f"{_shown(facts.release)} is no longer maintained: it ended {since}"
                f" (table of {TABLE_DATE}){_by_default(stage, _release_of)}",
                _newer(stage, reference),
            )  # fmt: skip


def _over_since(stage: StageView) -> str:
    """Since when a base is no longer maintained; empty where it is, and for lines of Go."""
    facts = stage.facts
    day = "" if facts.family == "golang" else end_of_life(facts.release)
    if not day.startswith("before") and (not day or day >= TABLE_DATE):
        return ""
    return day if day.startswith("before") else f"on {day}"


def _is_for(subject: Subject, line: str) -> bool:
    """Whether the file's name says that it is about this very line of Go: to test on it."""
    return re.search(rf"go-?{re.escape(line)}(?!\d)", posixpath.basename(subject.path)) is not None


def images(subject: Subject) -> Iterator[tuple[StageView, Reference]]:
    """The stages that stand on an image whose name is known, with that name."""
    for stage in subject.stages:
        if stage.below is None and stage.image and not stage.is_scratch:
            try:
                reference = parse_reference(stage.image)
            except UsageError:
                continue
            if reference.registry != DEFAULT_REGISTRY or may_be_there(reference.repository):
                yield stage, reference


def _told(rule: Rule, stage: StageView, message: str, hint: str, fix: Fix | None = None) -> Finding:
    arguments = base_arguments(stage)
    related = tuple((place, f"{name} stands there") for place, name in arguments)
    return rule.find(base_place(stage), message, hint, fix, related)


def _by_default(stage: StageView, said: Callable[[StageView, str], object]) -> str:
    """Words that name the ARG whose default says something of an image; none where FROM does."""
    subject, written = stage.subject, stage.stage.base.base
    for _, name in base_arguments(stage):
        other = expanded(written, {**subject.globals, name: "x"}, subject.parsed.escape)
        is_all = written in (f"${name}", f"${{{name}}}")
        if is_all or said(stage, other) != said(stage, stage.image):
            return f"; the default of ARG {name} says so"
    return ""


def _tag_of(_: StageView, image: str) -> str:
    try:
        return parse_reference(image).tag
    except UsageError:
        return ""


def _release_of(stage: StageView, image: str) -> tuple[str, str]:
    facts = stage.subject.facts_of(image)
    return facts.go, facts.release


def _has_only_moving_tags(reference: Reference) -> bool:
    if reference.registry == "gcr.io":
        return reference.repository.startswith("distroless/")
    return reference.registry == "cgr.dev" and reference.repository.startswith("chainguard/")


def _moves(reference: Reference) -> bool:
    pattern = _DISTROLESS if reference.registry == "gcr.io" else _CHAINGUARD
    return pattern.fullmatch(reference.tag) is not None


def _release(stage: StageView) -> str:
    """The tag of a release that is maintained; empty where the table has none.

    Of Go it is the line that go.mod names, where that one still gets fixes, else the newest.
    """
    if stage.facts.family != "golang":
        return _INSTEAD.get(stage.facts.family, "")
    module = stage.subject.module
    found = _GO_LINE.match(module.wanted) if module is not None else None
    is_there = found is not None and not is_old_go(found[0])
    return found[0] if found is not None and is_there else GO_RELEASES[-1]


def _pinned(stage: StageView, reference: Reference, tag: str) -> Fix | None:
    """Write a tag; None where there is none, or where the name is made of variables."""
    place = base_place(stage)
    written = stage.subject.text.slice(place)
    if not tag or written != stage.stage.base.base or "$" in written:
        return None
    # As it is written: with the registry where that is named, without where it is not.
    name = written.removesuffix(f":{reference.tag}")
    return Fix(f"take {_with_tag(reference, tag)}", (Edit(place, f"{name}:{tag}"),), safe=False)


def _newer_go(tag: str) -> str:
    """The same tag for the newest Go; a Debian or Alpine that is not built for it is left out."""
    found = _GO_TAG.fullmatch(tag)
    return GO_RELEASES[-1] + _built_for((found["rest"] or "") if found else "")


def _built_for(variant: str) -> str:
    """What of a variant (`-alpine3.20`, `-buster`) images of the newest Go are built for."""
    if variant.startswith("-alpine"):
        return "-alpine"
    return variant if variant[1:] in _DEBIAN_NOW else ""


def _newer(stage: StageView, reference: Reference) -> str:
    family = stage.facts.family
    if family == "distroless":
        name = re.sub(r"-debian\d+\Z", f"-{_DISTROLESS_NOW}", reference.repository)
        is_written = stage.image.endswith(f":{reference.tag}") or reference.digest is not None
        tag = reference.tag if is_written else ""
        return f"write {_with_tag(reference._replace(repository=name), tag)}"
    tag = _INSTEAD.get(family, "")
    if not tag:
        return "take a release that is maintained"
    if family == "debian":
        # Its variant (`slim`) stays, the day of a snapshot does not.
        variant = [word for word in reference.tag.split("-")[1:] if not word.isdigit()]
        tag = "-".join((tag, *variant))
    return f"write {_with_tag(reference, tag)}"


def _with_tag(reference: Reference, tag: str) -> str:
    return reference._replace(tag=tag, digest=None).familiar


def _shown(release: str) -> str:
    return release[:1].upper() + release[1:]


def _listed(names: tuple[str, ...]) -> str:
    return f"only {' and '.join(names)}"


RULES: Final = (
    Rule("GO306", "unpinned-base", Severity.WARNING,
         "a base without a tag, or with one that moves", _unpinned, mends=True),
    Rule("GO308", "end-of-life", Severity.WARNING,
         "a base or a Go that gets no more security fixes", _ended),
)  # fmt: skip
"""In the order of their ids."""
