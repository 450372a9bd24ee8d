# SPDX-License-Identifier: Apache-2.0
"""What is known of the images that Go programs are built in and shipped on.

A table, so that no registry has to be asked: which libc, shell and programs an image holds, whom it
knows, what it lacks. Its date is `wherry.advice.reading.base_ends.TABLE_DATE`. Sources: the images'
own documentation (docker-library/docs, GoogleContainerTools/distroless, images.chainguard.dev, Red
Hat's catalogue) and the distributions' package lists. A field that is None is not known, and no
rule may then speak. Where it depends on the release, what any of them has counts as there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.advice.reading.base_ends import minor_of
from wherry.errors import UsageError
from wherry.oci.reference import parse_reference

if TYPE_CHECKING:
    from wherry.oci.image import Pairs


class BaseFacts(NamedTuple):
    """What an image holds; None and empty texts stand for what is not known.

    `family` is `scratch`, `distroless`, `golang`, `debian`, `ubuntu`, `alpine`, `busybox`, `fedora`
    or empty. `libc` is `glibc`, `musl` or `none`. `shell` says whether /bin/sh is there. `packages`
    is its package manager (`apt`, `apk`, `dnf`), `none` where there is none. `programs` are those
    that rules ask for. `users` are the names that its passwd has, ids aside; `directory`, `user`,
    `environment`, `shell_form` (what SHELL sets) and `entrypoint` its config. `release` is what
    `end_of_life` asks for. `size` is its bytes unpacked on amd64, about.
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
    shell_form: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()

    @property
    def known(self) -> bool:
        """Whether the table has the image."""
        return bool(self.family)


_MB: Final = 1_000_000
_UNKNOWN: Final = BaseFacts()
_SCRATCH: Final = BaseFacts(
    "scratch", "none", False, "none", frozenset(), False, False, False, frozenset(), has_go=False
)
_BUSYBOX: Final = frozenset(("wget", "nc"))
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
    "9": "stretch", "8": "jessie", "7": "wheezy",
}  # fmt: skip
_DEBIAN_NAMES: Final = frozenset(_DEBIAN_RELEASES.values())
_UBUNTU_NAMES: Final = {
    "resolute": "26.04", "questing": "25.10", "plucky": "25.04", "oracular": "24.10",
    "noble": "24.04", "mantic": "23.10", "lunar": "23.04", "kinetic": "22.10", "jammy": "22.04",
    "impish": "21.10", "hirsute": "21.04", "groovy": "20.10", "focal": "20.04", "eoan": "19.10",
    "bionic": "18.04", "xenial": "16.04", "trusty": "14.04",
}  # fmt: skip
# The releases from which on images have what the table says of them.
_LOCAL_TOOLCHAIN: Final = (1, 21)
_UBUNTU_USER: Final = (23, 4)
_ALPINE_BUNDLE: Final = (3, 10)
_GO_VERSION: Final = re.compile(r"(\d+\.\d+(?:\.\d+)?(?:rc\d+|beta\d+)?)(?:-|\Z)")
_RED_HAT_GO: Final = re.compile(r"(1\.\d+(?:\.\d+)?)(?:-|\Z)")
_MAJOR: Final = re.compile(r"(\d+)(?:[.-]|\Z)")
_HUB: Final = frozenset(("docker.io", "index.docker.io", "registry-1.docker.io"))
_RED_HAT: Final = frozenset(("registry.access.redhat.com", "registry.redhat.io"))


def facts_of(image: str) -> BaseFacts:
    """What the table knows of an image; nothing for one that it does not have."""
    if image in ("scratch", ""):
        return _SCRATCH if image else _UNKNOWN
    try:
        reference = parse_reference(image)
    except UsageError:
        return _UNKNOWN
    # A digest without a tag may be any of an image's variants.
    repository, tag = reference.repository, reference.tag or ""
    if reference.registry in _HUB:
        return _of_hub(repository.removeprefix("library/"), tag)
    if reference.registry in ("public.ecr.aws", "mirror.gcr.io"):
        name = repository.removeprefix("docker/").removeprefix("library/")
        return _of_hub(name, tag)
    if reference.registry == "gcr.io" and repository.startswith("distroless/"):
        return _distroless(repository.removeprefix("distroless/"), tag)
    if reference.registry == "cgr.dev" and repository.startswith("chainguard/"):
        return _chainguard(repository.removeprefix("chainguard/"), tag)
    return _red_hat(repository, tag) if reference.registry in _RED_HAT else _UNKNOWN


