# SPDX-License-Identifier: Apache-2.0
"""BuildKit's build checks: what each finds and where, what it leaves alone, what its mend writes.

In a Dockerfile of a table « and » stand around what a finding points at; they are taken out first.
"""

import re

import pytest

from wherry.advice.context import Context
from wherry.advice.rules.build_checks import EXPERIMENTAL, RULES
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

BY_ID = {rule.id: rule for rule in (*RULES, *EXPERIMENTAL)}
# frontend/dockerfile/linter/ruleset.go of BuildKit v0.33.1.
BUILDKIT = {
    "StageNameCasing", "FromAsCasing", "NoEmptyContinuation", "ConsistentInstructionCasing",
    "DuplicateStageName", "ReservedStageName", "JSONArgsRecommended", "MaintainerDeprecated",
    "UndefinedArgInFrom", "WorkdirRelativePath", "UndefinedVar", "MultipleInstructionsDisallowed",
    "LegacyKeyValueFormat", "InvalidBaseImagePlatform", "RedundantTargetPlatform",
    "SecretsUsedInArgOrEnv", "InvalidDefaultArgInFrom", "FromPlatformFlagConstDisallowed",
    "CopyIgnoredFile", "InvalidDefinitionDescription", "ExposeProtoCasing", "ExposeInvalidFormat",
}  # fmt: skip
AUTHORS = "org.opencontainers.image.authors"

