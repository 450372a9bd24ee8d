# SPDX-License-Identifier: Apache-2.0
"""Go steps with other ways to build: flags, experiments, tools, includes, workspaces, forms of RUN.

Where Go's own cache does not see that something changed (headers and assembler files included from
other directories, wrapped compilers, tests with side effects), a cache that lives on is wrong where
BuildKit's, which begins empty, is right.
"""

from __future__ import annotations

from collections.abc import Iterator

from differential.model import File, Files
from go_step_model import (
    ASM,
    BUILD,
    CHANGED,
    DEP,
    DOWNLOAD,
    END,
    FILES,
    FROM,
    FROM_CGO,
    NOTICED,
    ONE,
    GoCase,
    case,
    go_mod,
    go_sum,
    lib,
)

_ALONE = {"go.mod": go_mod()}
_MAIN = "package main\n\n{}\nfunc main() {{\n\t{}\n}}\n"
_PROGRAM = "RUN go build {} -o /out/app .\n"
_ASM_GO = "package app\n\nfunc Answer() int64\n"
_ASM_FILES: Files = {**_ALONE, "a.go": _ASM_GO, "a_amd64.s": ASM, "sub/x.h": "#define ANSWER 41\n"}
_C_HEADER = (
    'package app\n\n// #include "{}"\nimport "C"\n\nfunc Answer() int {{ return int(C.ANSWER) }}\n'
)
_SIDE_EFFECT = (
    'package sub\n\nimport (\n\t"os"\n\t"testing"\n)\n\nfunc TestWrites(t *testing.T) {\n'
    '\tif err := os.WriteFile("/out/written", []byte("by the test"), 0o644); err != nil {\n'
    "\t\tt.Fatal(err)\n\t}\n}\n"
)


# --- a profile ----------------------------------------------------------------------------------


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


def _field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _profile(weight: int) -> bytes:
    """A CPU profile in which main.main calls main.f `weight` times."""
    names = ("", "samples", "count", "cpu", "nanoseconds", "main.main", "main.f", "/src/main.go")

    def parts() -> Iterator[bytes]:
        yield _field(1, _field(1, 1) + _field(2, 2))
        yield _field(1, _field(1, 3) + _field(2, 4))
        counted = _varint(weight) + _varint(weight * 1000)
        yield _field(2, _field(1, _varint(2) + _varint(1)) + _field(2, counted))
        for number, (name, line) in enumerate(((5, 7), (6, 3)), 1):
            place = _field(1, number) + _field(2, line)
            yield _field(4, _field(1, number) + _field(4, place))
            yield _field(5, _field(1, number) + _field(2, name) + _field(3, name)
                         + _field(4, 7) + _field(5, line - 1))  # fmt: skip
        for name in names:
            yield _field(6, name.encode())

    return b"".join(parts())


_HOT = (
    "//go:noinline\nfunc g(a int) int { return a * 3 }\n\nfunc f(a int) int { return g(a) + 1 }\n"
)

# --- the cases ----------------------------------------------------------------------------------

