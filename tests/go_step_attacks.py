# SPDX-License-Identifier: Apache-2.0
"""Go steps that tell apart a cache of their own and one that is shared, or spoil it for others.

What a step leaves in a cache must not reach a build in which BuildKit's would not be: things that
were changed, added, removed or given away, and modules that this build could not have got.
"""

from __future__ import annotations

from differential.model import Around, File, Meant
from go_step_model import (
    BUILD,
    BUILD_BOTH,
    CHANGED,
    DEP,
    DEP_DIR,
    DOWNLOAD,
    END,
    FILES,
    FROM,
    MODULES,
    NOTICED,
    ONE,
    SCRUBBED,
    GoCase,
    Module,
    case,
    go_mod,
    go_sum,
    lib,
    proxy_files,
)

_TWO: Module = (DEP, "v1.1.0")
_V1, _V2 = {ONE: MODULES[ONE]}, {_TWO: MODULES[_TWO]}
_OTHER = {ONE: {**MODULES[ONE], "dep.go": MODULES[_TWO]["dep.go"]}}  # the version made anew
_MODULES = "/go/pkg/mod/example.com"
_GET = "COPY . .\nRUN go mod download\n"
# A build whose entries are elsewhere: GOCACHE itself has times in it.
_BUILD_APART = "RUN GOCACHE=/tmp/c go build -o /out/app.a . && rm -rf /tmp/c /tmp/go-build*\n"
_OWN_PROXY = "ENV GOPROXY=file:///own GOFLAGS=-mod=mod\nCOPY proxy /own\nCOPY go.* lib.go ./\n"
_RUN_APP = "RUN go build -o /out/app.a .\n"


def _spoiled(name: str, checks: str, deed: str, **more: object) -> GoCase:
    """One stage spoils its caches, another stage builds after it; the second state has no deed."""

    def dockerfile(done: str, word: str) -> str:
        return (
            f"{FROM.replace('build', 'spoiler')}{DOWNLOAD}RUN {done}echo {word} > /done\n"
            f"{FROM}COPY --from=spoiler /done /done\n{DOWNLOAD}"
            f"RUN {BUILD_BOTH} && cp -a {DEP_DIR} /out/dep && cp /done /out/\n{END}"
        )

    return GoCase(
        name, checks, dockerfile(f"{BUILD_BOTH} && {deed} && ", "spoiled"), FILES,
        dockerfile("", "clean"), CHANGED, **more,  # type: ignore[arg-type]
    )  # fmt: skip


def _once(name: str, checks: str, deed: str, **more: object) -> GoCase:
    """The first state changes the cache before it builds, the second does not."""
    return case(
        name, checks, f"COPY . .\nRUN {deed} && {BUILD_BOTH}\n",
        then=f"COPY . .\nRUN go mod download && {BUILD_BOTH} && cp -a {DEP_DIR} /out/dep\n",
        **more,
    )  # fmt: skip


def _other_version(name: str, checks: str, dockerfile: str) -> GoCase:
    """The second state requires another version of the module."""
    after = {"go.mod": go_mod(_TWO), "go.sum": go_sum(_TWO)}
    return GoCase(name, checks, dockerfile, FILES, after=after)


def _copied(name: str, checks: str, source: str, first: str = "") -> GoCase:
    """What a stage left in its module cache is copied out of it, by some name."""
    return _other_version(
        name, checks, f"{FROM}{first}{_GET}FROM scratch\nCOPY --from=build {source} /m\n"
    )


_WRAPPER = """\
#!/bin/sh
tool=$1
shift
case "$tool $1" in
*-V=full) ;;
%s
esac
exec $tool "$@"
"""
_ASM: Module = ("example.com/asm", "v1.0.0")
_ASM_DIR = "/go/pkg/mod/example.com/asm@v1.0.0"
_ASM_EDITED = "COPY . .\nRUN go mod download %s && go build -o /out/asm.a example.com/asm\n"
_ASM_FILES = {
    "go.mod": go_mod(_ASM), "go.sum": go_sum(_ASM),
    "lib.go": 'package app\n\nimport "example.com/asm"\n\nvar A = asm.Answer()\n',
}  # fmt: skip
_STD = "COPY . .\nRUN go version %s && go build -o /out/math.a math\n"
_FILL = (
    "find /root/.cache/go-build -name '*-d' -type f | while read f; do s=$(stat -c %s $f); "
    "head -c $s /dev/zero > $f; done && chmod -R u+w /go/pkg/mod && "
    "find /go/pkg/mod -name '*.go' -exec sh -c 'echo garbage > $0' {} ';'"
)

