# SPDX-License-Identifier: Apache-2.0
"""Rules about safety: the words they find, what they leave alone, what their fixes write."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.reading.base_ends import GO_RELEASES, TABLE_DATE
from wherry.advice.reading.go_module import GoModule
from wherry.advice.rules import base_tags, safety
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

GO = f"golang:{GO_RELEASES[-1]}"
BUILD = f"FROM {GO} AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /app .\n"
TOKEN = "ghp_" + "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7bC0dF3gH6"


def rule(rule_id: str) -> Rule:
    return next(item for item in safety.RULES if item.id == rule_id)


def look(rule_id: str, text: str, context: Context | None = None) -> tuple[Subject, list[Finding]]:
    subject = Subject("Dockerfile", text, context)
    asked = rule(rule_id)
    return subject, list(asked.look(subject, asked))


def seen(rule_id: str, text: str, context: Context | None = None) -> list[tuple[str, int]]:
    """The words that findings are about, with their lines."""
    subject, findings = look(rule_id, text, context)
    return [(subject.text.slice(item.range), item.range.start.line) for item in findings]


def mended(rule_id: str, text: str, context: Context | None = None) -> str:
    subject, (finding,) = look(rule_id, text, context)
    assert finding.fix is not None
    return apply(subject.text, finding.fix.edits)


def files(directory: Path, *names: str, ignored: str = "", content: str = "x") -> Context:
    for name in names:
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    if ignored:
        (directory / ".dockerignore").write_text(ignored)
    return Context(str(directory))


def test_the_rules_are_in_order_and_named_once() -> None:
    ids = [item.id for item in safety.RULES]
    assert ids == sorted(set(ids))
    assert len({item.name for item in safety.RULES}) == len(ids)


# GO301


def test_a_go_program_on_scratch_without_user_runs_as_root() -> None:
    text = BUILD + 'FROM scratch\nCOPY --from=build /app /app\n# Start.\nENTRYPOINT ["/app"]\n'
    subject, (finding,) = look("GO301", text)
    assert subject.text.slice(finding.range) == 'ENTRYPOINT ["/app"]'
    assert finding.message == "app runs as root: no USER says otherwise"
    assert finding.fix is not None
    assert not finding.fix.safe
    new = mended("GO301", text)
    assert new == text.replace("# Start.\n", "USER 65532:65532\n# Start.\n")
    assert seen("GO301", new) == []


def test_a_last_user_of_root_is_pointed_at_and_replaced() -> None:
    text = BUILD + "FROM alpine:3.22\nCOPY --from=build /app /app\nUSER root:root\nCMD /app -v\n"
    assert seen("GO301", text) == [("root:root", 7)]
    new = mended("GO301", text)
    assert new == text.replace("USER root:root", "USER 65532:65532")
    assert seen("GO301", new) == []


def test_a_root_that_a_run_needs_stays_for_it() -> None:
    text = BUILD + (
        "FROM debian:12-slim\nCOPY --from=build /app /app\nUSER 0\nRUN mkdir /data\nCMD /app\n"
    )
    new = mended("GO301", text)
    assert new == text.replace("CMD", "USER 65532:65532\nCMD")
    assert seen("GO301", new) == []


@pytest.mark.parametrize(
    "end",
    [
        'FROM gcr.io/distroless/static-debian12\nCOPY --from=build /app /\nCMD ["/app"]\n',
        'FROM alpine:3.22\nCOPY --from=build /app /usr/bin/\nENTRYPOINT ["app"]\n',
        'FROM alpine:3.22\nCOPY --from=build /app /a\nENTRYPOINT ["/sbin/tini", "--", "/a"]\n',
        'FROM build\nCMD ["/app"]\n',
    ],
)
def test_programs_that_run_as_root(end: str) -> None:
    assert len(seen("GO301", BUILD + end)) == 1


def test_a_program_of_make_counts_where_it_is_copied_by_name() -> None:
    text = (
        f"FROM {GO} AS build\nRUN make\n"
        'FROM alpine:3.22\nCOPY --from=build /src/bin/app /app\nCMD ["/app"]\n'
    )
    assert seen("GO301", text) == [('CMD ["/app"]', 5)]


@pytest.mark.parametrize(
    "end",
    [
        'FROM scratch\nUSER 65532\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n',
        'FROM scratch\nARG ID\nUSER $ID\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n',
        'FROM gcr.io/distroless/static:nonroot\nCOPY --from=build /app /\nCMD ["/app"]\n',
        'FROM example.com/base:1\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n',
        # What starts is not known, or drops its rights by itself.
        'FROM alpine:3.22\nCOPY --from=build /app /app\nCOPY go.sh /\nCMD ["/go.sh"]\n',
        'FROM alpine:3.22\nCOPY --from=build /app /app\nCMD ["gosu", "me", "/app"]\n',
        "FROM alpine:3.22\nCOPY --from=build /app /app\nCMD nginx & /app\n",
        "FROM alpine:3.22\nCOPY --from=build /app /app\n",
        'FROM alpine:3.22\nRUN apk add openssh\nCMD ["/usr/sbin/sshd", "-D"]\n',
        # It changes the machine that it runs on.
        'FROM alpine:3.22\nRUN apk add iptables\nCOPY --from=build /app /app\nCMD ["/app"]\n',
        'FROM scratch\nCOPY --from=build /app /csi-driver\nENTRYPOINT ["/csi-driver"]\n',
        # Not for shipping.
        'FROM build AS dev\nCMD ["/app"]\nFROM scratch\nCOPY --from=build /app /\nUSER 1\n',
    ],
)
def test_programs_that_do_not_run_as_root_or_may_have_to(end: str) -> None:
    assert seen("GO301", BUILD + end) == []


def test_a_base_that_cannot_be_known_is_not_taken_for_scratch() -> None:
    text = 'ARG BASE\nFROM $BASE\nCOPY app /app\nENTRYPOINT ["/app"]\n'
    assert seen("GO301", text) == []


# GO302


@pytest.mark.parametrize(
    ("line", "secret"),
    [
        (f"RUN git clone https://{TOKEN}@github.com/a/b", TOKEN),
        (f"ENV WHERE=x HEADER={TOKEN}", TOKEN),
        (f'LABEL about="{TOKEN}"', TOKEN),
        ("ENV ID=AKIAQ3ZT7WKLM2VXB5RD", "AKIAQ3ZT7WKLM2VXB5RD"),
        ("RUN go env -w GOPROXY=https://bob:Zq8!kd93f@proxy.example.com", "Zq8!kd93f"),
        ('RUN echo "machine github.com login bob password Zq8kd93f" > ~/.netrc', "Zq8kd93f"),
        ("RUN go env -w X=glpat-Zq8kd93fLmN7bVcX2aS5", "glpat-Zq8kd93fLmN7bVcX2aS5"),
    ],
)
def test_what_looks_like_a_secret_is_pointed_at_and_never_told(line: str, secret: str) -> None:
    subject, (finding,) = look("GO302", f"FROM {GO}\n{line}\n")
    assert subject.text.slice(finding.range) == secret
    assert finding.range.start.line == 2
    assert secret not in finding.message + finding.hint
    assert finding.rule.severity is Severity.ERROR


def test_a_secret_in_a_heredoc_is_found_where_it_stands() -> None:
    key = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA7x\n-----END RSA PRIVATE KEY-----"
    text = f"FROM {GO}\nCOPY <<EOF /key\n{key}\nEOF\nRUN <<EOF\nexport A={TOKEN}\nEOF\n"
    subject, (first, second) = look("GO302", text)
    assert first.range.start == (3, 0)
    assert first.message.startswith("a private key stands here")
    assert subject.text.slice(second.range) == TOKEN


def test_a_secret_in_a_continued_line_is_found_where_it_stands() -> None:
    assert seen("GO302", f"FROM {GO}\nRUN true && \\\n  echo {TOKEN}\n") == [(TOKEN, 3)]


def test_an_arg_before_the_first_from_is_looked_at_whatever_its_name() -> None:
    assert seen("GO302", f"ARG TOKEN={TOKEN}\nFROM {GO}\n") == [(TOKEN, 1)]


@pytest.mark.parametrize(
    "line",
    [
        # BuildKit's own check speaks of the name.
        f"ENV GITHUB_TOKEN={TOKEN}",
        f"ARG API_KEY={TOKEN}",
        f"ENV GITHUB_TOKEN {TOKEN}",
        "ENV ID=AKIAIOSFODNN7EXAMPLE",
        "RUN git clone https://$TOKEN@github.com/a/b",
        "RUN git clone https://x:${TOKEN}@github.com/a/b",
        "RUN git clone https://user:password@github.com/a/b",
        "RUN git clone https://<user>:<token>@github.com/a/b",
        "RUN echo ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "RUN curl http://localhost:8080/a@b",
        "RUN grep -q -- '-----BEGIN PRIVATE KEY-----' /key",
        'RUN echo "machine github.com login $USER password $PASS" > ~/.netrc',
        "RUN --mount=type=secret,id=netrc go mod download",
        f"RUN true\n# {TOKEN}\nRUN true",
    ],
)
def test_what_only_looks_a_little_like_a_secret(line: str) -> None:
    assert seen("GO302", f"FROM {GO}\n{line}\n") == []


# GO303


INSTEAD = 'url."https://${TOKEN}:x-oauth-basic@github.com/".insteadOf'
SIMPLE = 'url."https://$GITHUB_PAT@github.com/".insteadOf'


@pytest.mark.parametrize(
    ("lines", "word"),
    [
        (f"ARG TOKEN\nRUN git config --global {INSTEAD} https://github.com/", INSTEAD),
        (f"ENV GITHUB_PAT=\nRUN git config --global {SIMPLE} https://github.com/", SIMPLE),
        ('ARG PAT\nRUN echo "machine github.com login x password $PAT" > ~/.netrc', "~/.netrc"),
        ("ARG T\nRUN GOPROXY=https://u:$T@proxy.example.com go mod download",
         "https://u:$T@proxy.example.com"),
        ("ARG T\nRUN git clone https://oauth2:$T@gitlab.com/a/b && go build",
         "https://oauth2:$T@gitlab.com/a/b"),
        ("ARG T\nENV GOPROXY=https://u:$T@proxy.example.com",
         "ENV GOPROXY=https://u:$T@proxy.example.com"),
    ],
)  # fmt: skip
def test_a_token_of_an_arg_that_stays(lines: str, word: str) -> None:
    text = f"FROM {GO} AS build\n{lines}\nFROM scratch\nCOPY --from=build /app /\n"
    subject, (finding,) = look("GO303", text)
    assert subject.text.slice(finding.range) == word
    assert finding.message.endswith("stays in the build cache")
    assert finding.related[0][0].start.line == 2


def test_a_token_in_a_netrc_that_a_heredoc_gives() -> None:
    text = f"FROM {GO}\nARG PAT\nRUN cat <<EOF > /root/.netrc\npassword $PAT\nEOF\n"
    subject, (finding,) = look("GO303", text)
    assert subject.text.slice(finding.range) == "/root/.netrc"
    assert finding.message == "the value of ARG PAT stays in the image and its history"


def test_a_mounted_secret_that_git_keeps_in_an_image() -> None:
    run = (
        "RUN --mount=type=secret,id=t git config --global"
        ' url."https://$(cat /run/secrets/t)@github.com/".insteadOf https://github.com/ && go build'
    )
    assert len(seen("GO303", f"FROM {GO}\n{run}\n")) == 1
    undone = f"{run} && rm ~/.gitconfig"
    assert seen("GO303", f"FROM {GO}\n{undone}\n") == []
    staged = f"FROM {GO} AS build\n{run}\nFROM scratch\nCOPY --from=build /app /\n"
    assert seen("GO303", staged) == []


@pytest.mark.parametrize(
    "lines",
    [
        'RUN git config --global url."ssh://git@github.com/".insteadOf https://github.com/',
        'ARG H\nRUN git config --global url."https://git@$H/".insteadOf https://github.com/',
        'ARG GIT_USER\nRUN git config --global url."https://$GIT_USER@x.y/".insteadOf https://x.y/',
        'ARG TOKEN\nRUN curl -H "Authorization: $TOKEN" https://github.com/a',
        "RUN --mount=type=secret,id=n,target=/root/.netrc go mod download",
        "ARG V\nRUN git clone --branch $V https://github.com/a/b",
        "ARG TOKEN\nRUN rm -f ~/.netrc && echo $TOKEN > /dev/null",
        'ARG USER\nRUN echo "login $USER" > ~/.netrc',
        "ENV GOPROXY=https://proxy.golang.org,direct",
        "RUN --mount=type=secret,id=t T=$(cat /run/secrets/t) && git clone https://$T@x.y/a",
    ],
)
def test_what_leaves_no_token(lines: str) -> None:
    text = f"FROM {GO} AS build\n{lines}\nFROM scratch\nCOPY --from=build /app /\n"
    assert seen("GO303", text) == []


# GO304


@pytest.mark.parametrize(
    "path", [".env", "conf/.env.production", "id_rsa", ".netrc", ".aws", "ci/kubeconfig",
             ".docker/config.json", ".ssh/"]
)  # fmt: skip
def test_a_secret_file_that_is_copied_by_name(path: str) -> None:
    text = f"FROM alpine:3.22\nCOPY go.mod {path} /x/\n"
    _, (finding,) = look("GO304", text)
    assert seen("GO304", text) == [(path, 2)]
    assert finding.rule.severity is Severity.WARNING
    staged = f"FROM {GO} AS a\nCOPY {path} /x/\nFROM scratch\nCOPY --from=a /b /\n"
    _, (inner,) = look("GO304", staged)
    assert inner.rule.severity is Severity.INFO


def test_a_secret_file_out_of_a_stage() -> None:
    text = BUILD + "FROM scratch\nCOPY --from=build /src/.env /\n"
    assert seen("GO304", text) == [("/src/.env", 6)]


def test_json_words_are_pointed_at_without_their_quotes() -> None:
    assert seen("GO304", 'FROM alpine:3.22\nCOPY [".env", "/x/"]\n') == [(".env", 2)]


@pytest.mark.parametrize(
    "line",
    [
        "COPY .env.example .env",
        "COPY id_rsa.pub /x/",
        "COPY .env* /x/",
        "COPY environment /x/.env",
        "COPY .ssh/known_hosts /root/.ssh/",
        "COPY certs/ca.pem /etc/ssl/",
        "ADD https://example.com/.env /x/",
        "COPY <<EOF /x/.env\nA=1\nEOF",
        "COPY $FILE /x/",
        "COPY --from=alpine:3.22 /etc/passwd /etc/",
        "RUN --mount=type=secret,id=netrc,target=/root/.netrc go mod download",
    ],
)
def test_files_that_are_not_secret(line: str) -> None:
    assert seen("GO304", f"FROM alpine:3.22\n{line}\n") == []


def test_keys_are_told_by_their_first_bytes(tmp_path: Path) -> None:
    files(tmp_path, "a/server.key", content="-----BEGIN PRIVATE KEY-----\nabc\n")
    context = files(tmp_path, "a/ca.pem", content="-----BEGIN CERTIFICATE-----\nabc\n")
    assert seen("GO304", "FROM alpine:3.22\nCOPY a/server.key a/ca.pem /x/\n", context) == [
        ("a/server.key", 2)
    ]
    assert seen("GO304", "FROM alpine:3.22\nCOPY a /x/\n", context) == [("a", 2)]


def test_the_whole_context_with_secrets_in_it(tmp_path: Path) -> None:
    context = files(tmp_path, ".env", "deep/id_rsa", "main.go", ignored="*.md")
    text = "FROM alpine:3.22\nCOPY . /x/\n"
    subject, (finding,) = look("GO304", text, context)
    assert subject.text.slice(finding.range) == "."
    assert finding.message == ".env, deep/id_rsa would go into the image"
    assert finding.fix is not None
    assert not finding.fix.safe
    (edit,) = finding.fix.edits
    assert (edit.path, edit.text) == (".dockerignore", ".env\ndeep/id_rsa\n")
    assert edit.range.start == edit.range.end
    assert apply(subject.text, finding.fix.edits) == text
    (tmp_path / ".dockerignore").write_text("*.md\n" + edit.text)
    assert seen("GO304", text, Context(str(tmp_path))) == []


def test_an_ignore_file_is_made_where_there_is_none(tmp_path: Path) -> None:
    context = files(tmp_path, ".env", "main.go")
    _, (finding,) = look("GO304", "FROM alpine:3.22\nCOPY ./ /x/\n", context)
    assert finding.fix is not None
    (edit,) = finding.fix.edits
    assert (edit.path, edit.text, edit.range.start) == (".dockerignore", ".env\n", (1, 0))


@pytest.mark.parametrize(
    ("names", "ignored", "copied"),
    [
        ((".env",), ".env\n", "."),
        (("web/.env",), "", "."),
        (("internal/tls/testdata/id_rsa", "examples/kubeconfig"), "", "."),
        ((".env", "cmd/main.go"), "", "cmd"),
        ((".env.example", ".envrc"), "", "."),
        ((".env",), "", "--exclude=.env ."),
        ((".env",), "", "go.mod go.sum"),
    ],
)
def test_contexts_without_secrets_in_what_is_copied(
    tmp_path: Path, names: tuple[str, ...], ignored: str, copied: str
) -> None:
    context = files(tmp_path, *names, ignored=ignored)
    assert seen("GO304", f"FROM alpine:3.22\nCOPY {copied} /x/\n", context) == []


# GO305


def test_a_history_in_the_image(tmp_path: Path) -> None:
    context = files(tmp_path, ".git/HEAD", ".git/objects/pack/a.pack", "main.go")
    text = f"FROM {GO}\nCOPY . .\n"
    _, (finding,) = look("GO305", text, context)
    assert seen("GO305", text, context) == [(".", 2)]
    assert finding.message == ".git goes into the image, with all that was ever committed"
    assert finding.fix is not None
    assert (finding.fix.safe, finding.fix.edits[0].text) == (False, ".git\n")


def test_a_big_history_in_a_stage_that_is_not_shipped(tmp_path: Path) -> None:
    context = files(tmp_path, ".git/HEAD", ".git/objects/pack/a.pack", "main.go")
    with (tmp_path / ".git/objects/pack/a.pack").open("wb") as file:
        file.truncate(60_000_000)
    end = "FROM scratch\nCOPY --from=build /app /\n"
    _, (finding,) = look("GO305", BUILD + end, context)
    assert finding.message == ".git goes into the build cache: 60 MB"
    stamped = BUILD.replace("RUN ", "RUN git describe && ")
    assert seen("GO305", stamped + end, context) == []


@pytest.mark.parametrize(
    ("text", "ignored"),
    [
        (f"FROM {GO}\nCOPY . .\n", ".git\n"),
        (f"FROM {GO}\nCOPY . .\n", "*\n!main.go\n"),
        (f"FROM {GO}\nCOPY cmd go.mod ./\n", ""),
        (f"FROM {GO}\nCOPY --exclude=.git . .\n", ""),
        (BUILD + "FROM scratch\nCOPY --from=build /app /\n", ""),
        (BUILD + "FROM scratch\nCOPY --from=build / /\n", ""),
    ],
)
def test_histories_that_do_no_harm(tmp_path: Path, text: str, ignored: str) -> None:
    context = files(tmp_path, ".git/HEAD", ".git/objects/pack/a.pack", ignored=ignored)
    assert seen("GO305", text, context) == []


# GO306


@pytest.mark.parametrize(
    ("base", "hint"),
    [
        ("golang", f"name a release: golang:{GO_RELEASES[-1]}"),
        ("golang:latest", f"name a release: golang:{GO_RELEASES[-1]}"),
        ("golang:alpine", f"write golang:{GO_RELEASES[-1]}-alpine"),
        ("golang:bookworm", f"write golang:{GO_RELEASES[-1]}-bookworm"),
        ("alpine", "name a release: alpine:3.24"),
        ("example.com/team/base", "name a release, or a digest: NAME:TAG or NAME@sha256:..."),
    ],
)
def test_bases_that_are_not_pinned(base: str, hint: str) -> None:
    text = f"FROM --platform=$BUILDPLATFORM {base} AS build\n"
    _, (finding,) = look("GO306", text)
    assert seen("GO306", text) == [(base, 1)]
    assert (finding.hint, finding.rule.severity) == (hint, Severity.WARNING)


@pytest.mark.parametrize(
    "base",
    ["gcr.io/distroless/static-debian13:nonroot", "gcr.io/distroless/base",
     "gcr.io/distroless/static:debug-nonroot-arm64", "cgr.dev/chainguard/static",
     "cgr.dev/chainguard/go:latest-dev"],
)  # fmt: skip
def test_bases_that_only_a_digest_pins(base: str) -> None:
    _, (finding,) = look("GO306", f"FROM {base}\n")
    assert finding.rule.severity is Severity.INFO


@pytest.mark.parametrize(
    ("base", "after"),
    [
        ("golang", f"golang:{GO_RELEASES[-1]}"),
        ("golang:latest", f"golang:{GO_RELEASES[-1]}"),
        ("golang:alpine", f"golang:{GO_RELEASES[-1]}-alpine"),
        ("golang:alpine3.12", f"golang:{GO_RELEASES[-1]}-alpine"),
        ("golang:bookworm", f"golang:{GO_RELEASES[-1]}-bookworm"),
        ("golang:buster", f"golang:{GO_RELEASES[-1]}"),
        ("docker.io/library/golang:latest", f"docker.io/library/golang:{GO_RELEASES[-1]}"),
        ("alpine:latest", "alpine:3.24"),
    ],
)
def test_a_base_gets_the_tag_of_a_release(base: str, after: str) -> None:
    text = f"FROM --platform=$BUILDPLATFORM {base} AS build\n"
    assert mended("GO306", text) == text.replace(base, after)
    assert seen("GO306", mended("GO306", text)) == []


@pytest.mark.parametrize(
    ("line", "tag"), [("1.24", GO_RELEASES[-1]), ("1.26.1", "1.26"), ("1.99", "1.99")]
)
def test_go_mod_names_the_release_where_that_gets_fixes(
    tmp_path: Path, line: str, tag: str
) -> None:
    (tmp_path / "go.mod").write_text(f"module a\n\ngo {line}\n")
    module = GoModule.found(str(tmp_path), {})
    subject = Subject("Dockerfile", "FROM golang\n", Context(str(tmp_path)), module)
    (finding,) = rule("GO306").look(subject, rule("GO306"))
    assert finding.fix is not None
    assert not finding.fix.safe
    assert apply(subject.text, finding.fix.edits) == f"FROM golang:{tag}\n"


def test_bases_of_variables_and_unknown_ones_are_left() -> None:
    for text in ("ARG V=latest\nFROM golang:${V}\n", "FROM example.com/team/base\n"):
        _, (finding,) = look("GO306", text)
        assert finding.fix is None


def test_the_default_of_an_arg_that_moves() -> None:
    _, (finding,) = look("GO306", "ARG V=latest\nFROM golang:${V} AS a\n")
    assert finding.message.endswith("; the default of ARG V says so")
    assert [(place.start.line, word) for place, word in finding.related] == [(1, "V stands there")]


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch\n",
        f"FROM {GO} AS build\nFROM build\n",
        "ARG V\nFROM golang:$V\n",
        "FROM golang:1.27-alpine\n",
        "FROM debian:stable-slim\n",
        f"FROM golang@sha256:{'0' * 64}\n",
        f"FROM golang:latest@sha256:{'0' * 64}\n",
        f"FROM gcr.io/distroless/static:nonroot@sha256:{'0' * 64}\n",
        "FROM cgr.dev/chainguard/go:1.27\n",
        "ARG V=1.27\nFROM golang:$V\n",
        # Its distribution is over: GO308 says so, and nothing moves any more.
        "FROM gcr.io/distroless/base-debian10\n",
        # No registry has them: they are built here, or stand for what is given.
        "FROM my-base\n",
        "ARG BASE=placeholder\nFROM $BASE\n",
        "ARG BASE=none\nFROM $BASE:latest\n",
    ],
)
def test_bases_that_are_pinned_or_not_known(text: str) -> None:
    assert seen("GO306", text) == []


# GO308


@pytest.mark.parametrize(
    ("base", "what", "hint"),
    [
        ("golang:1.19", "Go 1.19 gets no security fixes", f"write golang:{GO_RELEASES[-1]}"),
        ("golang:1.19.3-alpine3.16", "Go 1.19 gets", f"write golang:{GO_RELEASES[-1]}-alpine"),
        ("golang:1.20-buster", "Go 1.20 gets", f"write golang:{GO_RELEASES[-1]}"),
        ("golang:1.20-bookworm", "Go 1.20 gets", f"write golang:{GO_RELEASES[-1]}-bookworm"),
        ("alpine:3.12.1", "Alpine 3.12 is no longer", "write alpine:3.24"),
        ("alpine:3.4", "Alpine 3.4 is no longer", "write alpine:3.24"),
        ("debian:buster-slim", "Debian buster is no longer", "write debian:trixie-slim"),
        ("debian:10", "Debian buster is no longer", "write debian:trixie"),
        ("ubuntu:bionic", "Ubuntu 18.04 is no longer", "write ubuntu:26.04"),
        ("ubuntu:25.10", "Ubuntu 25.10 is no longer", "write ubuntu:26.04"),
        ("buildpack-deps:buster-scm", "Debian buster", "write buildpack-deps:trixie-scm"),
        ("debian:buster-20240612-slim", "Debian buster", "write debian:trixie-slim"),
        ("centos:7", "Centos 7 is no longer", "take a release that is maintained"),
    ],
)
def test_releases_that_are_over(base: str, what: str, hint: str) -> None:
    text = f"FROM {base} AS a\n"
    _, (finding,) = look("GO308", text)
    assert seen("GO308", text) == [(base, 1)]
    assert finding.message.startswith(what)
    assert finding.message.endswith(f"(table of {TABLE_DATE})")
    assert (finding.hint, finding.fix) == (hint, None)


def test_a_distroless_image_keeps_its_tag() -> None:
    _, (finding,) = look("GO308", "FROM gcr.io/distroless/static-debian11:nonroot\n")
    assert finding.hint == "write gcr.io/distroless/static-debian13:nonroot"


@pytest.mark.parametrize(
    "base",
    [GO, f"golang:{GO_RELEASES[0]}.3-alpine", "golang:1", "golang", "golang:1.99rc1", "alpine",
     "alpine:3.23", "alpine:edge", "debian:stable", "debian:trixie", "ubuntu:24.04", "fedora",
     "example.com/golang:1.12", "node:12", "scratch"],
)  # fmt: skip
def test_releases_that_are_maintained_or_not_known(base: str) -> None:
    assert seen("GO308", f"FROM {base}\n") == []


def test_what_is_written_instead_is_maintained_itself() -> None:
    for family, tag in base_tags._INSTEAD.items():
        assert seen("GO308", f"FROM {family}:{tag}\n") == []


# GO309


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("ADD https://example.com/a /a", "https://example.com/a"),
        ("ADD --chmod=755 http://example.com/a.tar.gz /a", "http://example.com/a.tar.gz"),
        ("ARG V=1\nADD x https://example.com/$V/a /a/", "https://example.com/$V/a"),
    ],
)
def test_an_add_of_an_address(line: str, word: str) -> None:
    _, (finding,) = look("GO309", f"FROM alpine:3.22\n{line}\n")
    assert [found for found, _ in seen("GO309", f"FROM alpine:3.22\n{line}\n")] == [word]
    assert (finding.rule.severity, finding.fix) == (Severity.WARNING, None)


@pytest.mark.parametrize(
    ("line", "new", "safe"),
    [
        ("ADD . /src", "COPY . /src", True),
        ("add --chown=1:1 go.mod go.sum ./", "copy --chown=1:1 go.mod go.sum ./", True),
        ("ADD rootfs /", "COPY rootfs /", False),
        ("ADD cmd/ /cmd/", "COPY cmd/ /cmd/", True),
    ],
)
def test_an_add_where_copy_serves(line: str, new: str, safe: bool) -> None:
    text = f"FROM alpine:3.22\n{line}\n"
    _, (finding,) = look("GO309", text)
    assert finding.fix is not None
    assert (finding.rule.severity, finding.fix.safe) == (Severity.INFO, safe)
    assert mended("GO309", text) == f"FROM alpine:3.22\n{new}\n"
    assert seen("GO309", mended("GO309", text)) == []


def test_a_directory_of_the_context_is_no_archive(tmp_path: Path) -> None:
    context = files(tmp_path, "rootfs/etc/motd")
    _, (finding,) = look("GO309", "FROM alpine:3.22\nADD rootfs /\n", context)
    assert finding.fix is not None
    assert finding.fix.safe


@pytest.mark.parametrize(
    "line",
    [
        f"ADD --checksum=sha256:{'0' * 64} https://example.com/a /a",
        "ADD https://github.com/a/b.git#v1 /b",
        "ADD git@github.com:a/b.git /b",
        "ADD root.tar.xz /",
        "ADD root.tgz /",
        "ADD dist/* /",
        "ADD $FILE /",
        "ADD --unpack=true root /",
        "COPY . /src",
    ],
)
def test_adds_that_are_as_they_should_be(line: str) -> None:
    assert seen("GO309", f"FROM alpine:3.22\n{line}\n") == []


# GO310


@pytest.mark.parametrize(
    ("run", "word", "does"),
    [
        ("curl -sSf https://a.b/i.sh | sh -s -- -b /bin",
         "curl -sSf https://a.b/i.sh | sh -s -- -b /bin", "run"),
        ("true && wget -qO- https://a.b/i.sh | bash", "wget -qO- https://a.b/i.sh | bash", "run"),
        ("curl -L https://a.b/c.tgz \\\n  | tar xz -C /opt",
         "curl -L https://a.b/c.tgz \\\n  | tar xz -C /opt", "unpacked"),
        ("curl -L https://a.b/c.tgz 2>/dev/null | tar xz",
         "curl -L https://a.b/c.tgz 2>/dev/null | tar xz", "unpacked"),
        ("curl https://a.b/i.sh | sudo bash -", "curl https://a.b/i.sh | sudo bash -", "run"),
        ("curl https://a.b/i.py | python3 -", "curl https://a.b/i.py | python3 -", "run"),
    ],
)  # fmt: skip
def test_downloads_that_nobody_looks_at(run: str, word: str, does: str) -> None:
    text = f"FROM alpine:3.22\nRUN {run}\n"
    _, (finding,) = look("GO310", text)
    assert seen("GO310", text) == [(word, 2)]
    assert finding.message == f"what is downloaded here is {does} unseen"


def test_a_download_as_a_script_of_a_shell() -> None:
    assert len(seen("GO310", 'FROM alpine:3.22\nRUN sh -c "$(curl -fsSL https://a.b/i.sh)"\n')) == 1


@pytest.mark.parametrize(
    "run",
    [
        "curl -o c.tgz https://a.b/c.tgz && echo 'abc  c.tgz' | sha256sum -c && tar xf c.tgz",
        "curl -L https://a.b/c.tgz | tee c.tgz | sha256sum -c - && tar xf c.tgz",
        "curl https://a.b/c.asc | gpg --import && curl https://a.b/c.sh | sh",
        "curl -s https://a.b/v.json | jq -r .tag",
        "curl -s https://a.b/v.json | python3 -c 'import json'",
        "curl -s https://a.b/x || sh fallback.sh",
        "curl -s https://a.b/x; sh other.sh",
        "curl -s https://a.b/x | sh check.sh",
        "curl -s http://localhost:8080/x | sh",
        "cat a.tgz | tar xz",
        'V="$(curl -s https://a.b/v)" && sh build.sh "$V"',
    ],
)
def test_downloads_that_are_looked_at_or_only_read(run: str) -> None:
    assert seen("GO310", f"FROM alpine:3.22\nRUN {run}\n") == []


# What is told of ARGs


@pytest.mark.parametrize(
    ("rule_id", "text", "name"),
    [
        ("GO306", "ARG O=linux\nARG V=latest\nFROM quay.io/team/box-$O:$V\n", "V"),
        ("GO306", "ARG B=alpine\nFROM ${B}\n", "B"),
        ("GO306", "ARG O=linux\nFROM quay.io/team/box-$O:latest\n", ""),
        ("GO306", "ARG R=docker.io\nFROM $R/library/golang\n", ""),
        ("GO308", "ARG A=3.24\nARG V=1.20\nFROM golang:$V-alpine$A\n", "V"),
        ("GO308", "ARG V=1.20\nARG I=golang:$V\nFROM $I\n", "I"),
        ("GO308", "ARG S=slim\nFROM debian:buster-$S\n", ""),
    ],
)
def test_the_arg_that_says_it_is_named(rule_id: str, text: str, name: str) -> None:
    _, (finding,) = look(rule_id, text)
    assert ("default of ARG" in finding.message) == bool(name)
    assert finding.message.endswith(f"the default of ARG {name} says so" if name else "")


def test_an_untagged_distroless_gets_no_tag() -> None:
    _, (finding,) = look("GO308", "FROM gcr.io/distroless/base-debian10\n")
    assert finding.hint == "write gcr.io/distroless/base-debian13"


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("Dockerfile", True), ("Dockerfile.test.go1.7", False), ("Dockerfile.go1.70", True),
     ("go1.7/Dockerfile", True)],
)  # fmt: skip
def test_a_file_for_one_line_of_go(name: str, is_told: bool) -> None:
    subject = Subject(name, "FROM golang:1.7\n")
    assert bool(list(rule("GO308").look(subject, rule("GO308")))) == is_told


# GO301: what is there for people at work


@pytest.mark.parametrize(
    ("name", "is_told"),
    [("Dockerfile", True), ("Dockerfile.dev", False), ("dev.Dockerfile", False),
     ("Dockerfile.debug", False), ("docs.Dockerfile", False), ("Dockerfile.device", True),
     ("devel/Dockerfile", True)],
)  # fmt: skip
def test_files_for_people_at_work(name: str, is_told: bool) -> None:
    subject = Subject(name, f'{BUILD}FROM scratch\nCOPY --from=build /app /app\nCMD ["/app"]\n')
    assert bool(list(rule("GO301").look(subject, rule("GO301")))) == is_told


@pytest.mark.parametrize("program", ["air", "dlv", "make", "docker-driver", "buildkitd"])
def test_programs_that_are_no_server_of_ones_own(program: str) -> None:
    start = f'CMD ["/go/bin/{program}"]\n'
    assert seen("GO301", f"FROM {GO}\nRUN go install example.com/{program}@v1\n{start}") == []


# GO303


@pytest.mark.parametrize(
    ("run", "word"),
    [
        ('mkdir /x && echo "$SSH_KEY" > /root/.ssh/id_rsa && go mod download', "/root/.ssh/id_rsa"),
        ('a && echo "https://x:${PAT}@github.com" > ~/.git-credentials && b', "~/.git-credentials"),
    ],
)
def test_a_credential_that_a_later_command_writes(run: str, word: str) -> None:
    text = f"FROM {GO}\nARG SSH_KEY\nARG PAT\nRUN {run}\n"
    assert seen("GO303", text) == [(word, 4)]


def test_a_key_that_no_arg_holds() -> None:
    text = f'FROM {GO}\nARG DIR\nRUN a && ssh-keygen -f x && echo "x" > $DIR/id_rsa\n'
    assert seen("GO303", text) == []


# GO304: what is in the files


@pytest.mark.parametrize(
    ("name", "content", "is_told"),
    [
        (".env", "PORT=8080\nDB_PASSWORD=x\n", True),
        (".env", "export JWT_SECRET='x'\n", True),
        (".env", "DB_DSN=root:abc@tcp(db)/x\n", True),
        (".env", "MONGO=mongodb://a:b@host/x\n", True),
        (".env", "PORT=8080\n# PASSWORD=x\nSECRET_KEY=\nTOKEN=''\n", False),
        (".env.production", "VITE_PASSKEY_LOGIN={{ .Passkey }}\n", False),
        (".env", "EXPO_PUBLIC_API_KEY=1\n", False),
        ("kubeconfig", "clusters:\nusers:\n- user:\n    token: blue-token\n", False),
        ("kubeconfig", "clusters:\nusers:\n- user:\n    token: c2VjcmV0LXRva2VuLWhlcmU\n", True),
        ("kubeconfig", "clusters:\nusers:\n- user:\n    client-key: /home/a/key\n", True),
    ],
)
def test_files_are_looked_into(tmp_path: Path, name: str, content: str, is_told: bool) -> None:
    context = files(tmp_path, name, content=content)
    assert bool(seen("GO304", "FROM alpine:3.24\nCOPY . /x/\n", context)) == is_told
    assert bool(seen("GO304", f"FROM alpine:3.24\nCOPY {name} /x/\n", context)) == is_told


def test_keys_of_test_suites(tmp_path: Path) -> None:
    key = "-----BEGIN PRIVATE KEY-----\nMII"
    context = files(tmp_path, "internal/suites/pki/private.pem", content=key)
    assert seen("GO304", "FROM alpine:3.24\nCOPY . /x/\n", context) == []
    context = files(tmp_path, "deploy/private.pem", content=key)
    assert len(seen("GO304", "FROM alpine:3.24\nCOPY . /x/\n", context)) == 1


# GO307

LOCK = f"""version = 1
go = "1.27.1"

