# SPDX-License-Identifier: Apache-2.0
"""Rules about size: the words they find, what they leave alone, what their fixes write."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.model import Finding, Rule
from wherry.advice.rules import sizes
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

BUILD = (
    "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\n"
    'RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /app .\n'
)
STATIC = "gcr.io/distroless/static-debian13:nonroot"
SHIP = f'FROM {STATIC}\nCOPY --from=build /app /app\nCMD ["/app"]\n'
ALPINE = 'COPY --from=build /app /app\nCMD ["/app"]\n'


def rule(rule_id: str) -> Rule:
    return next(item for item in sizes.RULES if item.id == rule_id)


def look(rule_id: str, text: str, context: Context | None = None) -> tuple[Subject, list[Finding]]:
    subject = Subject("Dockerfile", text, context)
    assert not subject.problems
    asked = rule(rule_id)
    return subject, list(asked.look(subject, asked))


def seen(rule_id: str, text: str, context: Context | None = None) -> list[tuple[str, int]]:
    """The words that findings are about, with their lines."""
    subject, findings = look(rule_id, text, context)
    return [(subject.text.slice(item.range), item.range.start.line) for item in findings]


def mended(rule_id: str, text: str, *, safe: bool = True) -> str:
    """The text after the fixes of all findings, which must leave nothing to find."""
    subject, findings = look(rule_id, text)
    edits = []
    for finding in findings:
        assert finding.fix is not None
        assert finding.fix.safe is safe
        edits += finding.fix.edits
    assert edits
    new = apply(subject.text, edits)
    assert look(rule_id, new)[1] == []
    return new


def files(directory: Path, *names: str, content: str = "x") -> Context:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return Context(str(directory))


# GO101


def test_a_final_stage_on_a_toolchain_is_found() -> None:
    text = BUILD + 'FROM golang:1.27\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n'
    assert seen("GO101", text) == [("golang:1.27", 5)]
    assert "850 MB" in look("GO101", text)[1][0].message


def test_a_final_stage_on_the_build_stage_is_found() -> None:
    assert seen("GO101", BUILD + 'FROM build\nCMD ["/app"]\n') == [("build", 5)]
    assert seen("GO101", BUILD + "FROM build\nCMD /app -v\n") == [("build", 5)]


@pytest.mark.parametrize(
    "last",
    [
        "FROM build\n",
        'FROM build\nCMD ["go", "test", "./..."]\n',
        'FROM build\nCMD ["air", "-c", ".air.toml"]\n',
        'FROM build\nENTRYPOINT ["dlv", "exec", "/app"]\n',
        'FROM build\nCMD ["/bin/bash"]\n',
        'FROM build\nENTRYPOINT ["./entrypoint.sh"]\n',
        'FROM golang:1.27\nRUN go install example.org/lint@v1.2.3\nENTRYPOINT ["lint"]\n',
        'FROM example.org/builder:1\nCOPY --from=build /app /app\nCMD ["/app"]\n',
        SHIP,
    ],
)
def test_images_for_development_and_others_are_no_toolchains(last: str) -> None:
    assert seen("GO101", BUILD + last) == []


@pytest.mark.parametrize(
    "last",
    [
        "FROM deploy AS test\nCOPY --from=build /app_test /app\n",
        'FROM deploy AS debug\nRUN go install example.org/dlv@v1.2.3\nENTRYPOINT ["dlv", "exec"]\n',
    ],
)
def test_the_stage_that_others_stand_on_is_pointed_at(last: str) -> None:
    deploy = 'FROM golang:1.27 AS deploy\nCOPY --from=build /app /app\nCMD ["/app"]\n'
    assert seen("GO101", BUILD + deploy + last) == [("golang:1.27", 5)]
    assert "stage deploy" in look("GO101", BUILD + deploy + last)[1][0].message


def test_a_stage_that_a_later_one_uses_is_no_image() -> None:
    assert seen("GO101", BUILD + 'CMD ["/app"]\n' + SHIP) == []


# GO102

SINGLE = "FROM golang:1.27\nWORKDIR /src\nCOPY . .\nRUN go build -o server .\n"


def test_a_single_stage_is_found_once() -> None:
    text = SINGLE + 'CMD ["./server"]\n'
    assert seen("GO102", text) == [("golang:1.27", 1)]
    assert seen("GO101", text) == []
    assert seen("GO108", text) == []


@pytest.mark.parametrize(
    "text",
    [
        SINGLE + "CMD ./server -port 80\n",
        SINGLE + 'ENTRYPOINT ["/usr/bin/tini", "--", "/src/server"]\n',
        'FROM golang:1.27\nCOPY . .\nRUN go install ./cmd/api\nCMD ["api"]\n',
        'FROM golang:1.27\nWORKDIR /src\nCOPY . .\nRUN make build\nCMD ["./bin/api"]\n',
        "FROM alpine:3.23\nRUN apk add --no-cache go\nCOPY . .\nRUN go build -o /api\nCMD /api\n",
    ],
)
def test_other_single_stages_are_found(text: str) -> None:
    assert len(seen("GO102", text)) == 1


@pytest.mark.parametrize(
    "text",
    [
        SINGLE,
        SINGLE + 'CMD ["go", "run", "."]\n',
        SINGLE + 'CMD ["bash"]\n',
        SINGLE + 'CMD ["sleep", "infinity"]\n',
        SINGLE + 'ENTRYPOINT ["/docker-entrypoint.sh"]\n',
        'FROM golang:1.27\nRUN go install example.org/x/tool@latest\nCMD ["tool"]\n',
        'FROM alpine:3.23\nCOPY app /app\nCMD ["/app"]\n',
        BUILD + SHIP,
    ],
)
def test_other_files_are_no_single_stages(text: str) -> None:
    assert seen("GO102", text) == []


def test_the_hint_names_directories_that_a_program_may_read(tmp_path: Path) -> None:
    context = files(tmp_path, "main.go", "templates/a.html", "static/a.css")
    hint = look("GO102", SINGLE + 'CMD ["./server"]\n', context)[1][0].hint
    assert "templates, static" in hint


def test_a_single_stage_is_mended_where_it_can_be() -> None:
    text = SINGLE + 'CMD ["./server"]\n'
    _, (finding,) = look("GO102", text)
    assert "--stage-split` writes it" in finding.hint
    assert f"\nFROM {STATIC}\n" in mended("GO102", text, safe=False)
    _, (other,) = look("GO102", SINGLE + 'ENTRYPOINT ["/usr/bin/tini", "--", "/src/server"]\n')
    assert other.fix is None
    assert "--stage-split" not in other.hint


# GO103, GO104


def built(command: str) -> str:
    return f"FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\nRUN {command}\n{SHIP}"


def test_a_build_without_flags_is_found() -> None:
    text = built("go build -o /app .")
    assert seen("GO103", text) == [("go build", 4)]
    assert seen("GO104", text) == [("go build", 4)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("go build -o /app .", 'go build -ldflags="-s -w" -o /app .'),
        ("go build -C cmd -o /app .", 'go build -C cmd -ldflags="-s -w" -o /app .'),
        ('go build -ldflags="-w" -o /app', 'go build -ldflags="-s -w" -o /app'),
        ("go build -ldflags=-w -o /app", 'go build -ldflags="-s -w" -o /app'),
        (
            "go build -ldflags '-X main.v=$V' -o /app",
            "go build -ldflags '-s -w -X main.v=$V' -o /app",
        ),
        ('go build -ldflags="" -o /app', 'go build -ldflags="-s -w" -o /app'),
        ('go build "-ldflags=-X a=b" -o /app', 'go build "-ldflags=-s -w -X a=b" -o /app'),
        ("go build \\\n    -o /app .", 'go build -ldflags="-s -w" \\\n    -o /app .'),
    ],
)
def test_flags_for_a_smaller_program_are_added(before: str, after: str) -> None:
    assert mended("GO103", built(before), safe=False) == built(after)


@pytest.mark.parametrize(
    "command",
    [
        'go build -ldflags="-s -w" -o /app .',
        "go build -ldflags=-s -o /app .",
        'go build -ldflags "-w -s -X main.v=$(git describe --tags)" -o /app .',
        'go build -ldflags="$LDFLAGS" -o /app .',
        'go build -ldflags="-X a=b ${EXTRA}" -o /app .',
        "go build $FLAGS -o /app .",
        'GOFLAGS="-ldflags=-s" go build -o /app .',
        'go build -gcflags="all=-N -l" -o /app .',
        "go build -race -o /app .",
        "make build",
        "go install example.org/tool@v1.0.0",
        "go vet ./... && go test ./...",
    ],
)
def test_builds_that_strip_or_cannot_be_told_are_left(command: str) -> None:
    assert seen("GO103", built(command)) == []


@pytest.mark.parametrize(
    "lines",
    ["RUN go build -o /app . && strip /app\n",
     "RUN go build -o /app .\nRUN x86_64-linux-gnu-strip --strip-all /app\n"],
)  # fmt: skip
def test_programs_that_are_stripped_later_are_left(lines: str) -> None:
    text = f"FROM golang:1.27 AS build\nCOPY . .\n{lines}{SHIP}"
    assert seen("GO103", text) == []
    assert len(seen("GO104", text)) == 1


def test_flags_from_env_and_arg_count() -> None:
    text = "FROM golang:1.27 AS build\n{}\nRUN go build {} -o /app .\n" + SHIP
    assert seen("GO103", text.format('ARG LDFLAGS="-s -w"', '-ldflags="$LDFLAGS"')) == []
    assert len(seen("GO103", text.format('ARG LDFLAGS="-X a=b"', '-ldflags="$LDFLAGS"'))) == 1
    assert seen("GO104", text.format('ENV GOFLAGS="-trimpath -mod=mod"', "")) == []


def test_programs_that_reach_no_image_are_left() -> None:
    tool = "FROM golang:1.27 AS build\nRUN go build -o /tool ./tool\n"
    text = tool + 'RUN go build -trimpath -ldflags="-s -w" -o /app .\n' + SHIP
    assert seen("GO103", text) == []
    assert seen("GO104", text) == []


def test_a_directory_of_programs_is_followed() -> None:
    text = (
        "FROM golang:1.27 AS build\nRUN go build -o /out/ ./cmd/...\n"
        f'FROM {STATIC}\nCOPY --from=build /out /bin\nCMD ["/bin/api"]\n'
    )
    assert seen("GO104", text) == [("go build", 2)]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("go build -o /app .", "go build -trimpath -o /app ."),
        ("GOOS=linux go build -v -o /app", "GOOS=linux go build -trimpath -v -o /app"),
        ("cd cmd && go build -o /app", "cd cmd && go build -trimpath -o /app"),
    ],
)
def test_trimpath_is_added(before: str, after: str) -> None:
    assert mended("GO104", built(before)) == built(after)


@pytest.mark.parametrize(
    "command",
    [
        "go build -trimpath -o /app .",
        "go build -trimpath=false -o /app .",
        "GOFLAGS=-trimpath go build -o /app .",
        "go build -gcflags=all=-trimpath=/src -o /app .",
        "go build ${FLAGS} -o /app .",
        "make",
    ],
)
def test_builds_with_trimpath_are_left(command: str) -> None:
    assert seen("GO104", built(command)) == []


@pytest.mark.parametrize(
    ("version", "told"), [("1.12", False), ("1.7-alpine", False), ("1.13", True)]
)
def test_a_go_that_does_not_know_trimpath(version: str, told: bool) -> None:
    text = built("go build -o /app .").replace("FROM golang:1.27", f"FROM golang:{version}")
    assert f"golang:{version}" in text
    assert bool(seen("GO104", text)) is told


def test_a_base_that_is_not_known_may_have_an_old_go() -> None:
    text = built("go build -o /app .").replace("golang:1.27", "example.org/builder")
    assert seen("GO104", text) == []
    assert len(seen("GO103", text)) == 1


def test_a_build_in_exec_form_has_no_fix() -> None:
    (finding,) = look("GO104", built('["go", "build", "-o", "/app", "."]'))[1]
    assert finding.fix is None


# GO105


def shipped(run: str, base: str = "debian:13") -> str:
    return f"{BUILD}FROM {base}\nRUN {run}\n{ALPINE}"


LISTS = "rm -rf /var/lib/apt/lists/*"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("apt-get update && apt-get install -y git",
         f"apt-get update && apt-get install -y git && {LISTS}"),
        ("apt-get update && \\\n    apt-get install -y \\\n      git",
         f"apt-get update && \\\n    apt-get install -y \\\n      git && \\\n    {LISTS}"),
        ("apt-get update \\\n  && apt-get install -y git \\\n  && mkdir /x",
         f"apt-get update \\\n  && apt-get install -y git \\\n  && {LISTS} \\\n  && mkdir /x"),
        ("set -eux; apt-get update; apt-get install -y git; mkdir /x",
         f"set -eux; apt-get update; apt-get install -y git; {LISTS}; mkdir /x"),
        ("set -Eeux; apt-get update; apt-get install -y git",
         f"set -Eeux; apt-get update; apt-get install -y git; {LISTS}"),
        ("apt-get update && apt-get install -y git >/dev/null && apt-get clean",
         f"apt-get update && apt-get install -y git >/dev/null && apt-get clean && {LISTS}"),
        ("(apt-get update && apt-get install -y git)",
         f"(apt-get update && apt-get install -y git && {LISTS})"),
    ],
)  # fmt: skip
def test_apt_lists_are_removed_in_the_same_run(before: str, after: str) -> None:
    assert mended("GO105", shipped(before)) == shipped(after)


def test_apt_lists_are_found_at_the_update() -> None:
    assert seen("GO105", shipped("apt-get update && apt-get install -y git")) == [
        ("apt-get update", 6)
    ]


@pytest.mark.parametrize(
    "run",
    [
        f"apt-get update && apt-get install -y git && {LISTS}",
        "apt-get update && apt-get install -y git && rm -rf /var/lib/apt/lists /var/cache",
        "apt-get update && apt-get install -y git && rm -rf /var/lib/{apt,dpkg}/lists",
        "apt-get update && apt-get install -y git && /scripts/cleanup.sh",
        "apt-get update && apt-get install -y git && apt-get distclean",
        "--mount=type=cache,target=/var/lib/apt apt-get update && apt-get install -y git",
        "--mount=type=cache,target=/var/cache/apt apt-get update && apt-get install -y git",
        "apt-get install -y git",
        "apk add --no-cache git",
        "apk --no-cache add git",
        "apk add --update git && rm -rf /var/cache/apk/*",
        "--mount=type=cache,target=/var/cache/apk apk add git",
        "apk $APK_FLAGS add git",
        "dnf install -y git && dnf clean all",
        "yum install -y git && rm -rf /var/cache/yum",
        "pip install --no-cache-dir awscli",
        "PIP_NO_CACHE_DIR=1 pip install awscli",
        "--mount=type=cache,target=/root/.cache/pip pip install awscli",
        "pip install awscli && rm -rf /root/.cache",
        "echo apt-get update",
    ],
)
def test_clean_layers_are_left(run: str) -> None:
    assert seen("GO105", shipped(run)) == []


def test_lists_of_a_stage_that_is_not_exported_are_left() -> None:
    text = BUILD.replace("COPY", "RUN apt-get update && apt-get install -y gcc\nCOPY")
    assert seen("GO105", text + SHIP) == []
    lint = "FROM alpine:3.23 AS lint\nRUN apk add git\n"
    assert seen("GO105", lint + BUILD + SHIP) == []


def test_a_last_stage_that_only_checks_is_no_image() -> None:
    base = "FROM debian:13 AS base\nRUN apt-get update && apt-get install -y git\n"
    files = "FROM base AS make\nRUN ./make\nFROM scratch AS update\nCOPY --from=make /out /\n"
    check = "FROM base AS validate\nRUN --mount=target=. ./check\n"
    assert seen("GO105", base + files + check) == []
    assert len(seen("GO105", base + files + check + "CMD /app\n")) == 1
    taken = check.replace("target=. ", "target=. --mount=from=update,target=/files ")
    assert seen("GO105", base + files + taken) == []
    assert len(seen("GO105", base + check)) == 1
    assert len(seen("GO105", base + files + "FROM base\nCOPY --from=make /out /\n")) == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("apt-get update && apt-get install -y \\\n\t\tvim \\\n\t&& touch /x",
         "\\\n\t&& rm -rf /var/lib/apt/lists/* \\\n\t&& touch"),
        ("apt-get update && \\\n  apt-get install -y \\\n         vim",
         "vim && \\\n  rm -rf"),
        ("apt-get update && apt-get install -y \\\n                vim",
         "vim \\\n    && rm -rf"),
    ],
)  # fmt: skip
def test_a_new_command_stands_as_others_do(before: str, after: str) -> None:
    assert after in mended("GO105", f"FROM debian:13\nRUN {before}\nCMD x\n")


def test_lists_that_a_later_run_needs_are_not_removed() -> None:
    text = shipped("apt-get update && apt-get install -y git\nRUN apt-get install -y curl")
    (finding,) = look("GO105", text)[1]
    assert finding.fix is None
    assert finding.hint.startswith("install all in one RUN with the update")


@pytest.mark.parametrize(
    "run", ["apt-get update", "apt-get update && apt-get install -y a || true"]
)
def test_what_is_not_plain_has_no_fix(run: str) -> None:
    (finding,) = look("GO105", shipped(run))[1]
    assert finding.fix is None


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("apk add git", "apk add --no-cache git"),
        ("apk add --update git", "apk add --no-cache --update git"),
        ("apk update && apk add git", "apk add --no-cache git"),
        ("apk update && \\\n    apk add git && mkdir /x", "apk add --no-cache git && mkdir /x"),
        ("apk update && apk add --no-cache git", "apk add --no-cache git"),
        ("apk update && apk upgrade --no-cache",
         "apk update && apk upgrade --no-cache && rm -rf /var/cache/apk/*"),
        ("dnf install -y git", "dnf install -y git && dnf clean all"),
        ("pip3 install awscli", "pip3 install --no-cache-dir awscli"),
        ("pip install a && pip install b",
         "pip install --no-cache-dir a && pip install --no-cache-dir b"),
        ("python3 -m pip install awscli", "python3 -m pip install --no-cache-dir awscli"),
    ],
)  # fmt: skip
def test_other_package_managers_are_told_to_keep_nothing(before: str, after: str) -> None:
    assert mended("GO105", shipped(before, "alpine:3.23")) == shipped(after, "alpine:3.23")
    assert len(seen("GO105", shipped(before, "alpine:3.23"))) == 1


# GO106


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("COPY a.tar.gz /tmp/\nRUN tar xf /tmp/a.tar.gz && rm /tmp/a.tar.gz",
         "rm /tmp/a.tar.gz"),
        ("COPY . /src\nRUN rm -rf /src", "rm -rf /src"),
        ("WORKDIR /work\nCOPY . .\nRUN cd / && rm -rf work", "rm -rf work"),
        ("RUN curl -sSLo /tmp/a.zip https://example.org/a.zip\nRUN rm /tmp/a.zip",
         "rm /tmp/a.zip"),
        ("WORKDIR /w\nRUN wget https://example.org/a.zip\nRUN rm a.zip", "rm a.zip"),
        ("RUN git clone --depth 1 https://example.org/x.git /x\nRUN rm -rf /x", "rm -rf /x"),
        ("RUN apk add --no-cache --virtual .deps gcc\nRUN apk del .deps", "apk del .deps"),
        ("RUN apt-get install -y gcc\nRUN apt-get purge -y gcc", "apt-get purge -y gcc"),
    ],
)  # fmt: skip
def test_what_stays_below_is_found(lines: str, words: str) -> None:
    text = f"{BUILD}FROM alpine:3.23\n{lines}\n{ALPINE}"
    subject, (finding,) = look("GO106", text)
    assert subject.text.slice(finding.range) == words
    assert finding.related


@pytest.mark.parametrize(
    "lines",
    [
        "RUN wget -O /a.zip https://example.org/a.zip && rm /a.zip",
        "RUN wget -O /a.zip https://example.org/a.zip && rm /a.zip\nRUN rm -f /a.zip",
        "COPY conf /etc/app/\nRUN rm -rf /etc/app/old",
        "COPY assets /tmp/\nRUN rm -rf /tmp/assets",
        "RUN ./install.sh\nRUN rm -rf /opt/app",
        "RUN rm -rf /usr/share/doc",
        "COPY . /src\nRUN rm -rf $DIR",
        "COPY . /src\nRUN if test -e /x; then rm -rf /src; fi",
        "RUN apk add --no-cache --virtual .deps gcc && apk del .deps",
        "RUN apk del apk-tools",
        "RUN --mount=type=cache,target=/w wget -O /w/a https://example.org/a\nRUN rm -rf /w/a",
    ],
)
def test_what_is_not_known_to_be_below_is_left(lines: str) -> None:
    assert seen("GO106", f"{BUILD}FROM alpine:3.23\n{lines}\n{ALPINE}") == []


def test_what_was_copied_could_be_mounted() -> None:
    text = "FROM debian:13\n{}\nRUN ./load /x.tar && rm /x.tar\n"
    (copied,) = look("GO106", text.format("COPY x.tar /x.tar"))[1]
    assert copied.hint.startswith("mount it in the RUN that needs it")
    (fetched,) = look("GO106", text.format("RUN wget -O /x.tar https://example.org/x"))[1]
    assert fetched.hint.startswith("remove it in the RUN that makes it")


def test_layers_of_the_build_stage_do_not_count() -> None:
    assert seen("GO106", BUILD + "RUN rm -rf /src\n" + SHIP) == []


def test_files_of_the_context_are_looked_up(tmp_path: Path) -> None:
    context = files(tmp_path, "docs/a.md", "main.go")
    text = f"{BUILD}FROM alpine:3.23\nCOPY . /x/\nRUN rm -rf /x/docs /x/none\n{ALPINE}"
    assert [words for words, _ in seen("GO106", text, context)] == ["rm -rf /x/docs"]


# GO107


@pytest.mark.parametrize(
    "lines",
    [
        "FROM debian:13-slim\n",
        "FROM ubuntu:24.04\n",
        "FROM debian:13\nRUN apt-get update && apt-get install -y ca-certificates && "
        "rm -rf /var/lib/apt/lists/*\n",
        "FROM fedora:43\nRUN useradd app\nUSER app\n",
    ],
)
def test_a_distribution_below_a_static_program_is_found(lines: str) -> None:
    (found,) = seen("GO107", BUILD + lines + ALPINE)
    assert found == (lines.split()[1], 5)


@pytest.mark.parametrize(
    "lines",
    [
        "FROM alpine:3.23\n" + ALPINE,
        f"FROM {STATIC}\n" + ALPINE,
        "FROM debian:13\nRUN apt-get update && apt-get install -y git\n" + ALPINE,
        "FROM debian:13\nRUN ./setup.sh\n" + ALPINE,
        "FROM debian:13\nCOPY run.sh /\n" + ALPINE,
        "FROM debian:13\nCOPY --from=example.org/tool:1 /tool /tool\n" + ALPINE,
        "FROM debian:13\nHEALTHCHECK CMD curl -f http://localhost/\n" + ALPINE,
        "FROM debian:13\nCOPY --from=build /app /app\nCMD /app | tee /log\n",
        'FROM debian:13\nCOPY --from=build /app /app\nCMD ["/entry.sh", "/app"]\n',
        'FROM debian:13\nCOPY --from=build /app /app\nCMD ["bash"]\n',
    ],
)
def test_bases_that_are_small_or_used_are_left(lines: str) -> None:
    assert seen("GO107", BUILD + lines) == []


def test_a_program_that_may_use_cgo_keeps_its_base() -> None:
    text = BUILD.replace("CGO_ENABLED=0 ", "") + "FROM debian:13\n" + ALPINE
    assert seen("GO107", text) == []
    musl = text.replace("golang:1.27", "golang:1.27-alpine")
    assert seen("GO107", musl) == [("debian:13", 5)]
    compiler = musl.replace("WORKDIR", "RUN apk add --no-cache gcc musl-dev\nWORKDIR")
    assert seen("GO107", compiler) == []


def test_a_program_that_starts_others_keeps_its_base(tmp_path: Path) -> None:
    text = BUILD + "FROM debian:13\n" + ALPINE
    context = files(tmp_path, "main.go", content='package main\nimport "os/exec"\n')
    assert seen("GO107", text, context) == []
    files(tmp_path, "main.go", content="package main\n")
    files(tmp_path, "main_test.go", content='import "os/exec"\n')
    assert len(seen("GO107", text, context)) == 1


def test_a_base_that_is_not_used_is_replaced() -> None:
    text = BUILD + "FROM debian:13 AS run\n" + ALPINE
    assert mended("GO107", text, safe=False) == text.replace("debian:13", STATIC)


@pytest.mark.parametrize(
    "lines",
    [
        "FROM debian:13\nRUN mkdir /data\n" + ALPINE,
        "FROM debian:13\nUSER www-data\n" + ALPINE,
        "FROM debian:13\nCOPY --from=build /app /app\nCMD /app\n",
        "FROM debian:13\nVOLUME /data\n" + ALPINE,
    ],
)
def test_a_base_that_may_be_used_is_not_replaced(lines: str) -> None:
    (finding,) = look("GO107", BUILD + lines)[1]
    assert finding.fix is None


# GO108


def test_caches_of_go_in_an_image_are_found() -> None:
    last = (
        "FROM alpine:3.23\nRUN apk add --no-cache go\nCOPY . .\nRUN go build -o /app .\n"
        'CMD ["/app"]\n'
    )
    assert seen("GO108", BUILD + last) == [("RUN go build -o /app .", 8)]


@pytest.mark.parametrize(
    "run",
    [
        "--mount=type=cache,target=/root/.cache/go-build go build -o /app .",
        "go build -o /app . && rm -rf /root/.cache /root/go",
        "go build -o /app . && go clean -cache -modcache",
        "go version",
    ],
)
def test_caches_that_are_mounted_or_removed_are_left(run: str) -> None:
    last = f'FROM alpine:3.23\nRUN apk add --no-cache go\nCOPY . .\nRUN {run}\nCMD ["/app"]\n'
    assert seen("GO108", BUILD + last) == []


def test_caches_are_not_told_of_beside_a_toolchain() -> None:
    assert seen("GO108", BUILD + 'FROM build\nCMD ["/app"]\n') == []
    assert seen("GO108", BUILD + SHIP) == []


def test_every_rule_has_a_line_and_a_name() -> None:
    assert [item.id for item in sizes.RULES] == [f"GO10{number}" for number in range(1, 9)]
