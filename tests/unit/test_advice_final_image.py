# SPDX-License-Identifier: Apache-2.0
"""Rules about the final image: what they find, what they leave alone, what their fixes write."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from wherry.advice.context import Context
from wherry.advice.model import Finding, Rule, Severity
from wherry.advice.rules import final_image
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

BUILD = (
    "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\nRUN CGO_ENABLED=0 go build -o /out/api .\n"
)
SHIP = BUILD + "FROM scratch\nCOPY --from=build /out/api /api\n"
ALPINE = BUILD + "FROM alpine:3.22\nCOPY --from=build /out/api /app/api\n"
STATIC = BUILD + "FROM gcr.io/distroless/static\nCOPY --from=build /out/api /api\n"


class Module:
    """As `GoModule` answers, without Go: one program at its top and one in cmd/api."""

    root = "."
    path = "example.com/api"

    def __init__(
        self, cgo: tuple[str, ...] = (), standard: tuple[str, ...] = (), problem: str = "",
        **needs: str,
    ) -> None:  # fmt: skip
        self._cgo, self._standard, self._problem = cgo, standard, problem
        self._needs = SimpleNamespace(**{"certificates": "", "zones": "", "temporary": "", **needs})

    def mains(self) -> tuple[str, ...]:
        return (".", "cmd/api")

    def problem(self, pattern: str, tags: str = "") -> str:
        assert pattern in (".", "./cmd/api")
        return self._problem

    def uses_cgo(self, pattern: str, *, on: bool, tags: str = "") -> tuple[str, ...]:
        return (*self._cgo, *self._standard) if on else self._cgo

    def needs(self, pattern: str, *, tags: str = "") -> SimpleNamespace:
        return self._needs


def rule(rule_id: str) -> Rule:
    return next(item for item in final_image.RULES if item.id == rule_id)


def look(
    rule_id: str, text: str, context: Context | None = None, module: Module | None = None
) -> tuple[Subject, list[Finding]]:
    subject = Subject("Dockerfile", text, context, module)  # type: ignore[arg-type]
    assert not subject.problems
    asked = rule(rule_id)
    return subject, list(asked.look(subject, asked))


def seen(
    rule_id: str, text: str, context: Context | None = None, module: Module | None = None
) -> list[tuple[str, int]]:
    """The words that findings are about, with their lines."""
    subject, findings = look(rule_id, text, context, module)
    return [(subject.text.slice(item.range), item.range.start.line) for item in findings]


def mended(
    rule_id: str, text: str, *, safe: bool, module: Module | None = None, left: int = 0
) -> str:
    """The text after the first finding's fix; `left` findings are in it then."""
    subject, findings = look(rule_id, text, None, module)
    fix = findings[0].fix
    assert fix is not None
    assert fix.safe is safe
    new = apply(subject.text, fix.edits)
    assert len(look(rule_id, new, None, module)[1]) == left
    return new


def only(rule_id: str, text: str, module: Module | None = None) -> Finding:
    _, (finding,) = look(rule_id, text, None, module)
    return finding


def test_the_rules_are_in_order_and_named_once() -> None:
    ids = [item.id for item in final_image.RULES]
    assert ids == sorted(set(ids))
    assert len({item.name for item in final_image.RULES}) == len(ids)


def test_every_rule_has_a_page() -> None:
    pages = Path(__file__).parents[2] / "docs" / "rules"
    for item in final_image.RULES:
        page = (pages / f"{item.id}-{item.name}.md").read_text()
        assert page.startswith(f"# {item.id} {item.name}\n")
        assert 15 <= len(page.splitlines()) <= 40


# GO221 program-not-there


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (SHIP + 'ENTRYPOINT ["/server"]\n', "/server", 7),
        (SHIP + 'CMD ["/bin/api"]\n', "/bin/api", 7),
        (SHIP + 'ENTRYPOINT ["./server", "-v"]\n', "./server", 7),
        (SHIP + 'CMD ["api"]\n', "api", 7),
        (STATIC + 'CMD ["server"]\n', "server", 7),
        (ALPINE + "CMD /app/server --port 80\n", "/app/server", 7),
        (ALPINE + "CMD exec /app/server\n", "/app/server", 7),
        (ALPINE + "RUN apk add --no-cache ca-certificates\nCMD [\"/api\"]\n", "/api", 8),
        ("FROM golang:1.27\nWORKDIR /app\nCOPY . .\nRUN go build -o api .\nCMD [\"/api\"]\n",
         "/api", 5),
        (BUILD + "FROM alpine\nWORKDIR /app\nCOPY --from=build /out/api .\nCMD [\"./main\"]\n",
         "./main", 8),
    ],
)  # fmt: skip
def test_program_not_there(text: str, words: str, line: int) -> None:
    assert seen("GO221", text) == [(words, line)]


