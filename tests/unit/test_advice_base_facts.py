# SPDX-License-Identifier: Apache-2.0
"""What is known of bases without asking anybody."""

from __future__ import annotations

import pytest

from wherry.advice.reading.base_contents import Contents, decoded, with_config, with_contents
from wherry.advice.reading.base_ends import (
    GO_RELEASES,
    TABLE_DATE,
    end_of_life,
    is_old_go,
    minor_of,
)
from wherry.advice.reading.base_facts import BaseFacts, facts_of
from wherry.advice.reading.base_reading import read_contents
from wherry.advice.subject import Subject
from wherry.fstree.tree import Directory, File, Inline, Symlink, make_tree
from wherry.fstree.tree_files import TreeFiles
from wherry.oci.run_config import RunConfig


@pytest.mark.parametrize(
    ("image", "libc", "shell", "packages"),
    [
        ("golang:1.27", "glibc", True, "apt"),
        ("golang:1", "glibc", True, "apt"),
        ("golang", "glibc", True, "apt"),
        ("golang:1.27-bookworm", "glibc", True, "apt"),
        ("golang:1.27.1-trixie", "glibc", True, "apt"),
        ("golang:1.27-alpine3.24", "musl", True, "apk"),
        ("golang:alpine", "musl", True, "apk"),
        ("mirror.gcr.io/library/golang:1.27-alpine", "musl", True, "apk"),
        ("public.ecr.aws/docker/library/alpine:3.24", "musl", True, "apk"),
        ("debian:trixie-slim", "glibc", True, "apt"),
        ("buildpack-deps:bookworm-scm", "glibc", True, "apt"),
        ("ubuntu:26.04", "glibc", True, "apt"),
        ("busybox", "glibc", True, "none"),
        ("busybox:1.37-musl", "musl", True, "none"),
        ("busybox:uclibc", "", True, "none"),
        ("scratch", "none", False, "none"),
        ("gcr.io/distroless/static", "none", False, "none"),
        ("gcr.io/distroless/static-debian13:nonroot", "none", False, "none"),
        ("gcr.io/distroless/base-nossl-debian12", "glibc", False, "none"),
        ("gcr.io/distroless/cc-debian13", "glibc", False, "none"),
        ("gcr.io/distroless/base-debian13:debug", "glibc", None, "none"),
        ("cgr.dev/chainguard/static", "none", False, "none"),
        ("cgr.dev/chainguard/glibc-dynamic:latest", "glibc", False, "none"),
        ("cgr.dev/chainguard/go", "glibc", True, "apk"),
        ("registry.access.redhat.com/ubi9/ubi-minimal", "glibc", True, "dnf"),
        ("registry.access.redhat.com/ubi9-micro", "", None, ""),
        ("registry.access.redhat.com/ubi9/ubi-micro:9.7", "glibc", True, "none"),
        ("redhat/ubi9-minimal:9.7", "glibc", True, "dnf"),
        ("fedora:44", "glibc", True, "dnf"),
        ("example.com/golang:1.27", "", None, ""),
        ("somebody/golang:1.27", "", None, ""),
        ("golang:1.27-nanoserver", "", None, ""),
        ("Not A Reference", "", None, ""),
        ("", "", None, ""),
    ],
)
def test_what_bases_stand_on(image: str, libc: str, shell: bool | None, packages: str) -> None:
    found = facts_of(image)
    assert (found.libc, found.shell, found.packages) == (libc, shell, packages)


@pytest.mark.parametrize(
    ("image", "there", "absent"),
    [
        ("alpine:3.24", {"wget", "nc"}, {"curl", "git"}),
        ("busybox:1.37", {"wget", "nc"}, {"curl"}),
        ("golang:1.27-alpine", {"wget", "nc"}, {"git", "gcc"}),
        ("golang:1.27", {"curl", "wget", "git", "gcc"}, {"nc"}),
        ("debian:12", set(), {"curl", "wget", "nc"}),
        ("buildpack-deps:bookworm-curl", {"curl", "wget"}, {"git", "gcc"}),
        ("buildpack-deps:bookworm-scm", {"curl", "git"}, {"gcc"}),
        ("buildpack-deps:bookworm", {"git", "gcc", "make"}, {"nc"}),
        ("gcr.io/distroless/static:debug", {"wget", "nc"}, {"curl"}),
        ("gcr.io/distroless/static:nonroot", set(), {"wget"}),
    ],
)  # fmt: skip
def test_programs(image: str, there: set[str], absent: set[str]) -> None:
    programs = facts_of(image).programs
    assert programs is not None
    assert there <= programs
    assert not absent & programs