_SPOILED = [
    _spoiled("garbage", "a cache filled with garbage of the right sizes", _FILL, quick=True),
    _spoiled("half-a-module", "a module of which half is deleted",
             f"rm -rf {DEP_DIR}/extra {DEP_DIR}/data && ls {DEP_DIR} > /dev/null"),
    _spoiled("half-a-download", "a module whose archive is cut, with its directory gone",
             f"rm -rf {DEP_DIR} && truncate -s 100 /go/pkg/mod/cache/download/{DEP}/@v/v1.0.0.zip"),
    _spoiled("half-a-build-cache", "outputs deleted, the entries that name them left",
             "find /root/.cache/go-build -name '*-d' -exec rm -rf {} +"),
    _spoiled("cache-swapped", "outputs of two entries exchanged",
             "cd /root/.cache/go-build && set -- $(find . -name '*-d' -type f -size +1 | head -2) "
             "&& mv $1 /tmp/x && cp $2 $1 && cp /tmp/x $2"),
    _spoiled("index-of-others", "a foreign file beside the modules and below the build cache",
             f"echo x > {DEP_DIR}/zzz.go && echo x > /go/pkg/mod/example.com/zzz && "
             "echo x > /root/.cache/go-build/zzz"),
    _spoiled("owners-given-away", "entries whose owner and mode were changed",
             "chown -R app:app /go/pkg /root/.cache && chmod -R 777 /go/pkg /root/.cache"),
    _spoiled("links-out-of-the-cache", "links that lead a later Go to write elsewhere",
             "rm -f /root/.cache/go-build/trim.txt && mkdir -p /out && "
             "ln -s /out/trim /root/.cache/go-build/trim.txt && "
             "rm -rf /root/.cache/go-build/00 && ln -s /out /root/.cache/go-build/00"),
    _spoiled("special-files", "pipes in the place of entries",
             "rm -rf /root/.cache/go-build/0* && mkfifo /root/.cache/go-build/00 && "
             "rm -f /go/pkg/mod/cache/lock && mkfifo /go/pkg/mod/cache/lock"),
    _spoiled("cache-a-file", "files in the place of the caches",
             "rm -rf /root/.cache/go-build /go/pkg/mod && touch /root/.cache/go-build "
             "/go/pkg/mod"),
    GoCase(
        "secret-in-the-cache", "what one stage wrote into a cache is seen by no other",
        "FROM %REGISTRY%/go AS other\nRUN --mount=type=secret,id=s mkdir -p /go/pkg/mod "
        "/root/.cache/go-build && cp /run/secrets/s /go/pkg/mod/note && "
        "cp /run/secrets/s /root/.cache/go-build/note && echo done > /done\n"
        f"{FROM}COPY --from=other /done /done\n{DOWNLOAD}RUN mkdir /out && ls /go/pkg/mod "
        "/root/.cache/go-build | grep note > /out/seen || echo none > /out/seen\n" + BUILD + END,
        FILES, after=CHANGED, around=Around(secrets={"s": "a secret of the tests"}),
    ),
    GoCase(
        "stages-side-by-side", "stages that remove the caches while another builds",
        "FROM %REGISTRY%/go AS base\nWORKDIR /src\nCOPY . .\n"
        + "".join(
            f"FROM base AS s{n}\nRUN go build -o /out/{n}.a . && rm -rf /go/pkg /root/.cache && "
            f"go build -o /out/{n}-again.a . && go clean -cache -modcache\n" for n in range(4)
        ) + "FROM scratch\n" + "".join(f"COPY --from=s{n} /out /\n" for n in range(4)),
        FILES, after=CHANGED,
    ),
]  # fmt: skip