@pytest.mark.parametrize(
    "text",
    [
        SHIP + 'ENTRYPOINT ["/api"]\n',
        SHIP + 'WORKDIR /\nENTRYPOINT ["./api"]\n',
        # A name that PATH leads to.
        BUILD + 'FROM scratch\nENV PATH=/app\nCOPY --from=build /out/api /app/\nCMD ["api"]\n',
        BUILD + 'FROM scratch\nCOPY --from=build /out/api /usr/bin/\nCMD ["api"]\n',
        # The base has programs of its own.
        ALPINE + 'ENTRYPOINT ["/sbin/tini", "--", "/app/api"]\n',
        ALPINE + 'CMD ["server"]\n',
        BUILD + 'FROM gcr.io/distroless/static:debug\nENTRYPOINT ["/busybox/sh"]\n',
        # An unknown base may have anything.
        BUILD + 'FROM example.com/base\nENTRYPOINT ["/server"]\n',
        # A script, a download, a link.
        ALPINE + 'COPY setup.sh /\nRUN /setup.sh\nCMD ["/server"]\n',
        ALPINE + 'RUN wget -O /server https://example.com/server\nCMD ["/server"]\n',
        ALPINE + 'RUN ln -s /app/api /server\nCMD ["/server"]\n',
        ALPINE + 'RUN echo "#!/bin/sh" > /server\nCMD ["/server"]\n',
        # A directory of the build stage whose content is not known.
        BUILD + 'FROM scratch\nCOPY --from=build /src/bin /\nCMD ["/server"]\n',
        BUILD + 'FROM scratch\nCOPY --from=example.com/x / /\nCMD ["/server"]\n',
        # Archives, variables, the whole path kept.
        BUILD + 'FROM scratch\nADD root.tar.gz /\nCMD ["/server"]\n',
        BUILD + 'FROM scratch\nARG BIN\nCOPY --from=build /out/$BIN /$BIN\nCMD ["/server"]\n',
        BUILD + 'FROM scratch\nCOPY --parents --from=build /out/api /\nCMD ["/out/api"]\n',
        # Files that another tool may put into the build context.
        'FROM scratch\nCOPY server /\nENTRYPOINT ["/server"]\n',
        'FROM alpine\nCOPY dist/ /app/\nENTRYPOINT ["/app/server"]\n',
        # Words that only a shell or nobody understands.
        ALPINE + "CMD cd /app && ./server\n",
        ALPINE + "CMD $APP\n",
        SHIP + 'ENTRYPOINT ["$APP"]\n',
        # What is mounted is not known, and one for others is not asked.
        ALPINE + 'VOLUME /data\nCMD ["/data/server"]\n',
        SHIP + "USER 1\n",
    ],
)
def test_program_there_or_unknown(text: str) -> None:
    assert seen("GO221", text) == []


