# SPDX-License-Identifier: Apache-2.0
"""Rules about what programs want to find in their image: certificates, time zones, /tmp."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.model import Finding, Fix
from wherry.advice.reading.brought import PACKAGE_MANAGERS, may_make
from wherry.advice.reading.main_packages import main_of, tags_of
from wherry.advice.reading.programs import origin_of
from wherry.advice.reading.whole_lines import after
from wherry.advice.reading.word_places import base_place
from wherry.frontends.dockerfile.instructions import Copy, Run

if TYPE_CHECKING:
    from wherry.advice.model import Rule
    from wherry.advice.reading.go_commands import GoCommand
    from wherry.advice.reading.go_needs import Needs
    from wherry.advice.subject import Subject
    from wherry.advice.views import Line, StageView
    from wherry.frontends.dockerfile.source import Range

_BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"
_ZONES: Final = "/usr/share/zoneinfo"
# Where else Go looks for them (crypto/x509/root_linux.go, time/zoneinfo_unix.go).
_OTHER_BUNDLES: Final = ("/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_OTHER_ZONES: Final = ("/usr/lib/zoneinfo", "/usr/local/go/lib/time/zoneinfo.zip", "/etc/zoneinfo")
# Packages that bring certificates along with them, by a part of their names.
_WITH_BUNDLE: Final = (
    "ca-cert", "ca-bundle", "curl", "wget", "git", "ssl", "python", "java", "jdk", "jre", "node",
    "npm", "chrom", "certbot", "gnupg", "cloud", "aws", "kube", "docker", "helm", "vault", "*", "$",
)  # fmt: skip
_WITH_ZONES: Final = ("tzdata", "zoneinfo", "python", "java", "jdk", "postgres", "php", "*", "$")


class _Starts(NamedTuple):
    """What an image starts: the go command that builds it, the COPY that brings it, its needs."""

    command: GoCommand
    line: Line | None
    needs: Needs


def no_certificates(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO228: a program that talks by TLS, in an image without the certificates for it."""
    for stage in subject.results:
        found = _starts(stage) if stage.facts.ca is False else None
        if found is None or not found.needs.certificates:
            continue
        paths = (_BUNDLE, *_OTHER_BUNDLES)
        variables = ("SSL_CERT_FILE", "SSL_CERT_DIR")
        if _is_there(stage, paths, variables, _WITH_BUNDLE, _names_bundle):
            continue
        message = f"{stage.image} has no CA certificates, which {found.needs.certificates} needs"
        fix, source = None, found.command.line.stage
        if source.facts.ca:
            fix = _copying(stage, found, "CA certificates", f"{_BUNDLE} /etc/ssl/certs/")
        hint = f"copy them: COPY --from={_called(source)} {_BUNDLE} /etc/ssl/certs/"
        yield rule.find(_place(stage), message, hint, fix)


def no_zones(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO229: a program that asks for time zones, in an image without them."""
    for stage in subject.results:
        # The image of Go has them in Go itself.
        lacking = stage.facts.zones is False and stage.facts.family != "golang"
        found = _starts(stage) if lacking else None
        if found is None or not found.needs.zones:
            continue
        if _is_there(stage, (_ZONES, *_OTHER_ZONES), ("ZONEINFO",), _WITH_ZONES, _names_zones):
            continue
        message = f"{stage.image} has no time zones, which {found.needs.zones} needs"
        fix, source = None, found.command.line.stage
        hint = 'put them into the program: import _ "time/tzdata", or build with -tags timetzdata'
        if source.facts.zones:
            fix = _copying(stage, found, "time zones", f"{_ZONES} {_ZONES}")
            hint += f"; or COPY --from={_called(source)} {_ZONES} {_ZONES}"
        yield rule.find(_place(stage), message, hint, fix)


def no_temporary(subject: Subject, rule: Rule) -> Iterator[Finding]:
    """GO230: a program that makes temporary files, in an image without /tmp."""
    for stage in subject.results:
        found = _starts(stage) if stage.facts.tmp is False else None
        if found is None or not found.needs.temporary:
            continue
        if _is_there(stage, ("/tmp",), ("TMPDIR",), (), _names_temporary):  # noqa: S108
            continue
        yield rule.find(
            _place(stage),
            f"{stage.image} has no /tmp, which {found.needs.temporary} needs",
            "make one in a build stage, RUN mkdir -m 1777 /empty-tmp, and COPY --from it to /tmp;"
            " or set TMPDIR to a volume",
        )


def _starts(stage: StageView) -> _Starts | None:
    """What Go builds of the module for the stage to start; None where that cannot be told."""
    module = stage.subject.module
    origin = origin_of(stage)
    main = main_of(origin.command) if origin is not None else None
    if module is None or origin is None or main is None:
        return None
    needs = module.needs(main, tags=tags_of(origin.command))
    return _Starts(origin.command, origin.line, needs)


def _is_there(
    stage: StageView,
    paths: tuple[str, ...],
    variables: tuple[str, ...],
    packages: tuple[str, ...],
    names: Callable[[str], bool],
) -> bool:
    """Whether any of the paths may be there, or one of the variables says where else to look."""
    if any(stage.ends.environment.get(name) for name in variables):
        return True
    for line in stage.all_lines:
        typed = line.instruction
        if isinstance(typed, Run):
            if _may_install(line, typed, packages, names):
                return True
        elif any(may_make(line, path) for path in paths) or (
            isinstance(typed, Copy)
            and any(names(word) for word in (*typed.sources, typed.destination, typed.from_))
        ):
            return True
    return False


def _may_install(
    line: Line, typed: Run, packages: tuple[str, ...], names: Callable[[str], bool]
) -> bool:
    """Whether a RUN may bring them, in a package or unseen."""
    if not line.commands or names(typed.source.text):
        return True
    for command in line.commands:
        if command.program in PACKAGE_MANAGERS:
            if any(name in word for word in command.arguments for name in packages):
                return True
        elif command.words and command.program not in _QUIET:
            return True
    return False


_QUIET: Final = frozenset(
    ("addgroup", "adduser", "groupadd", "useradd", "usermod", "cd", "chmod", "chown", "echo",
     "export", "go", "ldconfig", "ln", "ls", "mkdir", "mv", "rm", "set", "setcap", "test", "touch",
     "true", "[", ":", "apt-mark")
)  # fmt: skip


def _names_bundle(text: str) -> bool:
    return any(word in text for word in ("cert", "/etc/ssl", "/pki", "ca-bundle", "cacert"))


def _names_zones(text: str) -> bool:
    return "zoneinfo" in text or "tzdata" in text


def _names_temporary(text: str) -> bool:
    return "/tmp" in text or text.rstrip("/").endswith("tmp")  # noqa: S108


def _called(stage: StageView) -> str:
    return stage.name or str(stage.number)


def _place(stage: StageView) -> Range:
    """Where the finding points: at the base that lacks it."""
    return base_place(next(item for item in stage.chain() if item.below is None))


def _copying(stage: StageView, found: _Starts, what: str, words: str) -> Fix | None:
    """Copy something out of the build stage, behind the line that copies the program."""
    line = found.line
    if line is None or line.stage is not stage or not isinstance(line.instruction, Copy):
        return None
    keyword = "copy" if line.node.original[:4].islower() else "COPY"
    text = stage.subject.text
    new = f"{text.indent(line.range)}{keyword} --from={_called(found.command.line.stage)} {words}\n"
    return Fix(f"copy the {what} of {found.command.line.stage.shown}",
               (after(text, line.range, new),))  # fmt: skip
