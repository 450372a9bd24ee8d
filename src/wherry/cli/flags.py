# SPDX-License-Identifier: Apache-2.0
"""The flags of `wherry build`, declared once, read in two ways.

click reads every command line and writes the help. A plain command line, without `--help` and
without a mistake, is read here instead: a build in which nothing changed takes less time than
importing click does. `read_plain` gives None for anything that it is not sure of.
"""

from __future__ import annotations

from typing import NamedTuple

PROGRESS_MODES = ("auto", "tty", "plain", "json")


class Flag(NamedTuple):
    """One flag: `name` without dashes, `short` letter or empty, what it takes, its help.

    `takes` is `text`, `texts` (repeatable), `number` (1 or more), `nothing`, or `choice`. `field`
    is the name of its value. `group` is the heading of the help page that it stands under.
    """

    name: str
    field: str
    takes: str
    help: str
    short: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    default: str = ""
    group: str = ""


_INPUT = (
    Flag("file", "file", "text",
         "Build this Dockerfile; - reads it from stdin.  [default: SOURCE/Dockerfile, if any]",
         "f", "FILE"),
    Flag("frontend", "frontend", "choice", "How SOURCE is read.",
         choices=("auto", "gomodule", "dockerfile"), default="auto"),
    Flag("target", "targets", "texts",
         "A stage of the Dockerfile, or an [image.NAME] of wherry.toml; of those repeatable.",
         metavar="NAME"),
    Flag("build-context", "build_contexts", "texts",
         "A further build context: a directory, docker-image://REF, oci-layout://DIR or a URL; "
         "repeatable.", metavar="NAME=PLACE"),
)  # fmt: skip
_IMAGE = (
    Flag("tag", "tags", "texts",
         "Name the image; repeatable.  [default: the program's or directory's name, :latest]",
         "t", "NAME[:TAG]"),
    Flag("platform", "platforms", "texts",
         "What to build for: one, or several with commas between; repeatable.  [default: linux on "
         "this architecture]", metavar="OS/ARCH[/VARIANT]"),
    Flag("label", "labels", "texts", "Add a label; repeatable.", metavar="KEY=VALUE"),
    Flag("annotation", "annotations", "texts", "Add a manifest annotation; repeatable.",
         metavar="KEY=VALUE"),
)  # fmt: skip
_GO = (
    Flag("base", "base", "text", "What a Go program stands on.  [default: static]",
         metavar="static|scratch|IMAGE"),
    Flag("stamp", "stamp", "choice",
         "Put version-control facts into labels, or into the binary too.  [default: off]",
         choices=("off", "labels", "full")),
)  # fmt: skip
_DOCKERFILE = (
    Flag("build-arg", "build_args", "texts",
         "Set an ARG of the Dockerfile; NAME alone takes it from the environment; repeatable.",
         metavar="NAME[=VALUE]"),
    Flag("secret", "secrets", "texts",
         "A secret for RUN --mount=type=secret: the file or the variable that holds it; "
         "repeatable.", metavar="id=NAME[,src=FILE|,env=VARIABLE]"),
    Flag("ssh", "ssh", "texts",
         "An agent for RUN --mount=type=ssh: a socket, or keys; without one that of "
         "SSH_AUTH_SOCK; repeatable.", metavar="default|ID[=SOCKET|KEY[,KEY]]"),
    Flag("network", "network", "choice", "The network of RUN.  [default: default]",
         choices=("default", "none", "host")),
    Flag("allow", "allow", "texts",
         "Let RUN ask for --network=host, or for --security=insecure; repeatable.",
         metavar="network.host|security.insecure"),
    Flag("add-host", "add_hosts", "texts", "A line for RUN's /etc/hosts; repeatable.",
         metavar="NAME=ADDRESS"),
    Flag("shm-size", "shm_size", "text", "The size of RUN's /dev/shm, such as 128m.",
         metavar="SIZE"),
    Flag("ulimit", "ulimits", "texts", "A limit of RUN, such as nofile=1024; repeatable.",
         metavar="NAME=SOFT[:HARD]"),
    Flag("unpack-limit", "unpack_limit", "text",
         "The most that one archive may unpack to, such as 20G.  [default: 100G]", metavar="SIZE"),
    Flag("on-error", "on_error", "choice",
         "Open a shell in the root of a RUN that failed.", choices=("shell",)),
)  # fmt: skip
_OUTPUT = (
    Flag("output", "outputs", "texts",
         "Write the image elsewhere, too: type=oci (tar=false for a directory), docker, tar, "
         "local, registry or image; repeatable.",
         "o", "type=TYPE,dest=PATH"),
    Flag("push", "push", "nothing", "Push the image under all its names."),
    Flag("load", "load", "nothing", "Load the image into the Docker or Podman of this machine."),
    Flag("json", "as_json", "nothing", "Print the result as JSON."),
    Flag("metadata-file", "metadata_file", "text", "Write facts about the image as JSON.",
         metavar="FILE"),
    Flag("iidfile", "iidfile", "text", "Write the image's digest.", metavar="FILE"),
)  # fmt: skip
_REGISTRIES = (
    Flag("pull", "pull", "nothing",
         "Ask the registry whether the base moved; what wherry.lock holds stays."),
    Flag("locked", "locked", "nothing",
         "Fail if base, data or Go would not come from wherry.lock."),
    Flag("ca", "ca", "texts",
         "Trust this PEM file's certificates besides the system's, in RUN too; repeatable.",
         metavar="FILE"),
)  # fmt: skip
_CACHE = (
    Flag("no-cache", "no_cache", "nothing", "Use no build record and no cache record."),
    Flag("no-cache-filter", "no_cache_filter", "texts",
         "Run the steps of this stage anew; repeatable.", metavar="STAGE"),
    Flag("go-cache", "go_cache", "choice",
         "Whether Go steps of a Dockerfile use what earlier builds left in Go's caches.  "
         "[default: auto]", choices=("auto", "off")),
    Flag("cache-from", "cache_from", "texts",
         "Begin with the caches in PLACE, of Go or of a Dockerfile's steps: an image reference, or "
         "a directory that begins with "
         "/, ./ or ../; repeatable, asked in this order.", metavar="PLACE"),
    Flag("cache-to", "cache_to", "texts",
         "Keep there what this build needed of its caches, once its result is delivered; "
         "repeatable.", metavar="PLACE"),
    Flag("cache-mounts", "cache_mounts", "texts",
         "Let these caches of RUN --mount=type=cache come from and go to the PLACEs, too: ids, or "
         "targets where there is none, with commas between; repeatable.", metavar="ID"),
    Flag("cache-key", "cache_key", "text",
         "Take only caches that this Ed25519 key has signed, and sign those that are kept.",
         metavar="FILE"),
    Flag("store", "store", "text",
         "The local store.  [env: WHERRY_STORE; default: wherry/v1 in the user's cache directory]",
         metavar="DIR"),
)  # fmt: skip
_PROGRESS = (
    Flag("progress", "progress", "choice", "How to tell what happens, on stderr.",
         choices=PROGRESS_MODES, default="auto"),
    Flag("quiet", "quiet", "nothing", "No progress and no summary.", "q"),
)  # fmt: skip
_PLAN = (
    Flag("dry-run", "dry_run", "nothing",
         "Print the plan, what is reused and what is not; build nothing."),
    Flag("print-settings", "print_settings", "nothing",
         "Print the settings in force and where each comes from; build nothing."),
    Flag("jobs", "jobs", "number",
         "RUN steps at once, and work of wherry's own.  [default: no limit, and the cores]",
         metavar="N"),
)  # fmt: skip
# By the headings of the help page, in its order.
_GROUPS = {
    "Input": _INPUT,
    "Image": _IMAGE,
    "Go": _GO,
    "Dockerfile": _DOCKERFILE,
    "Output": _OUTPUT,
    "Bases and registries": _REGISTRIES,
    "Cache": _CACHE,
    "Plan": _PLAN,
    "Progress": _PROGRESS,
}
BUILD_FLAGS = tuple(
    flag._replace(group=group) for group, flags in _GROUPS.items() for flag in flags
)


