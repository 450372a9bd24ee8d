# SPDX-License-Identifier: Apache-2.0
"""Rules about the order of steps: what they find, what they leave alone, and what they write."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from wherry.advice import texts
from wherry.advice.context import Context
from wherry.advice.model import Finding
from wherry.advice.reading.go_module import GoModule
from wherry.advice.rules.cache_order import RULES
from wherry.advice.subject import Subject

MODULE = "module example.com/app\n\ngo 1.26\n\nrequire example.com/dep v1.2.3\n"
SUM = "example.com/dep v1.2.3 h1:x\n"
PLAIN = {"go.mod": MODULE, "go.sum": SUM, "main.go": "package main\n"}
GO = "FROM golang:1.26 AS build\n"
END = "FROM scratch\nCOPY --from=build /app /app\n"


def write(directory: Path, files: dict[str, str]) -> Context:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Context(str(directory))


def subject_of(text: str, context: Context | None) -> Subject:
    module = None
    if context is not None:
        module = GoModule.found(context.directory, dict(os.environ))
    return Subject("Dockerfile", text, context, module)


def found(rule: str, text: str, context: Context | None) -> list[Finding]:
    (asked,) = [item for item in RULES if item.id == rule]
    return list(asked.look(subject_of(text, context), asked))


def mended(rule: str, text: str, context: Context | None) -> str:
    """The text after the fixes of a rule, one after another; there is nothing left to mend."""
    for _ in range(5):
        findings = [item for item in found(rule, text, context) if item.fix is not None]
        if not findings:
            assert not found(rule, text, context)
            return text
        fix = findings[0].fix
        assert fix is not None
        subject = subject_of(text, context)
        new = texts.apply(subject.text, fix.edits)
        assert new != text
        text = new
    raise AssertionError("the fixes do not come to an end")


def places(rule: str, text: str, context: Context | None) -> list[str]:
    """What the findings point at."""
    subject = subject_of(text, context)
    return [subject.text.slice(item.range) for item in found(rule, text, context)]


# GO001


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("WORKDIR /src\nCOPY . .\nRUN go mod download\nRUN go build -o /app\n",
         "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
         "RUN go build -o /app\n"),
        ("WORKDIR /src\nCOPY . .\nRUN go build -o /app\n",
         "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
         "RUN go build -o /app\n"),
        ("WORKDIR /src\n\n# the sources\nCOPY ./ ./\n\n# modules\nRUN go mod download -x\n\n"
         "RUN go build -o /app\n",
         "WORKDIR /src\n\nCOPY go.mod go.sum ./\n# modules\nRUN go mod download -x\n\n"
         "# the sources\nCOPY ./ ./\n\nRUN go build -o /app\n"),
        ("ADD --chown=1:1 . /src\nWORKDIR /src\nRUN go build -o /app ./cmd\n",
         "WORKDIR /src\nCOPY --chown=1:1 go.mod go.sum /src/\nRUN go mod download\n"
         "ADD --chown=1:1 . /src\nRUN go build -o /app ./cmd\n"),
        ("WORKDIR /src\nCOPY . .\nRUN apk add --no-cache git\nRUN go mod download\nRUN go build\n",
         "WORKDIR /src\nRUN apk add --no-cache git\nCOPY go.mod go.sum ./\nRUN go mod download\n"
         "COPY . .\nRUN go build\n"),
        ("COPY . /src\nRUN cd /src && go build -o /app\n",
         "COPY go.mod go.sum /src/\nRUN cd /src && go mod download\nCOPY . /src\n"
         "RUN cd /src && go build -o /app\n"),
        ("WORKDIR /src\nCOPY go.mod go.sum ./\nCOPY . .\nRUN go mod download\nRUN go build\n",
         "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nRUN go build\n"),
        ("WORKDIR /src\nCOPY . .\nRUN --mount=type=ssh go build\n",
         "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN --mount=type=ssh go mod download\nCOPY . .\n"
         "RUN --mount=type=ssh go build\n"),
        ("WORKDIR /src\ncopy . .\nrun go mod download && go build\n",
         "WORKDIR /src\ncopy go.mod go.sum ./\nrun go mod download\ncopy . .\n"
         "run go mod download && go build\n"),
        ("WORKDIR /src\nCOPY . .\nRUN go get -d -v ./...\nRUN go build\n",
         "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
         "RUN go get -d -v ./...\nRUN go build\n"),
        ("RUN mkdir /a\nADD . /a\nWORKDIR /a\nCOPY go.mod .\nCOPY go.sum .\nRUN go mod download\n"
         "COPY . .\nRUN go build\n",
         "RUN mkdir /a\nWORKDIR /a\nCOPY go.mod .\nCOPY go.sum .\nRUN go mod download\n"
         "COPY . .\nRUN go build\n"),
        ("WORKDIR /src\nCOPY . .\nENV CGO_ENABLED=0\nRUN go mod download",
         "WORKDIR /src\nENV CGO_ENABLED=0\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . ."),
    ],
)  # fmt: skip
def test_sources_go_behind_the_download(tmp_path: Path, bad: str, good: str) -> None:
    context = write(tmp_path, PLAIN)
    assert mended("GO001", GO + bad, context) == GO + good


def test_the_copy_is_pointed_at(tmp_path: Path) -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go build -o /app ./...\n"
    context = write(tmp_path, PLAIN)
    (finding,) = found("GO001", text, context)
    assert finding.range.lines == (3, 3)
    assert finding.message.startswith("all sources are copied before go build fetches the modules")
    subject = subject_of(text, context)
    assert subject.text.slice(finding.related[0][0]) == "go build -o /app ./..."


def test_a_second_copy_behind_the_download_is_named(tmp_path: Path) -> None:
    context = write(tmp_path, PLAIN)
    text = (
        GO
        + "WORKDIR /src\nCOPY . .\nCOPY go.mod ./\nRUN go mod download\nCOPY {} .\nRUN go build\n"
    )
    (finding,) = found("GO001", text.format("."), context)
    assert finding.hint == "leave it out: line 6 copies the same"
    (finding,) = found("GO001", text.format("main.go"), context)
    assert finding.hint == "copy go.mod and go.sum and run go mod download before it"


def test_lines_keep_their_ends(tmp_path: Path) -> None:
    text = (GO + "WORKDIR /src\nCOPY . .\nRUN go mod download\n").replace("\n", "\r\n")
    new = mended("GO001", text, write(tmp_path, PLAIN))
    assert new == (
        GO + "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
    ).replace("\n", "\r\n")


def test_without_a_go_sum_none_is_copied(tmp_path: Path) -> None:
    context = write(tmp_path, {"go.mod": MODULE})
    new = mended("GO001", GO + "WORKDIR /src\nCOPY . .\nRUN go build\n", context)
    assert "COPY go.mod ./\n" in new


def test_replacements_and_workspaces_are_copied_first(tmp_path: Path) -> None:
    files = {
        "api/go.mod": MODULE + "replace example.com/dep => ../dep\nrequire example.com/o v1.0.0\n",
        "api/go.sum": SUM,
        "dep/go.mod": "module example.com/dep\n",
        "go.work": "go 1.26\n\nuse (\n\t./api\n\t./dep\n)\n",
    }
    text = GO + "WORKDIR /src\nCOPY . .\nWORKDIR /src/api\nRUN go build -o /app\n"
    assert mended("GO001", text, write(tmp_path, files)) == GO + (
        "WORKDIR /src\nCOPY go.work ./\nCOPY api/go.mod api/go.sum ./api/\nCOPY dep/go.mod ./dep/\n"
        "RUN cd /src/api && go mod download\nCOPY . .\nWORKDIR /src/api\nRUN go build -o /app\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "COPY . .\nRUN git config --global url.x.insteadOf y && go build\n",
        "COPY . .\nRUN ./setup.sh\nRUN go build\n",
        "COPY . .\nENV GOPROXY=https://proxy.example\nCOPY x y\nRUN go build\n",
    ],
)
def test_no_fix_where_the_download_may_need_more(tmp_path: Path, text: str) -> None:
    (finding,) = found("GO001", GO + "WORKDIR /src\n" + text, write(tmp_path, PLAIN))
    assert finding.fix is None


@pytest.mark.parametrize(
    "text",
    [
        "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nRUN go build\n",
        "COPY go.* ./\nRUN make modules\nCOPY . .\nRUN go build\n",
        "COPY . .\nRUN go build -mod=vendor\n",
        "COPY . .\nENV GOFLAGS=-mod=vendor\nRUN go build\n",
        "COPY . .\nRUN --mount=type=cache,target=/go/pkg/mod go build\n",
        "COPY . .\nRUN --mount=type=cache,target=/go go mod download\n",
        "COPY . .\nRUN make\n",
        "COPY . .\nRUN go version && go fmt ./...\n",
        "COPY . .\nRUN go install example.com/tool@v1.0.0\n",
        "RUN --mount=type=bind,source=go.mod,target=go.mod go mod download\nCOPY . .\n"
        "RUN go build\n",
        "COPY --from=modules /go/pkg/mod /go/pkg/mod\nCOPY . .\nRUN go build\n",
        "COPY cmd ./cmd\nCOPY go.mod ./\nRUN go build ./cmd\n",
        "COPY $SOURCES .\nRUN go build\n",
        "COPY . .\nENV GO111MODULE=off\nRUN go build\n",
        "COPY . .\nRUN cd $(dirname x) && go build\n",
        "COPY . .\nRUN if [ ! -f app ]; then go build -o app; fi\n",
        "COPY . .\nRUN set -e; case $X in a) go mod download;; esac\n",
        "COPY . .\nRUN go get -u ./... && go build\n",
        "COPY --from=build2 . .\nRUN go build\n",
    ],
)
def test_orders_that_are_left_alone(tmp_path: Path, text: str) -> None:
    context = write(tmp_path, {**PLAIN, "cmd/x.go": "package main\n"})
    text = f"FROM golang:1.26 AS modules\n{GO}WORKDIR /src\n{text}"
    assert not found("GO001", text, context)


@pytest.mark.parametrize(
    "files",
    [
        {"go.mod": "module example.com/app\n"},
        {**PLAIN, "vendor/modules.txt": "# example.com/dep v1.2.3\n"},
        {"main.go": "package main\n"},
        {**PLAIN, ".dockerignore": "go.mod\n"},
        {"go.mod": MODULE + "replace example.com/dep => ./dep\n", "dep/go.mod": "module d\n"},
        {"go.mod": MODULE, "go.work": "go 1.26\nuse (\n.\n./dep\n)\n",
         "dep/go.mod": "module example.com/dep\n"},
    ],
)  # fmt: skip
def test_modules_with_nothing_to_fetch(tmp_path: Path, files: dict[str, str]) -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go build\n"
    assert not found("GO001", text, write(tmp_path, files))


def test_a_module_of_the_workspace_brings_what_it_requires(tmp_path: Path) -> None:
    dep = "module example.com/dep\n\nrequire example.com/far v1.0.0\n"
    work = "go 1.26\nuse (\n.\n./dep\n)\n"
    context = write(tmp_path, {"go.mod": MODULE, "go.work": work, "dep/go.mod": dep})
    assert found("GO001", GO + "WORKDIR /src\nCOPY . .\nRUN go build\n", context)


def test_without_the_context_a_download_alone_tells() -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go {}\n"
    (finding,) = found("GO001", text.format("mod download"), None)
    assert finding.fix is None
    assert not found("GO001", text.format("build"), None)


def test_bases_that_are_not_known_may_hold_the_modules(tmp_path: Path) -> None:
    text = "FROM registry.example/builder\nWORKDIR /src\nCOPY . .\nRUN go build\n"
    assert not found("GO001", text, write(tmp_path, PLAIN))


def test_the_stage_that_stands_on_the_copy_counts(tmp_path: Path) -> None:
    text = "FROM golang:1.26 AS base\nWORKDIR /src\nCOPY . .\nFROM base\nRUN go build\n"
    new = mended("GO001", text, write(tmp_path, PLAIN))
    assert "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\nFROM base\n" in new


# GO002


REPLACED = MODULE + "require example.com/lib v0.0.0\nreplace example.com/lib => ./lib\n"
WORK = "go 1.26\nuse .\nuse ./lib\n"


@pytest.mark.parametrize(
    ("files", "bad", "good"),
    [
        (PLAIN, "COPY go.mod .\n", "COPY go.mod go.sum ./\n"),
        (PLAIN, "COPY go.mod ./\n", "COPY go.mod go.sum ./\n"),
        (PLAIN, "COPY ./go.mod /src/\n", "COPY ./go.mod ./go.sum /src/\n"),
        (PLAIN, "COPY go.mod /src/go.mod\n", "COPY go.mod /src/go.mod\nCOPY go.sum /src/\n"),
        (PLAIN, 'COPY ["go.mod", "./"]\n', 'COPY ["go.mod", "./"]\nCOPY go.sum ./\n'),
        ({**PLAIN, "go.mod": REPLACED, "lib/go.mod": "module example.com/lib\n"},
         "COPY --chown=1 go.mod go.sum ./\n",
         "COPY --chown=1 go.mod go.sum ./\nCOPY --chown=1 lib/go.mod ./lib/\n"),
        ({**PLAIN, "go.work": WORK, "lib/go.mod": "module example.com/lib\n"},
         "COPY go.mod go.sum go.work ./\n",
         "COPY go.mod go.sum go.work ./\nCOPY lib/go.mod ./lib/\n"),
        ({**PLAIN, "go.work": WORK, "lib/go.mod": "module example.com/lib\n", "lib/go.sum": SUM},
         "COPY go.mod go.sum ./\n",
         "COPY go.mod go.sum go.work ./\nCOPY lib/go.mod lib/go.sum ./lib/\n"),
    ],
)  # fmt: skip
def test_what_the_download_reads_is_copied(
    tmp_path: Path, files: dict[str, str], bad: str, good: str
) -> None:
    text = GO + "WORKDIR /src\n{}RUN go mod download\nCOPY . .\nRUN go build\n"
    context = write(tmp_path, files)
    (finding,) = found("GO002", text.format(bad), context)
    assert finding.range.lines == (3, 3)
    assert mended("GO002", text.format(bad), context) == text.format(good)


def test_what_comes_of_missing_files(tmp_path: Path) -> None:
    text = GO + "WORKDIR /src\nCOPY go.mod ./\nRUN go mod download\nCOPY . .\n"
    context = write(tmp_path, {**PLAIN, "go.mod": REPLACED, "lib/go.mod": "module l\n"})
    (finding,) = found("GO002", text, context)
    assert finding.message == (
        "go mod download fails without lib/go.mod, which a replace in go.mod names"
    )
    assert finding.hint == "copy go.sum and lib/go.mod too before go mod download"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (PLAIN, "COPY go.mod go.sum ./\nRUN go mod download\n"),
        (PLAIN, "COPY go.* ./\nRUN go mod download\n"),
        (PLAIN, "COPY go.mod ./\nCOPY go.sum ./\nRUN go mod download\n"),
        (PLAIN, "COPY . .\nRUN go mod download\n"),
        (PLAIN, "COPY go.mod ./\nRUN touch go.sum\nRUN go mod download\n"),
        (PLAIN, "COPY go.mod ./\nRUN ./prepare && go mod download\n"),
        (PLAIN, "COPY go.mod ./\nRUN --mount=type=bind,target=. go mod download\n"),
        (PLAIN, "COPY $FILES ./\nRUN go mod download\n"),
        (PLAIN, "COPY go.mod ./\nRUN go build\n"),
        ({"go.mod": MODULE}, "COPY go.mod ./\nRUN go mod download\n"),
        ({"go.mod": "module example.com/app\n", "go.sum": ""},
         "COPY go.mod ./\nRUN go mod download\n"),
        ({**PLAIN, ".dockerignore": "go.sum\n"}, "COPY go.mod ./\nRUN go mod download\n"),
        ({**PLAIN, "go.work": WORK, "lib/go.mod": "module example.com/lib\n"},
         "ENV GOWORK=off\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"),
        ({**PLAIN, "go.work": WORK, "lib/go.mod": "module example.com/lib\n"},
         "COPY go.mod go.sum ./\nRUN go mod download\nCOPY main.go ./\n"),
        ({**PLAIN, "go.mod": MODULE + "replace example.com/unused => ./lib\n",
          "lib/go.mod": "module l\n"}, "COPY go.mod go.sum ./\nRUN go mod download\n"),
        ({**PLAIN, "go.mod": REPLACED, "lib/go.mod": "module l\n"},
         "COPY go.mod go.sum ./\nCOPY lib lib\nRUN go mod download\n"),
    ],
)  # fmt: skip
def test_early_copies_that_are_left_alone(tmp_path: Path, files: dict[str, str], text: str) -> None:
    assert not found("GO002", f"{GO}WORKDIR /src\n{text}", write(tmp_path, files))


# GO004


@pytest.mark.parametrize(
    ("bad", "good"),
    [
        ("ARG VERSION\nRUN go mod download\nCOPY . .\nRUN go build -ldflags=-X=main.v=$VERSION\n",
         "RUN go mod download\nCOPY . .\nARG VERSION\nRUN go build -ldflags=-X=main.v=$VERSION\n"),
        ("# what is built\nARG VERSION=dev\nARG GIT_COMMIT\n\nRUN apk add git\n\n"
         "# the program\nRUN go build -ldflags=-X=main.v=$VERSION$GIT_COMMIT\n",
         "\nRUN apk add git\n\n# what is built\nARG VERSION=dev\nARG GIT_COMMIT\n"
         "# the program\nRUN go build -ldflags=-X=main.v=$VERSION$GIT_COMMIT\n"),
        ("ARG BUILD_DATE\nARG COMMIT\nLABEL a=$BUILD_DATE b=$COMMIT\nRUN apk add ca-certificates\n"
         'CMD ["/app"]\n',
         'RUN apk add ca-certificates\nCMD ["/app"]\nARG BUILD_DATE\nARG COMMIT\n'
         "LABEL a=$BUILD_DATE b=$COMMIT\n"),
        ("ARG REVISION\nENV R=$REVISION\nRUN go install example.com/t@v1\nRUN make\n",
         "RUN go install example.com/t@v1\nARG REVISION\nENV R=$REVISION\nRUN make\n"),
        ("ARG COMMIT\nRUN apt-get update && apt-get install -y git && rm -rf /var/lib/apt/lists/*",
         "RUN apt-get update && apt-get install -y git && rm -rf /var/lib/apt/lists/*"),
        ("ARG COMMIT\nRUN apk add git\nFROM build\nLABEL c=$COMMIT\n",
         "RUN apk add git\nARG COMMIT\nFROM build\nLABEL c=$COMMIT\n"),
        ("ARG COMMIT\nRUN apk add git\nLABEL c=$COMMIT\n",
         "RUN apk add git\nARG COMMIT\nLABEL c=$COMMIT\n"),
    ],
)  # fmt: skip
def test_what_changes_goes_down(bad: str, good: str) -> None:
    assert mended("GO004", GO + bad, None) == GO + good


def test_arguments_with_the_same_use_are_told_of_together() -> None:
    text = GO + "ARG VERSION\nARG COMMIT\nARG DATE\nRUN go mod download\nRUN make\n"
    (finding,) = found("GO004", text, None)
    assert finding.message.startswith("ARG VERSION, COMMIT and DATE change with each build: go mod")
    assert finding.hint == "move them down to line 6, the first that may use them"
    named = found("GO004", text.replace("make", "make V=$VERSION"), None)[0]
    assert named.hint == "move them down to the command that uses them"
    assert places("GO004", text, None) == ["ARG VERSION"]
    text = text.replace("RUN make\n", "")
    assert found("GO004", text, None)[0].hint == "nothing uses them: take them out"


def test_what_runs_again_is_called_by_its_verb() -> None:
    text = GO + "ARG COMMIT\nRUN apk --no-cache add git\nRUN make\n"
    assert ": apk add behind it" in found("GO004", text, None)[0].message


def test_the_argument_is_pointed_at() -> None:
    text = GO + "ARG VERSION\nRUN go mod download -x\n"
    (finding,) = found("GO004", text, None)
    assert finding.range.lines == (2, 2)
    assert finding.message == (
        "ARG VERSION changes with each build: go mod download behind it, which does not use it,"
        " runs again each time"
    )


@pytest.mark.parametrize(
    "text",
    [
        "ARG VERSION=1.2.3\nRUN apk add curl\nRUN curl https://x/$VERSION\n",
        "ARG GIT_COMMIT=0123456789abcdef\nRUN apk add git\nRUN git checkout $GIT_COMMIT\n",
        "RUN go mod download\nARG VERSION\nRUN go build -ldflags=-X=main.v=$VERSION\n",
        "ARG VERSION\nRUN go build -ldflags=-X=main.v=${VERSION:-dev}\nRUN apk add git\n",
        "ARG COMMIT\nRUN make\nRUN go build\n",
        "ARG COMMIT\nENV GOFLAGS=-ldflags=-X=main.c=$COMMIT\nRUN go mod download\nRUN go build\n",
        "ARG COMMIT\nRUN go test ./...\n",
        "ARG PRODUCT\nARG VERSION\nENV VERSION=$PRODUCT\nRUN apk add git\n",
        "ARG COMMIT\nRUN ./build.sh && go build\n",
        "ARG COMMIT\nCOPY . .\nRUN mkdir /x\n",
        "ARG TARGETARCH\nARG GOFLAGS\nRUN go mod download\n",
        "ARG GOLANGCI_LINT_VERSION\nRUN apk add git\n",
        "ENV VERSION=1.2.3\nRUN go mod download\n",
        "LABEL version=dev\nRUN apk add git\n",
        "ARG COMMIT\nRUN apk add git\nARG COMMIT=x\n",
        'ARG COMMIT\nRUN ["/bin/go", "run", "x"]\n',
    ],
)
def test_values_that_stay(text: str) -> None:
    assert not found("GO004", GO + text, None)


def test_an_argument_before_the_stages_harms_nobody() -> None:
    assert not found("GO004", "ARG VERSION\n" + GO + "RUN go mod download\n", None)
    text = "ARG VERSION=1.2.3\n" + GO + "ARG VERSION\nRUN go mod download\n"
    assert not found("GO004", text, None)


# GO005 and GO006


def test_mounts_are_written_for_all_commands(tmp_path: Path) -> None:
    context = write(tmp_path, PLAIN)
    text = GO + (
        "WORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
        "RUN CGO_ENABLED=0 \\\n    go build -o /app\n"
    )
    assert places("GO005", text + END, context) == ["go mod download"]
    assert len(found("GO006", text + END, context)) == 1
    with_modules = mended("GO005", text + END, context)
    modules, build = "--mount=type=cache,target=/go/pkg/mod", "/root/.cache/go-build"
    assert with_modules == GO + (
        f"WORKDIR /src\nCOPY go.mod go.sum ./\nRUN {modules} \\\n    go mod download\nCOPY . .\n"
        f"RUN {modules} \\\n    CGO_ENABLED=0 \\\n    go build -o /app\n{END}"
    )
    assert mended("GO006", with_modules, context) == with_modules.replace(
        "    CGO", f"    --mount=type=cache,target={build} \\\n    CGO"
    )


def test_stages_above_get_the_mount_too(tmp_path: Path) -> None:
    text = (
        "FROM golang:1.26 AS modules\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\n"
        "FROM modules AS build\nCOPY . .\nRUN go build -o /app\n" + END
    )
    new = mended("GO005", text, write(tmp_path, PLAIN))
    assert new.count("--mount=type=cache,target=/go/pkg/mod") == 2


@pytest.mark.parametrize(
    ("setting", "cache"),
    [("ENV XDG_CACHE_HOME=/c\n", "/c/go-build"), ("ENV HOME=/h\n", "/h/.cache/go-build")],
)
def test_the_place_of_the_cache_follows_the_environment(setting: str, cache: str) -> None:
    (finding,) = found("GO006", GO + setting + "COPY . .\nRUN go build -o /app\n" + END, None)
    assert finding.hint == f"write RUN --mount=type=cache,target={cache}"


@pytest.mark.parametrize("rule", ["GO005", "GO006"])
@pytest.mark.parametrize(
    "text",
    [
        "RUN --mount=type=cache,target=/go --mount=type=cache,target=/root/.cache go build\n",
        "ENV CACHES=/root GOPATH=/go\nRUN --mount=type=cache,target=$GOPATH/pkg/mod"
        " --mount=type=cache,target=$CACHES/.cache/go-build go build\n",
        "RUN make build\n",
        "RUN go install example.com/tool@v1.0.0\n",
        "RUN go version\n",
        "RUN go build && go clean -cache -modcache\n",
        "RUN go build -mod=vendor -a ./...\n",
        "RUN git clone https://example.com/tool /t && cd /t && go build -o /app\n",
    ],
)
def test_caches_that_are_left_alone(tmp_path: Path, rule: str, text: str) -> None:
    assert not found(rule, f"{GO}WORKDIR /src\nCOPY . .\n{text}{END}", write(tmp_path, PLAIN))


@pytest.mark.parametrize(
    "first",
    [
        "",
        "COPY --from=registry.example/tools /bin/x /bin/x\n",
        "ADD https://example.com/tool.git#v1 /tool\n",
    ],
)
def test_what_is_built_before_the_sources_come_is_built_once(tmp_path: Path, first: str) -> None:
    text = GO + first + "RUN cd /tool && go build -o /tool/x .\n"
    context = write(tmp_path, PLAIN)
    assert not found("GO006", text + END, context)
    text += "WORKDIR /src\nCOPY . .\nRUN go build -o /app\n"
    assert places("GO005", text + END, context) == ["go build -o /app"]
    assert places("GO006", text + END, context) == ["go build -o /app"]


def test_sources_may_come_from_another_stage_or_a_mount(tmp_path: Path) -> None:
    context = write(tmp_path, PLAIN)
    sources = "FROM scratch AS sources\nCOPY . .\n"
    text = f"{sources}{GO}WORKDIR /src\nCOPY --from=sources / .\nRUN go build -o /app\n{END}"
    assert places("GO006", text, context) == ["go build -o /app"]
    text = f"{GO}WORKDIR /src\nRUN --mount=target=. go build -o /app\n{END}"
    assert places("GO006", text, context) == ["go build -o /app"]


def test_go_get_fetches_too(tmp_path: Path) -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go get -d -v && go build -o /app\n" + END
    assert places("GO005", text, write(tmp_path, PLAIN)) == ["go get -d -v"]


def test_exported_stages_keep_what_they_have(tmp_path: Path) -> None:
    context = write(tmp_path, PLAIN)
    text = "FROM golang:1.26\nWORKDIR /src\nCOPY . .\nRUN go build\n"
    assert not found("GO005", text, context)
    assert not found("GO006", text, context)


def test_users_and_bases_that_are_not_known(tmp_path: Path) -> None:
    context = write(tmp_path, PLAIN)
    body = "WORKDIR /src\nCOPY . .\nRUN go build -o /app\n" + END
    assert not found("GO006", GO + "USER me\n" + body, context)
    assert not found("GO006", "FROM registry.example/x AS build\n" + body, context)
    (finding,) = found("GO005", GO + "USER me\n" + body, context)
    assert finding.fix is None


def test_modules_that_others_read_stay_in_the_layer(tmp_path: Path) -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go build -o /app\n" + END
    text += "COPY --from=build /go/pkg/mod/x/assets /assets\n"
    context = write(tmp_path, PLAIN)
    assert not found("GO005", text, context)
    assert found("GO006", text, context)


def test_a_script_that_may_need_the_modules_prevents_the_fix(tmp_path: Path) -> None:
    text = GO + "WORKDIR /src\nCOPY . .\nRUN go mod download\nRUN make\n" + END
    (finding,) = found("GO005", text, write(tmp_path, PLAIN))
    assert finding.fix is None


# GO007


@pytest.mark.parametrize(
    ("command", "place"),
    [
        ("go install example.com/tool@latest", "example.com/tool@latest"),
        ("go install -v example.com/tool/cmd/...@master", "example.com/tool/cmd/...@master"),
        ("cd /x && GOBIN=/b go install example.com/tool@main", "example.com/tool@main"),
        ("go get -u example.com/tool", "example.com/tool"),
        ("go get example.com/tool@upgrade", "example.com/tool@upgrade"),
        ("go run example.com/tool@latest -v x@latest", "example.com/tool@latest"),
        ("for t in a b; do go install example.com/$t@latest; done", "example.com/$t@latest"),
    ],
)
def test_unpinned_tools(command: str, place: str) -> None:
    assert places("GO007", f"{GO}RUN {command}\n", None) == [place]


def test_an_old_go_takes_no_versions() -> None:
    text = "FROM golang:{}\nRUN go get example.com/tool\n"
    (finding,) = found("GO007", text.format("1.7"), None)
    assert finding.hint == "this Go knows no versions: clone the repository and check a tag out"
    (finding,) = found("GO007", text.format("1.16"), None)
    assert finding.hint == "write example.com/tool@VERSION"


@pytest.mark.parametrize(
    "command",
    [
        "go install example.com/tool@v1.2.3",
        "go install example.com/tool@$VERSION",
        "go install example.com/tool@0123abc",
        "go install ./...",
        "go install example.com/app/cmd/app",
        "go install example.com/other/cmd",
        "go get -d ./...",
        "go get -d -v .",
        "go get",
        "go get example.com/app/...",
        "go get example.com/tool@none",
        "go build example.com/tool@latest",
        "echo go install example.com/tool@latest",
    ],
)
def test_tools_that_are_left_alone(tmp_path: Path, command: str) -> None:
    assert not found("GO007", f"{GO}RUN {command}\n", write(tmp_path, PLAIN))


# GO003


class Closure:
    """A module whose packages are known without asking Go."""

    def __init__(self, directory: Path, packages: dict[str, tuple[str, ...]], cgo: bool) -> None:
        self.root = "."
        self.path = "example.com/app"
        self.local_directories: tuple[str, ...] = ()
        self._directory = directory
        self._packages = packages
        self._cgo = ("c.go",) if cgo else ()

    def problem(self, pattern: str) -> str:
        return "" if pattern == "./cmd/app" else "no such package"

    def other_packages(self, pattern: str) -> list[SimpleNamespace]:
        return [
            SimpleNamespace(
                dir=str(self._directory / name), embed_files=embedded, cgo_files=self._cgo
            )
            for name, embedded in self._packages.items()
        ]


def wide(
    directory: Path, text: str, files: dict[str, str] | None = None, *, cgo: bool = False
) -> list[Finding]:
    many = {f"{name}/{number}": "x" for name in ("docs", "web", "assets") for number in range(21)}
    own = {"cmd/app/main.go": "", "few/x": "", **(files or {})}
    context = write(directory, {**PLAIN, **many, **own})
    closure = Closure(directory, {"cmd/app": (), ".": ("assets/1",)}, cgo)
    (asked,) = [item for item in RULES if item.id == "GO003"]
    return list(asked.look(Subject("Dockerfile", text, context, closure), asked))


WIDE = GO + "WORKDIR /src\nCOPY . .\nRUN go build -o /app ./cmd/app\n" + END


def test_directories_that_go_does_not_read(tmp_path: Path) -> None:
    (finding,) = wide(tmp_path, WIDE)
    assert finding.range.lines == (3, 3)
    assert "Go reads nothing in docs/, web/:" in finding.message
    assert finding.fix is not None
    assert not finding.fix.safe
    (edit,) = finding.fix.edits
    assert (edit.path, edit.text) == (".dockerignore", "/docs\n/web\n")


@pytest.mark.parametrize("name", ["tools/Dockerfile", "web.Dockerfile", "Dockerfile.test"])
def test_what_other_dockerfiles_may_need_stays_visible(tmp_path: Path, name: str) -> None:
    (finding,) = wide(tmp_path, WIDE, {name: "FROM scratch\n", "Dockerfile": WIDE})
    assert finding.fix is None
    assert finding.hint == "write into a file of its own, Dockerfile.dockerignore: /docs /web"
    (finding,) = wide(tmp_path, WIDE, {".dockerignore": "/few\n"})
    assert ", which then counts instead of .dockerignore: /docs" in finding.hint


def test_what_is_hidden_already_is_not_named(tmp_path: Path) -> None:
    (finding,) = wide(tmp_path, WIDE, {".dockerignore": "docs\n"})
    assert "in web/:" in finding.message
    assert not wide(tmp_path, WIDE, {".dockerignore": "docs\nweb\n"})


@pytest.mark.parametrize(
    "text",
    [
        WIDE.replace("go build", "make web && go build"),
        WIDE.replace("go build", "ls docs web && go build"),
        WIDE + "COPY --from=build /src /src\n",
        WIDE + "COPY docs /docs\nCOPY web /web\n",
        WIDE + "COPY --from=build /src/docs /docs\nCOPY --from=build /src/web/x /web/x\n",
        WIDE.replace("./cmd/app", "./..."),
        WIDE.replace("go build", "go test ./... && go build"),
        WIDE.replace("go build", "go build -tags x"),
        WIDE.replace("COPY . .", "COPY cmd cmd"),
        "FROM golang:1.26\nWORKDIR /src\nCOPY . .\nRUN go build -o /app ./cmd/app\n",
        "FROM node AS web\nCOPY . .\nRUN npm ci\n" + WIDE,
    ],
)
def test_contexts_that_others_read(tmp_path: Path, text: str) -> None:
    assert not wide(tmp_path, text)


def test_contexts_with_history_or_c(tmp_path: Path) -> None:
    assert not wide(tmp_path, WIDE, cgo=True)
    assert not wide(tmp_path, WIDE, {".git/HEAD": ""})
    assert wide(tmp_path, WIDE, {".dockerignore": ".git\n"})