def test_a_file_that_the_context_lacks_may_come(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n")
    (tmp_path / "conf.d").mkdir()
    context = Context(str(tmp_path))
    text = 'FROM scratch\nCOPY server /\nENTRYPOINT ["/server"]\n'
    assert seen("GO221", text, context) == []
    text = 'FROM scratch\nCOPY main.go /\nENTRYPOINT ["/server"]\n'
    assert seen("GO221", text, context) == [("/server", 3)]
    text = 'FROM scratch\nCOPY conf.d /\nENTRYPOINT ["/server"]\n'
    assert seen("GO221", text, context) == []


def test_compose_may_mount_a_program(tmp_path: Path) -> None:
    context = Context(str(tmp_path))
    text = 'FROM alpine\nRUN apk add --no-cache bash\nCMD ["/srv/app/init.sh"]\n'
    compose = tmp_path / "compose.yml"
    mounts = ("- ./init.sh:/srv/app/init.sh:ro", "- '.:/srv/app'", "target: /srv/app/", "- .:/srv")
    for mount in mounts:
        compose.write_text(f"services:\n  a:\n    volumes:\n    {mount}\n")
        assert seen("GO221", text, context) == [], mount
    for mount in ("- ./init.sh:/srv/app/init.sh.d", "- ./srv/app:/data", "- a:/srv/appl"):
        compose.write_text(f"services:\n  a:\n    volumes:\n    {mount}\n")
        assert seen("GO221", text, context) == [("/srv/app/init.sh", 3)], mount


NAMED = (
    "FROM golang:1.27-alpine\nRUN apk add --no-cache git\nWORKDIR /app\nCOPY . .\n"
    "RUN go build -o main ./cmd/api\n"
)


@pytest.mark.parametrize("command", ['CMD ["main"]', 'ENTRYPOINT ["main", "-v"]'])
def test_program_outside_of_path(command: str) -> None:
    text = f"{NAMED}{command}\n"
    assert "PATH does not lead to /app/main" in only("GO221", text).message
    assert mended("GO221", text, safe=False) == text.replace('"main"', '"/app/main"')


@pytest.mark.parametrize(
    "text",
    [
        NAMED + 'ENV PATH=/app:$PATH\nCMD ["main"]\n',
        NAMED + 'RUN ln -s /app/main /usr/bin/main\nCMD ["main"]\n',
        NAMED + 'COPY tools/ /usr/local/bin/\nCMD ["main"]\n',
        NAMED.replace("git", "main-tools") + 'CMD ["main"]\n',
        NAMED.replace("-o main", "-o test") + 'CMD ["test"]\n',
        NAMED.replace("golang:1.27-alpine", "example.com/go") + 'CMD ["main"]\n',
        NAMED + 'ARG DIRECTORY\nENV PATH=$DIRECTORY:$PATH\nCMD ["main"]\n',
        BUILD + 'FROM alpine\nENV PATH=/app:$PATH\nCOPY --from=build /out/api /bin\nCMD ["api"]\n',
    ],
)
def test_program_in_path_or_unknown(text: str) -> None:
    assert seen("GO221", text) == []


def test_program_elsewhere_in_a_directory_of_the_base() -> None:
    copied = BUILD + "FROM alpine:3.22\nCOPY --from=build /out/api /usr/local/bin\n"
    text = copied + 'CMD ["/usr/bin/api"]\n'
    assert mended("GO221", text, safe=False) == text.replace("/usr/bin/api", "/usr/local/bin/api")
    assert seen("GO221", copied + 'CMD ["/usr/local/bin/api"]\n') == []
    assert seen("GO221", text.replace("CMD", "RUN ln -s local/bin/api /usr/bin\nCMD")) == []
    # One directory may be a link to the other.
    assert seen("GO221", text.replace("/usr/bin/", "/bin/").replace("local/", "")) == []
    for_static = text.replace("alpine:3.22", "gcr.io/distroless/static-debian13")
    assert seen("GO221", for_static.replace("/usr/bin/", "/bin/").replace("local/", "")) == []


def test_program_beside_one_of_another_name(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    context = Context(str(tmp_path))
    build = BUILD.replace("/out/api", "bin/api")
    text = build + 'FROM alpine\nWORKDIR /app\nCOPY --from=build /src/bin/ ./\nCMD ["./app"]\n'
    assert seen("GO221", text, context) == [("./app", 8)]
    alone = build + 'CMD ["/src/bin/app"]\n'
    assert seen("GO221", alone, context) == [("/src/bin/app", 5)]
    # Nothing says what the context will hold; a script may make more; another file is no program.
    assert seen("GO221", text) == []
    assert seen("GO221", text.replace("FROM alpine", "RUN make\nFROM alpine"), context) == []
    assert seen("GO221", text.replace("./app", "./app.sh"), context) == []
    assert seen("GO221", text.replace("./app", "/srv/bin/app"), context) == [("/srv/bin/app", 8)]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "app").write_text("")
    assert seen("GO221", text, context) == []
    assert seen("GO221", alone, context) == []


def test_a_source_for_the_program(tmp_path: Path) -> None:
    (tmp_path / "main.go").write_text("package main\n\nfunc main() {}\n")
    text = 'FROM golang:1.27\nWORKDIR /app\nCOPY . .\nRUN go build -o main.go\nCMD ["/app/main"]\n'
    _, (finding,) = look("GO221", text, Context(str(tmp_path)))
    assert finding.fix is None
    assert finding.hint == "name the program that go build makes: -o main"


def test_a_library_is_no_program() -> None:
    build = BUILD.replace("go build", "go build -buildmode=c-shared").replace("/api", "/out.so")
    text = build + "FROM alpine\nCOPY --from=build /out/out.so /host/bin\n"
    finding = only("GO221", text + 'CMD ["/host/bin/host"]\n')
    assert finding.fix is None
    assert "/host/bin" not in finding.hint


def test_copy_of_what_is_not_there() -> None:
    text = BUILD + 'FROM scratch\nCOPY --from=build /app/api /api\nENTRYPOINT ["/api"]\n'
    assert seen("GO221", text) == [("/app/api", 6)]
    assert mended("GO221", text, safe=False) == text.replace("/app/api", "/out/api")


@pytest.mark.parametrize(
    "text",
    [
        BUILD + "FROM scratch\nCOPY --from=build /src/web /web\n",
        BUILD + "FROM scratch\nCOPY --from=build /etc/passwd /tmp /srv /\n",
        BUILD + "RUN mkdir /data\nFROM scratch\nCOPY --from=build /data /data\n",
        BUILD + "RUN ./build.sh\nFROM scratch\nCOPY --from=build /app/api /api\n",
        BUILD + "RUN go generate ./...\nFROM scratch\nCOPY --from=build /app/api /api\n",
        BUILD + "ARG APP\nFROM scratch\nCOPY --from=build /app/$APP /api\n",
        BUILD + "FROM scratch\nCOPY --from=build /app/a* /\n",
        BUILD.replace("golang:1.27", "example.com/go") + "FROM scratch\nCOPY --from=0 /app /\n",
        "FROM scratch\nCOPY --from=example.com/tools /app/api /api\n",
    ],
)
def test_copy_of_what_may_be_there(text: str) -> None:
    assert seen("GO221", text) == []


def test_a_variable_is_no_program() -> None:
    text = NAMED + 'CMD ["config=docker", "/app/main"]\n'
    finding = only("GO221", text)
    assert "config=docker is no program" in finding.message
    assert finding.fix is None
    assert seen("GO221", text.replace("CMD", "ENTRYPOINT")) == [("config=docker", 6)]
    # It may be an argument of what the base starts.
    assert seen("GO221", text.replace("golang:1.27-alpine", "example.com/go")) == []
    assert seen("GO221", text.replace('"config', '"--config')) == []


def test_program_elsewhere_is_named() -> None:
    text = SHIP + 'ENTRYPOINT ["/server", "-v"]\n'
    assert "the program is at /api" in only("GO221", text).hint
    assert mended("GO221", text, safe=True) == SHIP + 'ENTRYPOINT ["/api", "-v"]\n'
    text = ALPINE + "CMD /app/server -v\n"
    assert mended("GO221", text, safe=True) == ALPINE + "CMD /app/api -v\n"


def test_a_relative_program_stays_relative() -> None:
    head = BUILD + "FROM alpine\nWORKDIR /app\nCOPY --from=build /out/api .\n"
    assert mended("GO221", head + 'CMD ["./main"]\n', safe=True) == head + 'CMD ["./api"]\n'


def test_which_of_several_programs() -> None:
    head = (
        "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\n"
        "RUN go build -o /out/ ./cmd/api && go build -o /out/ ./cmd/tool\n"
        "FROM scratch\nCOPY --from=build /out/ /bin/\nCOPY x.yaml /\n"
    )
    assert mended("GO221", head + 'CMD ["/api"]\n', safe=False) == head + 'CMD ["/bin/api"]\n'
    other = only("GO221", head + 'CMD ["/server"]\n')
    assert other.fix is None
    assert other.hint == "programs in the image are /bin/api, /bin/tool"


def test_a_script_is_no_program_of_the_build() -> None:
    assert only("GO221", SHIP + 'ENTRYPOINT ["/entrypoint.sh"]\n').fix is None


def test_the_module_names_the_program() -> None:
    head = (
        "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\nRUN go build -o /out/ .\n"
        "FROM scratch\nCOPY --from=build /out/api /\n"
    )
    _, (finding,) = look("GO221", head + 'CMD ["/main"]\n', None, Module())
    assert finding.hint == "the program is at /api: write that"


# GO222 directory-as-program


SINGLE = "FROM golang:1.27 AS build\nWORKDIR /app\nCOPY . .\nRUN go build -o /app/api .\n"


@pytest.mark.parametrize(
    ("text", "new"),
    [
        (SINGLE + "FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT [\"{}\"]\n", "/app/api"),
        (BUILD + "FROM scratch\nCOPY --from=build /out/api /app/\nENTRYPOINT [\"{}\"]\n",
         "/app/api"),
        (BUILD + "FROM scratch\nWORKDIR /app\nCOPY --from=build /out/api /app\nCMD [\"{}\"]\n",
         "/app/api"),
        (BUILD + "FROM alpine\nRUN mkdir -p /app\nCOPY --from=build /out/api /app\nCMD {} -v\n",
         "/app/api"),
    ],
)  # fmt: skip
def test_directory_as_program(text: str, new: str) -> None:
    wrong = text.replace("{}", "/app")
    assert [words for words, _ in seen("GO222", wrong)] == ["/app"]
    assert seen("GO221", wrong) == []
    assert mended("GO222", wrong, safe=True) == text.replace("{}", new)


def test_directory_without_a_known_program() -> None:
    text = (
        "FROM golang:1.27 AS build\nWORKDIR /app\nCOPY . .\nRUN go build -o /app .\n"
        'FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n'
    )
    finding = only("GO222", text)
    assert (finding.fix, finding.hint) == (
        None, "write the path of the program in it: /app/NAME",
    )  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        SINGLE + 'FROM scratch\nCOPY --from=build /app/api /app\nENTRYPOINT ["/app"]\n',
        SINGLE + 'FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT ["/app/api"]\n',
        # The content of /app is at /.
        SINGLE.replace("/app/api", "/app/app")
        + 'FROM scratch\nCOPY --from=build /app /\nENTRYPOINT ["/app"]\n',
        # A RUN may have put a file in the place of the directory.
        SINGLE.replace("RUN ", "RUN cd / && rm -rf /app && ")
        + 'FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n',
        # What is copied may be a file as well.
        BUILD + 'FROM scratch\nCOPY --from=build /srv/app /app\nENTRYPOINT ["/app"]\n',
        BUILD + 'FROM scratch\nCOPY --from=example.com/app /app /app\nENTRYPOINT ["/app"]\n',
        BUILD + 'FROM alpine\nARG D\nWORKDIR /$D\nCOPY --from=build /out/api /app\nCMD ["/app"]\n',
    ],
)
def test_no_directory_or_unknown(text: str) -> None:
    assert seen("GO222", text) == []