_ONCE = [
    _once("module-edited", "a module edited in the cache stays with the build that did it",
          f"go mod download && chmod -R u+w {DEP_DIR} && sed -i 's/dep one/edited/' "
          f"{DEP_DIR}/dep.go", quick=True),
    _once("file-added-to-module", "a file added before the first build is in Go's module index",
          f"go mod download && chmod u+w {DEP_DIR} && printf 'package dep\\n\\nvar X = 1\\n' > "
          f"{DEP_DIR}/added.go"),
    _once("file-taken-from-module", "a directory removed before the first build",
          f"go mod download && rm -rf {DEP_DIR}/extra && printf 'package dep\\n' > "
          f"{DEP_DIR}/more.go"),
    _once("modes-of-modules", "modules of -modcacherw have other modes than those without",
          "export GOFLAGS=-modcacherw && go mod download"),
    _once("umask-of-modules", "modules unpacked under another umask have other modes",
          "umask 077 && go mod download"),
    _once("std-patched", "a standard library that a step patched",
          "go mod download && sed -i 's/RuneSelf  = 0x80/RuneSelf  = 0x81/' "
          "/usr/local/go/src/unicode/utf8/utf8.go",
          files={**FILES, "rune.go": 'package app\n\nimport "unicode/utf8"\n\n'
                 "const Self = utf8.RuneSelf\n\nfunc S() int { return Self }\n"}),
    case("same-size-and-time", "a source of the size and time that Go's index has of another",
         "COPY . .\nRUN touch -d @1400000000 . *\nRUN go build -o /out/app.a .\n",
         {**FILES, "lib.go": f'package app\n\nimport _ "{DEP}"       \n'},
         {"lib.go": f'package app\n\nimport _ "{DEP}/extra" \n'}),
    case("module-header-edited", "a header that the assembler sources of a module include",
         _ASM_EDITED % f"&& chmod -R u+w {_ASM_DIR} && sed -i s/41/43/ {_ASM_DIR}/sub/x.h",
         _ASM_FILES, {}, then=_ASM_EDITED % ""),
    case("std-header-patched", "a header of the Go tree that the standard library includes",
         _STD % "&& echo '#define AX DX' >> /usr/local/go/pkg/include/textflag.h",
         {"go.mod": go_mod()}, {}, then=_STD % "", std=True),
    case("std-header-patched-before", "the same in an earlier step",
         "COPY . .\nRUN echo '#define AX DX' >> /usr/local/go/pkg/include/textflag.h\n"
         "RUN go build -o /out/math.a math\n",
         {"go.mod": go_mod()}, {}, then=_STD % "", std=True),
    case("std-header-patched-and-mounted", "the same, and the tree mounted where it was",
         "COPY . .\nRUN true\n"
         "FROM build AS patched\nRUN echo '#define AX DX' >> /usr/local/go/pkg/include/textflag.h\n"
         "FROM build AS mounted\n"
         "RUN --mount=type=bind,from=patched,source=/usr/local/go,target=/usr/local/go "
         "go build -o /out/math.a math\n"
         "FROM mounted AS build\nRUN true\n",
         {"go.mod": go_mod()}, {}, then=_STD % "", std=True),
    case("toolexec-in-a-script", "the same where no instruction says so",
         "COPY . .\nRUN ./build.sh\n",
         {"go.mod": go_mod(), "wrap.sh": File(_WRAPPER % "", 0o755),
          "build.sh": File("#!/bin/sh\ngo build -toolexec=/src/wrap.sh -o /out/app.a .\n", 0o755),
          "lib.go": "package app\n\nfunc F(a int) int { return a * 2 * a }\n"},
         {"wrap.sh": File(_WRAPPER % "*compile*) set -- -N -l \"$@\" ;;", 0o755)},
         meant=Meant("the page on Go steps says whom the caches believe",
                     "^(warm|again): /app.a content")),
    case("toolexec", "a wrapper of the compiler that gives no other version of itself",
         "COPY . .\nRUN go build -toolexec=/src/wrap.sh -o /out/app.a .\n",
         {"go.mod": go_mod(), "wrap.sh": File(_WRAPPER % "", 0o755),
          "lib.go": "package app\n\nfunc F(a int) int { return a * 2 * a }\n"},
         {"wrap.sh": File(_WRAPPER % "*compile*) set -- -N -l \"$@\" ;;", 0o755)}),
]  # fmt: skip

