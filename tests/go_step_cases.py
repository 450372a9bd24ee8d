# SPDX-License-Identifier: Apache-2.0
"""Go steps that break where Go's caches are mounts: the ones that are known to.

The attacks on shared caches are in `go_step_attacks`, other ways to build in `go_step_builds`.
"""

from __future__ import annotations

import go_step_attacks
import go_step_builds
from go_step_model import (
    BUILD,
    CHANGED,
    DEP,
    DEP_DIR,
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

_TOOL = "example.com/tool"
_TEST = (
    'package app\n\nimport "testing"\n\nfunc TestName(t *testing.T) {\n'
    '\tif Name() == "" {\n\t\tt.Fatal()\n\t}\n}\n'
)
_C = (
    "package app\n\n// static int answer(void) { return ANSWER; }\n// #cgo CFLAGS: -DANSWER=%s\n"
    'import "C"\n\nfunc Answer() int { return int(C.answer()) }\n'
)
_OWN_MODULES = (
    "RUN for d in $(go list -m -f '{{.Dir}}' all); do [ $d = /src ] || find $d -type f; done "
    "| sort | xargs sha256sum > /out/sums\n"
)

CASES = [
    case(
        "textbook", "the usual order of a Go Dockerfile", DOWNLOAD + BUILD, quick=True,
    ),
    case(
        "cache-removed", "rm -rf of the caches works, and later steps build without them",
        DOWNLOAD + BUILD + "RUN rm -rf /root/.cache/go-build /go/pkg/mod\n"
        "RUN go build -o /out/again.a . && rm -rf /root/.cache /go/pkg\n",
    ),
    case(
        "cache-cleaned", "go clean of both caches removes them",
        DOWNLOAD + BUILD + "RUN go clean -modcache && test ! -e /go/pkg/mod && go clean -cache\n"
        "RUN go build -o /out/again.a .\n",
    ),
    GoCase(
        "user-after-root", "a user made in between has a cache of its own that it can write",
        f"{FROM}COPY . .\nRUN go build -o /tmp/root.a . && "
        "echo bob:x:1500:1500::/home/bob:/bin/sh >> /etc/passwd && mkdir -m 750 /home/bob && "
        "chown 1500:1500 /home/bob\nUSER bob\n"
        "ENV GOPATH=\nWORKDIR /home/bob/app\nCOPY --chown=bob . .\n"
        "RUN go build -o /home/bob/out/app.a . && mkdir /home/bob/.cache/mine && "
        "stat -c '%U %a' /home/bob /home/bob/.cache > /home/bob/out/owners && "
        "mkdir /home/bob/go/bin && stat -c '%U %a' /home/bob/go > /home/bob/out/whole\n"
        "FROM scratch\nCOPY --from=build /home/bob/out /\n",
        FILES, after=CHANGED, meant=NOTICED,
    ),
    case(
        "offline-after-download", "a step without network finds what an earlier one downloaded",
        f"{DOWNLOAD}RUN --network=none GOPROXY=off go build -o /out/app.a .\n",
    ),
    GoCase(
        "preloaded-stage", "a stage on one with modules has them",
        "FROM %REGISTRY%/go AS modules\nWORKDIR /src\nCOPY go.mod go.sum ./\nRUN go mod download\n"
        "FROM modules AS build\nCOPY . .\nRUN GOPROXY=off go build -o /out/app.a .\n" + END,
        FILES, after=CHANGED,
    ),
    case(
        "copied-out-of-the-cache", "cp -a out of the module cache, with modes and owners",
        DOWNLOAD + f"RUN mkdir /out && cp -a $(go list -m -f '{{{{.Dir}}}}' {DEP}) /out/dep\n"
        + BUILD,
    ),
    case(
        "vendored", "go mod vendor, and a build from it",
        f"{DOWNLOAD}RUN go mod vendor && go build -mod=vendor -o /out/app.a . && "
        "cp -a vendor /out/\nRUN rm -rf /go/pkg && go build -mod=vendor -o /out/again.a .\n",
    ),
    case(
        "tool-installed", "go install of a tool at a version, then its use",
        f"RUN go install {_TOOL}@v1.0.0\nCOPY . .\n"
        "RUN tool > gen.go && go build -o /out/app.a . && cp gen.go /go/bin/tool /out/\n",
        then=f"RUN go install {_TOOL}@v1.1.0\nCOPY . .\n"
        "RUN tool > gen.go && go build -o /out/app.a . && cp gen.go /go/bin/tool /out/\n", std=True,
    ),
    GoCase(
        "env-written", "go env -w moves the caches for the steps after it",
        f"{FROM}RUN go env -w GOMODCACHE=/work/mod GOCACHE=/work/cache GOFLAGS=-trimpath\n"
        f"{DOWNLOAD}{BUILD}RUN cp -a /work/mod/example.com /root/.config/go/env /out/ && "
        "test -f /work/cache/README && ls -A /root /go > /out/whole\n"
        f"{END}COPY --from=build /work/mod/cache/download/example.com /download\n",
        FILES, after=CHANGED, meant=NOTICED,
    ),
    case(
        "modules-chmodded", "modes given by chmod -R stay for later steps of the stage",
        f"{DOWNLOAD}RUN chmod -R u+rwX,go-rwx /go/pkg/mod\n"
        "RUN mkdir /out && find /go/pkg/mod/example.com -exec stat -c '%a %u %n' {} + | "
        f"sort > /out/modes\n{BUILD}",
    ),
    GoCase(
        "caches-copied", "COPY --from=builder /go has the modules",
        f"{FROM}{DOWNLOAD}{BUILD}FROM %REGISTRY%/go\nCOPY --from=build /go /go\n"
        "COPY --from=build /out /out\nRUN find /go -type f | sort > /list\n",
        FILES, after=CHANGED,
    ),
    case(
        "home-and-gopath-moved", "caches are where HOME and GOPATH say",
        "ENV HOME=/work/home GOPATH=/work/gopath:/work/second\n" + DOWNLOAD + BUILD
        + "RUN test -f /work/home/.cache/go-build/README && test ! -e /go/pkg && "
        "test ! -e /root/.cache && ls /work /work/gopath/pkg/mod > /out/list\n",
    ),
    GoCase(
        "modules-writable", "GOFLAGS=-modcacherw: a plain user can remove its modules",
        f"{FROM}ENV GOFLAGS=-modcacherw GOPATH=/home/app/go\nRUN chown app /src && "
        "mkdir -m 777 /out\nUSER app\n"
        f"{DOWNLOAD}{BUILD}RUN find /home/app/go/pkg/mod/example.com -exec stat -c '%a %U %n' "
        "{} + | sort > /out/modes; rm -r /home/app/go/pkg/mod/example.com\n"
        f"RUN go build -o /out/again.a . && ls /home/app/go/pkg/mod > /out/list\n{END}",
        FILES, after=CHANGED,
    ),
    GoCase(
        "cgo", "C code is compiled anew where its flags change",
        f"{FROM_CGO}COPY . .\nRUN go build -o /out/app.a .\n{END}",
        {"go.mod": go_mod(), "app.go": _C % 41}, after={"app.go": _C % 42},
    ),
    case(
        "tested", "go test before the build", f"{DOWNLOAD}RUN go test ./...\n{BUILD}",
        {**FILES, "lib_test.go": _TEST}, std=True,
    ),
    case(
        "several-modules", "a repository of modules, built one after the other and together",
        "COPY . .\nRUN cd a && go build -o /out/a.a .\nRUN cd b && go build -o /out/b.a .\n"
        "RUN go work init ./a ./b && go build -o /out/both.a ./b && cp go.work /out/\n",
        {
            "a/go.mod": go_mod(ONE, name="example.com/a"), "a/go.sum": go_sum(ONE),
            "a/lib.go": lib("first").replace("package app", "package a"),
            "b/go.mod": go_mod(("example.com/a", "v0.0.0"), ONE, name="example.com/b",
                               more="replace example.com/a => ../a\n"),
            "b/go.sum": go_sum(ONE),
            "b/b.go": 'package b\n\nimport "example.com/a"\n\nvar B = a.Name()\n',
        },
        {"a/lib.go": lib("second").replace("package app", "package a")},
    ),
    case(
        "generated", "go generate by a tool of the stage",
        f"RUN go install {_TOOL}@v1.0.0\n{DOWNLOAD}"
        "RUN go generate ./... && go build -o /out/app.a . && cp gen.go /out/\n",
        {**FILES, "lib.go": lib("first", '\n//go:generate sh -c "tool > gen.go"\n')},
        {"lib.go": lib("second", '\n//go:generate sh -c "tool | sed s/one/other/ > gen.go"\n')},
        std=True,
    ),
    case(
        "own-modules-listed", "a digest of the modules of the own list is of these alone",
        DOWNLOAD + BUILD + _OWN_MODULES
        + f"RUN stat -c '%a' {DEP_DIR} {DEP_DIR}/* > /out/modes; "
        f"cp $(go list -export -f '{{{{.Export}}}}' {DEP}) /out/export\n",
        {**FILES, "go.mod": go_mod((DEP, "v1.1.0")), "go.sum": go_sum((DEP, "v1.1.0"))}, FILES,
    ),
]  # fmt: skip


def _all() -> dict[str, GoCase]:
    found: dict[str, GoCase] = {}
    for one in (*CASES, *go_step_attacks.CASES, *go_step_builds.CASES):
        assert one.name not in found, one.name
        found[one.name] = one
    return found


ALL = _all()
