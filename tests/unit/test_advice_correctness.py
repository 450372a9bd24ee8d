# SPDX-License-Identifier: Apache-2.0
"""Rules for Go builds that fail, or that build something else than they say."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.mending import appended
from wherry.advice.model import Finding, Severity
from wherry.advice.reading.go_module import GoModule
from wherry.advice.rules.correctness import RULES
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

MOD = "module example.com/m\n\ngo 1.22\n"
MAIN = "package main\n\nfunc main() { serve() }\n"
SERVE = "package main\n\nfunc serve() {}\n"
GIT = {"go.mod": MOD, ".git/HEAD": "ref: refs/heads/main\n"}


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class Looked:
    """What one rule says of a Dockerfile in a context with these files."""

    def __init__(self, rule: str, text: str, root: Path, files: dict[str, str]) -> None:
        write(root, files)
        self.root = root
        module = GoModule.found(str(root), dict(os.environ))
        self.subject = Subject("Dockerfile", text, Context(str(root)), module)
        chosen = next(item for item in RULES if item.id == rule)
        self.findings: tuple[Finding, ...] = tuple(chosen.look(self.subject, chosen))

    @property
    def places(self) -> list[str]:
        return [self.subject.text.slice(finding.range) for finding in self.findings]

    @property
    def only(self) -> Finding:
        (finding,) = self.findings
        return finding

    def mended(self) -> str:
        fix = self.only.fix
        assert fix is not None
        return apply(self.subject.text, fix.edits)

    def mended_file(self, name: str) -> str:
        fix = self.only.fix
        assert fix is not None
        (edit,) = fix.edits
        assert edit.path == name
        before = self.root / name
        data = before.read_bytes() if before.exists() else b""
        return appended(data, edit.text.splitlines()).decode()


def test_ids_and_names_are_unique() -> None:
    assert len({rule.id for rule in RULES}) == len({rule.name for rule in RULES}) == len(RULES)


# GO201 main-file-only

PACKAGE = {"go.mod": MOD, "main.go": MAIN, "serve.go": SERVE}
BUILD = "FROM golang:1.26\nWORKDIR /src\nCOPY . .\n"


def test_a_single_file_of_a_package_is_built(tmp_path: Path) -> None:
    text = f"{BUILD}RUN CGO_ENABLED=0 go build -o /app main.go\n"
    looked = Looked("GO201", text, tmp_path, PACKAGE)
    assert looked.places == ["main.go"]
    assert looked.only.rule.severity is Severity.ERROR
    assert looked.only.message == "serve is in serve.go, which `go build main.go` leaves out"
    new = looked.mended()
    assert new == f"{BUILD}RUN CGO_ENABLED=0 go build -o /app .\n"
    assert not Looked("GO201", new, tmp_path, {}).findings


@pytest.mark.parametrize(
    ("command", "new"),
    [
        ("go build main.go", "go build -o main ."),
        ("go run main.go -v", "go run . -v"),
        ("go build -o /app ./main.go", "go build -o /app ./."),
    ],
)
def test_the_directory_is_named_instead(tmp_path: Path, command: str, new: str) -> None:
    looked = Looked("GO201", f"{BUILD}RUN {command}\n", tmp_path, PACKAGE)
    assert looked.mended() == f"{BUILD}RUN {new.replace('./.', '.')}\n"


def test_a_package_below_is_named_by_its_directory(tmp_path: Path) -> None:
    files = {"go.mod": MOD, "cmd/api/main.go": MAIN, "cmd/api/serve.go": SERVE}
    looked = Looked("GO201", f"{BUILD}RUN go build -o /app cmd/api/main.go\n", tmp_path, files)
    assert looked.mended() == f"{BUILD}RUN go build -o /app ./cmd/api\n"


def test_files_that_nothing_names_are_left_out_too(tmp_path: Path) -> None:
    files = {
        "go.mod": MOD,
        "main.go": "package main\n\nfunc main() {}\n",
        "formats.go": "package main\n\nfunc init() {}\n",
    }
    looked = Looked("GO201", f"{BUILD}RUN go build -o /app main.go\n", tmp_path, files)
    assert looked.only.rule.severity is Severity.WARNING
    assert looked.only.message == "`go build main.go` leaves out formats.go of the same package"
    assert looked.only.fix is not None
    # What formats.go does when the program starts is new in it.
    assert not looked.only.fix.safe


def test_a_method_in_another_file_is_missed(tmp_path: Path) -> None:
    files = {
        "go.mod": MOD,
        "main.go": "package main\n\ntype app struct{}\n\nfunc main() { a := app{}; a.Run() }\n",
        "run.go": "package main\n\nfunc (a *app) Run() {}\n",
    }
    looked = Looked("GO201", f"{BUILD}RUN go build -o /app main.go\n", tmp_path, files)
    assert looked.only.message.startswith("app.Run is in run.go")
    assert looked.only.fix is not None
    assert looked.only.fix.safe


def test_what_cannot_be_put_right_by_the_directory_has_no_fix(tmp_path: Path) -> None:
    for command in ("go install main.go", "go build -o bin/ main.go"):
        looked = Looked("GO201", f"{BUILD}RUN {command}\n", tmp_path, PACKAGE)
        assert looked.only.fix is None


@pytest.mark.parametrize(
    ("files", "command"),
    [
        # A package of one file; tests, other systems, other packages and tools do not count.
        ({"main.go": "package main\n\nfunc main() {}\n"}, "go build main.go"),
        ({"main.go": MAIN, "main_test.go": SERVE}, "go build main.go"),
        ({"main.go": MAIN, "serve_windows.go": SERVE}, "go build main.go"),
        ({"main.go": MAIN, "serve.go": f"//go:build darwin\n\n{SERVE}"}, "go build main.go"),
        ({"main.go": MAIN, "gen.go": f"//go:build ignore\n\n{SERVE}"}, "go build main.go"),
        ({"main.go": MAIN, "serve.go": f"//go:build special\n\n{SERVE}"}, "go build main.go"),
        # Only in one of two builds: nobody knows which this is.
        ({"main.go": MAIN, "serve.go": f"//go:build cgo\n\n{SERVE}"}, "go build main.go"),
        # Programs of one file each beside one another.
        ({"a.go": MAIN, "b.go": MAIN}, "go build a.go"),
        # A tool that is kept out of its package on purpose.
        ({"gen.go": f"//go:build ignore\n\n{MAIN}", "serve.go": SERVE}, "go run gen.go"),
        # All of the files; the directory; files that do not come along.
        (PACKAGE, "go build main.go serve.go"),
        (PACKAGE, "go build ."),
        (PACKAGE, "go build $FILE"),
        (PACKAGE, "cd /elsewhere && go build main.go"),
        (PACKAGE | {".dockerignore": "serve.go\n"}, "go build main.go"),
        (PACKAGE, "go vet main.go"),
    ],
)
def test_single_files_that_are_the_package(
    tmp_path: Path, files: dict[str, str], command: str
) -> None:
    looked = Looked("GO201", f"{BUILD}RUN {command}\n", tmp_path, {"go.mod": MOD, **files})
    assert not looked.findings


# GO202 older-go


def built_with(image: str, more: str = "") -> str:
    return f"FROM {image}\nWORKDIR /src\nCOPY . .\n{more}RUN go build -o /app .\n"


@pytest.mark.parametrize(
    ("image", "go", "new"),
    [
        ("golang:1.21", "1.22", "golang:1.22"),
        ("golang:1.21-alpine", "1.22.3", "golang:1.22-alpine"),
        ("golang:1.21-alpine3.18", "1.22", "golang:1.22-alpine"),
        ("golang:1.21.5-bookworm", "1.22.3", "golang:1.22.3-bookworm"),
        ("golang:1.22.1", "1.22.3", "golang:1.22.3"),
        ("docker.io/library/golang:1.23rc1", "1.23.0", ""),
    ],
)
def test_the_builder_is_older_than_the_module(
    tmp_path: Path, image: str, go: str, new: str
) -> None:
    files = {"go.mod": f"module m\n\ngo {go}\n"}
    looked = Looked("GO202", built_with(image), tmp_path, files)
    assert looked.places == [image]
    assert looked.only.rule.severity is Severity.ERROR
    if new:
        assert looked.only.fix is not None
        assert not looked.only.fix.safe
        text = looked.mended()
        assert text == built_with(new)
        assert not Looked("GO202", text, tmp_path, {}).findings


def test_the_version_may_stand_in_an_arg(tmp_path: Path) -> None:
    text = "ARG GO_VERSION=1.21\n" + built_with("golang:${GO_VERSION}-alpine")
    looked = Looked("GO202", text, tmp_path, {"go.mod": MOD})
    assert looked.mended() == "ARG GO_VERSION=1.22\n" + built_with("golang:${GO_VERSION}-alpine")


def test_go_mod_may_be_copied_into_a_directory_without_a_slash(tmp_path: Path) -> None:
    text = "FROM golang:1.20\nWORKDIR /src\nADD go.mod /src\nRUN go mod download\n"
    assert Looked("GO202", text, tmp_path, {"go.mod": MOD}).places == ["golang:1.20"]


def test_a_go_without_toolchains_tries(tmp_path: Path) -> None:
    looked = Looked("GO202", built_with("golang:1.20"), tmp_path, {"go.mod": MOD})
    assert looked.only.rule.severity is Severity.WARNING
    assert looked.only.message == "go.mod wants Go 1.22, and this is Go 1.20"
    assert "GOTOOLCHAIN" not in looked.only.hint


@pytest.mark.parametrize("lines", ["go 1.21.0", "go 1.20\n\ntoolchain go1.21.3"])
def test_a_go_without_toolchains_cannot_read_new_lines(tmp_path: Path, lines: str) -> None:
    files = {"go.mod": f"module m\n\n{lines}\n"}
    looked = Looked("GO202", built_with("golang:1.20"), tmp_path, files)
    assert looked.only.rule.severity is Severity.ERROR
    assert "cannot read" in looked.only.message


@pytest.mark.parametrize(
    ("text", "go"),
    [
        (built_with("golang:1.22"), "1.22"),
        (built_with("golang:1.22"), "1.22.9"),
        (built_with("golang:1.26.1-alpine"), "1.22"),
        (built_with("golang:latest"), "1.99"),
        (built_with("golang"), "1.99"),
        (built_with("golang:alpine"), "1.99"),
        (built_with("example.com/golang:1.20"), "1.22"),
        (built_with("golang:1.21", "ENV GOTOOLCHAIN=auto\n"), "1.22"),
        (built_with("golang:1.21", "ARG CHAIN=go1.22.3\nENV GOTOOLCHAIN=$CHAIN\n"), "1.22"),
        (built_with("golang:1.21", "RUN curl https://go.dev/dl/go1.22.tar.gz | tar xz\n"), "1.22"),
        ("FROM golang:1.21\nRUN go install example.com/tool@v1.2.3\n", "1.22"),
        ("FROM golang:1.21\nCOPY --from=other / /\nWORKDIR /src\nRUN go build .\n", "1.22"),
        ("FROM golang:1.21\nRUN git clone https://a.test/m /m && cd /m && go build .\n", "1.22"),
        # A wish that GOTOOLCHAIN=local passes by.
        (built_with("golang:1.21"), "1.21\n\ntoolchain go1.22.3"),
    ],
)  # fmt: skip
def test_builders_that_will_do(tmp_path: Path, text: str, go: str) -> None:
    assert not Looked("GO202", text, tmp_path, {"go.mod": f"module m\n\ngo {go}\n"}).findings


def test_toolchains_may_be_fetched_by_one_command(tmp_path: Path) -> None:
    text = f"{BUILD.replace('1.26', '1.21')}RUN GOTOOLCHAIN=auto go build .\n"
    assert not Looked("GO202", text, tmp_path, {"go.mod": MOD}).findings


# GO203 wrong-architecture

CROSS = "FROM --platform=$BUILDPLATFORM golang:1.26 AS build\nWORKDIR /src\nCOPY . .\n"
SHIP = 'FROM scratch\nCOPY --from=build /app /app\nENTRYPOINT ["/app"]\n'


def test_a_constant_architecture_in_a_cross_build(tmp_path: Path) -> None:
    text = f"{CROSS}# small\nRUN CGO_ENABLED=0 GOARCH=amd64 go build -o /app .\n{SHIP}"
    looked = Looked("GO203", text, tmp_path, {})
    assert looked.places == ["amd64"]
    assert looked.only.rule.severity is Severity.WARNING
    new = looked.mended()
    assert new == (
        f"{CROSS}ARG TARGETARCH\n# small\n"
        f"RUN CGO_ENABLED=0 GOARCH=$TARGETARCH go build -o /app .\n{SHIP}"
    )
    assert looked.only.fix is not None
    assert not looked.only.fix.safe
    assert not Looked("GO203", new, tmp_path, {}).findings


def test_a_constant_architecture_in_env(tmp_path: Path) -> None:
    text = f"{CROSS}ARG TARGETARCH\nENV CGO_ENABLED=0 GOARCH=amd64\nRUN go build -o /app .\n{SHIP}"
    looked = Looked("GO203", text, tmp_path, {})
    assert looked.places == ["amd64"]
    assert looked.only.rule.severity is Severity.ERROR
    assert looked.mended() == text.replace("GOARCH=amd64", "GOARCH=$TARGETARCH")


def test_an_exported_architecture(tmp_path: Path) -> None:
    text = f"{CROSS}ARG TARGETARCH\nRUN export GOARCH=arm64 && go build -o /app .\n{SHIP}"
    assert Looked("GO203", text, tmp_path, {}).places == ["arm64"]


def test_the_builder_s_architecture(tmp_path: Path) -> None:
    arguments = "ARG BUILDARCH\nARG TARGETARCH\n"
    text = f"{CROSS}{arguments}RUN GOARCH=${{BUILDARCH}} go build -o /app .\n{SHIP}"
    looked = Looked("GO203", text, tmp_path, {})
    assert "for the machine that builds" in looked.only.message
    assert looked.mended() == text.replace("${BUILDARCH}", "$TARGETARCH")


def test_a_default_beats_the_image_s_architecture(tmp_path: Path) -> None:
    argument = "ARG TARGETOS=linux\nARG TARGETARCH=amd64\n"
    text = f"{CROSS}{argument}RUN GOARCH=${{TARGETARCH}} go build -o /app .\n{SHIP}"
    looked = Looked("GO203", text, tmp_path, {})
    assert looked.places == ["TARGETARCH=amd64"]
    assert looked.only.rule.severity is Severity.WARNING
    new = looked.mended()
    assert new == text.replace("TARGETARCH=amd64", "TARGETARCH")
    assert not Looked("GO203", new, tmp_path, {}).findings


def test_a_constant_besides_such_a_default_has_no_fix(tmp_path: Path) -> None:
    text = f"{CROSS}ARG TARGETARCH=amd64\nRUN GOARCH=arm64 go build -o /app .\n{SHIP}"
    assert Looked("GO203", text, tmp_path, {}).only.fix is None


def test_the_image_is_for_the_builder(tmp_path: Path) -> None:
    build = f"{CROSS}ARG TARGETARCH\nRUN GOARCH=${{TARGETARCH}} go build -o /app .\n"
    base = "FROM --platform=${BUILDPLATFORM} alpine:3.22\n"
    end = 'COPY --from=build /app /bin/app\nCMD ["app"]\n'
    looked = Looked("GO203", f"{build}{base}{end}", tmp_path, {})
    assert looked.places == ["--platform=${BUILDPLATFORM}"]
    assert looked.mended() == f"{build}FROM alpine:3.22\n{end}"


def test_a_script_starts_what_is_in_path(tmp_path: Path) -> None:
    text = (
        f"{CROSS}RUN GOARCH=amd64 go build -o /app .\nFROM alpine\nCOPY --from=build /app /bin/app"
        '\nCOPY start.sh /\nENTRYPOINT ["/start.sh"]\n'
    )
    assert Looked("GO203", text, tmp_path, {}).places == ["amd64"]
    assert not Looked("GO203", text.replace("/bin/app", "/data/app"), tmp_path, {}).findings


def test_another_system(tmp_path: Path) -> None:
    text = f"FROM golang:1.26 AS build\nCOPY . .\nRUN GOOS=darwin go build -o /app .\n{SHIP}"
    looked = Looked("GO203", text, tmp_path, {})
    assert looked.places == ["darwin"]
    assert looked.mended() == text.replace("darwin", "linux")


@pytest.mark.parametrize(
    "text",
    [
        f"{CROSS}ARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app .\n{SHIP}",
        f"{CROSS}ARG TARGETARCH\nENV GOARCH=${{TARGETARCH}}\nRUN go build -o /app .\n{SHIP}",
        f"{CROSS}ARG GOARCH=amd64\nRUN go build -o /app .\n{SHIP}",
        # A default that counts for this one, or for a build before.
        f"ARG TARGETARCH=amd64\n{CROSS}ARG TARGETARCH\n"
        f"RUN GOARCH=$TARGETARCH go build -o /app .\n{SHIP}",
        f"FROM golang:1.26 AS build\nARG TARGETARCH=amd64\nRUN go build -o /app .\n{SHIP}",
        # The builder's own image, and a base without programs.
        f'{CROSS}ARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app .\nCMD ["/app"]\n',
        f"{CROSS}ARG TARGETARCH\nRUN GOARCH=$TARGETARCH go build -o /app .\n"
        + SHIP.replace("FROM ", "FROM --platform=$BUILDPLATFORM "),
        # Nothing says that there is more than one platform.
        f"FROM golang:1.26 AS build\nRUN GOARCH=amd64 go build -o /app .\n{SHIP}",
        # The image is for this one platform.
        f"{CROSS}RUN GOARCH=amd64 go build -o /app .\n"
        + SHIP.replace("FROM ", "FROM --platform=linux/amd64 "),
        # A tool for the build; several platforms side by side; one of several cases.
        f"{CROSS}RUN GOARCH=amd64 go build -o /tool ./tool\nRUN go build -o /app .\n{SHIP}",
        f"{CROSS}RUN GOARCH=amd64 go build -o /app . && GOARCH=arm64 go build -o /arm .\n{SHIP}",
        f'{CROSS}RUN if [ "$A" = x ]; then GOARCH=amd64 go build -o /app .; fi\n{SHIP}',
        f"{CROSS}RUN GOOS=js GOARCH=wasm go build -o /app.wasm .\nRUN go build -o /app .\n{SHIP}",
        f"{CROSS}RUN GOOS=windows go build -o /app.exe .\nRUN go build -o /app .\n{SHIP}",
        # What the image starts is not known to be this.
        f'{CROSS}RUN GOARCH=amd64 go build -o /app .\nFROM alpine\nCMD ["/start.sh"]\n',
    ],
)
def test_architectures_that_may_be_right(tmp_path: Path, text: str) -> None:
    assert not Looked("GO203", text, tmp_path, {}).findings


# GO204 emulated-build

NATIVE = "FROM golang:1.26-alpine AS build\nWORKDIR /src\nCOPY . .\n"
TINI = "FROM alpine:3.22\nARG TARGETARCH\nADD https://example.com/tini-$TARGETARCH /tini\n"
FINAL = f'{TINI}COPY --from=build /app /app\nENTRYPOINT ["/app"]\n'


def test_go_runs_under_emulation(tmp_path: Path) -> None:
    text = f"{NATIVE}RUN CGO_ENABLED=0 go build -o /app .\n{FINAL}"
    looked = Looked("GO204", text, tmp_path, {})
    assert looked.places == ["golang:1.26-alpine"]
    assert looked.only.rule.severity is Severity.INFO
    new = looked.mended()
    assert new == (
        "FROM --platform=$BUILDPLATFORM golang:1.26-alpine AS build\nWORKDIR /src\nCOPY . .\n"
        "ARG TARGETOS TARGETARCH\n"
        f"RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -o /app .\n{FINAL}"
    )
    assert not Looked("GO204", new, tmp_path, {}).findings


def test_what_is_cross_compiled_already_needs_the_platform_only(tmp_path: Path) -> None:
    text = (
        f"{NATIVE.replace('FROM', 'FROM --platform=$TARGETPLATFORM')}ARG TARGETARCH\n"
        f"ENV CGO_ENABLED=0\nRUN GOOS=linux GOARCH=$TARGETARCH go build -o /app .\n{FINAL}"
    )
    looked = Looked("GO204", text, tmp_path, {})
    assert looked.mended() == text.replace("$TARGETPLATFORM", "$BUILDPLATFORM")


def test_an_installed_program_would_lie_elsewhere(tmp_path: Path) -> None:
    final = FINAL.replace("--from=build /app", "--from=build /go/bin/api")
    text = f"{NATIVE}ENV CGO_ENABLED=0\nRUN go install ./cmd/api\n{final}"
    assert Looked("GO204", text, tmp_path, {}).only.fix is None


def test_an_argument_s_default_would_make_every_program_the_same(tmp_path: Path) -> None:
    text = f"{NATIVE}ARG TARGETARCH=amd64\nRUN CGO_ENABLED=0 go build -o /app .\n{SHIP}"
    assert Looked("GO204", text, tmp_path, {}).only.fix is None


@pytest.mark.parametrize(
    "text",
    [
        # One platform only; cgo, or nobody says; no image of Go; the stage is the image.
        f"{NATIVE}RUN CGO_ENABLED=0 go build -o /app .\n{SHIP}",
        f"{NATIVE}RUN go build -o /app .\n{FINAL}",
        f"{NATIVE}RUN CGO_ENABLED=1 go build -o /app .\n{FINAL}",
        f"{NATIVE}RUN CGO_ENABLED=0 go build -o /app . && CGO_ENABLED=1 go build -o /b .\n{FINAL}",
        f"{NATIVE.replace('golang', 'example')}RUN CGO_ENABLED=0 go build -o /app .\n{FINAL}",
        f"{NATIVE}ARG TARGETARCH\nRUN CGO_ENABLED=0 go build -o /app .\n",
        f"{CROSS}RUN CGO_ENABLED=0 go build -o /app .\n{FINAL}",
        f"{NATIVE.replace('FROM', 'FROM --platform=linux/amd64')}"
        f"RUN CGO_ENABLED=0 go build -o /app .\n{FINAL}",
        f"{NATIVE}RUN apk add --no-cache git\n{FINAL}",
        # A tool that the build itself runs.
        f"{NATIVE}ARG TARGETARCH\nRUN CGO_ENABLED=0 go build -o /docsgen ./docs\nFROM alpine\n"
        "COPY --from=build /docsgen /usr/bin/\nRUN docsgen /out\n",
    ],
)
def test_builds_that_are_not_emulated_for_nothing(tmp_path: Path, text: str) -> None:
    assert not Looked("GO204", text, tmp_path, {}).findings


# GO205 stamping-without-git

ALPINE = "FROM golang:1.26-alpine AS build\nWORKDIR /src\nCOPY . .\n"
OUT = "FROM scratch\nCOPY --from=build /app /app\n"


def test_a_stamp_is_asked_for_and_there_is_no_git(tmp_path: Path) -> None:
    text = f"{ALPINE}RUN go build -buildvcs=true -o /app .\n{OUT}"
    looked = Looked("GO205", text, tmp_path, GIT)
    assert looked.places == ["-buildvcs=true"]
    assert looked.only.rule.severity is Severity.ERROR
    new = looked.mended()
    first, rest = text.split("\n", 1)
    assert new == f"{first}\nRUN apk add --no-cache git\n{rest}"
    assert not Looked("GO205", new, tmp_path, {}).findings


def test_a_stamp_is_left_out_silently(tmp_path: Path) -> None:
    looked = Looked("GO205", f"{ALPINE}RUN go build -o /app .\n{OUT}", tmp_path, GIT)
    assert looked.only.rule.severity is Severity.INFO
    assert looked.places == ["go build"]
    assert looked.only.fix is None


def test_a_stamp_is_asked_for_and_the_repository_is_hidden(tmp_path: Path) -> None:
    text = "FROM golang:1.26\nWORKDIR /src\nCOPY . .\nENV GOFLAGS=-buildvcs=true\nRUN go build .\n"
    looked = Looked("GO205", text, tmp_path, {**GIT, ".dockerignore": ".git\n"})
    assert looked.only.rule.severity is Severity.WARNING
    assert "hidden by the rule `.git`" in looked.only.message


def test_git_refuses_what_belongs_to_somebody_else(tmp_path: Path) -> None:
    text = "FROM golang:1.26\nWORKDIR /src\nCOPY . .\nUSER 1000\nRUN go build -o /tmp/app ./cmd/a\n"
    looked = Looked("GO205", text, tmp_path, GIT)
    assert looked.only.rule.severity is Severity.ERROR
    assert "error obtaining VCS status" in looked.only.message
    new = looked.mended()
    assert new == text.replace("go build", "go build -buildvcs=false")
    assert not Looked("GO205", new, tmp_path, {}).findings
    text = "FROM golang:1.26\nWORKDIR /src\nCOPY --chown=1000:1000 . .\nRUN go build -o /app .\n"
    assert Looked("GO205", text, tmp_path, {}).only.rule.severity is Severity.ERROR


@pytest.mark.parametrize(
    "text",
    [
        f"{ALPINE}RUN go build -buildvcs=false -o /app .\n{OUT}",
        f"{ALPINE}ENV GOFLAGS=-buildvcs=false\nRUN go build -o /app .\n{OUT}",
        f"{ALPINE}RUN apk add --no-cache git make\nRUN go build -buildvcs=true -o /app .\n{OUT}",
        f"{ALPINE}RUN ./prepare.sh && go build -buildvcs=true -o /app .\n{OUT}",
        f"{ALPINE}RUN apk add $TOOLS && go build -buildvcs=true -o /app .\n{OUT}",
        f"{ALPINE.replace('1.26-alpine', '1.26')}RUN go build -buildvcs=true -o /app .\n{OUT}",
        f"{ALPINE.replace('1.26', '1.17')}RUN go build -o /app .\n{OUT}",
        f"{ALPINE.replace('COPY . .', 'COPY cmd ./cmd')}RUN go build -o /app ./cmd\n{OUT}",
        f"{ALPINE}RUN go install example.com/tool@v1.0.0\n{OUT}",
        # Go stamps no single files, and what nothing is made of needs no stamp.
        f"{ALPINE}RUN go build -buildvcs=true -o /app cmd/main.go\n{OUT}",
        f"{ALPINE}RUN go build -o /app cmd/*\n{OUT}",
        f"{ALPINE}RUN go build ./...\n",
        # The commit comes by another way.
        f'{ALPINE}ARG REVISION\nRUN go build -ldflags="-s -X main.Commit=$REVISION" -o /app .\n',
        "FROM golang:1.26\nCOPY --chown=1000 . /src\nUSER 1000\nWORKDIR /src\nRUN go build .\n",
        "FROM golang:1.26\nWORKDIR /src\nCOPY . .\n"
        "RUN git config --system safe.directory '*'\nUSER 1000\nRUN go build .\n",
        f"{BUILD}RUN chown -R 1000 .\nUSER 1000\nRUN go build .\n",
        "FROM golang:1.26\nWORKDIR /src\nCOPY . .\nARG WHO\nUSER $WHO\nRUN go build .\n",
    ],
)
def test_stamps_that_work_or_are_not_wanted(tmp_path: Path, text: str) -> None:
    files = {**GIT, "cmd/main.go": MAIN}
    assert not Looked("GO205", text, tmp_path, files).findings


def test_no_module_no_stamp(tmp_path: Path) -> None:
    text = f"{ALPINE}RUN go build -o /app .\n{OUT}"
    assert not Looked("GO205", text, tmp_path, {".git/HEAD": "ref: refs/heads/main\n"}).findings


def test_no_repository_no_stamp(tmp_path: Path) -> None:
    text = f"{ALPINE}RUN go build -buildvcs=true -o /app .\n{OUT}"
    assert not Looked("GO205", text, tmp_path, {"go.mod": MOD}).findings
    # The mark of a worktree or submodule names a repository elsewhere.
    assert not Looked("GO205", text, tmp_path, {".git": "gitdir: ../x\n"}).findings


# GO206 module-files-hidden

SUMMED = {"go.mod": f"{MOD}\nrequire example.com/d v1.0.0\n", "go.sum": "x\n", "main.go": MAIN}


def test_a_copy_names_what_is_hidden(tmp_path: Path) -> None:
    text = "FROM golang:1.26\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\n"
    looked = Looked("GO206", text, tmp_path, {**SUMMED, ".dockerignore": "*.sum\n"})
    assert looked.places == ["go.sum"]
    assert looked.only.message.startswith("go.sum is hidden by the rule `*.sum` of .dockerignore")
    assert looked.only.fix is not None
    assert looked.only.fix.safe
    new = looked.mended_file(".dockerignore")
    assert new == "*.sum\n!go.sum\n"
    assert not Looked("GO206", text, tmp_path, {".dockerignore": new}).findings


def test_the_last_line_may_lack_its_end(tmp_path: Path) -> None:
    text = "FROM golang:1.26\nCOPY go.mod /\n"
    looked = Looked("GO206", text, tmp_path, {**SUMMED, ".dockerignore": "# x\ngo.mod"})
    assert looked.mended_file(".dockerignore") == "# x\ngo.mod\n!go.mod\n"


@pytest.mark.parametrize("name", ["go.mod", "go.sum"])
def test_a_build_misses_what_is_hidden(tmp_path: Path, name: str) -> None:
    files = {**SUMMED, ".dockerignore": name}
    looked = Looked("GO206", f"{BUILD}RUN go build .\n", tmp_path, files)
    assert looked.places == ["COPY . ."]
    assert "and `go build` needs it" in looked.only.message


def test_vendored_code_is_hidden(tmp_path: Path) -> None:
    files = {**SUMMED, "vendor/modules.txt": "x", ".dockerignore": "vendor/\n"}
    text = f"{BUILD}RUN go build -mod=vendor .\n"
    looked = Looked("GO206", text, tmp_path, files)
    assert looked.mended_file(".dockerignore") == "vendor/\n!vendor\n"


@pytest.mark.parametrize(
    ("files", "text"),
    [
        ({".dockerignore": "*.md\n"}, f"{BUILD}COPY go.sum .\nRUN go build .\n"),
        ({".dockerignore": "*\n!go.*\n!main.go\n"}, f"{BUILD}RUN go build .\n"),
        # Made in the build; not wanted; from another stage; taken back in already.
        ({".dockerignore": "go.sum\n"}, f"{BUILD}RUN go mod tidy && go build .\n"),
        ({".dockerignore": "go.mod\n"}, f"{BUILD}RUN go mod init m && go build .\n"),
        ({".dockerignore": "go.sum\n"}, f"{BUILD}RUN go build -mod=mod .\n"),
        ({".dockerignore": "go.mod\n"}, f"{BUILD}ENV GO111MODULE=off\nRUN go build .\n"),
        ({".dockerignore": "go.sum\n", "vendor/modules.txt": "x"}, f"{BUILD}RUN go build .\n"),
        ({".dockerignore": "go.sum\n", "go.mod": MOD}, f"{BUILD}RUN go build .\n"),
        ({".dockerignore": "go.work\n", "go.work": "go 1.22\n"}, f"{BUILD}RUN go build .\n"),
        ({".dockerignore": "vendor\n", "vendor/modules.txt": "x"}, f"{BUILD}RUN go build .\n"),
        ({".dockerignore": "go.sum\n"}, "FROM a AS a\nFROM golang:1.26\nCOPY --from=a go.sum .\n"),
        ({".dockerignore": "go.sum\n"}, "FROM golang:1.26\nCOPY main.go .\nRUN go run main.go\n"),
    ],
)
def test_what_is_hidden_is_not_missed(tmp_path: Path, files: dict[str, str], text: str) -> None:
    assert not Looked("GO206", text, tmp_path, {**SUMMED, **files}).findings


# GO207 module-files-not-in-git

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="no git")
COPIED = "FROM golang:1.26\nWORKDIR /src\nCOPY go.mod go.sum ./\nCOPY . .\nRUN go build .\n"


def repository(root: Path, *added: str) -> None:
    root.mkdir(parents=True, exist_ok=True)
    env = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    for words in (("init", "-q"), *((("add", "-f", *added),) if added else ())):
        subprocess.run(("git", *words), cwd=root, env=env, check=True)


@needs_git
def test_git_ignores_the_module(tmp_path: Path) -> None:
    repository(tmp_path)
    looked = Looked("GO207", COPIED, tmp_path, {**SUMMED, ".gitignore": "*.log\ngo.sum\n/bin\n"})
    assert looked.places == ["go.sum"]
    assert looked.only.message == (
        "git ignores go.sum (`go.sum` of .gitignore): a fresh clone is without it"
    )
    assert looked.only.fix is not None
    assert not looked.only.fix.safe
    new = looked.mended_file(".gitignore")
    assert new == "*.log\ngo.sum\n/bin\n!/go.sum\n"
    assert not Looked("GO207", COPIED, tmp_path, {".gitignore": new}).findings


@needs_git
def test_a_wide_pattern_gets_an_exception(tmp_path: Path) -> None:
    repository(tmp_path)
    files = {**SUMMED, ".gitignore": "*.mod\n"}
    looked = Looked("GO207", f"{BUILD}RUN go build .\n", tmp_path, files)
    assert looked.places == ["COPY . ."]
    new = looked.mended_file(".gitignore")
    assert new == "*.mod\n!/go.mod\n"
    assert not Looked("GO207", COPIED, tmp_path, {".gitignore": new}).findings


@needs_git
def test_the_pattern_may_lie_above_the_context(tmp_path: Path) -> None:
    repository(tmp_path)
    write(tmp_path, {".gitignore": "go.sum\n"})
    looked = Looked("GO207", COPIED, tmp_path / "api", SUMMED)
    assert looked.only.fix is None
    assert looked.only.message.startswith("git ignores go.sum (`go.sum`)")


@needs_git
def test_the_module_may_lie_below_the_context(tmp_path: Path) -> None:
    repository(tmp_path)
    files = {f"api/{name}": text for name, text in SUMMED.items()}
    text = "FROM golang:1.26\nCOPY api /src\n"
    looked = Looked("GO207", text, tmp_path, {**files, "api/.gitignore": "*.sum\n"})
    assert looked.places == ["COPY api /src"]
    assert looked.mended_file("api/.gitignore") == "*.sum\n!/go.sum\n"


@needs_git
@pytest.mark.parametrize(
    ("added", "files"),
    [
        ((), {}),
        ((), {".gitignore": "vendor\n*.log\n"}),
        ((), {".gitignore": "go.*\n!go.mod\n!go.sum\n"}),
        # What git has is not ignored, whatever the patterns say.
        (("go.mod", "go.sum"), {".gitignore": "go.mod\ngo.sum\n"}),
        # A module without dependencies has no go.sum.
        (("go.mod",), {".gitignore": "go.sum\n", "go.mod": MOD, "go.sum": ""}),
    ],
)
def test_git_has_the_module(tmp_path: Path, added: tuple[str, ...], files: dict[str, str]) -> None:
    write(tmp_path, {**SUMMED, **files})
    if files.get("go.sum") == "":
        (tmp_path / "go.sum").unlink()
        del files["go.sum"]
    repository(tmp_path, *added)
    assert not Looked("GO207", COPIED, tmp_path, {}).findings


def test_without_a_repository_nothing_is_said(tmp_path: Path) -> None:
    looked = Looked("GO207", COPIED, tmp_path, {**SUMMED, ".gitignore": "go.sum\n"})
    assert not looked.findings