# GO223 wrong-libc


CGO = "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\nRUN CGO_ENABLED=1 go build -o /api .\n"
PLAIN = CGO.replace("CGO_ENABLED=1 ", "")
END = 'COPY --from=build /api /api\nENTRYPOINT ["/api"]\n'


def test_cgo_without_libc_is_an_error() -> None:
    finding = only("GO223", CGO + "FROM scratch\n" + END)
    assert finding.rule.severity is Severity.ERROR
    assert finding.message == "the program is linked against glibc, and scratch has no libc"
    assert finding.fix is None
    assert seen("GO223", CGO + "FROM scratch\n" + END) == [("go build -o /api .", 4)]


def test_cgo_on_another_libc_is_a_warning_unless_the_code_says_so() -> None:
    text = CGO + "FROM alpine:3.22\n" + END
    assert only("GO223", text).rule.severity is Severity.WARNING
    sqlite = Module(cgo=("github.com/mattn/go-sqlite3",), standard=("net",))
    finding = only("GO223", text, sqlite)
    assert finding.rule.severity is Severity.ERROR
    assert "(github.com/mattn/go-sqlite3, net)" in finding.message
    assert finding.fix is None


def test_cgo_by_default() -> None:
    text = PLAIN + "FROM alpine:3.22\n" + END
    finding = only("GO223", text, Module(standard=("net", "os/user")))
    assert finding.rule.severity is Severity.WARNING
    assert finding.message == (
        "the program is linked against glibc (net, os/user), and alpine:3.22 has musl"
    )
    new = mended("GO223", text, safe=False, module=Module(standard=("net",)))
    assert new == text.replace("RUN go", "RUN CGO_ENABLED=0 go")