_FLAGS = [
    case("flags-by-arg", "a build argument gives tags",
         f"ARG TAGS\n{DOWNLOAD}RUN go build -tags=$TAGS -o /out/app.a .\n",
         {**FILES, "a.go": "//go:build !other\n\npackage app\n\nconst Tagged = 1\n",
          "b.go": "//go:build other\n\npackage app\n\nconst Tagged, Other = 2, 3\n"}, {},
         args=({"TAGS": "one"}, {"TAGS": "other"})),
    case("goflags-by-env", "an ENV of a build argument is GOFLAGS",
         f"ARG F\nENV GOFLAGS=$F\n{DOWNLOAD}{BUILD}", FILES, {},
         args=({"F": "-trimpath"}, {"F": "-gcflags=-N"})),
    case("trimpath", "-trimpath in one state only", DOWNLOAD + BUILD, FILES, {},
         then=f"{DOWNLOAD}RUN go build -trimpath -o /out/app.a .\n"),
    case("workdir-moved", "the same sources in another directory", DOWNLOAD + BUILD, FILES, {},
         then=f"WORKDIR /other\n{DOWNLOAD}{BUILD}"),
    case("goexperiment", "an experiment in one state only", f"{DOWNLOAD}{BUILD}", FILES, {},
         then=f"ENV GOEXPERIMENT=jsonv2\n{DOWNLOAD}{BUILD}"),
    case("goamd64", "another level of the architecture", f"{DOWNLOAD}{BUILD}", FILES, {},
         then=f"ENV GOAMD64=v3\n{DOWNLOAD}{BUILD}"),
    case("toolchain-too-old", "GOTOOLCHAIN=local refuses what go.mod asks for",
         f"{DOWNLOAD}{BUILD}", FILES, {"go.mod": go_mod(ONE).replace("1.24", "1.99")},
         fails=(False, True)),
    case("compile-error", "a state that does not compile", DOWNLOAD + BUILD, FILES,
         {"lib.go": lib("second", "var x int = Name\n")}, fails=(False, True)),
    case("vet", "go vet finds what was not there", f"{DOWNLOAD}RUN go vet ./...\n{BUILD}", FILES,
         {"lib.go": lib("second", "\nfunc S(a int) { a = a }\n")}, fails=(False, True), std=True),
    case("cache-verified", "GODEBUG=gocacheverify finds entries that are not what is built",
         f"ENV GODEBUG=gocacheverify=1\n{DOWNLOAD}{BUILD}"),
    case("relative-cache", "a relative GOCACHE is refused",
         f"ENV GOCACHE=relative\n{DOWNLOAD}{BUILD}", fails=(True, True)),
    case("relative-cache-written", "and one that go env -w is given",
         f"RUN go env -w GOCACHE=relative || echo refused > /refused\n{DOWNLOAD}{BUILD}",
         fails=(True, True)),
    case("wrapped-go", "a go of one's own before the real one on PATH",
         "COPY --chmod=755 go /usr/local/sbin/go\nENV PATH=/usr/local/sbin:$PATH\n"
         "RUN GOROOT=/usr/local/go go version\n" + DOWNLOAD + BUILD,
         {**FILES, "go": '#!/bin/sh\nexec env GOFLAGS=-gcflags=-N /usr/local/go/bin/go "$@"\n'},
         {"go": '#!/bin/sh\nexport GOMODCACHE=/elsewhere\nexec /usr/local/go/bin/go "$@"\n'}),
]  # fmt: skip