# A rule, a Dockerfile with the places of its findings, and what all mends make of it (None: none).
BAD = [
    ("StageNameCasing", "FROM alpine AS «Build»\nFROM scratch\nCOPY --from=Build /a /a\n",
     "FROM alpine AS build\nFROM scratch\nCOPY --from=build /a /a\n"),
    ("StageNameCasing",
     "FROM golang:1.26 AS «Tools»\nFROM golang:1.26 AS other\nFROM golang:1.26\n"
     "RUN --mount=type=bind,from=Tools,target=/t true\nCOPY --chown=1 --from=TOOLS /a /b\n"
     "COPY --from=other /Tools /Tools\n",
     "FROM golang:1.26 AS tools\nFROM golang:1.26 AS other\nFROM golang:1.26\n"
     "RUN --mount=type=bind,from=tools,target=/t true\nCOPY --chown=1 --from=tools /a /b\n"
     "COPY --from=other /Tools /Tools\n"),
    ("FromAsCasing", "FROM alpine «as» build\n", "FROM alpine AS build\n"),
    ("FromAsCasing", "FROM --platform=$BUILDPLATFORM alpine \\\n  «As» build\n",
     "FROM --platform=$BUILDPLATFORM alpine \\\n  AS build\n"),
    ("FromAsCasing", "from alpine «AS» build\n", "from alpine as build\n"),
    ("NoEmptyContinuation", "FROM alpine\nRUN a && \\\n«\n»    b\n",
     "FROM alpine\nRUN a && \\\n    b\n"),
    ("NoEmptyContinuation", "FROM alpine\nRUN a && \\\n«\n»  # why\n\n    b && \\\n\n  c\nRUN d\n",
     "FROM alpine\nRUN a && \\\n  # why\n    b && \\\n  c\nRUN d\n"),
    ("NoEmptyContinuation", "FROM alpine\nRUN <<EOF \\\n«\n»\na\n\nb\nEOF\n",
     "FROM alpine\nRUN <<EOF \\\na\n\nb\nEOF\n"),
    ("ConsistentInstructionCasing", "FROM alpine\n«run» a\nRUN b\n", "FROM alpine\nRUN a\nRUN b\n"),
    ("ConsistentInstructionCasing", "FROM alpine\n«Run» a\n", "FROM alpine\nRUN a\n"),
    ("ConsistentInstructionCasing", "«FROM» alpine AS x\nrun a\nrun b\n",
     "from alpine as x\nrun a\nrun b\n"),
    ("ConsistentInstructionCasing", "FROM alpine\n«copy» <<EOF /x\nrun\nEOF\nRUN a\n",
     "FROM alpine\nCOPY <<EOF /x\nrun\nEOF\nRUN a\n"),
    ("DuplicateStageName", "FROM alpine AS a\nFROM debian AS «a»\n", None),
    ("DuplicateStageName", "FROM alpine AS a\nFROM debian AS b\nFROM debian AS «A»\n", None),
    ("ReservedStageName", "FROM alpine AS «scratch»\n", None),
    ("ReservedStageName", "FROM alpine AS «Context»\n", None),
    ("JSONArgsRecommended", "FROM alpine\n«CMD ./server --port 80»\n",
     'FROM alpine\nCMD ["./server", "--port", "80"]\n'),
    ("JSONArgsRecommended", "FROM example.com/base\n«ENTRYPOINT exec /server»\n",
     'FROM example.com/base\nENTRYPOINT ["/server"]\n'),
    ("JSONArgsRecommended", "FROM alpine\n«CMD ./a && ./b»\n", None),
    ("JSONArgsRecommended", "FROM alpine\n«CMD ./server -addr $ADDR»\n", None),
    ("JSONArgsRecommended", "FROM alpine\n«CMD PORT=80 ./server»\n", None),
    ("JSONArgsRecommended", "FROM alpine\n«CMD cd /app»\n", None),
    ("JSONArgsRecommended", 'FROM alpine\n«CMD ./server»\nSHELL ["/bin/ash", "-c"]\nCMD ./server\n',
     'FROM alpine\nCMD ["./server"]\nSHELL ["/bin/ash", "-c"]\nCMD ./server\n'),
    ("MaintainerDeprecated", "FROM alpine\n«MAINTAINER Ann <ann@example.org>»\n",
     f'FROM alpine\nLABEL {AUTHORS}="Ann <ann@example.org>"\n'),
    ("MaintainerDeprecated", 'FROM alpine\n«maintainer "Ann $ \\ B"»\n',
     f'FROM alpine\nlabel {AUTHORS}="Ann \\$ \\\\ B"\n'),
    ("MaintainerDeprecated", f"FROM alpine\n«MAINTAINER Ann»\nLABEL {AUTHORS}=Ann\n", None),
    ("UndefinedArgInFrom", "FROM alpine:«$TAG»\n", None),
    ("UndefinedArgInFrom", "ARG BASE=alpine\nFROM «${BSE}»\n", None),
    ("UndefinedArgInFrom", "FROM alpine:«${TAG:-3}»\n", None),
    ("UndefinedArgInFrom", "FROM alpine\nARG TAG=3\nFROM debian:«$TAG»\n", None),
    ("UndefinedArgInFrom", "FROM --platform=«$BUILDPLATFRM» alpine\n", None),
    ("WorkdirRelativePath", "FROM alpine\nWORKDIR «app»\nWORKDIR more\n", None),
    ("WorkdirRelativePath", "FROM alpine\nENV DIR=app\nWORKDIR «$DIR»\nWORKDIR /x\n", None),
    ("UndefinedVar", "FROM alpine\nENV A=«$B»\n", None),
    ("UndefinedVar", "FROM scratch\nLABEL a=«${X}»/y\n", None),
    ("UndefinedVar", "FROM alpine\nCOPY a «$DIR»/b\n", None),
    ("UndefinedVar", "FROM alpine\nCOPY bin-«$TARGETARCH» /x\n", None),
    ("UndefinedVar", "FROM alpine\nRUN --mount=type=cache,target=«$D» true\n", None),
    ("UndefinedVar", "FROM golang:1.26\nENV PATH=«$HOME»/bin:$PATH\n", None),
    ("UndefinedVar", "FROM gcr.io/distroless/static\nARG A=«$B»\n", None),
    ("UndefinedVar", "FROM alpine AS a\nARG V=1\nFROM alpine\nLABEL v=«$V»\n", None),
    ("UndefinedVar", "FROM alpine\n«COPY <<EOF /x»\n$Y\nEOF\n", None),
    ("UndefinedVar", "FROM alpine\nUSER «$U»\nWORKDIR /«$W»\nVOLUME /«$V»\nSTOPSIGNAL «$S»\n",
     None),
    ("UndefinedVar", "FROM alpine\nENV A=1 B=«$A»\n", None),
    ("MultipleInstructionsDisallowed", 'FROM alpine\n«CMD ["a"]»\n«CMD ["b"]»\nCMD ["c"]\n', None),
    ("MultipleInstructionsDisallowed", "FROM alpine\n«HEALTHCHECK NONE»\nHEALTHCHECK CMD a\n",
     None),
    ("MultipleInstructionsDisallowed", 'FROM alpine\n«ENTRYPOINT ["a"]»\nENTRYPOINT ["a"]\n', None),
    ("LegacyKeyValueFormat", "FROM alpine\n«ENV A b»\n", "FROM alpine\nENV A=b\n"),
    ("LegacyKeyValueFormat", "FROM alpine\n«ENV  A   b  c»\n", 'FROM alpine\nENV  A="b  c"\n'),
    ("LegacyKeyValueFormat", "FROM alpine\n«LABEL d some $X text»\n",
     'FROM alpine\nLABEL d="some $X text"\n'),
    ("LegacyKeyValueFormat", 'FROM alpine\n«ENV A "b c"»\n', 'FROM alpine\nENV A="b c"\n'),
    ("LegacyKeyValueFormat", "FROM alpine\n«ENV A a\\ b»\n", "FROM alpine\nENV A=a\\ b\n"),
    ("LegacyKeyValueFormat", 'FROM alpine\n«ENV A "b" c»\n', None),
    ("LegacyKeyValueFormat", "FROM alpine\n«ENV A b \\»\n  # more\n  c\n",
     'FROM alpine\nENV A="b \\\n  # more\n  c"\n'),
    ("LegacyKeyValueFormat", "FROM alpine\n«ENV A =x»\nENV B=c\n",
     "FROM alpine\nENV A==x\nENV B=c\n"),
    ("RedundantTargetPlatform", "FROM «--platform=$TARGETPLATFORM» alpine AS x\n",
     "FROM alpine AS x\n"),
    ("RedundantTargetPlatform", "FROM alpine\nFROM  «--platform=${TARGETPLATFORM}»   scratch\n",
     "FROM alpine\nFROM  scratch\n"),
    ("RedundantTargetPlatform", "FROM «--platform=$TARGETPLATFORM» \\\n  alpine\n", None),
    ("SecretsUsedInArgOrEnv", "FROM alpine\nARG «API_KEY»\n", None),
    ("SecretsUsedInArgOrEnv", "FROM alpine\nENV A=1 «DB_PASSWORD»=x\n", None),
    ("SecretsUsedInArgOrEnv", "FROM alpine\nARG A «GITHUB_TOKEN»=x «auth»\n", None),
    ("InvalidDefaultArgInFrom", "ARG TAG\nFROM «alpine:$TAG»\n", None),
    ("InvalidDefaultArgInFrom", "ARG BASE\nFROM --platform=linux «$BASE» AS x\n", None),
    ("InvalidDefaultArgInFrom", 'ARG BASE=""\nFROM «${BASE}»\n', None),
    ("FromPlatformFlagConstDisallowed", "FROM «--platform=linux/amd64» alpine AS build\n", None),
    ("FromPlatformFlagConstDisallowed", "FROM «--platform=arm64» alpine\n", None),
    ("FromPlatformFlagConstDisallowed", "FROM «--platform=linux/arm64» alpine AS build-amd64\n",
     None),
    ("ExposeProtoCasing", "FROM alpine\nEXPOSE 80 «443/TCP» «53/Udp»\n",
     "FROM alpine\nEXPOSE 80 443/tcp 53/udp\n"),
    ("ExposeProtoCasing", "FROM alpine\nENV P=80/TCP\nEXPOSE «$P»\n", None),
    ("ExposeInvalidFormat", "FROM alpine\nEXPOSE «8080:80» 81\n", "FROM alpine\nEXPOSE 80 81\n"),
    ("ExposeInvalidFormat", "FROM alpine\nEXPOSE «127.0.0.1:8080:80/udp»\n",
     "FROM alpine\nEXPOSE 80/udp\n"),
    ("ExposeInvalidFormat", "FROM alpine\nEXPOSE «[::1]::80»\n", "FROM alpine\nEXPOSE 80\n"),
    ("InvalidDefinitionDescription", "FROM alpine\n# the version\n«ARG VERSION=1»\n", None),
    ("InvalidDefinitionDescription", "# builds it\n«FROM alpine AS build»\n", None),
    ("InvalidDefinitionDescription", "# A is one\n# then this\n«ARG A B»\nFROM alpine\n", None),
]  # fmt: skip