_SEEN = [
    case("mkdir-of-pkg", "mkdir without -p of a directory that is not there",
         "COPY . .\nRUN mkdir /go/pkg /root/.cache && go build -o /out/app.a .\n", meant=NOTICED),
    case("cache-a-link", "ln -s makes the cache's directory, and not a link in it",
         "COPY . .\nRUN mkdir -p /big /root/.cache && ln -s /big /root/.cache/go-build && "
         "go build -o /out/app.a . && readlink /root/.cache/go-build > /out/link\n"
         "RUN test -f /big/README && go build -o /out/again.a .\n"),
    case("cache-moved-in", "mv into place, where the place is not taken",
         "COPY . .\nCOPY pre /pre\nRUN mv /pre /root/.cache && ls /root/.cache > /out-list && "
         "go build -o /out/app.a . && mv /out-list /out/\n",
         {**FILES, "pre/go-build/note": "x", "pre/other": "y"}),
    case("removed-stays-removed", "a cache removed by one step is not there in the next",
         DOWNLOAD + BUILD + "RUN rm -rf /root/.cache/go-build && go clean -modcache\n"
         "RUN ls -d /root/.cache/go-build /go/pkg/mod > /out/list 2> /dev/null || true\n"),
    case("one-entry-removed", "a module removed by one step is not there in the next",
         f"{DOWNLOAD}RUN rm -rf {DEP_DIR} /go/pkg/mod/cache/download/{DEP}\n"
         f"RUN GOPROXY=off go build -o /out/app.a .\n", fails=(True, True)),
    case("notes-in-the-cache", "a file that a step put beside the modules is gone with the step",
         f"{_GET}RUN echo one > /go/pkg/mod/note && mkdir -p /root/.cache/go-build && "
         "echo one > /root/.cache/go-build/note\n"
         "RUN mkdir /out && cat /go/pkg/mod/note /root/.cache/go-build/note > /out/notes || true\n"
         + BUILD,
         then=f"{_GET}RUN mkdir /out && cat /go/pkg/mod/note /root/.cache/go-build/note > "
         "/out/notes || true\n" + BUILD),
    case("empty-at-first", "the first step of a stage finds no cache",
         "COPY . .\nRUN mkdir /out && ls -A /go /root > /out/whole && "
         "go build -o /out/app.a .\n", meant=NOTICED),
    case("log-of-downloads", "what Go says of downloads is said in each build",
         "COPY . .\nRUN mkdir /out && go build -o /out/app.a . 2> /out/whole\n", meant=NOTICED),
    case("log-of-compiling", "what Go says of packages that it compiles",
         "COPY . .\nRUN go mod download && mkdir /out && go build -v -o /whole . 2>&1 | sort > "
         "/out/whole\nRUN cp /whole /out/app.a\n", meant=NOTICED),
    case("whole-cache-listed", "a listing of everything in both caches",
         "COPY . .\nRUN go build -o /out/app.a . && find /go/pkg /root/.cache -type f | sort "
         "> /out/whole\n", {**FILES, "go.mod": go_mod(_TWO), "go.sum": go_sum(_TWO)}, FILES,
         meant=NOTICED),
    case("versions-listed", "the versions that are there without a proxy",
         f"COPY . .\nRUN go mod download && GOPROXY=off go list -m -versions {DEP} > /src/v; "
         "mkdir /out && mv /src/v /out/whole\n" + BUILD,
         {**FILES, "go.mod": go_mod(_TWO), "go.sum": go_sum(_TWO)}, FILES, meant=NOTICED),
    case("two-users", "an owner given to entries in one build is not there in the next",
         "ENV GOCACHE=/cache GOMODCACHE=/mods\nCOPY . .\nRUN go build -o /out/1.a . && "
         f"stat -c %u /mods/{DEP}@v1.0.0 /cache/README > /out/first && "
         "chown -R app /cache /mods /out\n"
         "USER app\nRUN GOPROXY=off go build -o /out/2.a . && echo x > /cache/mine && "
         f"stat -c %u /cache/mine /cache/README /mods/{DEP}@v1.0.0 > /out/owners\n"
         "USER root\nRUN go build -o /out/3.a . && stat -c %u /cache/mine > /out/last\n"),
    case("user-without-right", "a user who may not read root's caches",
         "ENV GOPATH=/home/app/go\nCOPY . .\nRUN GOPATH=/go go build -o /out/1.a . && "
         "chmod 777 /out\nUSER app\nRUN go build -o /out/2.a . && "
         "(ls /root/.cache || echo closed) > /out/seen 2>/dev/null\n"),
    case("linked-and-moved-out", "hard links to, and moves of, what the cache had",
         f"{DOWNLOAD}RUN mkdir /out && ln {DEP_DIR}/dep.go /out/linked.go && "
         f"ln {DEP_DIR}/data/file.txt /out/file.txt && chmod 600 /out/file.txt\n"
         f"RUN stat -c %a {DEP_DIR}/data/file.txt > /out/mode; mv {DEP_DIR} /out/dep\n"
         "RUN go build -o /out/app.a . && echo more >> /out/linked.go\n"),
    case("cache-a-file-itself", "a file in the place of the cache makes the next step fail",
         "COPY . .\nRUN mkdir -p /root/.cache && touch /root/.cache/go-build\n" + BUILD,
         fails=(True, True)),
    case("module-read-by-text", "a module's file is read by its path, with no Go command at all",
         f"{DOWNLOAD}RUN mkdir /out && cat {DEP_DIR}/data/file.txt > /out/file\n" + BUILD),
    case("workdir-in-a-module", "WORKDIR and COPY into a module's directory",
         f"{_GET}WORKDIR {DEP_DIR}/data\nCOPY extra.txt .\nRUN mkdir /out && ls -A . > /out/list "
         "&& stat -c %a . .. file.txt extra.txt > /out/modes\nWORKDIR /src\n" + BUILD,
         {**FILES, "extra.txt": "x"}),
    case("workdir-before", "WORKDIR makes the cache's directories before Go does",
         "WORKDIR /go/pkg/mod\nWORKDIR /root/.cache/go-build\nWORKDIR /src\n" + DOWNLOAD + BUILD
         + "RUN stat -c '%a %u' /go/pkg /go/pkg/mod /root/.cache/go-build > /out/modes\n"),
    case("copied-in", "COPY of a cache of one's own",
         "COPY cache /root/.cache/go-build\nCOPY . .\nRUN mkdir /out && ls -A "
         "/root/.cache/go-build > /out/list && cat /root/.cache/go-build/note > /out/note\n"
         + BUILD, {**FILES, "cache/note": "one"}, {"cache/note": "two"}),
    case("copied-in-later", "COPY into a cache between two steps",
         DOWNLOAD + BUILD + "COPY note /root/.cache/go-build/note\nCOPY note /go/pkg/mod/note\n"
         "RUN cat /root/.cache/go-build/note /go/pkg/mod/note > /out/note && "
         "go build -o /out/again.a .\n", {**FILES, "note": "one"}, {"note": "two"}),
    case("proxy-copied-in", "modules preloaded by COPY into the download cache",
         "ENV GOPROXY=off\nCOPY proxy /go/pkg/mod/cache/download\nCOPY go.mod lib.go ./\n"
         "RUN GOFLAGS=-mod=mod go build -o /out/app.a . && cp go.sum /out/\n",
         {**FILES, **proxy_files(_V1)}, {**CHANGED, **proxy_files(_OTHER)}),
]  # fmt: skip