@pytest.mark.parametrize(
    ("image", "local"),
    [
        ("golang:1.20", False),
        ("golang:1.20.14-alpine", False),
        ("golang:1.21", True),
        ("golang:1.27", True),
        ("golang:1", True),
    ],
)
def test_the_toolchain_stays_local_from_go_1_21_on(image: str, local: bool) -> None:
    assert ("GOTOOLCHAIN" in dict(facts_of(image).environment)) is local


@pytest.mark.parametrize(
    ("image", "user", "known"),
    [
        ("ubuntu:24.04", "ubuntu", True),
        ("ubuntu:lunar", "ubuntu", True),
        ("ubuntu:22.04", "ubuntu", False),
        ("ubuntu:jammy", "ubuntu", False),
        ("ubuntu:latest", "ubuntu", True),
        ("buildpack-deps:noble", "ubuntu", True),
        ("debian:13", "ubuntu", False),
        ("alpine:3.24", "games", True),
        ("alpine:3.24", "nobody", True),
        ("alpine:3.24", "guest", True),
        ("alpine:3.24", "nonroot", False),
        ("busybox", "nobody", True),
        ("gcr.io/distroless/static", "nonroot", True),
        ("gcr.io/distroless/static", "daemon", False),
    ],
)
def test_users(image: str, user: str, known: bool) -> None:
    users = facts_of(image).users
    assert users is not None
    assert (user in users) is known


@pytest.mark.parametrize(
    ("image", "user"),
    [
        ("gcr.io/distroless/static:nonroot", "65532"),
        ("gcr.io/distroless/static:debug-nonroot", "65532"),
        ("gcr.io/distroless/static", "root"),
        ("fedora:44", "root"),
        ("alpine", "root"),
        ("cgr.dev/chainguard/static", "65532"),
        ("cgr.dev/chainguard/wolfi-base", "root"),
        ("registry.access.redhat.com/ubi9/go-toolset:1.26", "1001"),
        ("registry.access.redhat.com/ubi9/ubi:9.7", "root"),
    ],
)
def test_who_runs(image: str, user: str) -> None:
    assert facts_of(image).user == user


def test_a_digest_alone_may_be_any_variant() -> None:
    digest = "sha256:" + "0" * 64
    go = facts_of(f"golang@{digest}")
    assert (go.family, go.libc, go.packages, go.programs, go.users) == (
        "golang",
        "",
        "",
        None,
        None,
    )
    assert facts_of(f"golang:1.27-alpine@{digest}").libc == "musl"
    static = facts_of(f"gcr.io/distroless/static@{digest}")
    assert (static.user, static.shell, static.programs) == ("", None, None)
    assert facts_of(f"busybox@{digest}").libc == ""


def test_red_hats_go() -> None:
    found = facts_of("registry.access.redhat.com/ubi9/go-toolset:1.26.3-1762931234")
    assert (found.go, found.has_go, found.directory) == ("1.26.3", True, "/opt/app-root/src")
    # Tags by the release of the distribution say nothing of Go.
    assert facts_of("registry.access.redhat.com/ubi9/go-toolset:9.7").go == ""


@pytest.mark.parametrize(
    ("image", "bundle"), [("alpine:3.24", True), ("alpine", True), ("alpine:3.8", None),
                          ("debian:13", False), ("buildpack-deps:noble-curl", True)]
)  # fmt: skip
def test_certificates(image: str, bundle: bool | None) -> None:
    assert facts_of(image).ca is bundle