GOOD = {
    "StageNameCasing": (
        "FROM alpine AS build\n", "FROM ghcr.io/a/b:V1.0 AS build_2\n", "FROM alpine:Edge\n",
        "FROM alpine AS build\nCOPY A B\n",
    ),
    "FromAsCasing": (
        "from alpine as build\n", "FROM alpine AS as\n", "From alpine as build\n", "FROM alpine\n",
    ),
    "NoEmptyContinuation": (
        "FROM alpine\nRUN a && \\\n# why\n    b\n", "FROM alpine\n\n\nRUN a\n\nRUN b\n",
        "FROM alpine\nRUN <<EOF\na\n\nb\nEOF\n", "FROM alpine\nCOPY <<EOF /x\n\n\nEOF\n",
        "FROM alpine\nRUN a \\\n  \\\n  b\n",
    ),
    "ConsistentInstructionCasing": (
        "from alpine\nrun a\n", "arg A=1\nFROM alpine\nRUN a\n",
        "FROM alpine\nHEALTHCHECK cmd true\nONBUILD run a\n",
        "FROM alpine\nRUN <<EOF\nrun x\nEOF\n",
        "FROM alpine as x\nRUN a\n",
    ),
    "DuplicateStageName": (
        "FROM alpine AS a\nFROM alpine AS b\n", "FROM alpine\nFROM alpine\n",
        "FROM alpine AS a\nFROM a AS ab\n",
    ),
    "ReservedStageName": (
        "FROM scratch\n", "FROM scratch AS base\n", "FROM alpine AS contexts\n",
        "FROM alpine\nCOPY scratch context/\n",
    ),
    "JSONArgsRecommended": (
        'FROM alpine\nCMD ["./server"]\n', 'FROM alpine\nSHELL ["/bin/sh", "-c"]\nCMD ./server\n',
        'FROM alpine AS a\nSHELL ["/bin/sh", "-c"]\nFROM a\nENTRYPOINT ./server\n',
        "FROM alpine\nRUN ./server\nHEALTHCHECK CMD ./server -check\n", "FROM alpine\nCMD []\n",
        "FROM mcr.microsoft.com/windows/nanoserver:ltsc2022\nCMD server.exe\n",
        "FROM alpine\nONBUILD CMD ./server\n",
    ),
    "MaintainerDeprecated": (
        "FROM alpine\nLABEL maintainer=Ann\n", "# MAINTAINER Ann\nFROM alpine\n",
        "FROM alpine\nRUN echo \\\nMAINTAINER Ann\n",
        "FROM alpine\nRUN <<EOF\nMAINTAINER Ann\nEOF\n",
    ),
    "UndefinedArgInFrom": (
        "ARG TAG=3\nFROM alpine:$TAG\n", "FROM --platform=$BUILDPLATFORM alpine\n",
        "ARG TAG\nFROM alpine:${TAG:-3}\n", "FROM alpine\nRUN echo $X\n",
        "FROM scratch AS b-amd64\nFROM scratch AS b-arm64\nFROM b-${TARGETARCH}\n",
        "ARG A=$B\nFROM alpine\n",
    ),
    "WorkdirRelativePath": (
        "FROM alpine\nWORKDIR /app\nWORKDIR more\n", 'FROM alpine\nWORKDIR "/app"\n',
        "FROM alpine AS a\nWORKDIR /x\nFROM a\nWORKDIR y\n", "FROM alpine\nARG DIR\nWORKDIR $DIR\n",
        "FROM alpine\nENV DIR=/x\nWORKDIR ${DIR}/y\n", "FROM example.com/w\nWORKDIR C:/app\n",
        "FROM example.com/x\nWORKDIR $HOME\n", "FROM alpine\nRUN cd app\n",
    ),
    "UndefinedVar": (
        "FROM example.com/base\nENV A=$B\n", "FROM alpine\nARG B\nENV A=$B\n",
        "FROM alpine\nENV A=${B:-x} C=/x${D:+:$D} E=${F-y}\n", "FROM alpine\nRUN echo $B\nCMD $B\n",
        "FROM golang:1.26\nENV A=$GOPATH/bin:$PATH:$GOLANG_DOWNLOAD_SHA256\n",
        "FROM alpine AS a\nARG V=1\nENV W=2\nFROM a\nLABEL v=$V w=$W\n",
        "ARG V=1\nFROM alpine\nARG V\nLABEL v=$V\n", "FROM alpine\nENV A=\\$B C='$D'\n",
        "FROM alpine\nARG TARGETARCH\nCOPY x-$TARGETARCH /x\n", "ARG BASE\nFROM $BASE\nENV A=$B\n",
        "FROM alpine AS a\nONBUILD ARG V=1\nFROM a\nLABEL v=$V\n", "FROM alpine\nEXPOSE $P\n",
        "FROM alpine\nCOPY <<'EOF' /x\n$Y\nEOF\n", "FROM alpine\nONBUILD ENV A=$B\n",
        "FROM gcr.io/distroless/java21\nENV A=$JAVA_HOME\n",
        "FROM cgr.dev/chainguard/go\nENV A=$B\n",
        "FROM gcr.io/distroless/base-debian12\nENV A=$SSL_CERT_FILE\n",
        "FROM alpine\nARG A=1 B=$A\n", "FROM fedora:44\nENV A=$container\n",
    ),
    "MultipleInstructionsDisallowed": (
        'FROM alpine\nCMD ["a"]\nENTRYPOINT ["b"]\n',
        'FROM alpine\nCMD ["a"]\nFROM alpine\nCMD ["b"]\n',
        "FROM alpine\nRUN a\nRUN b\nENV A=1\nENV A=2\n",
        'FROM alpine AS a\nCMD ["a"]\nFROM a\nCMD ["b"]\n',
        'FROM alpine\nCMD ["a"]\nONBUILD CMD ["b"]\n',
    ),
    "LegacyKeyValueFormat": (
        "FROM alpine\nENV A=b C=d\n", 'FROM alpine\nLABEL "a"="b c"\n',
        "FROM alpine\nENV A=b \\\n    C=d\n", "FROM alpine\nARG A B\n", "FROM alpine\nENV A=\n",
    ),
    "RedundantTargetPlatform": (
        "FROM --platform=$BUILDPLATFORM alpine\n", "FROM alpine\n",
        "ARG TARGETPLATFORM=linux/arm64\nFROM --platform=$TARGETPLATFORM alpine\n",
        "FROM --platform=linux/$TARGETARCH alpine\n",
        "ARG P=linux/amd64\nFROM --platform=$P alpine\n",
        "FROM --platform=linux/amd64 alpine\n",
    ),
    "SecretsUsedInArgOrEnv": (
        "FROM alpine\nARG PUBLIC_KEY\nENV TOKEN_FILE=/x KEYBOARD=us AUTHOR=ann\n",
        "ARG TOKEN\nFROM alpine\n", "FROM alpine\nRUN export TOKEN=x\n",
        "FROM alpine\nLABEL token=x\n",
        "FROM alpine\nRUN --mount=type=secret,id=t,env=TOKEN true\n",
    ),
    "InvalidDefaultArgInFrom": (
        "ARG TAG=3\nFROM alpine:$TAG\n", "ARG TAG\nFROM alpine:${TAG:-3}\n", "FROM alpine\n",
        "ARG W=a\nFROM alpine AS a\nFROM $W\n", "ARG BASE=scratch\nFROM $BASE\n",
        "ARG R=example.com\nARG I=$R/x\nFROM ${I}:1\n",
        "FROM scratch AS b-amd64\nFROM b-$TARGETARCH\n",
    ),
    "FromPlatformFlagConstDisallowed": (
        "FROM --platform=linux/amd64 alpine AS build-amd64\n",
        "FROM --platform=linux/amd64 alpine AS linux-tools\n",
        "FROM --platform=$BUILDPLATFORM alpine\n", "ARG P=linux/arm64\nFROM --platform=$P alpine\n",
        "FROM --platform=$NOTHING alpine\n",
    ),
    "ExposeProtoCasing": (
        "FROM alpine\nEXPOSE 80/tcp 81 82/udp\n", "FROM alpine\nEXPOSE $PORT\n",
        "FROM alpine\nEXPOSE 80/HTTP\n", "FROM alpine\nENV P=80/tcp\nEXPOSE $P\n",
    ),
    "ExposeInvalidFormat": (
        "FROM alpine\nEXPOSE 80 81/udp 8000-8010/tcp\n", "FROM alpine\nEXPOSE :80\n",
        "FROM alpine\nEXPOSE ${PORT:-80}\n", "FROM alpine\nARG PORT=80\nEXPOSE $PORT\n",
    ),
    "InvalidDefinitionDescription": (
        "FROM alpine\n# VERSION of it\nARG VERSION=1\n", "# the base\nFROM alpine\n",
        "# the base\n#\nFROM alpine AS base\n", "# first\n# B is\nARG A B\nFROM alpine\n",
        "FROM alpine\n# runs\nRUN a\n", "# syntax=docker/dockerfile:1\nFROM alpine AS base\n",
    ),
}  # fmt: skip