_GOT = [
    case("offline-without-download", "without network, a build fails for want of a module",
         "COPY . .\nRUN go mod download\nRUN --network=none GOPROXY=off go build -o /out/app.a .\n",
         then="COPY . .\nRUN --network=none GOPROXY=off go build -o /out/app.a .\n",
         fails=(False, True), quick=True),
    case("proxy-off", "with GOPROXY=off, a build fails for want of a module",
         "COPY . .\n" + BUILD, then="ENV GOPROXY=off\nCOPY . .\n" + BUILD, fails=(False, True)),
    case("version-withdrawn", "a version that the proxy has no more",
         _OWN_PROXY + _RUN_APP, {**FILES, **proxy_files(_V1)}, proxy_files(_V2),
         gone=tuple(proxy_files(_V1)), fails=(False, True),
         meant=Meant("the page on Go steps says that it is not missed",
                     "^(warm|again): refusal: BuildKit refuses")),
    case("version-made-anew", "a version whose content is another, with its sum in go.sum",
         _OWN_PROXY + _RUN_APP, {**FILES, **proxy_files(_V1)},
         {**proxy_files(_OTHER), "go.sum": go_sum(ONE, modules=_OTHER)}),
    case("version-made-anew-unsummed", "the same without a go.sum",
         _OWN_PROXY + _RUN_APP + "RUN cp go.sum /out/\n",
         {"go.mod": go_mod(ONE), "lib.go": lib("x"), **proxy_files(_V1)}, proxy_files(_OTHER)),
    case("version-appears", "go get of the latest version asks the proxy",
         _OWN_PROXY + f"RUN go get {DEP}@latest && go build -o /out/app.a . && cp go.* /out/\n",
         {**FILES, **proxy_files(_V1)}, proxy_files({**_V1, **_V2})),
    case("sum-missing", "a go.sum without the module's line",
         f"{_GET}{BUILD}", FILES, {"go.sum": "", "lib.go": lib("second")},
         then=f"COPY . .\n{BUILD}", fails=(False, True)),
    case("sum-wrong", "a go.sum with another digest",
         f"{_GET}{BUILD}", FILES, {"go.sum": go_sum(ONE, modules=_OTHER)}, fails=(False, True)),
]  # fmt: skip

