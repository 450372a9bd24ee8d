# SPDX-License-Identifier: Apache-2.0
"""What is known of the images that Go programs are built in and shipped on.

A table with a date, so that no registry has to be asked: which libc, shell and programs an image
holds, whom it knows, what it lacks, and until when it is maintained. Sources: the images' own
documentation (docker-library/docs, GoogleContainerTools/distroless, images.chainguard.dev), the
distributions' package lists, endoflife dates as the distributions announce them, and go.dev/doc/
devel/release for Go. A field that is None is not known, and no rule may then speak.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from wherry.errors import UsageError
from wherry.oci.image import Pairs
from wherry.oci.reference import parse_reference

TABLE_DATE: Final = "2026-11-15"
"""When the table was last compared with its sources."""

GO_RELEASES: Final = ("1.26", "1.27")
"""The lines of Go that get security fixes on that date, oldest first."""


class BaseFacts(NamedTuple):
    """What an image holds; None and empty texts stand for what is not known.

    `family` is `scratch`, `distroless`, `golang`, `debian`, `ubuntu`, `alpine`, `busybox`, `fedora`
    or empty. `libc` is `glibc`, `musl` or `none`. `packages` is its package manager (`apt`, `apk`,
    `dnf`), `none` where there is none. `programs` are those that rules ask for. `users` are the
    names that its passwd has, ids aside; `directory`, `user` and `environment` its config.
    `release` is what `end_of_life` asks for. `size` is its bytes unpacked on amd64, about.
    """

    family: str = ""
    libc: str = ""
    shell: bool | None = None
    packages: str = ""
    programs: frozenset[str] | None = None
    ca: bool | None = None
    zones: bool | None = None
    tmp: bool | None = None
    users: frozenset[str] | None = None
    go: str = ""
    has_go: bool | None = None
    directory: str = "/"
    user: str = ""
    environment: Pairs = ()
    release: str = ""
    size: int = 0

    @property
    def known(self) -> bool:
        """Whether the table has the image."""
        return bool(self.family)


_MB: Final = 1_000_000
_UNKNOWN: Final = BaseFacts()
_SCRATCH: Final = BaseFacts(
    "scratch", "none", False, "none", frozenset(), False, False, False, frozenset(), has_go=False
)
_DEBIAN_USERS: Final = frozenset(
    ("root", "daemon", "bin", "sys", "sync", "games", "man", "lp", "mail", "news", "uucp", "proxy",
     "www-data", "backup", "list", "irc", "gnats", "_apt", "nobody", "systemd-timesync",
     "systemd-network", "systemd-resolve", "systemd-bus-proxy")
)  # fmt: skip
_ALPINE_USERS: Final = frozenset(
    ("root", "bin", "daemon", "adm", "lp", "sync", "shutdown", "halt", "mail", "news", "uucp",
     "operator", "man", "postmaster", "cron", "ftp", "sshd", "at", "squid", "xfs", "games",
     "postgres", "cyrus", "vpopmail", "ntp", "smmsp", "guest", "nobody", "svn")
)  # fmt: skip
_BUSYBOX_USERS: Final = frozenset(
    ("root", "daemon", "bin", "sys", "sync", "mail", "www-data", "operator", "nobody")
)
_GO_PATH: Final = (
    "/go/bin:/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)
_DEBIAN_RELEASES: Final = {
    "14": "forky", "13": "trixie", "12": "bookworm", "11": "bullseye", "10": "buster",
    "9": "stretch", "8": "jessie",
}  # fmt: skip
_DEBIAN_NAMES: Final = frozenset(_DEBIAN_RELEASES.values()) | {"wheezy"}
_UBUNTU_NAMES: Final = {
    "resolute": "26.04", "questing": "25.10", "plucky": "25.04", "oracular": "24.10",
    "noble": "24.04", "jammy": "22.04", "focal": "20.04", "bionic": "18.04", "xenial": "16.04",
    "trusty": "14.04",
}  # fmt: skip
_GO_VERSION: Final = re.compile(r"(\d+\.\d+(?:\.\d+|rc\d+|beta\d+)?)(?:-|\Z)")
_MAJOR: Final = re.compile(r"(\d+)(?:[.-]|\Z)")
_MINOR: Final = re.compile(r"(\d+\.\d+)(?:[._-]|\Z)")

_ENDS: Final = {
    # Debian: the end of long term support.
    "debian jessie": "2020-06-30", "debian stretch": "2022-06-30", "debian buster": "2024-06-30",
    "debian bullseye": "2026-08-31", "debian bookworm": "2028-06-30",
    "debian trixie": "2030-06-30",
    # Alpine: two years from its release.
    "alpine 3.10": "2021-05-01", "alpine 3.11": "2021-11-01", "alpine 3.12": "2022-05-01",
    "alpine 3.13": "2022-11-01", "alpine 3.14": "2023-05-01", "alpine 3.15": "2023-11-01",
    "alpine 3.16": "2024-05-23", "alpine 3.17": "2024-11-22", "alpine 3.18": "2025-05-09",
    "alpine 3.19": "2025-11-01", "alpine 3.20": "2026-04-01", "alpine 3.21": "2026-11-01",
    "alpine 3.22": "2027-05-01", "alpine 3.23": "2027-11-01",
    # Ubuntu: the end of standard support.
    "ubuntu 14.04": "2019-04-25", "ubuntu 16.04": "2021-04-30", "ubuntu 18.04": "2023-05-31",
    "ubuntu 20.04": "2025-05-31", "ubuntu 22.04": "2027-04-01", "ubuntu 24.04": "2029-05-31",
    "ubuntu 24.10": "2025-07-10", "ubuntu 25.04": "2026-01-15", "ubuntu 25.10": "2026-07-01",
    "distroless debian9": "2022-06-30", "distroless debian10": "2024-06-30",
    "distroless debian11": "2024-06-01", "distroless debian12": "2026-08-09",
    "centos 6": "2020-11-30", "centos 7": "2024-06-30", "centos 8": "2021-12-31",
}  # fmt: skip


def end_of_life(release: str) -> str:
    """The day (YYYY-MM-DD) until which a release such as `debian buster` is maintained, or empty.

    A Go line (`go 1.24`) ends when the second line after it comes out: known ones that are not
    maintained at the table's date give that date's words, `before TABLE_DATE`.
    """
    kind, _, version = release.partition(" ")
    if kind == "go":
        return f"before {TABLE_DATE}" if is_old_go(version) else ""
    if kind == "alpine" and release not in _ENDS:
        found = _MINOR.match(version)
        if found and tuple(map(int, found[1].split("."))) < (3, 10):
            return "before 2021"
    return _ENDS.get(release, "")


def is_old_go(version: str) -> bool:
    """Whether a version such as `1.24.3` belongs to a line without security fixes."""
    found = _MINOR.match(version)
    if not found:
        return False
    major, minor = map(int, found[1].split("."))
    oldest = tuple(map(int, GO_RELEASES[0].split(".")))
    return (major, minor) < oldest


def facts_of(image: str) -> BaseFacts:
    """What the table knows of an image; nothing for one that it does not have."""
    if image in ("scratch", ""):
        return _SCRATCH if image else _UNKNOWN
    try:
        reference = parse_reference(image)
    except UsageError:
        return _UNKNOWN
    repository, tag = reference.repository, reference.tag or ""
    if reference.registry in ("docker.io", "index.docker.io", "registry-1.docker.io"):
        return _of_hub(repository.removeprefix("library/"), tag)
    if reference.registry in ("public.ecr.aws", "mirror.gcr.io"):
        name = repository.removeprefix("docker/").removeprefix("library/")
        return _of_hub(name, tag)
    if reference.registry == "gcr.io" and repository.startswith("distroless/"):
        return _distroless(repository.removeprefix("distroless/"), tag)
    if reference.registry == "cgr.dev" and repository.startswith("chainguard/"):
        return _chainguard(repository.removeprefix("chainguard/"), tag)
    return _UNKNOWN


def _of_hub(name: str, tag: str) -> BaseFacts:
    match name:
        case "golang" | "circleci/golang":
            return _golang(tag) if name == "golang" else _UNKNOWN
        case "alpine":
            return _alpine(tag)
        case "debian":
            return _debian(_debian_name(tag), slim=tag.endswith("-slim"))
        case "ubuntu":
            return _ubuntu(tag)
        case "busybox":
            return _busybox(tag)
        case "buildpack-deps":
            facts = _debian(_debian_name(tag), slim=False)
            return facts._replace(
                ca=True, programs=frozenset(("curl", "wget", "git", "gcc", "make")), size=800 * _MB
            )
        case "centos" | "fedora" | "rockylinux" | "almalinux" | "amazonlinux" | "oraclelinux":
            found = _MAJOR.match(tag)
            release = f"{name} {found[1]}" if found else ""
            return BaseFacts(
                "fedora", "glibc", True, "dnf", None, True, None, True, None, has_go=False,
                release=release, size=200 * _MB,
            )  # fmt: skip
        case _:
            return _UNKNOWN


def _golang(tag: str) -> BaseFacts:
    found = _GO_VERSION.match(tag)
    version = found[1] if found else ""
    release = f"go {version}" if version else ""
    environment = (("GOLANG_VERSION", version), ("GOTOOLCHAIN", "local"), ("GOPATH", "/go"),
                   ("PATH", _GO_PATH))  # fmt: skip
    if "alpine" in tag:
        return BaseFacts(
            "golang", "musl", True, "apk", frozenset(("wget",)), True, False, True, _ALPINE_USERS,
            version, True, "/go", "root", environment, release, 300 * _MB,
        )  # fmt: skip
    if "windowsservercore" in tag or "nanoserver" in tag:
        return _UNKNOWN
    programs = frozenset(("curl", "wget", "git", "gcc", "make"))
    return BaseFacts(
        "golang", "glibc", True, "apt", programs, True, True, True, _DEBIAN_USERS,
        version, True, "/go", "root", environment, release, 850 * _MB,
    )  # fmt: skip


def _alpine(tag: str) -> BaseFacts:
    found = _MINOR.match(tag)
    return BaseFacts(
        "alpine", "musl", True, "apk", frozenset(("wget",)), True, False, True, _ALPINE_USERS,
        has_go=False, user="root", release=f"alpine {found[1]}" if found else "", size=8 * _MB,
    )  # fmt: skip


def _debian_name(tag: str) -> str:
    first = tag.split("-", maxsplit=1)[0].split(".", maxsplit=1)[0]
    if first in _DEBIAN_NAMES:
        return first
    name = _DEBIAN_RELEASES.get(first, "")
    if name:
        return name
    return next((part for part in re.split(r"[-.]", tag) if part in _DEBIAN_NAMES), "")


def _debian(release: str, *, slim: bool) -> BaseFacts:
    return BaseFacts(
        "debian", "glibc", True, "apt", frozenset(), False, True, True, _DEBIAN_USERS,
        has_go=False, user="root", release=f"debian {release}" if release else "",
        size=(75 if slim else 120) * _MB,
    )  # fmt: skip


def _ubuntu(tag: str) -> BaseFacts:
    name = tag.split("-", maxsplit=1)[0]
    version = _UBUNTU_NAMES.get(name, name)
    release = f"ubuntu {version}" if _MINOR.match(version) else ""
    return BaseFacts(
        "ubuntu", "glibc", True, "apt", frozenset(), False, False, True,
        _DEBIAN_USERS | {"ubuntu"}, has_go=False, user="root", release=release, size=78 * _MB,
    )  # fmt: skip


def _busybox(tag: str) -> BaseFacts:
    libc = "musl" if "musl" in tag else "glibc" if "glibc" in tag or "uclibc" not in tag else ""
    return BaseFacts(
        "busybox", libc, True, "none", frozenset(("wget",)), False, False, True, _BUSYBOX_USERS,
        has_go=False, user="root", size=4 * _MB,
    )  # fmt: skip


def _distroless(name: str, tag: str) -> BaseFacts:
    kind, _, release = name.partition("-")
    if kind not in ("static", "base", "cc"):
        return _UNKNOWN
    debug = "debug" in tag
    user = "nonroot" if "nonroot" in tag else "root"
    debian = release.removeprefix("debian")
    # It ends its releases before Debian does (SUPPORT_POLICY.md).
    sizes = {"static": 2, "base": 20, "cc": 24}
    return BaseFacts(
        "distroless", "none" if kind == "static" else "glibc", debug, "none",
        frozenset(("wget",)) if debug else frozenset(), True, True, True,
        frozenset(("root", "nobody", "nonroot")), has_go=False,
        directory="/home/nonroot" if user == "nonroot" else "/", user=user,
        release=f"distroless debian{debian}" if debian in _DEBIAN_RELEASES else "",
        size=sizes[kind] * _MB,
    )  # fmt: skip


def _chainguard(name: str, tag: str) -> BaseFacts:
    dev = tag.endswith("-dev") or tag == "dev"
    if name == "static":
        return BaseFacts(
            "distroless", "none", False, "none", frozenset(), True, True, True,
            frozenset(("root", "nobody", "nonroot")), has_go=False, user="65532", size=2 * _MB,
        )  # fmt: skip
    if name in ("glibc-dynamic", "busybox", "wolfi-base"):
        shell = dev or name != "glibc-dynamic"
        return BaseFacts(
            "distroless", "glibc", shell, "apk" if dev or name == "wolfi-base" else "none", None,
            True, None, True, None, has_go=False,
            user="root" if name == "wolfi-base" else "65532", size=12 * _MB,
        )  # fmt: skip
    if name == "go":
        return BaseFacts(
            "golang",
            "glibc",
            True,
            "apk",
            None,
            True,
            None,
            True,
            None,
            has_go=True,
            size=600 * _MB,
        )
    return _UNKNOWN