def looked(name, text, context=None):
    subject = Subject("Dockerfile", text, context)
    return subject, list(BY_ID[name].look(subject, BY_ID[name]))


def unmarked(text):
    """The text without its marks, and the characters between them."""
    places, plain = [], ""
    for part in re.split("([«»])", text):
        if part == "«":
            places.append(len(plain))
        elif part == "»":
            places.append((places.pop(), len(plain)))
        else:
            plain += part
    return plain, places


def span(subject, place):
    return subject.text.offset(place.start), subject.text.offset(place.end)


def mended(name, text):
    """The text after one mend after another, until there is none left; None if there is none."""
    before = text
    for _ in range(10):
        subject, found = looked(name, text)
        fixes = [finding.fix for finding in found if finding.fix]
        if not fixes:
            return None if text == before else text
        text = apply(subject.text, fixes[0].edits)
    raise AssertionError("mending has no end")


@pytest.mark.parametrize(("name", "marked", "after"), BAD)
def test_it_is_found_there_and_mended(name, marked, after):
    text, places = unmarked(marked)
    subject, found = looked(name, text)
    assert sorted(span(subject, finding.range) for finding in found) == places
    for finding in found:
        assert finding.message
        assert finding.hint
        assert "\n" not in finding.message + finding.hint
        assert finding.fix is None or finding.rule.mends
    assert mended(name, text) == after