_COPIED = [
    _other_version(
        "copied-by-descendant", "a stage on the Go stage is copied from",
        f"{FROM}{_GET}FROM build AS other\nRUN true\nFROM other AS last\n"
        f"FROM scratch\nCOPY --from=last {_MODULES} /m\n",
    ),
    _copied("copied-by-wildcard", "a wildcard that covers the cache", "/g?/[p]kg/mod/example.com"),
    _other_version(
        "copied-by-variable", "a variable that names the cache",
        f"ARG P=/go/pkg\n{FROM}{_GET}FROM scratch\nARG P\n"
        "COPY --from=build $P/mod/example.com /m\n",
    ),
    _copied("copied-by-link", "a link in the stage leads to the cache", "/short/example.com",
            "RUN ln -s /go/pkg/mod /short\n"),
    _copied("copied-by-link-of-parent", "a link to a directory above", "/g/pkg/mod/example.com",
            "RUN ln -s go /g\n"),
    _copied("copied-by-dots", "a path with dots", "/root/../go/./pkg//mod/example.com/"),
    _copied("home-a-link", "HOME is a link, and the directory behind it is copied",
            "/data/home/go/pkg/mod/example.com",
            "RUN mkdir -p /data/home && ln -s /data/home /home/me\nENV HOME=/home/me GOPATH=\n"),
    _copied("output-above-the-cache", "the caches lie in the output", "/out",
            "ENV GOMODCACHE=/out/mod GOCACHE=/tmp/c GOFLAGS=-modcacherw\n"),
    _copied("cache-by-odd-path", "GOMODCACHE with dots and slashes", "/m/mods/example.com",
            "ENV GOMODCACHE=//x/..//m/./mods/\n"),
    _copied("cache-by-goenv", "GOENV names a file that moves the cache", "/m/example.com",
            'ENV GOENV=/etc/goenv\nRUN echo GOMODCACHE=/m > /etc/goenv\n'),
    _copied("cache-by-xdg", "XDG_CONFIG_HOME has the file that moves the cache", "/m/example.com",
            "ENV XDG_CONFIG_HOME=/x/config XDG_CACHE_HOME=/x/cache\n"
            "RUN go env -w GOMODCACHE=/m\n"),
    _copied("cache-by-go-root", "the Go tree's go.env moves the cache", "/m/example.com",
            "RUN echo GOMODCACHE=/m >> /usr/local/go/go.env\n"),
    _copied("copied-as-it-is", "the cache by its own path", _MODULES),
    _other_version(
        "copied-as-mount", "a mount from the stage shows the cache",
        f"{FROM}{_GET}FROM %REGISTRY%/go AS reader\n"
        "RUN --mount=from=build,target=/b cp -a /b/go/pkg/mod/example.com /m\n"
        "FROM scratch\nCOPY --from=reader /m /m\n",
    ),
    GoCase(
        "mounted-at-the-cache", "a mount from a stage's cache at the cache of another",
        f"FROM %REGISTRY%/go AS modules\nWORKDIR /src\n{_GET}{FROM}COPY . .\n"
        "RUN --mount=from=modules,source=/go/pkg/mod,target=/go/pkg/mod GOPROXY=off "
        f"GOFLAGS=-mod=mod go build -o /out/app.a .\n{END}",
        FILES, after=CHANGED,
    ),
    GoCase(
        "build-cache-copied", "the build cache of a stage is copied and listed",
        f"{FROM}{_GET}{BUILD}FROM %REGISTRY%/go AS reader\n"
        "COPY --from=build /root/.cache/go-build /c\nRUN find /c -name '*-d' | sort > /list\n"
        "FROM scratch\nCOPY --from=reader /list /list\n",
        FILES, after=CHANGED,
    ),
]  # fmt: skip