def test_cgo_that_is_written_is_turned_off() -> None:
    text = CGO + "FROM scratch\n" + END
    new = mended("GO223", text, safe=False, module=Module(standard=("net",)))
    assert new == text.replace("CGO_ENABLED=1", "CGO_ENABLED=0")
    env = text.replace("CGO_ENABLED=1 ", "").replace("WORKDIR", "ENV CGO_ENABLED=1\nWORKDIR")
    new = mended("GO223", env, safe=False, module=Module(standard=("net",)))
    assert new == env.replace("RUN go", "RUN CGO_ENABLED=0 go")


@pytest.mark.parametrize(
    ("text", "module"),
    [
        (PLAIN + "FROM alpine\n" + END, None),
        (PLAIN + "FROM alpine\n" + END, Module()),
        (PLAIN + "FROM alpine\n" + END, Module(standard=("net",), problem="no Go here")),
        (CGO + "FROM scratch\n" + END, Module()),
        (CGO + "FROM debian:trixie-slim\n" + END, None),
        (CGO + "FROM gcr.io/distroless/base\n" + END, None),
        (CGO + "FROM example.com/base\n" + END, None),
        (CGO.replace("golang:1.27", "example.com/go") + "FROM scratch\n" + END, None),
        (CGO.replace("=1", "=0") + "FROM scratch\n" + END, Module(standard=("net",))),
        # Alpine's Go has no C compiler by itself.
        (PLAIN.replace("1.27", "1.27-alpine") + "FROM scratch\n" + END, Module(standard=("net",))),
        # Static, or too little is known of the flags.
        (CGO.replace("-o", "-ldflags '-extldflags \"-static\"' -o") + "FROM scratch\n" + END, None),
        (CGO.replace("-o", "-tags netgo,osusergo -o") + "FROM scratch\n" + END, None),
        (CGO.replace("-o", '-ldflags "$LDFLAGS" -o') + "FROM scratch\n" + END, None),
        (CGO.replace("go build", "CC=musl-gcc go build") + "FROM scratch\n" + END, None),
        # A libc that is brought along.
        (CGO + "FROM alpine\nRUN apk add --no-cache libc6-compat\n" + END, None),
        (CGO + "FROM scratch\nCOPY --from=build /lib64 /lib64\n" + END, None),
        # Built for another machine: cgo is off then.
        (PLAIN.replace("go build", "GOARCH=arm64 go build") + "FROM alpine\n" + END,
         Module(standard=("net",))),
    ],
)  # fmt: skip
def test_fitting_or_unknown_libc(text: str, module: Module | None) -> None:
    assert seen("GO223", text, None, module) == []


def test_musl_on_nothing() -> None:
    text = PLAIN.replace("1.27", "1.27-alpine").replace("RUN", "RUN apk add build-base\nRUN")
    found = only("GO223", text + "FROM scratch\n" + END, Module(cgo=("x",)))
    assert found.message == "the program is linked against musl (x), and scratch has no libc"


# GO224 no-shell


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (SHIP + "CMD /api\n", "CMD /api", 7),
        (STATIC + "ENTRYPOINT /api -v\n", "ENTRYPOINT /api -v", 7),
        (STATIC + "RUN mkdir /data\n", "RUN mkdir /data", 7),
        (SHIP + "ENTRYPOINT cd / && /api\n", "ENTRYPOINT cd / && /api", 7),
    ],
)
def test_no_shell(text: str, words: str, line: int) -> None:
    assert seen("GO224", text) == [(words, line)]


@pytest.mark.parametrize(
    "text",
    [
        SHIP + 'CMD ["/api"]\n',
        SHIP + 'ENTRYPOINT ["/api"]\nCMD -v\n',
        ALPINE + "CMD /app/api\n",
        BUILD + "FROM gcr.io/distroless/static:debug\nCOPY --from=build /out/api /\nCMD /api\n",
        SHIP + "COPY --from=busybox:musl /bin/sh /bin/sh\nCMD /api\n",
        SHIP + "COPY --from=busybox:musl /bin /bin\nCMD /api\n",
        SHIP + "COPY --from=build /rootfs /\nCMD /api\n",
        SHIP + "ADD root.tar.xz /\nRUN ls\n",
        SHIP + "COPY --from=build /x/busybox /bb/\nSHELL [\"/bb/sh\", \"-c\"]\n"
        'RUN ["/bb/busybox", "--install", "/bb"]\nRUN ls\n',
        STATIC + "RUN --mount=from=busybox:musl,source=/bin,target=/bin mkdir /data\n",
        BUILD + "FROM example.com/base\nCMD /api\n",
        # The base's command is not what starts.
        BUILD + "FROM scratch AS one\nCMD /api\nFROM one\nCOPY --from=build /out/api /\n"
        'ENTRYPOINT ["/api"]\n',
    ],
)  # fmt: skip
def test_shell_there_or_not_needed(text: str) -> None:
    assert seen("GO224", text) == []