_SOURCES = [
    case("vendor-directory", "vendored sources, changed by hand",
         "COPY . .\nRUN go build -mod=vendor -o /out/app.a .\n",
         {**FILES, f"vendor/{DEP}/dep.go": 'package dep\n\nfunc Name() string { return "1" }\n',
          "vendor/modules.txt": f"# {DEP} v1.0.0\n## explicit; go 1.21\n{DEP}\n"},
         {f"vendor/{DEP}/dep.go": 'package dep\n\nfunc Name() string { return "2" }\n'}),
    case("replaced-by-directory", "a replaced module whose sources change",
         "COPY . .\n" + BUILD,
         {"go.mod": go_mod(ONE, more=f"replace {DEP} => ./dep\n"), "lib.go": lib("first"),
          "dep/go.mod": go_mod(name=DEP),
          "dep/dep.go": 'package dep\n\nfunc Name() string { return "1" }\n'},
         {"dep/dep.go": 'package dep\n\nfunc Name() string { return "2" }\n'}),
    case("workspace", "a go.work that brings another version of the module",
         "COPY . .\n" + BUILD,
         {**FILES, "dep/go.mod": go_mod(name=DEP), "dep/dep.go": 'package dep\n\n'
          'func Name() string { return "of the workspace" }\n'},
         {"go.work": "go 1.24\n\nuse .\nuse ./dep\n"}),
    case("required-by-required", "a module that is required by another alone, and upper case",
         DOWNLOAD + BUILD + "RUN go mod tidy && cp go.mod go.sum /out/ && go mod verify\n",
         {"go.mod": go_mod(("example.com/deep", "v1.0.0"), ("example.com/Upper", "v0.1.0"),
                           more=f"require {DEP} v1.0.0 // indirect\n"),
          "go.sum": go_sum(("example.com/deep", "v1.0.0"), ("example.com/Upper", "v0.1.0"), ONE),
          "lib.go": 'package app\n\nimport (\n\t"example.com/Upper"\n\t"example.com/deep"\n)\n\n'
          "var Name = deep.Name + upper.Name\n"},
         {"lib.go": 'package app\n\nimport "example.com/deep"\n\nvar Name = deep.Name\n'}),
    case("asm-include", "a header of another directory that an assembler file includes",
         "COPY . .\n" + BUILD, _ASM_FILES, {"sub/x.h": "#define ANSWER 42\n"}, quick=True),
    case("asm-include-absolute", "a header that a step made", "RUN mkdir /inc\n"
         "COPY x.h /inc/x.h\nCOPY . .\nRUN go build -asmflags=-I=/inc -o /out/app.a .\n",
         {**_ASM_FILES, "a_amd64.s": ASM.replace("sub/", ""), "x.h": "#define ANSWER 41\n"},
         {"x.h": "#define ANSWER 42\n"}),
    case("embedded", "embedded files of which one changes and one appears",
         "COPY . .\n" + BUILD,
         {**_ALONE, "a.go": 'package app\n\nimport "embed"\n\n//go:embed d\nvar D embed.FS\n',
          "d/x": "1"}, {"d/x": "2", "d/y": "new"}, std=True),
    case("generated-by-step", "code that a step before the build writes",
         "COPY . .\nRUN printf 'package app\\n\\nconst Made = \"%s\"\\n' \"$(cat word)\" "
         "> made.go\n"
         + BUILD, {**_ALONE, "word": "one"}, {"word": "two"}),
    GoCase("cgo-header", "a C header of another directory that changes",
           f"{FROM_CGO}COPY . .\nRUN go build -o /out/app.a .\n{END}",
           {**_ALONE, "a.go": _C_HEADER.format("sub/x.h"), "sub/x.h": "#define ANSWER 41\n"},
           after={"sub/x.h": "#define ANSWER 42\n"}),
    GoCase("cgo-system-header", "a C header of the system that changes",
           f"{FROM_CGO}COPY x.h /usr/include/x.h\nCOPY . .\nRUN go build -o /out/app.a .\n{END}",
           {**_ALONE, "a.go": _C_HEADER.format("x.h"), "x.h": "#define ANSWER 41\n"},
           after={"x.h": "#define ANSWER 42\n"}),
    GoCase("cgo-static-library", "a C library that a step makes, linked into the program",
           f"{FROM_CGO}COPY . .\nRUN gcc -c -o /usr/lib/x.o c/x.c && /usr/bin/ar rcD "
           f"/usr/lib/libx.a /usr/lib/x.o\n{_PROGRAM.format('-trimpath')}{END}",
           {**_ALONE, "c/x.c": "int answer(void) { return 41; }\n",
            "main.go": _MAIN.format("// int answer(void);\n// #cgo LDFLAGS: -lx\nimport \"C\"\n",
                                    "println(C.answer())")},
           after={"c/x.c": "int answer(void) { return 42; }\n"}),
    GoCase("cc-wrapped", "a C compiler behind a script that changes",
           f"{FROM_CGO}ENV CC=/src/cc.sh\nCOPY . .\nRUN go build -o /out/app.a .\n{END}",
           {**_ALONE, "a.go": "package app\n\n// static int a(void) { return ANSWER; }\n"
            'import "C"\n\nfunc Answer() int { return int(C.a()) }\n',
            "cc.sh": File('#!/bin/sh\nexec gcc -DANSWER=41 "$@"\n', 0o755)},
           after={"cc.sh": File('#!/bin/sh\nexec gcc -DANSWER=42 "$@"\n', 0o755)}),
]  # fmt: skip