def _of_hub(name: str, tag: str) -> BaseFacts:
    if name in _HUB_IMAGES:
        return _HUB_IMAGES[name](tag)
    match name:
        case "redhat/ubi8" | "redhat/ubi8-minimal" | "redhat/ubi9" | "redhat/ubi9-minimal":
            version, _, kind = name.removeprefix("redhat/").partition("-")
            return _red_hat(f"{version}/ubi-{kind}" if kind else f"{version}/ubi", tag)
        case "centos" | "fedora" | "rockylinux" | "almalinux" | "amazonlinux" | "oraclelinux":
            found = _MAJOR.match(tag)
            # Amazon's first one has years for versions.
            version = "1" if name == "amazonlinux" and tag.startswith(("2017", "2018")) else ""
            release = f"{name} {version or found[1]}" if found else ""
            return BaseFacts(
                "fedora", "glibc", True, "dnf", None, True, None, True, None, has_go=False,
                user="root", release=release, size=200 * _MB,
            )  # fmt: skip
        case _:
            return _UNKNOWN


def _golang(tag: str) -> BaseFacts:
    found = _GO_VERSION.match(tag)
    version = found[1] if found else ""
    release = f"go {version}" if version else ""
    number = minor_of(version)
    environment: tuple[tuple[str, str], ...] = (("GOLANG_VERSION", version), ("GOPATH", "/go"),
                                                ("PATH", _GO_PATH))  # fmt: skip
    if number is None or number >= _LOCAL_TOOLCHAIN:
        environment = (*environment, ("GOTOOLCHAIN", "local"))
    common = BaseFacts(
        "golang", "", True, ca=True, tmp=True, go=version, has_go=True, directory="/go",
        user="root", environment=environment, release=release,
    )  # fmt: skip
    if "alpine" in tag:
        return common._replace(
            libc="musl", packages="apk", programs=_BUSYBOX, zones=False, users=_ALPINE_USERS,
            size=300 * _MB,
        )  # fmt: skip
    if "windowsservercore" in tag or "nanoserver" in tag:
        return _UNKNOWN
    if not tag:
        return common
    return common._replace(
        libc="glibc", packages="apt", programs=frozenset(("curl", "wget", "git", "gcc", "make")),
        zones=True, users=_DEBIAN_USERS, size=850 * _MB,
    )  # fmt: skip


def _alpine(tag: str) -> BaseFacts:
    number = minor_of(tag)
    bundle = True if number is None or number >= _ALPINE_BUNDLE else None
    return BaseFacts(
        "alpine", "musl", True, "apk", _BUSYBOX, bundle, False, True, _ALPINE_USERS, has_go=False,
        user="root", release=f"alpine {number[0]}.{number[1]}" if number else "", size=8 * _MB,
    )  # fmt: skip


def _debian_name(tag: str) -> str:
    first = tag.split("-", maxsplit=1)[0].split(".", maxsplit=1)[0]
    name = _DEBIAN_RELEASES.get(first, "")
    return name or next((part for part in re.split(r"[-.]", tag) if part in _DEBIAN_NAMES), "")


def _debian(tag: str) -> BaseFacts:
    release = _debian_name(tag)
    return BaseFacts(
        "debian", "glibc", True, "apt", frozenset(), False, True, True, _DEBIAN_USERS,
        has_go=False, user="root", release=f"debian {release}" if release else "",
        size=(75 if tag.endswith("-slim") else 120) * _MB,
    )  # fmt: skip


def _ubuntu(tag: str) -> BaseFacts:
    name = tag.split("-", maxsplit=1)[0]
    version = _UBUNTU_NAMES.get(name, name)
    number = minor_of(version)
    users = _DEBIAN_USERS
    if number is None or number >= _UBUNTU_USER:
        users |= {"ubuntu"}
    return BaseFacts(
        "ubuntu", "glibc", True, "apt", frozenset(), False, False, True, users, has_go=False,
        user="root", release=f"ubuntu {version}" if number else "", size=78 * _MB,
    )  # fmt: skip


