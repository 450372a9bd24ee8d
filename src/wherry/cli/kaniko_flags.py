# SPDX-License-Identifier: Apache-2.0
"""All flags of kaniko's executor as one table: what each takes, and what becomes of it here.

The flags are those of GoogleContainerTools/kaniko up to its last release, of chainguard's fork and
of osscontainertools' fork. Reading a command line, the help page, shell completion and the table in
docs/kaniko.md are all made from this one.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, NamedTuple


class Fate(StrEnum):
    """What becomes of a flag: it means the same, it changes nothing, or it cannot be done."""

    USED = "used"
    IGNORED = "ignored"
    REFUSED = "refused"


class KanikoFlag(NamedTuple):
    """One flag: `name` without dashes, `short` letter or empty, what it `takes`, its fate.

    `takes` is `text`, `texts` (repeatable), `switch` (true alone or with `=true`, `=false` and Go's
    other words for these), `number`, `duration` or `choice` (of `choices`).

    `told` says what it means here, or why it needs to mean nothing. A flag whose fate is `REFUSED`
    is refused for any value, a switch where it is true; `refuses` are the values of another flag
    that are. `why` and `hint` are the words for what is refused. `beside` is a switch that makes
    what would be refused needless: it is ignored then. `missed` is told where the flag is passed
    over, instead of that there is no need of it. `older` are names that kaniko still takes. `fork`
    names the fork that alone has it.
    """

    name: str
    takes: str
    fate: Fate
    told: str
    short: str = ""
    metavar: str = ""
    choices: tuple[str, ...] = ()
    refuses: tuple[str, ...] = ()
    why: str = ""
    hint: str = ""
    beside: str = ""
    missed: str = ""
    older: tuple[str, ...] = ()
    fork: str = ""


_USED, _IGNORED, _REFUSED = Fate.USED, Fate.IGNORED, Fate.REFUSED
_OSS: Final = "osscontainertools"
_BOTH: Final = "chainguard, osscontainertools"
_CERTIFICATES: Final = "certificates are always verified"
_CA_HINT: Final = "trust the registry's own: --registry-certificate HOST=FILE"
_RETRIES: Final = "what fails on the way is tried again anyway"
_OWN_ROOT: Final = "nothing is built in the file system that this runs in"

_INPUT: Final = (
    KanikoFlag("context", "text", _USED,
               "The build context: a directory, dir://DIR, tar://FILE, tar://stdin, "
               "git://HOST/PATH[#REF[#COMMIT]] or https:// of a tar.  [default: /workspace]",
               short="c", metavar="DIR"),
    KanikoFlag("context-sub-path", "text", _USED,
               "The directory of the context that is built; for contexts that have a scheme.",
               metavar="DIR"),
    KanikoFlag("git", "texts", _USED,
               "branch=NAME, recurse-submodules=BOOL; repeatable. single-branch and depth change "
               "nothing: one commit is fetched.", metavar="KEY=VALUE"),
    KanikoFlag("dockerfile", "text", _USED,
               "The Dockerfile, seen from here, else from the context; or a URL.  "
               "[default: Dockerfile]", short="f", metavar="FILE"),
    KanikoFlag("build-arg", "texts", _USED,
               "Set an ARG; NAME alone takes it from the environment, empty where that lacks it; "
               "repeatable.", metavar="NAME[=VALUE]"),
    KanikoFlag("target", "texts", _USED, "The stage to build.", metavar="STAGE"),
    KanikoFlag("custom-platform", "text", _USED, "What to build for.  [default: this machine's]",
               metavar="OS/ARCH[/VARIANT]", older=("customPlatform",)),
    KanikoFlag("secret", "texts", _USED, "A secret for RUN --mount=type=secret; repeatable.",
               metavar="id=NAME[,src=FILE|,env=VARIABLE]", fork=_OSS),
    KanikoFlag("bucket", "text", _REFUSED, "", short="b", metavar="NAME",
               why="wherry does not speak to clouds' storage",
               hint="download the tar first: --context tar://FILE"),
)  # fmt: skip
_IMAGE: Final = (
    KanikoFlag("destination", "texts", _USED,
               "Name the image, and push it there unless --no-push; repeatable.",
               short="d", metavar="NAME[:TAG]"),
    KanikoFlag("label", "texts", _USED, "Add a label; repeatable.", metavar="KEY=VALUE"),
    KanikoFlag("annotation", "texts", _USED, "Add a manifest annotation; repeatable.",
               metavar="KEY=VALUE", fork=_BOTH),
    KanikoFlag("reproducible", "switch", _USED,
               "Date the image 1970: SOURCE_DATE_EPOCH=0, unless that is set. Files of the base "
               "keep their times."),
    KanikoFlag("compression", "choice", _USED, "How pushed layers are compressed.",
               choices=("gzip", "zstd")),
    KanikoFlag("compression-level", "number", _USED,
               "How hard to compress them; 0 and less mean the default.", metavar="N"),
    KanikoFlag("image-format", "choice", _USED, "oci, which images have anyway.",
               choices=("oci", "docker"), refuses=("docker",),
               why="images have the OCI's media types only",
               hint="leave it out: Docker reads them since version 17.10", fork=_OSS),
)  # fmt: skip
_OUTPUT: Final = (
    KanikoFlag("no-push", "switch", _USED,
               "Push no image.  [env: KANIKO_NO_PUSH, which wins]"),
    KanikoFlag("tar-path", "text", _USED, "Write a docker archive.", metavar="FILE",
               older=("tarPath",)),
    KanikoFlag("oci-layout-path", "text", _USED, "Write an OCI layout.", metavar="DIR"),
    KanikoFlag("digest-file", "text", _USED, "Write the image's digest.", metavar="FILE"),
    KanikoFlag("image-name-with-digest-file", "text", _USED,
               "Write NAME@DIGEST of each destination, a line each.", metavar="FILE"),
    KanikoFlag("image-name-tag-with-digest-file", "text", _USED,
               "Write NAME:TAG@DIGEST of each destination, a line each.", metavar="FILE"),
    KanikoFlag("dryrun", "switch", _USED, "Print the plan; build nothing.", fork=_OSS),
    KanikoFlag("verbosity", "choice", _USED,
               "error, fatal and panic: no progress and no summary.", short="v",
               choices=("trace", "debug", "info", "warn", "error", "fatal", "panic")),
    KanikoFlag("log-format", "choice", _USED,
               "text is progress in plain lines, color a live view on terminals, json wherry's "
               "events.", choices=("text", "color", "json")),
)  # fmt: skip
_CACHE: Final = (
    KanikoFlag("cache", "switch", _USED,
               "Begin with the step cache of --cache-repo and keep there what this build adds; "
               "=false uses no step cache, not even this machine's, and no Go caches; cache mounts "
               "of RUN keep what they hold."),
    KanikoFlag("cache-repo", "text", _USED,
               "The repository of the step cache, below the tag wherry; or oci:DIR, a directory.  "
               "[default: the first destination with /cache]", metavar="NAME"),
    KanikoFlag("no-push-cache", "switch", _USED, "Read the step cache, and write nothing there."),
    KanikoFlag("cache-dir", "text", _IGNORED, "bases lie in the local store", metavar="DIR"),
    KanikoFlag("cache-ttl", "duration", _IGNORED,
               "no step expires by its age: see what is different", metavar="DURATION",
               missed="no step expires by its age; --build-arg with a value that changes, such as "
                      "the week, runs anew what stands behind its ARG"),
    KanikoFlag("cache-copy-layers", "switch", _IGNORED, "steps of all kinds are cached"),
    KanikoFlag("cache-run-layers", "switch", _IGNORED, "steps of all kinds are cached",
               refuses=("false",), why="RUN steps are cached as all others are",
               hint="wherry build --no-cache-filter STAGE runs a stage's steps anew"),
    KanikoFlag("compressed-caching", "switch", _IGNORED, "layers are compressed once, in pieces"),
)  # fmt: skip
_REGISTRIES: Final = (
    KanikoFlag("insecure", "switch", _USED,
               "Speak plain HTTP to the registries of --destination and --cache-repo."),
    KanikoFlag("insecure-registry", "texts", _USED,
               "Speak plain HTTP to this registry; repeatable.", metavar="HOST[:PORT]"),
    KanikoFlag("insecure-pull", "switch", _REFUSED, "",
               why="plain HTTP is spoken to registries that are named, and to no others",
               hint="name them: --insecure-registry HOST"),
    KanikoFlag("skip-tls-verify", "switch", _REFUSED, "", beside="insecure", why=_CERTIFICATES,
               hint=_CA_HINT),
    KanikoFlag("skip-tls-verify-pull", "switch", _REFUSED, "", why=_CERTIFICATES, hint=_CA_HINT),
    KanikoFlag("skip-tls-verify-registry", "texts", _REFUSED, "", metavar="HOST[:PORT]",
               beside="insecure-registry", why=_CERTIFICATES, hint=_CA_HINT),
    KanikoFlag("registry-certificate", "texts", _USED,
               "Trust this PEM file's certificates with registries, too; repeatable.",
               metavar="HOST=FILE"),
    KanikoFlag("registry-client-cert", "texts", _USED,
               "Sign in to this registry with a certificate and its key; repeatable.",
               metavar="HOST=FILE,FILE"),
    KanikoFlag("registry-mirror", "texts", _USED,
               "Ask this mirror before docker.io; repeatable.  [env: KANIKO_REGISTRY_MIRROR]",
               metavar="HOST[/PATH]"),
    KanikoFlag("registry-map", "texts", _USED,
               "Ask a mirror before a registry; several with semicolons between; repeatable.  "
               "[env: KANIKO_REGISTRY_MAP]", metavar="HOST=HOST[/PATH]"),
    KanikoFlag("skip-default-registry-fallback", "switch", _REFUSED, "",
               why="what mirrors lack comes from the registry itself",
               hint="leave it out, or name the bases by their mirror"),
    KanikoFlag("credential-helpers", "texts", _REFUSED, "", metavar="NAME",
               why="wherry has no helpers of its own, and runs those that config.json names",
               hint="install docker-credential-NAME and name it in credHelpers of config.json, or "
                    "sign in: wherry login", fork=_OSS),
    KanikoFlag("azure-container-registry-config", "text", _REFUSED, "", metavar="FILE",
               why="wherry has no helpers of its own, and runs those that config.json names",
               hint="sign in: wherry login"),
    KanikoFlag("kaniko-dir", "text", _USED,
               "Where .docker/config.json is looked for if DOCKER_CONFIG is not set.  "
               "[env: KANIKO_DIR; default: /kaniko]", metavar="DIR"),
    KanikoFlag("push-retry", "number", _IGNORED, _RETRIES, metavar="N"),
    KanikoFlag("image-download-retry", "number", _IGNORED, _RETRIES, metavar="N"),
    KanikoFlag("image-fs-extract-retry", "number", _IGNORED, _RETRIES, metavar="N"),
    KanikoFlag("skip-push-permission-check", "switch", _IGNORED,
               "nothing is asked of a registry before there is something to push"),
    KanikoFlag("push-ignore-immutable-tag-errors", "switch", _REFUSED, "",
               why="a tag that the registry does not let move is an error",
               hint="leave it out: a tag that means this image already is not pushed to"),
)  # fmt: skip
_STEPS: Final = (
    KanikoFlag("snapshot-mode", "choice", _IGNORED, "layers are what steps wrote, not what a scan "
               "finds changed", choices=("full", "redo", "time"), older=("snapshotMode",)),
    KanikoFlag("single-snapshot", "switch", _IGNORED,
               "the image has the same files; each step stays a layer, and so does what a later "
               "one removes"),
    KanikoFlag("use-new-run", "switch", _IGNORED, "layers are what steps wrote"),
    KanikoFlag("skip-unused-stages", "switch", _IGNORED, "stages that the result does not need are "
               "never built", refuses=("false",),
               why="stages that the result does not need are not built",
               hint="build such a stage by itself: wherry kaniko --no-push --target STAGE"),
    KanikoFlag("ignore-path", "texts", _REFUSED, "", metavar="PATH",
               why="what RUN writes is in the image; it never sees the files of the machine",
               hint="leave it out where the path is the machine's; else RUN "
                    "--mount=type=tmpfs,target=PATH"),
    KanikoFlag("ignore-var-run", "switch", _IGNORED,
               "nothing is mounted on /var/run; what steps write there is in the image",
               older=("whitelist-var-run",)),
    KanikoFlag("force-build-metadata", "switch", _IGNORED, "the configuration is always whole"),
    KanikoFlag("materialize", "switch", _REFUSED, "", why=_OWN_ROOT,
               hint="run the image (wherry run), or have its files: wherry build -o DIR",
               fork=_OSS),
    KanikoFlag("cleanup", "switch", _IGNORED, _OWN_ROOT),
    KanikoFlag("pre-cleanup", "switch", _IGNORED, _OWN_ROOT, fork=_OSS),
    KanikoFlag("preserve-context", "switch", _IGNORED, _OWN_ROOT, fork=_OSS),
    KanikoFlag("force", "switch", _IGNORED, _OWN_ROOT),
    KanikoFlag("log-timestamp", "switch", _IGNORED, "steps tell how long they took"),
)  # fmt: skip

FLAGS: Final = (*_INPUT, *_IMAGE, *_OUTPUT, *_CACHE, *_REGISTRIES, *_STEPS)

BY_NAME: Final = {name: flag for flag in FLAGS for name in (flag.name, *flag.older)}
"""Flags by each name that kaniko takes, without dashes."""

BY_LETTER: Final = {flag.short: flag for flag in FLAGS if flag.short}

OWN_PATHS: Final = frozenset(
    {"/busybox", "/dev", "/etc/mtab", "/kaniko", "/proc", "/product_name", "/product_uuid", "/sys"}
)
"""Paths that `--ignore-path` may name: they are kaniko's container, no part of what RUN writes."""