@pytest.mark.parametrize("name", sorted({name for name, _, after in BAD if after}))
def test_mends_keep_the_ends_of_lines(name):
    marked, after = next((marked, after) for rule, marked, after in BAD if rule == name and after)
    text, _ = unmarked(marked)
    assert mended(name, text.replace("\n", "\r\n")) == after.replace("\n", "\r\n")


@pytest.mark.parametrize(("name", "text"), [(name, text) for name in GOOD for text in GOOD[name]])
def test_it_is_left_alone(name, text):
    assert looked(name, text)[1] == []


def test_all_of_buildkits_checks_are_here_but_the_one_that_asks_a_registry():
    assert set(BY_ID) == BUILDKIT - {"InvalidBaseImagePlatform"}
    assert [rule.id for rule in EXPERIMENTAL] == ["InvalidDefinitionDescription"]


def test_names_are_ids_in_small_letters():
    for rule in BY_ID.values():
        words = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=JSON)(?=[A-Z])", "-", rule.id).lower()
        assert rule.name == words
        assert rule.mends == any(name == rule.id and after for name, _, after in BAD)


def test_every_rule_has_its_tables():
    assert {name for name, _, _ in BAD} == set(BY_ID) - {"CopyIgnoredFile"}
    assert all(len(GOOD[name]) >= 3 for name in set(BY_ID) - {"CopyIgnoredFile"})