_ROLES = [
    GoCase(
        "target-in-the-middle", "a stage that becomes the result has its caches in its image",
        f"{FROM}{_GET}{_BUILD_APART}{END}", FILES, after=CHANGED, target=("", "build"), quick=True,
    ),
    GoCase(
        "target-at-the-end", "a stage that was the result and is one to copy from",
        f"{FROM}{_GET}{_BUILD_APART}{END}", FILES, after=CHANGED, target=("build", ""),
    ),
    GoCase(
        "target-with-build-cache", "the same with the entries of the build cache",
        f"{FROM}{_GET}RUN go build -o /out/app.a . && {SCRUBBED}\n{END}", FILES, after=CHANGED,
        target=("", "build"),
    ),
    GoCase(
        "result-on-the-stage", "the result comes to stand on the Go stage",
        f"{FROM}{_GET}{_BUILD_APART}{END}", FILES,
        f"{FROM}{_GET}{_BUILD_APART}FROM build AS other\nFROM other\nLABEL a=b\n", CHANGED,
    ),
    GoCase(
        "single-stage", "a result with its caches",
        f"{FROM}{DOWNLOAD}RUN go build -o /out/app.a . && {SCRUBBED}\n", FILES, after=CHANGED,
    ),
    GoCase(
        "equal-step-in-the-result", "the step of a stage is a step of the result too",
        f"{FROM}{_GET}{FROM.replace(' AS build', '')}{_GET}COPY --from=build /src /copied\n",
        FILES, after=CHANGED,
    ),
    GoCase(
        "onbuild", "triggers are steps of the stage that they run in",
        f"{FROM}ONBUILD COPY . .\nONBUILD RUN go mod download && go build -o /out/app.a .\n"
        "FROM build AS child\nFROM build AS other\nRUN GOPROXY=off go build -o /out/other.a .\n"
        "FROM scratch\nCOPY --from=child /out /\nCOPY --from=other /out /\n",
        FILES, after=CHANGED,
    ),
    case("parent-mounted", "cache mounts above, at and below the caches",
         "RUN mkdir /out\nCOPY . .\n"
         "RUN --mount=type=cache,id=%CASE%r,target=/root ls -A /root > /out/whole; "
         "go build -o /out/1.a . && ls -A /root | grep cache > /out/1\n"
         "RUN --mount=type=tmpfs,target=/go/pkg go build -o /out/2.a . && ls /go/pkg > /out/2\n"
         "RUN --mount=type=cache,id=%CASE%d,target=/go/pkg/mod/cache/download "
         "go build -o /out/3.a .\nRUN ls -A /go/pkg/mod/cache/download /root > /out/3 "
         "|| true\n",
         meant=NOTICED),
    case("step-that-failed", "a step that filled the caches and failed",
         f"COPY . .\nRUN go mod download && {BUILD_BOTH} && exit 3\n",
         then=f"COPY . .\nRUN go mod download && {BUILD_BOTH}\n", fails=(True, False)),
    case("pruned-between", "a store that was pruned between the builds", DOWNLOAD + BUILD,
         between=("cache", "prune", "--all")),
]  # fmt: skip

CASES = [*_SPOILED, *_ONCE, *_SEEN, *_GOT, *_COPIED, *_ROLES]