def test_exec_form() -> None:
    text = SHIP + "CMD /api -v 'a b'\n"
    assert mended("GO224", text, safe=True) == SHIP + 'CMD ["/api", "-v", "a b"]\n'
    text = SHIP + 'ENTRYPOINT exec /api\nCMD ["-v"]\n'
    new = mended("GO224", text, safe=False)
    assert new == SHIP + 'ENTRYPOINT ["/api"]\nCMD ["-v"]\n'


@pytest.mark.parametrize("words", ["/api $FLAGS", "A=1 /api", "/api > /log", "/api && /b", "api"])
def test_no_exec_form_of_what_needs_a_shell(words: str) -> None:
    assert only("GO224", SHIP + f"CMD {words}\n").fix is None


# GO225 healthcheck-cannot-run


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (ALPINE + "HEALTHCHECK CMD curl -f http://localhost/ || exit 1\n", "curl"),
        (ALPINE + 'HEALTHCHECK --interval=5s CMD ["curl", "-f", "http://localhost/"]\n', "curl"),
        (STATIC + 'HEALTHCHECK CMD ["wget", "-q", "http://localhost/"]\n', "wget"),
        (STATIC + "HEALTHCHECK CMD /api health\n", "HEALTHCHECK CMD /api health"),
        (SHIP + 'HEALTHCHECK CMD ["/health"]\n', "/health"),
        (BUILD + "FROM debian:trixie-slim\nRUN apt-get update && apt-get install -y tzdata\n"
         "HEALTHCHECK CMD wget -q http://localhost\n", "wget"),
    ],
)  # fmt: skip
def test_healthcheck_cannot_run(text: str, words: str) -> None:
    assert [found for found, _ in seen("GO225", text)] == [words]


@pytest.mark.parametrize(
    "text",
    [
        ALPINE + "HEALTHCHECK CMD wget -q http://localhost/ || exit 1\n",
        ALPINE + "HEALTHCHECK CMD nc -z localhost 80\n",
        ALPINE + "RUN apk add --no-cache curl\nHEALTHCHECK CMD curl -f http://localhost/\n",
        ALPINE + "ARG P\nRUN apk add $P\nHEALTHCHECK CMD curl -f http://localhost/\n",
        ALPINE + "RUN ./install.sh\nHEALTHCHECK CMD curl -f http://localhost/\n",
        ALPINE + "COPY --from=build /x/curl /usr/bin/\nHEALTHCHECK CMD curl http://localhost/\n",
        ALPINE + "COPY --from=build /x/bin/ /usr/bin/\nHEALTHCHECK CMD curl http://localhost/\n",
        ALPINE + "HEALTHCHECK CMD curl http://localhost/ || wget http://localhost/\n",
        BUILD + "FROM fedora\nHEALTHCHECK CMD curl http://localhost/\n",
        BUILD + "FROM example.com/base\nHEALTHCHECK CMD curl http://localhost/\n",
        "FROM debian\nRUN apt-get install -y netcat-openbsd\nHEALTHCHECK CMD nc -z localhost 80\n",
        SHIP + 'HEALTHCHECK CMD ["/api", "health"]\n',
        SHIP + "HEALTHCHECK NONE\n",
        # The last one counts.
        STATIC + 'HEALTHCHECK CMD /x\nHEALTHCHECK CMD ["/api", "health"]\n',
    ],
)
def test_healthcheck_may_run(text: str) -> None:
    assert seen("GO225", text) == []


# GO226 unknown-user


@pytest.mark.parametrize(
    ("text", "words", "line"),
    [
        (ALPINE + "USER nonroot\n", "nonroot", 7),
        (SHIP + "USER nobody\n", "nobody", 7),
        (ALPINE + "USER app:app\n", "app:app", 7),
        (ALPINE + "ARG WHO=app\nUSER $WHO\n", "$WHO", 8),
        (ALPINE + "RUN adduser -D appuser\nUSER app\n", "app", 8),
        (ALPINE + "RUN apk add --no-cache ca-certificates\nUSER app\n", "app", 8),
        ("FROM golang:1.27 AS build\nUSER dev\nRUN go build -o /api .\n"
         "FROM scratch\nCOPY --from=build /api /\n", "dev", 2),
    ],
)  # fmt: skip
def test_unknown_user(text: str, words: str, line: int) -> None:
    assert seen("GO226", text) == [(words, line)]
    new = mended("GO226", text, safe=False)
    assert new == text.replace(f"USER {words}\n", "USER 65532:65532\n")


def test_root_needs_a_name_only_in_the_image() -> None:
    text = SHIP + "USER root\n"
    assert mended("GO226", text, safe=False) == text.replace("root", "0:0")
    assert seen("GO226", SHIP + 'USER root\nRUN ["/api"]\nUSER 1000\n') == []


