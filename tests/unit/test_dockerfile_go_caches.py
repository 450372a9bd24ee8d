# SPDX-License-Identifier: Apache-2.0
"""Which RUNs of a Dockerfile may use the Go caches of earlier builds, as far as the file tells."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lowering import World, commands_of, lowered, request_of
from wherry.frontends.dockerfile.lower import lower
from wherry.graph.keys import definition_key
from wherry.graph.ops import ExecOp, GoCachePlace
from wherry.oci.image import RunConfig

BUILD = GoCachePlace("build", "/root/.cache/go-build", "/root")
MODULES = GoCachePlace("modules", "/go/pkg/mod")
WORLD = World({"golang": RunConfig(env=("PATH=/usr/local/go/bin:/bin", "GOPATH=/go"))})


def steps_of(text: str, end: str = "FROM scratch\nCOPY --from=b /app /app\n") -> list[ExecOp]:
    """The RUNs of `FROM golang AS b` with these lines, and of what follows it."""
    return commands_of(lowered(f"FROM golang AS b\n{text}\n{end}", world=WORLD))


def places(step: ExecOp) -> dict[str, str]:
    return {place.kind: place.path for place in step.go_caches}


def test_a_builder_stage_has_both() -> None:
    (step,) = steps_of("RUN go build")
    assert step.go_caches == (BUILD, MODULES)
    assert step.no_go_caches == ""


@pytest.mark.parametrize("end", ["", "FROM b\nRUN true\n", "FROM b AS c\nFROM c\nENV A=b\n"])
def test_the_image_and_what_it_begins_with_have_none(end: str) -> None:
    for step in steps_of("RUN go build", end):
        assert step.go_caches == ()
        assert "image" in step.no_go_caches


def test_a_target_in_the_middle_is_the_image() -> None:
    text = "FROM golang AS b\nRUN go build\nFROM scratch\nCOPY --from=b /app /app\n"
    (step,) = commands_of(lower(request_of(text, world=WORLD)._replace(target="b")))
    assert step.go_caches == ()


def test_it_can_be_switched_off() -> None:
    text = "FROM golang AS b\nRUN go build\nFROM scratch\nCOPY --from=b /app /app\n"
    graph = lower(request_of(text, world=WORLD)._replace(go_cache=False))
    (step,) = commands_of(graph)
    assert (step.go_caches, step.no_go_caches) == ((), "switched off")
    # What users read is no part of keys.
    assert definition_key(step, ()) == definition_key(replace(step, no_go_caches=""), ())


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("/", set()),
        ("/app", {"build", "modules"}),
        ("/go", {"build"}),
        ("/go/bin/tool", {"build", "modules"}),
        ("/go/pkg/mod/github.com/x", {"build"}),
        ("/go/pkg/./mod", {"build"}),
        ("/go/p*", {"build"}),
        ("/g[o]/bin", set()),
        ("/*", set()),
        ("/root", {"modules"}),
        ("/root/.cache/other", {"build", "modules"}),
        ("/root/.cache/go-build2", {"build", "modules"}),
        ("/root/../go", {"build"}),
    ],
)
def test_what_others_copy(path: str, kinds: set[str]) -> None:
    (step,) = steps_of("RUN go build", f"FROM scratch\nCOPY --from=b {path} /x\n")
    assert set(places(step)) == kinds
    if kinds != {"build", "modules"}:
        assert "copied or mounted elsewhere" in step.no_go_caches


@pytest.mark.parametrize(
    ("line", "kinds"),
    [
        ("WORKDIR /go/pkg/mod/example.com/x@v1.0.0", {"build"}),
        ("COPY x /go/pkg/mod/", {"build"}),
        ("COPY x /go/bin/", {"build", "modules"}),
        ("WORKDIR /go/src/app", {"build", "modules"}),
        ("COPY --link x /root/.cache/go-build/x", {"modules"}),
    ],
)
def test_what_is_copied_into_a_cache_later(line: str, kinds: set[str]) -> None:
    (step,) = steps_of(f"RUN go build\n{line}")
    assert set(places(step)) == kinds


def test_what_others_mount() -> None:
    end = "FROM busybox AS c\nRUN --mount=from=b,source=/go/pkg,target=/m true\n"
    first = steps_of("RUN go build", end + "FROM scratch\nCOPY --from=c /app /app\n")[0]
    assert set(places(first)) == {"build"}


def test_a_copy_from_a_later_stage_counts_for_what_it_stands_on() -> None:
    end = "FROM b AS c\nRUN go test\nFROM scratch\nCOPY --from=c /go /x\n"
    assert [set(places(step)) for step in steps_of("RUN go build", end)] == [{"build"}, {"build"}]


@pytest.mark.parametrize(
    ("mount", "kinds"),
    [
        ("type=cache,target=/go/pkg/mod", {"build"}),
        ("type=cache,target=/root/.cache", {"modules"}),
        ("type=tmpfs,target=/go/pkg/mod/cache/vcs", {"build"}),
        ("type=secret,id=x,target=/root/.netrc", {"build", "modules"}),
        ("type=cache,target=/root/.cache/go-build/", {"modules"}),
    ],
)
def test_what_the_step_mounts(mount: str, kinds: set[str]) -> None:
    (step,) = steps_of(f"RUN --mount={mount} go build")
    assert set(places(step)) == kinds


def test_a_step_without_network_keeps_modules_in_the_root() -> None:
    found = steps_of("RUN go mod download\nWORKDIR /w\nRUN --network=none go build\nRUN true")
    assert [set(places(step)) for step in found] == [{"build"}] * 3


@pytest.mark.parametrize(
    ("lines", "kinds"),
    [
        ("RUN go mod download -modcacherw\nRUN go build", {"build"}),
        ("ENV GOFLAGS=-modcacherw\nRUN go build", {"build"}),
        ("RUN go build -toolexec=/x", {"modules"}),
        ("RUN <<E\ngo build -toolexec=/x\nE", {"modules"}),
        ("ENV GOCACHEPROG=/p\nRUN go build", {"modules"}),
        ("RUN mkdir /root/.cache\nRUN go build", {"modules"}),
        ("RUN go mod download\nRUN GOPROXY=off go build", {"build"}),
        ("RUN go mod download\nENV GOPROXY=off\nRUN go build", {"build"}),
        ("RUN rm -rf ~/.cache && go build", {"modules"}),
        ("RUN mkdir /go/pkg && go build", {"build"}),
        ("RUN cp -a $GOPATH/pkg/mod /x && go build", {"build"}),
        ("RUN cp -a $(go env GOMODCACHE) /x && go build", {"build"}),
        ("ENV GOCACHE=/c/d\nRUN ls /c/d && go build", {"modules"}),
        ("ENV GOCACHE=/c\nRUN chown -R app /c && go build", {"modules"}),
        ("RUN ls /go && go build ./pkg/...", {"build", "modules"}),
        ("RUN GOPROXY='off' go build", {"build"}),
        ('RUN GOPROXY="off" go build', {"build"}),
        ('RUN sh -c "GOPROXY=\\"off\\" go build"', {"build"}),
        ("RUN GOPROXY=https://example.com,off go build", {"build", "modules"}),
        ("RUN GOSSAFUNC=main go build", {"modules"}),
        ("ENV GOSSAFUNC=main\nRUN go build", {"modules"}),
        ("ARG X=-toolexec=/x\nRUN go build $X", {"modules"}),
        ("ARG X=-modcacherw\nRUN go build $X", {"build"}),
        ("ARG X=GOPROXY=off\nRUN env $X go build", {"build"}),
        ("RUN go build -gcflags=-pgoprofile=/p", {"modules"}),
        ("ENV F=-pgoprofile=/p\nRUN go build -gcflags=$F", {"modules"}),
        ("RUN go build -pgo=/p", {"build", "modules"}),
        ("RUN go build -asmflags='all=-I /inc'", {"modules"}),
        ("ENV I=-I/inc\nRUN go build -asmflags=$I", {"modules"}),
        ("RUN go build -asmflags=all=-trimpath=$PWD", {"build", "modules"}),
        ("ENV GOCACHE=/root/.cache/go-build\nRUN go build", {"build", "modules"}),
    ],
)
def test_words_that_make_a_cache_of_no_use_to_others(lines: str, kinds: set[str]) -> None:
    assert all(set(places(step)) == kinds for step in steps_of(lines))


@pytest.mark.parametrize(
    ("command", "kinds"),
    [
        ("cp -a /root /copy", {"modules"}),
        ("cp -a /root/. /copy", {"modules"}),
        ("cp -a /root/.[a-z]* /copy", {"modules"}),
        ("cp -a ~ /copy", {"modules"}),
        ("cp -a ~/ /copy", {"modules"}),
        ("cp -a $HOME /copy", {"modules"}),
        ('cp -a "${HOME}" /copy', {"modules"}),
        ("cp -a /go /copy", {"build"}),
        ("cp -a /g? /copy", {"build"}),
        ("cp -a $GOPATH /copy", {"build"}),
        ("cp -a $(go env GOPATH) /copy", {"build"}),
        ("cp -a `go env GOPATH` /copy", {"build"}),
        ("cp -a -t /copy /go", {"build"}),
        ("go build && cp -a / /copy 2>/dev/null || true", set()),
        ("if true; then cp -a /go /copy; fi", {"build"}),
        ("bash -c 'cp -a /go /copy'", {"build"}),
        ("cp -a \\\n  /go \\\n  /copy", {"build"}),
        ("mv /go /elsewhere", {"build"}),
        ("rsync -a /root/ /copy", {"modules"}),
        ("zip -r x.zip /go", {"build"}),
        ("tar cf /x.tar /", set()),
        ("tar -czf /x.tar --exclude=a /root", {"modules"}),
        ("tar -C / -cf - go | wc -c", {"build"}),
        ("tar -cf /x.tar -C /root .", {"modules"}),
        ("cd /root && tar cf /x.tar .", {"modules"}),
        ("cd && tar cf /x.tar .", {"modules"}),
        ("(cd /root; du) && du -s .", {"modules"}),
        ("cd / && find", set()),
        ("cd /go; tar -cf /x.tar $(pwd)", {"build"}),
        ('cd /go; rsync -a "$PWD/" /x', {"build"}),
        ("tar --create --file=/x.tar --directory=/go .", {"build"}),
        ("tar cC /go .", {"build"}),
        ("find / -name '*.a'", set()),
        ("find -L ~ -type f", {"modules"}),
        ("du -sh /go", {"build"}),
        ("sudo find /go -type f | wc -l", {"build"}),
    ],
)
def test_what_is_copied_with_a_cache_in_it(command: str, kinds: set[str]) -> None:
    (step,) = steps_of(f"WORKDIR /src\nRUN {command}")
    assert set(places(step)) == kinds
    assert "reads all of" in step.no_go_caches


@pytest.mark.parametrize(
    "line",
    [
        "RUN go build -o /out/app ./cmd/app",
        "RUN go build -o /out/find ./cmd/find",
        "RUN CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o /bin/du . && du -h /bin/du",
        "RUN cp /src/app /usr/bin/",
        "RUN cp app /",
        "RUN cp app / 2>/dev/null",
        "RUN cp -r . /out && mv app ~/",
        "RUN cp -a go.mod /root",
        "RUN mv $GOPATH/bin/* /usr/local/bin/",
        "RUN cp -r /go/bin /go/src/app /out",
        "RUN cp /root/* /out",
        "RUN apt-get update && apt-get install -y tar findutils && rm -rf /var/lib/apt/lists/*",
        "RUN find . -name '*.go' -exec cp {} / ;",
        "RUN find /src /usr -path / -o -name x",
        "RUN tar xf x.tar.gz -C /usr/local",
        "RUN curl -sSL x | tar -xz -C /",
        "RUN tar -C / -xJf /tmp/s6-overlay.tar.xz --strip-components=1",
        "RUN tar -C / -cf - etc/ssl",
        "RUN tar czf /out/x.tgz .",
        "RUN (cd / && ls) && find .",
        "RUN du -sh . && cd cmd && find .",
        "RUN cp -r $PWD/static $(pwd)/app /out",
        "RUN tar -I zstd -xf x.tar.zst -C / && tar tf /root/c.tar",
        "RUN rm -rf /root/x /tmp/*; chown -R app /go",
        'RUN ["find", "/src"]',
        "RUN <<E\ngo build\ncp app /usr/bin/\nE",
    ],
)
def test_usual_commands_keep_their_caches(line: str) -> None:
    step = steps_of(f"WORKDIR /src\nCOPY . .\n{line}")[0]
    assert set(places(step)) == {"build", "modules"}, step.no_go_caches


def test_a_copy_by_a_later_step_counts_for_the_earlier_ones() -> None:
    text = "RUN go build\nUSER app\nENV HOME=/h\nRUN cp -a /root /copy"
    first, second = steps_of(text)
    assert set(places(first)) == {"modules"}
    assert places(second) == {"build": "/h/.cache/go-build", "modules": "/go/pkg/mod"}


def test_a_copy_counts_from_the_directory_that_it_runs_in() -> None:
    assert set(places(steps_of("WORKDIR /root\nRUN tar cf /x.tar .")[0])) == {"modules"}
    assert set(places(steps_of("WORKDIR /root\nRUN <<E\nfind .\nE")[0])) == {"modules"}


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ("ENV GOCACHE=/c GOMODCACHE=/m/../n/", {"build": "/c", "modules": "/n"}),
        ("ENV GOCACHE=off", {"modules": "/go/pkg/mod"}),
        ("ENV GOCACHE=c", {"modules": "/go/pkg/mod"}),
        ("ENV HOME=/h GOPATH=", {"build": "/h/.cache/go-build", "modules": "/h/go/pkg/mod"}),
        ("ENV XDG_CACHE_HOME=/x", {"build": "/x/go-build", "modules": "/go/pkg/mod"}),
        ("ENV XDG_CACHE_HOME=x", {"modules": "/go/pkg/mod"}),
        ("ENV GOPATH=/a:/b", {"build": "/root/.cache/go-build", "modules": "/a/pkg/mod"}),
        ("ENV GOPATH=a", {"build": "/root/.cache/go-build"}),
        ("ENV GOCACHE=/g GOMODCACHE=/g/m", {}),
        ("ENV GOCACHE=/", {"modules": "/go/pkg/mod"}),
        ("USER app", {"build": "/home/app/.cache/go-build", "modules": "/go/pkg/mod"}),
        ("USER app:root", {"build": "/home/app/.cache/go-build", "modules": "/go/pkg/mod"}),
        ("USER 1000", {"modules": "/go/pkg/mod"}),
        ("USER 0:0", {"build": "/root/.cache/go-build", "modules": "/go/pkg/mod"}),
        ("USER 0:5", {"modules": "/go/pkg/mod"}),
        ("USER 1000\nENV HOME=/h", {"build": "/h/.cache/go-build", "modules": "/go/pkg/mod"}),
    ],
)
def test_where_go_keeps_them(lines: str, found: dict[str, str]) -> None:
    assert places(steps_of(f"{lines}\nRUN go build")[0]) == found


def test_the_usual_home_has_to_be_looked_at() -> None:
    (step,) = steps_of("USER app\nRUN go build")
    assert [place.home for place in step.go_caches] == ["/home/app", ""]


def test_the_key_of_a_step_changes_only_where_a_copy_touches_a_cache() -> None:
    one, same, other = (
        steps_of("RUN go build", f"FROM scratch\nCOPY --from=b {path} /x\n")[0]
        for path in ("/app", "/srv", "/go")
    )
    assert one == same
    assert one != other
