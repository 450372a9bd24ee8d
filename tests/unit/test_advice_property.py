# SPDX-License-Identifier: Apache-2.0
"""Any Dockerfile at all: looking at it never fails, and mending it twice is mending it once."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from wherry.api.check_mending import Allowed, mend_files
from wherry.api.checking import Checked, CheckedFile, Checker, CheckRequest

WAYS = (Allowed(), Allowed(unsafe=True), Allowed(split=True), Allowed(unsafe=True, split=True))

BASES = (
    "golang", "golang:latest", "golang:1.12", "golang:1.22-alpine", "docker.io/library/golang:1.23",
    "golang:${GO}", "alpine:3.10", "debian:bookworm-slim", "ubuntu", "scratch", "busybox",
    "gcr.io/distroless/static:nonroot", "gcr.io/distroless/base", "build", "final", "0", "$BASE",
)  # fmt: skip
FROMS = st.builds(
    "{} {}{}{}".format,
    st.sampled_from(("FROM", "from")),
    st.sampled_from(("", "", "--platform=$BUILDPLATFORM ", "--platform=linux/arm64 ")),
    st.sampled_from(BASES),
    st.sampled_from(("", "", " AS build", " as build", " AS final", " AS Other")),
)
LINES = st.sampled_from((
    "", "# a comment", "#not a directive", "# wherry: ignore=GO001", "# hadolint ignore=DL3007",
    "ARG GO=1.22", "ARG BASE", "ARG TARGETOS TARGETARCH", "ARG GITHUB_TOKEN", "ARG VERSION=dev",
    "ENV CGO_ENABLED=0", "ENV CGO_ENABLED 1", "ENV GOFLAGS=-mod=vendor", "ENV API_KEY=abc",
    "LABEL version=$VERSION", "WORKDIR /app", "WORKDIR src", "WORKDIR $GOPATH/src/x",
    "COPY . .", "COPY . /app", "ADD . /app/", "COPY go.mod go.sum ./", "COPY go.* .",
    'COPY ["go.mod", "./"]', "COPY *.go ./", "COPY --chown=1000 cmd/ cmd/", "COPY .env .",
    "COPY --from=build /app/main /main", "COPY --from=0 /main .", "COPY --from=alpine /etc /etc",
    "ADD https://example.com/a.tar.gz /tmp/", "COPY --link . .",
    "RUN go mod download", "RUN go mod download && go mod verify", "RUN go mod tidy",
    "RUN go build", "RUN go build -o main .", "RUN go build -o /main main.go",
    "RUN CGO_ENABLED=0 GOOS=linux go build -ldflags='-s -w' -trimpath -o /main ./cmd/x",
    'RUN go build -ldflags "-X main.v=$(git describe)" -o main', "RUN cd /app && go build ./...",
    "RUN go get ./...", "RUN go install github.com/air-verse/air@latest", "RUN go test ./...",
    "RUN --mount=type=cache,target=/go/pkg/mod go mod download", "RUN make build",
    "RUN --mount=type=cache,target=/root/.cache/go-build \\\n    go build -o /main .",
    'RUN ["go", "build", "-o", "/main"]', "RUN go build \\\n  # why\n\n  -o main \\\n  .",
    "RUN <<EOF\ngo mod download\ngo build -o /main .\nEOF", "RUN <<-'E'\n\tgo build\n\tE",
    "RUN <<EOF", "RUN go build \\", "RUN go build 'open", "RUN go build `", "RUN (", "RUN set -ex;",
    "RUN apk add git", "RUN apk --no-cache add ca-certificates tzdata", "RUN apk update",
    "RUN apt-get update && apt-get install -y curl", "RUN apt-get update", "RUN rm -rf /tmp/*",
    "RUN wget https://example.com/x.sh | sh", "RUN adduser -D app", "RUN git clone https://x/y",
    "USER nonroot", "USER app", "USER 65532:65532", "USER root", "EXPOSE 80", "EXPOSE 8080/tcp",
    'CMD ["/main"]', "CMD ./main", 'ENTRYPOINT ["/main"]', "ENTRYPOINT main --x", 'CMD ["main"',
    "HEALTHCHECK CMD curl -f http://localhost/", "HEALTHCHECK NONE", "SHELL ['bash']",
    'SHELL ["/bin/bash", "-c"]', "MAINTAINER me", "STOPSIGNAL SIGTERM", "VOLUME /data",
    "ONBUILD RUN go build", "RUNN x", "COPY", "FROM", "\u00e9\u4e2d", "RUN echo \u00e9 && go build",
))  # fmt: skip
STARTS = st.sampled_from(("", "", "", "# syntax=docker/dockerfile:1\n", "# escape=`\n", "\ufeff"))


@st.composite
def dockerfiles(draw: st.DrawFn) -> bytes:
    """Lines in any order, which end in one of both ways; the last one may not end."""
    parts = draw(st.lists(st.one_of(LINES, LINES, LINES, FROMS), max_size=14))
    if draw(st.booleans()):
        parts.insert(0, draw(FROMS))
    text = draw(STARTS) + "\n".join(parts) + draw(st.sampled_from(("\n", "", "\n\n", "  ")))
    return text.replace("\n", draw(st.sampled_from(("\n", "\n", "\r\n")))).encode()


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    (folder / "go.mod").write_text("module example.com/x\n\ngo 1.22\n")
    (folder / "go.sum").write_text("")
    (folder / "main.go").write_text("package main\n\nfunc main() {}\n")
    (folder / "other.go").write_text("package main\n")
    return folder


def checked(folder: Path, data: bytes) -> tuple[Checker, CheckedFile]:
    request = CheckRequest(str(folder), {}, text=data, name="Dockerfile")
    checker = Checker(request)
    return checker, checker.check().files[0]


@settings(max_examples=150, deadline=None)
@given(data=dockerfiles(), way=st.sampled_from(WAYS))
# A last line that goes on behind the end of the file takes in whatever is put there.
@example(
    data=b"FROM golang\nENV API_KEY=abc\nCMD ./main\nRUN go mod tidy\nRUN go build \\",
    way=Allowed(split=True),
)
def test_mending_twice_is_mending_once(module: Path, data: bytes, way: Allowed) -> None:
    checker, file = checked(module, data)
    size = len(file.subject.text.whole)
    for finding in file.advice.findings:
        text = file.subject.text
        assert 0 <= text.offset(finding.range.start) <= text.offset(finding.range.end) <= size
        for edit in finding.fix.edits if finding.fix else ():
            if not edit.path:
                assert 0 <= text.offset(edit.range.start) <= text.offset(edit.range.end) <= size
    mending = mend_files(checker, Checked((file,)), way)
    after = mending.files[0]
    assert not mending.undone
    assert len(after.subject.problems) <= len(file.subject.problems)
    assert len(after.subject.stages) >= len(file.subject.stages)
    assert b"\r" in after.data or b"\r" not in data
    _, anew = checked(module, after.data)
    again = mend_files(checker, Checked((anew,)), way).files[0]
    assert again.data == after.data