@pytest.mark.parametrize(
    "text",
    [
        STATIC + "USER nonroot\n",
        ALPINE + "USER nobody:nobody\n",
        ALPINE + "USER 65532:65532\n",
        ALPINE + "RUN adduser -D app\nUSER app\n",
        ALPINE + "RUN addgroup -S app && adduser -S app -G app\nUSER app:app\n",
        ALPINE + "ARG WHO=app\nRUN adduser -D $WHO\nUSER $WHO\n",
        ALPINE + "ARG WHO\nUSER $WHO\n",
        ALPINE + "RUN adduser -D $(cat /name)\nUSER app\n",
        ALPINE + "RUN apk add nginx\nUSER nginx\n",
        ALPINE + "RUN ./setup.sh\nUSER app\n",
        SHIP + "COPY --from=build /etc/passwd /etc/passwd\nUSER app\n",
        SHIP + "COPY passwd /etc/\nUSER app\n",
        SHIP + "COPY --from=build /rootfs /\nUSER app\n",
        ALPINE + "RUN echo 'app:x:1:1::/:' >> /etc/passwd\nUSER app\n",
        BUILD + "FROM fedora\nUSER app\n",
        BUILD + "FROM example.com/base\nUSER app\n",
        "FROM alpine AS base\nRUN adduser -D app\nFROM base\nUSER app\n",
        # Nothing runs as this one.
        ALPINE + "USER app\nUSER 1000\n",
    ],
)
def test_known_user(text: str) -> None:
    assert seen("GO226", text) == []


# GO227 configuration-not-exported


def test_configuration_not_exported() -> None:
    text = BUILD + "EXPOSE 8080\nFROM scratch\nCOPY --from=build /out/api /api\n"
    assert seen("GO227", text) == [("EXPOSE 8080", 5)]
    assert only("GO227", text).message == (
        "EXPOSE in stage build has no effect: no image is made of this stage"
    )
    assert mended("GO227", text, safe=False) == SHIP + "EXPOSE 8080\n"


@pytest.mark.parametrize(
    "line",
    ["USER 65532", 'CMD ["/api"]', 'ENTRYPOINT ["/api"]', "VOLUME /data", "STOPSIGNAL SIGINT",
     'HEALTHCHECK CMD ["/api", "health"]', "ENV PORT=8080"],
)  # fmt: skip
def test_each_kind_is_moved(line: str) -> None:
    text = BUILD + f"{line}\n\nFROM scratch\nCOPY --from=build /out/api /api"
    wanted = BUILD + f"\nFROM scratch\nCOPY --from=build /out/api /api\n{line}"
    assert seen("GO227", text) == [(line, 5)]
    assert mended("GO227", text, safe=False) == wanted


def test_what_the_last_stage_has_is_not_moved() -> None:
    text = BUILD + "EXPOSE 80\nCMD /api\nFROM scratch\nCOPY --from=build /out/api /api\n"
    text += 'EXPOSE 8080\nENTRYPOINT ["/api"]\n'
    _, findings = look("GO227", text)
    assert [item.fix for item in findings] == [None, None]
    assert "has its own" in findings[0].hint


@pytest.mark.parametrize(
    "text",
    [
        SHIP + "EXPOSE 80\nUSER 1\nCMD [\"/api\"]\n",
        # The last stage stands on it.
        BUILD + "FROM scratch AS base\nEXPOSE 80\nUSER 1\n"
        "FROM base\nCOPY --from=build /out/api /\n",
        # Stages that people build by name.
        BUILD.replace("AS build", "AS dev") + "EXPOSE 80\nCMD [\"air\"]\n"
        "FROM scratch\nCOPY --from=dev /out/api /\n",
        BUILD + "EXPOSE 80\nCMD [\"go\", \"run\", \".\"]\n"
        "FROM scratch\nCOPY --from=build /out/api /\n",
        BUILD + "EXPOSE 80\nCMD air -c .air.toml\nFROM scratch\nCOPY --from=build /out/api /\n",
        BUILD + "FROM alpine AS other\nEXPOSE 80\nFROM scratch\nCOPY --from=build /out/api /\n",
        # RUN and WORKDIR count on the user.
        BUILD + "USER 1\nRUN go vet ./...\nFROM scratch\nCOPY --from=build /out/api /\n",
        # Variables of the build.
        BUILD + "ENV GOFLAGS=-mod=mod\nFROM scratch\nCOPY --from=build /out/api /\n",
        BUILD + "ENV PORT=1\nRUN go test -port $PORT\nFROM scratch\nCOPY --from=build /out/api /\n",
        BUILD + "ENV PORT=1\nFROM scratch\nENV PORT=2\nCOPY --from=build /out/api /\n",
        BUILD + "HEALTHCHECK NONE\nFROM scratch\nCOPY --from=build /out/api /\n",
    ],
)  # fmt: skip
def test_configuration_that_counts(text: str) -> None:
    assert seen("GO227", text) == []


# GO228 no-certificates, GO229 no-zones, GO230 no-temporary


TLS = Module(certificates="http.Get")
ZONES = Module(zones="time.LoadLocation")
TEMPORARY = Module(temporary="os.CreateTemp")
RUNS = SHIP + 'ENTRYPOINT ["/api"]\n'