[data]

[[base]]
reference = "docker.io/library/golang:latest"
digest = "sha256:{"1" * 64}"
media-type = "application/vnd.oci.image.index.v1+json"
size = 10

[base.platforms]
"linux/amd64" = "sha256:{"2" * 64}"
"""


def locked(directory: Path, lock: str = LOCK) -> Context:
    (directory / "wherry.lock").write_text(lock)
    return Context(str(directory))


def test_what_the_lock_file_holds_is_pinned(tmp_path: Path) -> None:
    context = locked(tmp_path)
    assert seen("GO306", "FROM golang\n", context) == []
    assert seen("GO306", "FROM golang:alpine\n", context) == [("golang:alpine", 1)]
    assert seen("GO306", "FROM golang\n") == [("golang", 1)]


@pytest.mark.parametrize(
    ("base", "message"),
    [
        ("alpine:3.24", "wherry.lock does not hold alpine:3.24, and no digest says which"),
        (f"golang:latest@sha256:{'3' * 64}", "wherry.lock holds another digest of golang:latest"),
        ("golang", ""),
        (f"golang:latest@sha256:{'1' * 64}", ""),
        (f"golang:latest@sha256:{'2' * 64}", ""),
        (f"alpine:3.24@sha256:{'3' * 64}", ""),
        ("scratch", ""),
    ],
)
def test_bases_and_the_lock_file(tmp_path: Path, base: str, message: str) -> None:
    context = locked(tmp_path)
    _, found = look("GO307", f"FROM {base} AS x\nFROM x\n", context)
    assert [finding.message for finding in found] == ([message] if message else [])


def test_the_digest_of_the_lock_file_is_written(tmp_path: Path) -> None:
    text = f"FROM golang:latest@sha256:{'3' * 64} AS x\n"
    new = mended("GO307", text, locked(tmp_path))
    assert new == text.replace("3" * 64, "1" * 64)


def test_a_lock_file_that_cannot_be_read_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "wherry.lock").write_text("<<<<<<<\n")
    context = Context(str(tmp_path))
    assert seen("GO307", "FROM alpine:3.24\n", context) == []
    assert seen("GO306", "FROM alpine\n", context) == [("alpine", 1)]


# GO309 and GO310: what is compared, what is saved first


@pytest.mark.parametrize(
    "rest",
    [
        "ADD https://example.com/a /a\nRUN echo '0  /a' | sha256sum -c -\n",
        "ADD https://api.github.com/repos/a/b/branches/main stamp\n",
        "ADD https://api.github.com/repos/a/b/commits/main stamp\n",
    ],
)
def test_an_address_that_is_compared_or_no_content(rest: str) -> None:
    assert seen("GO309", f"FROM alpine:3.24\n{rest}") == []


def test_an_address_that_is_compared_before_it_is_added() -> None:
    text = "FROM alpine:3.24\nRUN sha256sum /b\nADD https://example.com/a /a\n"
    assert seen("GO309", text) == [("https://example.com/a", 3)]


@pytest.mark.parametrize(
    ("run", "does"),
    [
        ("curl -sSLo /bin/a https://x.io/a && chmod +x /bin/a", "run"),
        ("curl -L https://x.io/a > /bin/a && chmod 0755 /bin/a", "run"),
        ("wget https://x.io/a.tgz && tar xzf a.tgz", "unpacked"),
        ("wget -qO b.zip https://x.io/a?x=1 && unzip -d /x b.zip", "unpacked"),
        ("curl -LO https://x.io/a.deb && dpkg -i a.deb", "installed"),
        ("curl --output=i.sh https://x.io/i.sh ; sh i.sh", "run"),
        ("curl -o i https://x.io/i ; chmod u+x i ; ./i", "run"),
        ("bash <(curl -s https://x.io/i.sh)", "run"),
    ],
)
def test_downloads_that_are_saved_and_used(run: str, does: str) -> None:
    _, (finding,) = look("GO310", f"FROM alpine:3.24\nRUN {run}\n")
    assert finding.message == f"what is downloaded here is {does} unseen"


@pytest.mark.parametrize(
    "run",
    [
        "curl -sSLo /bin/a https://x.io/a && sha256sum -c sums && chmod +x /bin/a",
        "curl -sSLo /etc/a.json https://x.io/a.json && chmod 644 /etc/a.json",
        "curl -sSLo a https://x.io/a && chmod +x b",
        "curl https://x.io/a && chmod +x a",
        "wget -O - https://x.io/a && chmod +x -",
        "curl -o a http://localhost/a && sh a",
        "curl -o a https://x.io/a && chmod go-w a",
        "curl -o a https://x.io/a && cp a b",
        "diff <(curl -s https://x.io/a) b",
    ],
)
def test_downloads_that_are_compared_or_only_kept(run: str) -> None:
    assert seen("GO310", f"FROM alpine:3.24\nRUN {run}\n") == []
