# SPDX-License-Identifier: Apache-2.0
"""FROM, stages, targets, COPY --from, named contexts and platforms."""

from differential.model import Case, Dir, File, Link, Meant

_DEVICES = Meant(
    "BuildKit makes a character device of a block device", "disk type: BuildKit char, wherry block$"
)
_TREE = "FROM %REGISTRY%/tree AS t\n"
_FROM_TREE = _TREE + "FROM scratch\n"


def _from(name: str, words: str, **more: object) -> Case:
    """A COPY from the tree base into nothing."""
    return Case(name, f"{_FROM_TREE}COPY --from=t {words}\n", **more)  # type: ignore[arg-type]


CASES = [
    # COPY --from
    _from("from-all", "/ /", sample=True, meant=_DEVICES),
    _from("from-all-below", "/ /all", meant=_DEVICES),
    _from("from-keeps-owners", "/srv /srv", sample=True),
    _from("from-file", "/srv/data/one /one"),
    _from("from-special-modes", "/bin /b"),
    _from("from-relative", "srv/data/one /one"),
    _from("from-link", "/link /got"),
    _from("from-link-to-file", "/to-file /got", sample=True),
    _from("from-link-contents", "/link/ /got/"),
    _from("from-absolute-link", "/abs /got"),
    _from("from-through-link", "/link/one /got"),
    _from("from-through-link-up", "/etc/up/one /got"),
    _from("from-dangling", "/dangling /got", refused=True),
    _from("from-loop", "/loop /got", refused=True),
    _from("from-below-loop", "/loop/x /got", refused=True),
    _from("from-hard-links", "/hard1 /hard2 /h/"),
    _from("from-one-hard-link", "/hard1 /h"),
    _from("from-xattrs", "/noted /capable /noted-dir /x/"),
    _from("from-capability-chown", "--chown=5:6 /capable /x/"),
    _from("from-suid-chown", "--chown=5:6 /bin/tool /x/"),
    _from("from-suid-chmod", "--chmod=a+r /bin/tool /x/"),
    _from("from-pipe", "/pipe /p"),
    _from("from-devices", "/null /disk /dev/", meant=_DEVICES),
    _from("from-closed-dir", "/srv/closed /c"),
    _from("from-sticky-to-root", "/tmp /"),
    _from("from-wild", "/srv/data/* /w/", sample=True),
    _from("from-wild-none", "/srv/none* /w/"),
    _from("from-wild-through-link", "/link/o* /w/"),
    _from("from-missing", "/nothing /w/", refused=True, sample=True),
    _from("from-chown-same", "--chown=1000:50 /srv/data /d"),
    _from("from-chmod-dirs", "--chmod=u=rwX,go= /srv/data /d"),
    _from("from-up", "../../file /f"),
    Case("from-layers-with-whiteouts", "FROM %REGISTRY%/layers AS l\nFROM scratch\n"
         "COPY --from=l / /\n", sample=True),
    Case("from-dir-over-other", "FROM %REGISTRY%/tree AS t\nFROM %REGISTRY%/layers\n"
         "COPY --from=t /srv/data /a\n", sample=True),
    Case("from-index", "FROM %REGISTRY%/layers\nFROM scratch\nCOPY --from=0 /d /d\n"),
    Case("from-index-later", "FROM scratch AS a\nCOPY --from=1 /d /d\nFROM %REGISTRY%/layers\n",
         target="a", refused=True),
    Case("from-index-self", "FROM scratch\nCOPY --from=0 /d /d\n", refused=True),
    Case("from-index-beyond", "FROM scratch\nCOPY --from=7 /d /d\n", refused=True),
    Case("from-image", "FROM scratch\nCOPY --from=%REGISTRY%/layers /d /d\n", sample=True),
    Case("from-image-unknown", "FROM scratch\nCOPY --from=%REGISTRY%/none /d /d\n", refused=True),
    Case("from-name-case", "FROM %REGISTRY%/layers AS Big\nFROM scratch\nCOPY --from=bIG /d /d\n"),
    Case("from-variable", "FROM %REGISTRY%/layers AS l\nFROM scratch\nARG S=l\n"
         "COPY --from=$S /d /d\n", refused=True),
    Case("from-unknown-near", "FROM %REGISTRY%/layers AS builder\nFROM scratch\n"
         "COPY --from=%REGISTRY%/bulider /d /d\n", refused=True),
    Case("from-empty", "FROM scratch\nCOPY --from= a /d\n", {"a": "A"}),
    Case("from-scratch", "FROM scratch\nCOPY --from=scratch /a /d\n", {"a": "A"}, refused=True),
    Case("from-empty-stage", "FROM scratch AS e\nFROM scratch\nCOPY --from=e / /x\n"),
    Case("from-stage-with-files", "FROM scratch AS e\nCOPY . /in/\nWORKDIR /in/w\nFROM scratch\n"
         "COPY --from=e /in /out\n", {"a": File("A", 0o600), "l": Link("a"), "d": Dir(0o700)}),
    # FROM
    Case("scratch-only", "FROM scratch\n", sample=True),
    Case("scratch-as", "FROM scratch AS one\n"),
    Case("base-only", "FROM %REGISTRY%/tree\n", sample=True),
    Case("base-full", "FROM %REGISTRY%/full\n", sample=True),
    Case("base-bare", "FROM %REGISTRY%/bare\n"),
    Case("base-empty", "FROM %REGISTRY%/empty\nCOPY a /\n", {"a": "A"}),
    Case("base-layers", "FROM %REGISTRY%/layers\n"),
    Case("base-busybox", "FROM %REGISTRY%/busybox\nCOPY a /\n", {"a": "A"}, sample=True),
    Case("base-tag", "FROM %REGISTRY%/layers:latest\n"),
    Case("base-unknown", "FROM %REGISTRY%/none\n", refused=True, sample=True),
    Case("base-bad-name", "FROM Not/A/Name\n", refused=True),
    Case("base-bad-digest", "FROM %REGISTRY%/tree@sha256:12\n", refused=True),
    Case("from-arg", "ARG BASE=layers\nARG HOST\nFROM ${HOST}/${BASE}\n",
         args={"HOST": "%REGISTRY%"}, sample=True),
    Case("from-arg-default-form", "FROM %REGISTRY%/${BASE:-layers}\n"),
    Case("from-arg-unset", "FROM ${NOTHING}\n", refused=True, sample=True),
    Case("from-arg-not-in-stage", "ARG V=x\nFROM scratch\nLABEL v=\"$V\"\n"),
    Case("from-arg-again-in-stage", "ARG V=x\nFROM scratch\nARG V\nLABEL v=\"$V\"\n"),
    Case("from-arg-other-default", "ARG V=x\nFROM scratch\nARG V=y\nLABEL v=\"$V\"\n"),
    Case("from-arg-chain", "ARG A=lay\nARG B=${A}ers\nFROM %REGISTRY%/$B\n"),
    Case("from-stage", "FROM %REGISTRY%/full AS one\nENV A=1\nUSER 5\nFROM one\nENV B=$A\n",
         sample=True),
    Case("from-stage-case", "FROM scratch AS One\nENV A=1\nFROM oNe\n", refused=True),
    Case("from-stage-chain", "FROM %REGISTRY%/layers AS a\nCOPY f /1\nFROM a AS b\nCOPY f /2\n"
         "FROM b\nCOPY f /3\n", {"f": "F"}),
    Case("from-stage-name-arg", "ARG S=a\nFROM %REGISTRY%/layers AS a\nFROM $S\n"),
    Case("stage-arg-not-inherited", "FROM scratch AS a\nARG V=1\nENV E=$V\nFROM a\nENV F=x$V\n"),
    Case("stage-shell-inherited", "FROM scratch AS a\nSHELL [\"/x\"]\nFROM a\nCMD hello\n"),
    Case("stage-name-twice", "FROM %REGISTRY%/layers AS a\nFROM scratch AS a\nENV X=2\n"
         "FROM a\n"),
    Case("stage-shadows-image", "FROM scratch AS tree\nENV MINE=1\nFROM tree\n"),
    Case("stage-bad-name", "FROM scratch AS 1a\n", refused=True),
    Case("stage-name-scratch", "FROM scratch AS scratch\n"),
    Case("stage-name-context", "FROM scratch AS context\n"),
    Case("from-too-many", "FROM scratch AS a b\n", refused=True),
    Case("from-nothing", "FROM\n", refused=True),
    Case("from-as-nothing", "FROM scratch AS\n", refused=True),
    Case("from-lower-case", "from scratch as low\nenv A=b\n"),
    Case("no-from", "COPY a /\n", {"a": "A"}, refused=True, sample=True),
    Case("arg-then-no-from", "ARG A\nCOPY a /\n", {"a": "A"}, refused=True),
    Case("from-self", "FROM scratch AS a\nCOPY --from=a /x /y\n", refused=True),
    # targets and stages that are not needed
    Case("target", "FROM scratch AS a\nENV A=1\nFROM scratch AS b\nENV B=1\n", target="a",
         sample=True),
    Case("target-case", "FROM scratch AS Aa\nENV A=1\nFROM scratch\n", target="aA"),
    Case("target-number", "FROM scratch\nENV A=1\nFROM scratch\n", target="0", refused=True),
    Case("target-unknown", "FROM scratch AS builder\n", target="bulider", refused=True,
         sample=True),
    Case("target-number-beyond", "FROM scratch AS a\n", target="4", refused=True),
    Case("unneeded-stage-run", "FROM %REGISTRY%/busybox AS t\nRUN --mount=type=cache,target=/c x\n"
         "RUN exit 1\nFROM scratch\nCOPY a /\n", {"a": "A"}, sample=True),
    Case("unneeded-stage-missing-file", "FROM scratch AS t\nCOPY nothing /\nFROM scratch\n"
         "COPY a /\n", {"a": "A"}),
    Case("unneeded-stage-unknown-base", "FROM %REGISTRY%/none AS t\nFROM scratch\nCOPY a /\n",
         {"a": "A"}),
    Case("unneeded-stage-bad-flag", "FROM scratch AS t\nCOPY --nope a /\nFROM scratch\n",
         {"a": "A"}, refused=True),
    Case("unneeded-run-mounts", "FROM %REGISTRY%/busybox AS t\n"
         "RUN --mount=type=bind,from=%REGISTRY%/tree,target=/t --mount=type=secret,id=s "
         "--mount=type=ssh --mount=type=tmpfs,target=/x,size=1m --network=none "
         "--security=sandbox <<EOF\necho $X\nEOF\nFROM scratch\nENV A=1\n"),
    Case("unneeded-run-bad-mount", "FROM %REGISTRY%/busybox AS t\nRUN --mount=type=nope x\n"
         "FROM scratch\n", meant=Meant("errors of stages that are not needed are told, too")),
    Case("unneeded-run-bad-network", "FROM %REGISTRY%/busybox AS t\nRUN --network=nope x\n"
         "FROM scratch\n", refused=True),
    # platforms
    Case("platform-of-base", "FROM %REGISTRY%/two\n", platform="linux/arm64", sample=True),
    Case("platform-of-base-arm", "FROM %REGISTRY%/two\nCOPY a /\n", {"a": "A"},
         platform="linux/arm/v7"),
    Case("platform-both", "FROM %REGISTRY%/two\nARG TARGETARCH\nENV A=$TARGETARCH\n",
         platform="linux/amd64,linux/arm64", sample=True,
         meant=Meant("images for several platforms at once are not in this release")),
    Case("platform-flag", "FROM --platform=linux/arm64 %REGISTRY%/two\n"),
    Case("platform-flag-build", "FROM --platform=$BUILDPLATFORM %REGISTRY%/two AS b\n"
         "FROM %REGISTRY%/two\nCOPY --from=b /arch /built-on\n", platform="linux/arm64",
         sample=True),
    Case("platform-flag-target", "FROM --platform=$TARGETPLATFORM %REGISTRY%/two\n",
         platform="linux/arm64"),
    Case("platform-flag-bad", "FROM --platform=nonsense/x/y/z %REGISTRY%/two\n", refused=True),
    Case("platform-flag-empty", "FROM --platform=$NOTHING %REGISTRY%/two\n", refused=True),
    Case("platform-missing-in-index", "FROM %REGISTRY%/arm-only\n", refused=True, sample=True),
    Case("platform-plain-image-other", "FROM %REGISTRY%/tree\n", platform="linux/arm64"),
    Case("platform-scratch", "FROM scratch\nCOPY a /\n", {"a": "A"}, platform="linux/arm/v6"),
    Case("platform-scratch-flag", "FROM --platform=linux/s390x scratch\nENV A=1\n"),
    Case("platform-normalised", "FROM scratch\nENV A=1\n", platform="linux/aarch64"),
    Case("platform-arm-normalised", "FROM scratch\nARG TARGETPLATFORM TARGETVARIANT\n"
         "ENV A=$TARGETPLATFORM,$TARGETVARIANT\n", platform="linux/arm"),
    Case("platform-other-os", "FROM scratch\nENV A=1\n", platform="freebsd/amd64",
         meant=Meant("wherry builds linux images only")),
    Case("platform-args-all", "FROM scratch\n"
         "ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT\n"
         "ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT TARGETSTAGE\n"
         "ENV T=$TARGETPLATFORM,$TARGETOS,$TARGETARCH,$TARGETVARIANT "
         "B=$BUILDPLATFORM,$BUILDOS,$BUILDARCH,$BUILDVARIANT S=$TARGETSTAGE\n",
         platform="linux/arm/v7", sample=True),
    Case("platform-args-undeclared", "FROM scratch\nENV A=x$TARGETARCH\n"),
    Case("platform-args-overridden", "FROM scratch\nARG TARGETARCH\nENV A=$TARGETARCH\n",
         args={"TARGETARCH": "mine"}),
    Case("platform-args-default", "FROM scratch\nARG TARGETARCH=mine\nENV A=$TARGETARCH\n"),
    Case("platform-args-in-from", "FROM %REGISTRY%/two AS base-amd64\nENV X=1\n"
         "FROM %REGISTRY%/two AS base-arm64\nENV X=2\nFROM base-${TARGETARCH}\n",
         platform="linux/arm64"),
    Case("target-stage-arg", "FROM scratch AS a\nARG TARGETSTAGE\nENV S=$TARGETSTAGE\n"
         "FROM scratch AS b\n", target="a"),
    # named contexts
    Case("context-dir", "FROM scratch\nCOPY --from=extra . /got/\n",
         contexts={"extra": {"f": File("f", 0o600), "d/g": "g"}}, sample=True),
    Case("context-dir-file", "FROM scratch\nCOPY --from=extra f /got\n",
         contexts={"extra": {"f": "f", "d/g": "g"}}),
    Case("context-dir-missing", "FROM scratch\nCOPY --from=extra nothing /got\n",
         contexts={"extra": {"f": "f"}}, refused=True),
    Case("context-dir-dockerignore", "FROM scratch\nCOPY --from=extra . /got\n",
         {".dockerignore": "*\n"}, contexts={"extra": {"f": "f", "g": "g", ".dockerignore": "g\n"}},
         sample=True),
    Case("context-dir-as-base", "FROM extra\nENV A=1\nCOPY a /\n", {"a": "A"},
         contexts={"extra": {"f": "f"}},
         meant=Meant("BuildKit puts the line for the directory's files last, in other words",
                     "^history line")),
    Case("context-image", "FROM base\nENV A=1\n",
         contexts={"base": "docker-image://%REGISTRY%/full"}, sample=True),
    Case("context-image-copy", "FROM scratch\nCOPY --from=base /srv /srv\n",
         contexts={"base": "docker-image://%REGISTRY%/full"}),
    Case("context-image-over-stage", "FROM %REGISTRY%/tree AS build\nRUN exit 1\nFROM scratch\n"
         "COPY --from=build /d /d\n", contexts={"build": "docker-image://%REGISTRY%/layers"},
         sample=True),
    Case("context-over-image-name", "FROM alpine\n",
         contexts={"alpine": "docker-image://%REGISTRY%/layers"}),
    Case("context-over-image-short-name", "FROM docker.io/library/alpine:latest\n",
         contexts={"alpine": "docker-image://%REGISTRY%/layers"}),
    Case("context-over-scratch", "FROM scratch\nENV A=1\n",
         contexts={"scratch": "docker-image://%REGISTRY%/layers"}),
    Case("context-layout", "FROM base\nENV A=1\n", contexts={"base": "oci-layout://layers"},
         sample=True),
    Case("context-layout-copy", "FROM scratch\nCOPY --from=base /srv/data /d\n",
         contexts={"base": "oci-layout://tree"}),
    Case("context-layout-platform", "FROM base\n", contexts={"base": "oci-layout://tree"},
         platform="linux/arm64"),
    Case("context-platform-suffix", "FROM base\nENV A=1\n",
         contexts={"base::linux/amd64": "docker-image://%REGISTRY%/layers"}),
    Case("context-git", "FROM scratch\nCOPY --from=src . /src\n",
         contexts={"src": "http://%GIT%/project.git#v1"}),
    Case("context-url", "FROM scratch\nCOPY --from=src . /src\n",
         contexts={"src": "http://%HTTP%/plain.txt"}),
    Case("context-archive", "FROM scratch\nCOPY --from=src . /src\n",
         contexts={"src": "http://%HTTP%/archive.tar.gz"}),
    Case("context-unused", "FROM scratch\nENV A=1\n",
         contexts={"extra": "docker-image://%REGISTRY%/none"}),
    Case("context-unknown-image", "FROM base\n",
         contexts={"base": "docker-image://%REGISTRY%/none"}, refused=True),
    Case("context-onbuild", "FROM base\n", {"trigger.txt": "t"},
         contexts={"base": "docker-image://%REGISTRY%/onbuild"}),
]  # fmt: skip