def test_only_a_command_in_exec_form_changes_the_image():
    for name, marked, after in BAD:
        if after:
            fixes = [finding.fix for finding in looked(name, unmarked(marked)[0])[1] if finding.fix]
            assert {fix.safe for fix in fixes} == {name != "JSONArgsRecommended"}


def test_two_mends_of_one_from_do_not_undo_each_other():
    text = "FROM alpine as x\nrun a\nrun b\n"
    subject, casing = looked("ConsistentInstructionCasing", text)
    _, alias = looked("FromAsCasing", text)
    # Both write AS, so that only one of them is taken in one pass.
    edited = {edit.range for edit in casing[0].fix.edits}
    assert edited & {edit.range for edit in alias[0].fix.edits}
    assert apply(subject.text, casing[0].fix.edits) == "from alpine as x\nrun a\nrun b\n"


def test_a_broken_file_gets_what_can_be_said():
    text = "FROM alpine as x\nFOO bar\nENV A b\nCMD [\n"
    for rule in BY_ID.values():
        list(rule.look(Subject("Dockerfile", text), rule))
    assert [finding.range.start.line for finding in looked("LegacyKeyValueFormat", text)[1]] == [3]


EMPTY = ("", "\n", "# only\n", "RUN a\n", "ARG A\n", "FROM\n", "FROM a b c\n")