def _buildpack(tag: str) -> BaseFacts:
    words = tag.split("-")
    is_ubuntu = words[0] in _UBUNTU_NAMES or minor_of(words[0]) is not None
    facts = _ubuntu(words[0]) if is_ubuntu else _debian(tag)
    programs = ["curl", "wget"]
    if "curl" not in words:
        programs.append("git")
        if "scm" not in words:
            programs += ["gcc", "make"]
    size = {2: 150, 3: 300}.get(len(programs), 800) * _MB
    zones = None if is_ubuntu else True
    return facts._replace(ca=True, zones=zones, programs=frozenset(programs), size=size)


def _busybox(tag: str) -> BaseFacts:
    # Without a word for it, it stands on glibc now and stood on uClibc once.
    libc = "musl" if "musl" in tag else "" if "uclibc" in tag or not tag else "glibc"
    return BaseFacts(
        "busybox", libc, True, "none", _BUSYBOX, False, False, True, _BUSYBOX_USERS, has_go=False,
        user="root", size=(2 if libc == "musl" else 4) * _MB,
    )  # fmt: skip


def _distroless(name: str, tag: str) -> BaseFacts:
    kind, _, rest = name.partition("-")
    if kind not in ("static", "base", "cc"):
        return _UNKNOWN
    debug = "debug" in tag
    user = "65532" if "nonroot" in tag else "root" if tag else ""
    debian = rest.removeprefix("nossl-").removeprefix("debian")
    sizes = {"static": 2, "base": 20, "cc": 24}
    return BaseFacts(
        # The shell of the debug images is /busybox/sh: not the one that shell forms start.
        "distroless", "none" if kind == "static" else "glibc", None if debug or not tag else False,
        "none", _BUSYBOX if debug else frozenset() if tag else None, True, True, True,
        frozenset(("root", "nobody", "nonroot")), has_go=False,
        directory="/home/nonroot" if "nonroot" in tag else "/", user=user,
        release=f"distroless debian{debian}" if debian in _DEBIAN_RELEASES else "",
        size=sizes[kind] * _MB,
    )  # fmt: skip


def _chainguard(name: str, tag: str) -> BaseFacts:
    dev = tag.endswith("-dev") or tag == "dev"
    if name == "static":
        return BaseFacts(
            "distroless", "none", False, "none", frozenset(), True, True, True, None,
            has_go=False, user="65532", size=2 * _MB,
        )  # fmt: skip
    if name in ("glibc-dynamic", "busybox", "wolfi-base"):
        has_apk = dev or name == "wolfi-base"
        shell = True if dev or name != "glibc-dynamic" else None if not tag else False
        return BaseFacts(
            "distroless", "glibc", shell, "apk" if has_apk else "none", None, True, None, True,
            None, has_go=False, user="root" if name == "wolfi-base" else "65532", size=12 * _MB,
        )  # fmt: skip
    if name == "go":
        return BaseFacts(
            "golang", "glibc", True, "apk", None, True, None, True, None, has_go=True,
            size=600 * _MB,
        )  # fmt: skip
    return _UNKNOWN


def _red_hat(repository: str, tag: str) -> BaseFacts:
    found = re.fullmatch(r"ubi(\d+)(?:/(ubi|ubi-minimal|ubi-micro|go-toolset))?", repository)
    if found is None:
        return _UNKNOWN
    common = BaseFacts(
        "fedora", "glibc", True, "dnf", None, True, None, True, None, has_go=False, user="root",
        release=f"ubi {found[1]}", size=(100 if found[2] == "ubi-minimal" else 220) * _MB,
    )  # fmt: skip
    if found[2] == "ubi-micro":
        return common._replace(packages="none", ca=None, size=25 * _MB)
    if found[2] == "go-toolset":
        go = _RED_HAT_GO.match(tag)
        return common._replace(
            go=go[1] if go else "", has_go=True, directory="/opt/app-root/src", user="1001",
            size=1000 * _MB,
        )  # fmt: skip
    return common


_HUB_IMAGES: Final[Mapping[str, Callable[[str], BaseFacts]]] = {
    "golang": _golang, "alpine": _alpine, "debian": _debian, "ubuntu": _ubuntu,
    "busybox": _busybox, "buildpack-deps": _buildpack,
}  # fmt: skip