def test_no_certificates() -> None:
    assert seen("GO228", RUNS, None, TLS) == [("scratch", 5)]
    finding = only("GO228", RUNS, TLS)
    assert finding.message == "scratch has no CA certificates, which http.Get needs"
    assert mended("GO228", RUNS, safe=True, module=TLS) == (
        SHIP + "COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/\n"
        'ENTRYPOINT ["/api"]\n'
    )
    debian = RUNS.replace("scratch", "debian:trixie-slim")
    assert seen("GO228", debian, None, TLS) == [("debian:trixie-slim", 5)]


@pytest.mark.parametrize(
    "text",
    [
        RUNS.replace("scratch", "alpine"),
        RUNS.replace("scratch", "gcr.io/distroless/static"),
        RUNS.replace("scratch", "example.com/base"),
        RUNS + "COPY --from=build /etc/ssl/certs /etc/ssl/certs\n",
        RUNS + "COPY --from=build /etc/ssl /etc/ssl\n",
        RUNS + "COPY certs/ca.pem /\n",
        RUNS + "COPY --from=build /rootfs /\n",
        RUNS + "ENV SSL_CERT_FILE=/ca.pem\n",
        RUNS.replace("scratch", "debian\nRUN apt-get update && apt-get install -y ca-certificates"),
        RUNS.replace("scratch", "ubuntu\nRUN apt-get update && apt-get install -y curl"),
        RUNS.replace("scratch", "ubuntu\nRUN ./setup.sh"),
        # Nothing is known of the program.
        RUNS.replace("go build -o /out/api .", "make"),
        RUNS.replace("go build -o /out/api .", "go build -o /out/api example.com/other"),
    ],
)
def test_certificates_there_or_unknown(text: str) -> None:
    assert seen("GO228", text, None, TLS) == []


def test_what_the_code_does_not_need_is_not_missed() -> None:
    for name in ("GO228", "GO229", "GO230"):
        assert seen(name, RUNS, None, Module()) == []
        assert seen(name, RUNS) == []


def test_no_zones() -> None:
    assert seen("GO229", RUNS, None, ZONES) == [("scratch", 5)]
    assert "timetzdata" in only("GO229", RUNS, ZONES).hint
    assert mended("GO229", RUNS, safe=True, module=ZONES) == (
        SHIP + 'COPY --from=build /usr/share/zoneinfo /usr/share/zoneinfo\nENTRYPOINT ["/api"]\n'
    )
    alpine = RUNS.replace("golang:1.27", "golang:1.27-alpine").replace("scratch", "alpine")
    assert only("GO229", alpine, ZONES).fix is None


@pytest.mark.parametrize(
    "text",
    [
        RUNS.replace("scratch", "debian"),
        RUNS.replace("scratch", "gcr.io/distroless/static"),
        RUNS.replace("scratch", "example.com/base"),
        RUNS.replace("scratch", "alpine\nRUN apk add --no-cache tzdata"),
        RUNS.replace("scratch", "golang:1.27-alpine"),
        RUNS + "COPY --from=build /x/zones.zip /\nENV ZONEINFO=/zones.zip\n",
        RUNS + "COPY --from=build /usr/share /usr/share\n",
    ],
)
def test_zones_there_or_unknown(text: str) -> None:
    assert seen("GO229", text, None, ZONES) == []


def test_no_temporary() -> None:
    finding = only("GO230", RUNS, TEMPORARY)
    assert finding.message == "scratch has no /tmp, which os.CreateTemp needs"
    assert finding.fix is None


@pytest.mark.parametrize(
    "text",
    [
        RUNS.replace("scratch", "alpine"),
        RUNS.replace("scratch", "example.com/base"),
        RUNS + "COPY --from=build /tmp /tmp\n",
        RUNS + "COPY --from=build /empty/ /tmp/\n",
        RUNS + "WORKDIR /tmp/api\n",
        RUNS + "VOLUME /tmp\n",
        RUNS + "ENV TMPDIR=/data\n",
        RUNS + "COPY --from=build /rootfs /\n",
    ],
)
def test_temporary_there_or_unknown(text: str) -> None:
    assert seen("GO230", text, None, TEMPORARY) == []


# GO231 low-port


def test_low_port() -> None:
    assert seen("GO231", SHIP + "EXPOSE 8080 80/tcp\nUSER 65532\n") == [("80/tcp", 7)]
    assert seen("GO231", SHIP + "ENV PORT=443\nUSER 65532\n") == [("ENV PORT=443", 7)]
    nonroot = SHIP.replace("scratch", "gcr.io/distroless/static:nonroot")
    assert seen("GO231", nonroot + "EXPOSE 80\n") == [("80", 7)]


@pytest.mark.parametrize(
    "text",
    [
        SHIP + "EXPOSE 80\n",
        SHIP + "EXPOSE 80\nUSER root\n",
        SHIP + "EXPOSE 80\nUSER 0:0\n",
        SHIP + "EXPOSE 8080 1024 5000-5010\nUSER 1000\n",
        SHIP + "ARG P\nEXPOSE $P\nUSER 1000\n",
        SHIP + "ENV PORT=:80\nUSER 1000\n",
        ALPINE + "RUN setcap cap_net_bind_service=+ep /app/api\nEXPOSE 80\nUSER 1000\n",
        BUILD + "EXPOSE 80\nFROM scratch\nCOPY --from=build /out/api /\nUSER 1000\n",
    ],
)
def test_no_low_port(text: str) -> None:
    assert seen("GO231", text) == []