@pytest.mark.parametrize("text", EMPTY)
def test_nothing_to_look_at(text):
    for rule in BY_ID.values():
        assert list(rule.look(Subject("Dockerfile", text), rule)) == []


# --- CopyIgnoredFile ----------------------------------------------------------------------------


@pytest.fixture
def hidden(tmp_path):
    """What the check finds of a Dockerfile beside an ignore file and some files."""

    def find(ignore, text, *names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("")
        (tmp_path / ".dockerignore").write_text(ignore)
        text, places = unmarked(text)
        subject, found = looked("CopyIgnoredFile", text, Context(str(tmp_path)))
        assert sorted(span(subject, finding.range) for finding in found) == places
        return found

    return find


def test_a_hidden_file_is_copied(hidden):
    found = hidden("*.sum\n", "FROM scratch\nCOPY go.mod «go.sum» ./\n", "go.mod", "go.sum")
    assert ".dockerignore" in found[0].message
    assert "*.sum" in found[0].hint


@pytest.mark.parametrize(
    ("ignore", "line"),
    [
        ("bin\n", "COPY «bin/server» /"),
        ("bin\n", "COPY «./bin/» /"),
        ("bin\n", "COPY «/bin/server» /"),
        ("bin\n", 'COPY «["bin/server",» "/"]'),
        ("*.md\n", "ADD «*.md» /"),
        ("*\n", "COPY «.» /"),
        ("**\n", "COPY «.» /"),
        ("bin\n!go.mod\n", "COPY «bin/x» /"),
    ],
)
def test_what_is_hidden(hidden, ignore, line):
    hidden(ignore, f"FROM scratch\n{line}\n")


@pytest.mark.parametrize(
    ("ignore", "line"),
    [
        ("bin\n", "COPY --from=x bin/server /"),
        ("bin\n", "ADD https://example.com/bin /bin"),
        ("bin\n", "COPY cmd /bin"),
        ("bin\n!bin/server\n", "COPY bin/server /"),
        ("bin\n!bin/server\n", "COPY bin /"),
        ("*\n!go.mod\n", "COPY . /"),
        ("*.md\n!README.md\n", "COPY *.md /"),
        ("docs\n", "COPY . /"),
        ("bin\n", "ARG B\nCOPY $B/x /"),
        ("bin\n", "COPY <<bin /x\nbin"),
        ("", "COPY bin /"),
    ],
)
def test_what_is_not_hidden(hidden, ignore, line):
    text = f"FROM scratch AS x\nFROM scratch\n{line}\n"
    assert hidden(ignore, text, "go.mod", "README.md", "bin/server") == []


def test_without_a_build_context_nothing_is_known():
    assert looked("CopyIgnoredFile", "FROM scratch\nCOPY a /a\n")[1] == []


def test_what_is_taken_back_may_be_built_before(hidden):
    """`COPY .` of a context of which only what a build leaves there is let in."""
    assert hidden("*\n!release/\n", "FROM scratch\nCOPY . /\n", "go.mod") == []