_PROGRAMS = [
    case("ldflags", "-X gives a variable another value",
         f"ARG V\nCOPY . .\n{_PROGRAM.format('-trimpath -ldflags=-X=main.v=$V')}",
         {**_ALONE, "main.go": _MAIN.format("var v string\n", "println(v)")}, {},
         args=({"V": "1"}, {"V": "2"}), std=True),
    GoCase("race", "the race detector in one state only",
           f"{FROM_CGO}COPY . .\n{_PROGRAM.format('-trimpath')}{END}",
           {**_ALONE, "main.go": _MAIN.format("", "println(1)")},
           f"{FROM_CGO}COPY . .\n{_PROGRAM.format('-trimpath -race')}{END}"),
    case("pgo", "a profile beside the program that changes", f"COPY . .\n{_PROGRAM.format('')}",
         {**_ALONE, "main.go": _MAIN.format(_HOT, "println(f(len(v)), v)") + "\nvar v string\n",
          "default.pgo": _profile(1)}, {"default.pgo": _profile(1000), "main.go": _MAIN.format(
              _HOT, "println(f(len(v)))") + "\nvar v string\n"}, std=True),
    case("tool-directive", "go tool of a module that go.mod names",
         f"{DOWNLOAD}RUN go tool tool > gen.go && go build -o /out/app.a . && cp gen.go /out/\n",
         {**FILES, "go.mod": go_mod(ONE, more="require example.com/tool v1.0.0\n"
                                    "tool example.com/tool\n"),
          "go.sum": go_sum(ONE, ("example.com/tool", "v1.0.0"))},
         {"go.mod": go_mod(ONE, more="require example.com/tool v1.1.0\ntool example.com/tool\n"),
          "go.sum": go_sum(ONE, ("example.com/tool", "v1.1.0"))}, std=True),
    case("run", "go run of a program of the module",
         "COPY . .\nRUN mkdir /out && go run ./gen > /out/made\n",
         {**_ALONE, "gen/main.go": _MAIN.format('import "syscall"\n',
                                                'syscall.Write(1, []byte("one"))')},
         {"gen/main.go": _MAIN.format('import "syscall"\n', 'syscall.Write(1, []byte("two"))')},
         std=True),
    case("test-with-side-effects", "a test that was run before is run, for it writes a file",
         "RUN mkdir /out\nCOPY . .\nRUN go test ./...\nRUN go build -o /out/app.a .\n",
         {**FILES, "sub/sub.go": "package sub\n", "sub/sub_test.go": _SIDE_EFFECT}, std=True),
    case("coverage", "a program that counts what it runs",
         f"COPY . .\n{_PROGRAM.format('-cover -trimpath')}",
         {**_ALONE, "main.go": _MAIN.format("", "println(1)")},
         {"main.go": _MAIN.format("", "println(2)")}, std=True),
]  # fmt: skip

_FORMS = [
    GoCase("heredoc", "a RUN by heredoc, one with a shebang",
           f"{FROM}COPY . .\nRUN <<EOF\nset -e\ngo mod download\ngo build -o /out/app.a .\nEOF\n"
           f"RUN <<EOF\n#!/bin/busybox ash\ngo build -o /out/again.a .\nEOF\n{END}",
           FILES, after=CHANGED),
    case("shell", "another shell, and no shell",
         'COPY . .\nSHELL ["/bin/busybox", "ash", "-euc"]\nRUN go mod download; '
         'GOFLAGS=-trimpath go build -o /out/1.a .\nRUN ["go", "build", "-o", "/out/2.a", "."]\n'),
    GoCase("platforms", "a stage of the build's platform makes what runs on another",
           "FROM --platform=$BUILDPLATFORM %REGISTRY%/go AS build\nARG TARGETARCH\nWORKDIR /src\n"
           f"{DOWNLOAD}RUN GOARCH=$TARGETARCH go build -o /out/app.a .\n{END}",
           FILES, after=CHANGED, platform="linux/arm64"),
    GoCase("sources-mounted", "sources by a bind mount, nothing copied",
           f"{FROM}RUN --mount=target=/src go build -o /out/app.a .\n{END}", FILES, after=CHANGED),
    GoCase("caches-mounted-by-user", "the caches by cache mounts, as many do it",
           f"{FROM}COPY . .\nRUN --mount=type=cache,id=%CASE%b,target=/root/.cache/go-build "
           "--mount=type=cache,id=%CASE%m,target=/go/pkg/mod go build -o /out/app.a .\n"
           f"RUN ls -A /go /root > /out/whole\n{END}", FILES, after=CHANGED, meant=NOTICED),
    GoCase("go-copied-in", "a root that gets its Go by COPY",
           "FROM %REGISTRY%/acting AS build\nCOPY --from=%REGISTRY%/go /usr/local/go "
           "/usr/local/go\nCOPY --from=%REGISTRY%/go /proxy /proxy\nENV "
           "PATH=/usr/local/go/bin:$PATH GOPROXY=file:///proxy GOSUMDB=off "
           "GOTOOLCHAIN=local CGO_ENABLED=0\nWORKDIR /src\n"
           f"{DOWNLOAD}{BUILD}RUN test -d /root/go/pkg/mod/cache\n{END}", FILES, after=CHANGED),
]  # fmt: skip

CASES = [*_FLAGS, *_SOURCES, *_PROGRAMS, *_FORMS]