class BuildFlags(NamedTuple):
    """The values of one command line.

    `platforms` are as they were typed: `platform` joins them, so that `--platform A,B` and
    `--platform A --platform B` are the same.
    """

    sources: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    platforms: tuple[str, ...] = ()
    base: str = ""
    targets: tuple[str, ...] = ()
    file: str = ""
    build_args: tuple[str, ...] = ()
    build_contexts: tuple[str, ...] = ()
    no_cache_filter: tuple[str, ...] = ()
    unpack_limit: str = ""
    secrets: tuple[str, ...] = ()
    ssh: tuple[str, ...] = ()
    network: str = ""
    allow: tuple[str, ...] = ()
    add_hosts: tuple[str, ...] = ()
    shm_size: str = ""
    ulimits: tuple[str, ...] = ()
    on_error: str = ""
    frontend: str = "auto"
    stamp: str = ""
    labels: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    push: bool = False
    load: bool = False
    pull: bool = False
    locked: bool = False
    ca: tuple[str, ...] = ()
    metadata_file: str = ""
    iidfile: str = ""
    no_cache: bool = False
    dry_run: bool = False
    print_settings: bool = False
    jobs: int = 0
    progress: str = "auto"
    as_json: bool = False
    quiet: bool = False
    store: str = ""
    go_cache: str = ""
    cache_from: tuple[str, ...] = ()
    cache_to: tuple[str, ...] = ()
    cache_mounts: tuple[str, ...] = ()
    cache_key: str = ""

    @property
    def source(self) -> str:
        """The first SOURCE; without one it is this directory."""
        return self.sources[0] if self.sources else "."

    @property
    def platform(self) -> str:
        """All platforms, with commas between; empty where none was named."""
        return ",".join(self.platforms)


def read_plain(words: list[str]) -> BuildFlags | None:
    """The values of a plain command line (after the verb), or None where click has to look."""
    by_word = {f"--{flag.name}": flag for flag in BUILD_FLAGS}
    by_word |= {f"-{flag.short}": flag for flag in BUILD_FLAGS if flag.short}
    values: dict[str, object] = {}
    sources: list[str] = []
    rest = iter(words)
    for word in rest:
        if not word.startswith("-") or word == "-":
            sources.append(word)
            continue
        name, equals, text = word.partition("=")
        flag = by_word.get(name)
        if flag is None or (equals and not name.startswith("--")):
            return None
        if flag.takes == "nothing":
            if equals:
                return None
            values[flag.field] = True
            continue
        value = text if equals else next(rest, None)
        if value is None or not _take(flag, value, values):
            return None
    # Each value is of its own flag's kind.
    return BuildFlags(tuple(sources), **values)  # type: ignore[arg-type]


def _take(flag: Flag, value: str, values: dict[str, object]) -> bool:
    if flag.takes == "texts":
        before = values.get(flag.field, ())
        values[flag.field] = (*before, value) if isinstance(before, tuple) else (value,)
        return True
    if flag.takes == "number":
        if not (value.isascii() and value.isdigit() and 0 < len(value) < 6 and int(value) > 0):
            return False
        values[flag.field] = int(value)
        return True
    if flag.takes == "choice" and value not in flag.choices:
        return False
    values[flag.field] = value
    return True