@pytest.mark.parametrize(
    ("image", "day"),
    [
        ("alpine:3.4", "before 2021"),
        ("alpine:3.20.1", "2026-04-01"),
        ("alpine:3.24", "2028-05-01"),
        ("alpine:edge", ""),
        ("debian:wheezy", "2018-05-31"),
        ("debian:11-slim", "2026-08-31"),
        ("debian:trixie-20261103-slim", "2030-06-30"),
        ("debian:sid", ""),
        ("ubuntu:mantic", "2024-07-11"),
        ("ubuntu:26.04", "2031-05-31"),
        ("fedora:41", "2025-12-15"),
        ("centos:7.9.2009", "2024-06-30"),
        ("amazonlinux:2", "2026-06-30"),
        ("amazonlinux:2018.03", "2023-12-31"),
        ("amazonlinux:2023", ""),
        ("oraclelinux:7-slim", "2024-12-31"),
        ("gcr.io/distroless/base-nossl-debian11", "2024-06-01"),
        ("gcr.io/distroless/static", ""),
    ],
)
def test_until_when_bases_are_maintained(image: str, day: str) -> None:
    assert end_of_life(facts_of(image).release) == day


def test_go_releases() -> None:
    assert GO_RELEASES == ("1.26", "1.27")
    assert [version for version in ("1.9", "1.25.9", "1.26.1", "1.27rc1", "1.28", "x", "")
            if is_old_go(version)] == ["1.9", "1.25.9"]  # fmt: skip
    assert end_of_life("go 1.25.3") == f"before {TABLE_DATE}"
    assert end_of_life("go 1.27") == ""
    assert [minor_of(text) for text in ("3.22.1", "3.22-slim", "1", "latest")] == [
        (3, 22), (3, 22), None, None,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "ARG BASE\nFROM ${BASE}\n",
        "ARG BASE\nARG TAG\nFROM $BASE:${TAG} AS build\nFROM build\n",
        "ARG VERSION\nFROM golang:${VERSION}-alpine\n",
        "ARG P\nFROM --platform=$P alpine:3.24\n",
        "ARG V\nARG IMAGE=golang:${V}\nFROM $IMAGE\n",
    ],
)
def test_an_arg_without_a_value_is_given_when_it_is_built(text: str) -> None:
    assert Subject("Dockerfile", text).problems == ()


@pytest.mark.parametrize(
    "text",
    [
        "FROM ${BASE}\n",
        "FROM alpine\nARG BASE\nFROM ${BASE}\n",
        "ARG BASE=\nARG OTHER\nFROM Wrong!\n",
        "ARG BASE=Wrong!\nFROM ${BASE}\n",
    ],
)
def test_what_no_arg_can_mend_is_told(text: str) -> None:
    assert len(Subject("Dockerfile", text).problems) == 1


def test_a_subject_asks_whom_it_is_given() -> None:
    base = BaseFacts(
        user="app", directory="/srv", environment=(("HOME", "/srv"),), entrypoint=("/tini",),
        shell_form=("/bin/ash", "-ec"),
    )  # fmt: skip
    subject = Subject(
        "Dockerfile", "FROM x AS a\nFROM a\nRUN true\nCMD x\n", facts={"x": base}.__getitem__
    )
    (line, _) = subject.stages[1].lines
    assert line.state == ({"HOME": "/srv"}, {"HOME": "/srv"}, "/srv", "app", ("/bin/ash", "-ec"))
    assert subject.stages[1].facts is base
    # The base's ENTRYPOINT gets what CMD says.
    assert subject.stages[1].command is None


def file(path: str, text: str = "x") -> File:
    return File(path, Inline(text.encode()), 0o755)


def contents(*entries: File | Symlink | Directory, path: str = "") -> Contents:
    files = TreeFiles(make_tree(entries))
    run = RunConfig(env=(f"PATH={path}",) if path else ())

    def read(wanted: object) -> dict[str, bytes]:
        found = list(wanted)  # type: ignore[call-overload]
        return {item.path: item.content.data for item in found}

    return read_contents(files, run, 7, read)


def test_files_of_an_alpine() -> None:
    found = contents(
        file("lib/ld-musl-x86_64.so.1"), file("bin/busybox"), Symlink("bin/sh", "/bin/busybox"),
        Symlink("usr/bin/wget", "/bin/busybox"), file("sbin/apk"), Directory("tmp"),
        file("etc/ssl/certs/ca-certificates.crt"), file("etc/passwd", "root:x:0\nbroken\n"),
        file("usr/lib/os-release", 'ID=alpine\nVERSION_ID=3.24.1\n'),
        Symlink("etc/os-release", "../usr/lib/os-release"),
    )  # fmt: skip
    assert found == Contents(
        "musl", True, "apk", ("wget",), True, False, True, ("root",), "", False, "alpine 3.24", 7
    )


def test_files_of_a_golang() -> None:
    found = contents(
        Symlink("lib64", "usr/lib64"), file("usr/lib64/ld-linux-x86-64.so.2"), file("usr/bin/dash"),
        Symlink("bin", "usr/bin"), Symlink("usr/bin/sh", "dash"), file("usr/bin/apt-get"),
        file("usr/local/go/bin/go"), file("usr/local/go/VERSION", "go1.27.1\ntime 2026\n"),
        file("usr/share/zoneinfo/UTC"), file("etc/os-release", "ID=debian\nVERSION_ID=10\n"),
    )  # fmt: skip
    assert found == Contents(
        "glibc", True, "apt", (), False, True, False, (), "1.27.1", True, "debian buster", 7
    )


@pytest.mark.parametrize(
    ("names", "libc"),
    [
        ((), "none"),
        (("lib/ld-linux-aarch64.so.1",), "glibc"),
        (("lib/ld64.so.1",), "glibc"),
        (("lib/ld-musl-x86_64.so.1", "lib64/ld-linux-x86-64.so.2"), ""),
        (("lib/ld64-uClibc.so.1",), ""),
    ],
)
def test_the_loader_tells_the_libc(names: tuple[str, ...], libc: str) -> None:
    assert contents(*map(file, names)).libc == libc


def test_programs_are_sought_on_the_images_path() -> None:
    curl = file("opt/tools/curl")
    assert contents(curl).programs == ()
    assert contents(curl, path="/usr/bin:/opt/tools").programs == ("curl",)


def test_a_link_to_nothing_is_no_file() -> None:
    found = contents(Symlink("bin/sh", "/bin/gone"), Symlink("usr/bin/git", "git"))
    assert (found.shell, found.programs) == (False, ())


@pytest.mark.parametrize(
    ("text", "release"),
    [
        ("ID=debian\nVERSION_CODENAME=trixie", "debian trixie"),
        ("ID=debian\nVERSION_ID=99", ""),
        ('ID="ubuntu"\nVERSION_ID="24.04"', "ubuntu 24.04"),
        ('ID="amzn"\nVERSION_ID="2"', "amazonlinux 2"),
        ('ID="rhel"\nVERSION_ID="9.7"', "ubi 9"),
        ("ID=wolfi\nVERSION_ID=20230201", ""),
        ("nonsense", ""),
    ],
)
def test_releases_of_distributions(text: str, release: str) -> None:
    assert contents(file("etc/os-release", text)).release == release


def test_contents_are_written_down() -> None:
    found = contents(file("etc/passwd", "a:\nb:\n"))
    assert decoded(found.encoded()) == found
    for data in (b"", b"{}", b"[]", b"null", found.encoded().replace(b"libc", b"libd")):
        assert decoded(data) is None


def test_what_an_image_says_beats_the_table() -> None:
    table = facts_of("golang:1.27-alpine")
    facts = with_config(table, RunConfig(user="", env=("A=b=c", "D"), working_dir="/w"))
    assert (facts.user, facts.directory) == ("root", "/w")
    assert facts.environment == (("A", "b=c"), ("D", ""))
    better = with_contents(facts, contents(file("usr/bin/git"), file("etc/passwd", "app:\n")))
    assert (better.family, better.go, better.release) == ("golang", "1.27", "go 1.27")
    assert (better.programs, better.users) == (frozenset({"git"}), frozenset({"app"}))
    assert better.ca is False
