# SPDX-License-Identifier: Apache-2.0
"""Changes around a recorded build, one at a time: settings, flags, variables, files, history.

Each says what it does to the image. A change that is not listed here for a declared key or a field
of the request fails `tests/integration/test_records_hold.py`.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from git_commands import git
from wherry_fixtures import Project

MAIN = """package main

import (
	"embed"
	"os"

	"example.com/dep"
)

//go:embed text
var text embed.FS

var word = "none"

func main() {
	content, _ := text.ReadFile("text/a.txt")
	os.Stdout.WriteString(word + special + dep.Word + string(content))
}
"""
EMPTY = "package main\n\n"
FILES = {
    "go.mod": (
        "module example.com/m\n\ngo 1.21\n\nrequire example.com/dep v0.0.0\n\n"
        "replace example.com/dep => ../dep\n"
    ),
    "cmd/api/main.go": MAIN,
    "cmd/api/plain.go": '//go:build !special\n\npackage main\n\nconst special = "no"\n',
    "cmd/api/special.go": '//go:build special\n\npackage main\n\nconst special = "yes"\n',
    "cmd/api/text/a.txt": "a",
    "cmd/api/kodata/page.html": "<p>",
    "cmd/two/main.go": 'package main\n\nfunc main() { println("two") }\n',
    "lib/lib.go": "package lib\n",
    "web/one.js": "one",
    "web/run.sh": "run",
    "web/sub/two.js": "two",
}


class Effect(Enum):
    """What a change does: OTHER image; none that is known, but the record does not HOLD it to be
    so; or NOTHING, and the record answers.
    """

    OTHER = "another image"
    UNCLEAR = "what a fresh store gives"
    NOTHING = "nothing, by the record"


OTHER, UNCLEAR, NOTHING = Effect


class Shelf:
    """A module, its neighbours and a HOME in one directory, which can be put back as it was."""

    def __init__(self, project: Project, settings: str | None) -> None:
        self.project = project
        self.root = project.root
        # What is asked for besides, whatever changes.
        self.asked: dict[str, object] = {"source": "."}
        for name, text in FILES.items():
            self.write(name, text)
        self.write("../dep/go.mod", "module example.com/dep\n\ngo 1.21\n")
        self.write("../dep/dep.go", 'package dep\n\nconst Word = "dep"\n')
        (self.root / "web/link").symlink_to("one.js")
        if settings is not None:
            self.write("wherry.toml", settings)
        git(self.root, "init", "--quiet", "--initial-branch=main")
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", "--message=first")
        self.env = {**project.env, "WHO": "me", "TAG": "1"}
        self.env |= {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}
        # What of the environment the change at hand sets (None: unset).
        self.variables: dict[str, str | None] = {}
        self.keep()

    def keep(self) -> None:
        """Commit; the state that `put_back` goes back to."""
        git(self.root, "add", ".")
        git(self.root, "commit", "--quiet", "--allow-empty", "--message=kept")
        self._kept = self._state()

    def write(self, name: str, text: str) -> None:
        """A file, seen from the module's root."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def put_back(self) -> None:
        """All files and variables as they were in the beginning; only what differs is written."""
        self.variables = {}
        now = self._state()
        for path in sorted(now.keys() - self._kept.keys(), reverse=True):
            path.rmdir() if now[path] is None else path.unlink()
        for path, content in sorted(self._kept.items()):
            if path in now and now[path] == content:
                continue
            if path in now and now[path] is not None:
                path.unlink()
            if content is None:
                path.mkdir()
            elif isinstance(content, str):
                path.symlink_to(content)
            else:
                path.write_bytes(content[0])
                path.chmod(content[1])

    def _state(self) -> dict[Path, tuple[bytes, int] | str | None]:
        found: dict[Path, tuple[bytes, int] | str | None] = {}
        home = Path(self.project.env["HOME"])
        for top in (self.root, self.root / "../dep", self.root / "../conf", home):
            for at, directories, names in os.walk(top.resolve()):
                for name in (*directories, *names):
                    path = Path(at, name)
                    if path.is_symlink():
                        found[path] = str(path.readlink())
                    elif path.is_dir():
                        found[path] = None
                    else:
                        found[path] = path.read_bytes(), path.stat().st_mode & 0o7777
        # go.work may come above the module.
        for path in self.root.parent.resolve().glob("go.work*"):
            found[path] = path.read_bytes(), 0o644
        return found


class Change(NamedTuple):
    """One change: of files (`edit`), variables, or the request; and what comes of it."""

    name: str
    effect: Effect
    edit: Callable[[Shelf], object] = lambda _: None
    asked: Mapping[str, object] = {}


class Setting(NamedTuple):
    """A key of `wherry.toml`: its value before (None: not there) and after, and what that does."""

    before: str | None
    after: str | None
    effect: Effect = OTHER


def common_settings(go: str) -> dict[str, Setting]:
    """Keys of `[build]`; all but `go` are keys of `[image.NAME]` as well."""
    return {
        "go": Setting(f'"{go}"', None, UNCLEAR),
        "base": Setting(None, '"scratch"'),
        "libc-base": Setting(None, '"127.0.0.1:1/libc:1"', UNCLEAR),
        "platforms": Setting(None, '["linux/arm64"]'),
        "user": Setting('"1000"', '"1001"'),
        "env": Setting('{ A = "{{.Env.WHO}}" }', '{ A = "b" }'),
        "ports": Setting("[8000]", "[8001]"),
        "volumes": Setting('["/v"]', '["/w"]'),
        "workdir": Setting('"/srv"', '"/"'),
        "args": Setting('["a"]', '["b"]'),
        "labels": Setting('{ a = "b" }', '{ a = "c" }'),
        "annotations": Setting('{ a = "b" }', '{ a = "c" }'),
        "files": Setting(
            '[{ from = "web/**", to = "/srv/web/" }]',
            '[{ from = "web/**", to = "/srv/web/", owner = "7" }]',
        ),
        "capabilities": Setting(None, '["net_bind_service"]'),
        "cgo": Setting(None, "true"),
        "ldflags": Setting('["-X main.word=one"]', '["-X main.word=two"]'),
        "gcflags": Setting(None, '["-N"]'),
        "build-tags": Setting(None, '["special"]'),
        "stamp": Setting(None, '"labels"'),
        "compression": Setting(None, '"zstd"'),
        "compression-level": Setting(None, "9"),
    }


IMAGE_SETTINGS = {
    "packages": Setting('["./cmd/api", "./cmd/two"]', '["./cmd/api"]'),
    "tags": Setting('["shop/api:{{.Env.TAG}}"]', '["shop/other:1"]'),
}
OTHER_TABLES = {
    "registry": {
        "default": Setting(None, '"127.0.0.1:1/team"', UNCLEAR),
        "mirrors": Setting(None, '{ "docker.io" = ["127.0.0.1:1"] }', UNCLEAR),
        "insecure": Setting(None, '["127.0.0.1:1"]', UNCLEAR),
        "ca": Setting(None, '["ca.pem"]', UNCLEAR),
        "concurrency": Setting(None, "2", UNCLEAR),
    },
    "store": {"size": Setting(None, '"3GB"', UNCLEAR)},
    "cache": {
        "from": Setting(None, '["../go-cache"]', UNCLEAR),
        "to": Setting(None, '["../go-cache"]', UNCLEAR),
        "key": Setting(None, '"cache.pub"', UNCLEAR),
        "mounts": Setting(None, '["m"]', UNCLEAR),
    },
    "check": {
        "ignore": Setting(None, '["GO001"]', UNCLEAR),
        "only": Setting(None, '["GO001"]', UNCLEAR),
        "fail-on": Setting(None, '"error"', UNCLEAR),
        "severity": Setting(None, '{ GO001 = "info" }', UNCLEAR),
    },
}


def settings_text(go: str, table: str = "", key: str = "") -> str:
    """`wherry.toml` as it is before, or with the key of `table` as it is after."""
    parts = {"build": common_settings(go), "image.api": IMAGE_SETTINGS, **OTHER_TABLES}
    text = ""
    for name, settings in parts.items():
        text += f"[{name}]\n"
        values = {one: setting.before for one, setting in settings.items()}
        if name == table:
            every = {**common_settings(go), **settings}
            values[key] = every[key].after
        text += "".join(f"{one} = {value}\n" for one, value in values.items() if value)
    return text


def settings_changes(go: str) -> Iterator[Change]:
    """Each key of each table that knows it, changed."""
    common = common_settings(go)
    below_image = {key: item for key, item in common.items() if key != "go"} | IMAGE_SETTINGS
    for table, settings in (("build", common), ("image.api", below_image), *OTHER_TABLES.items()):
        for key, setting in settings.items():
            text = settings_text(go, table, key)
            yield Change(f"{table}.{key}", setting.effect, _writes("wherry.toml", text))


# Fields of the request that cannot change what is built, and why; all others are changed below.
EXEMPT = {
    "env": "its variables are changed one by one", "store": "it is where the record lies",
    "no_cache": "no record is asked then", "push": "it sends what was built",
    "load": "it hands over what was built", "ca": "it is trusted while a base is fetched",
    "file": "for Dockerfiles", "build_args": "for Dockerfiles", "build_contexts": "for Dockerfiles",
    "no_cache_filter": "for Dockerfiles", "unpack_limit": "for Dockerfiles",
    "go_cache": "for Dockerfiles", "cache_mounts": "for Dockerfiles",
    "secrets": "for Dockerfiles", "ssh": "for Dockerfiles", "network": "for Dockerfiles",
    "allow": "for Dockerfiles", "add_hosts": "for Dockerfiles", "shm_size": "for Dockerfiles",
    "ulimits": "for Dockerfiles", "on_error": "for Dockerfiles", "shell": "for Dockerfiles",
    "stdin": "for Dockerfiles", "stdout": "it takes what was built", "trace": "for tests",
    "cache_from": "what comes is what Go would make", "cache_to": "it takes what Go made",
    "cache_key": "it says which caches are taken", "delivered": "it hears of what was built",
    "registries": "they say how a base is fetched", "foreign": "for Dockerfiles",
}  # fmt: skip


def request_changes(root: Path) -> Iterator[Change]:
    """Each field of the request that is not exempt, changed."""
    out = root.parent / "out"
    values: dict[str, tuple[Effect, object]] = {
        "source": (OTHER, "./cmd/two"),
        "cwd": (UNCLEAR, str(root / "cmd" / "api")),
        "frontend": (UNCLEAR, "gomodule"),
        "target": (UNCLEAR, "api"),
        "tags": (NOTHING, ("other:1",)),
        "platform": (OTHER, "linux/arm64"),
        "more_sources": (OTHER, ("./cmd/two",)),
        "base": (OTHER, "scratch"),
        "stamp": (OTHER, "full"),
        "labels": (OTHER, (("flag", "1"),)),
        "annotations": (OTHER, (("flag", "1"),)),
        "outputs": (NOTHING, (f"type=oci,dest={out}.tar",)),
        "metadata_file": (NOTHING, f"{out}.json"),
        "iidfile": (NOTHING, f"{out}.iid"),
        "pull": (UNCLEAR, True),
        "locked": (OTHER, True),
        "jobs": (NOTHING, 1),
    }
    for field, (effect, value) in values.items():
        yield Change(f"request.{field}", effect, asked={field: value})


def environment_changes() -> Iterator[Change]:
    """Variables that a build looks at, and some that it must not."""
    for effect, name, value in (
        (OTHER, "WHO", "you"),
        (OTHER, "WHO", None),
        (OTHER, "TAG", "2"),
        (OTHER, "GOFLAGS", "-tags=special"),
        (OTHER, "GOAMD64", "v2"),
        (OTHER, "SOURCE_DATE_EPOCH", "86400"),
        (OTHER, "SOURCE_DATE_EPOCH", "no number"),
        (NOTHING, "GIT_DIR", "/proc/nonexistent"),
        (OTHER, "GOWORK", "/proc/nonexistent"),
        (UNCLEAR, "GOOS", "windows"),
        (UNCLEAR, "GOARCH", "arm64"),
        (UNCLEAR, "CGO_ENABLED", "1"),
        (UNCLEAR, "GOTOOLCHAIN", "auto"),
        (UNCLEAR, "GOENV", "off"),
        (UNCLEAR, "GO111MODULE", "on"),
        (UNCLEAR, "CC", "false"),
        (UNCLEAR, "XDG_CONFIG_HOME", "/proc/nonexistent"),
        (NOTHING, "UNRELATED", "1"),
        (NOTHING, "TZ", "Asia/Tokyo"),
        (NOTHING, "LANG", "de_DE.UTF-8"),
        (NOTHING, "TMPDIR", "/var/tmp"),
        # There is a wherry.toml.
        (NOTHING, "KO_DOCKER_REPO", "127.0.0.1:1/x"),
        (NOTHING, "KO_DEFAULTPLATFORMS", "linux/arm64"),
    ):
        yield Change(f"{name}={value}", effect, _sets(name, value))


def _writes(name: str, text: str) -> Callable[[Shelf], None]:
    return lambda shelf: shelf.write(name, text)


def _sets(name: str, value: str | None) -> Callable[[Shelf], None]:
    return lambda shelf: shelf.variables.update({name: value})


def _removes(name: str) -> Callable[[Shelf], None]:
    return lambda shelf: (shelf.root / name).unlink()


def _links(name: str, target: str) -> Callable[[Shelf], None]:
    def link(shelf: Shelf) -> None:
        (shelf.root / name).unlink(missing_ok=True)
        (shelf.root / name).symlink_to(target)

    return link


def _chmods(name: str, mode: int) -> Callable[[Shelf], None]:
    return lambda shelf: (shelf.root / name).chmod(mode)


def _git(*arguments: str) -> Callable[[Shelf], str]:
    return lambda shelf: git(shelf.root, *arguments)


def file_changes() -> Iterator[Change]:
    """Files of the module and around it, and its history."""
    changed = MAIN.replace('"none"', '"some"')
    for effect, name, edit in (
        (OTHER, "main.go", _writes("cmd/api/main.go", changed)),
        (OTHER, "the second program", _writes("cmd/two/main.go", f"{EMPTY}func main() {{}}\n")),
        (OTHER, "a new Go file", _writes("cmd/api/more.go", f"{EMPTY}func init() {{}}\n")),
        (OTHER, "a Go file goes", _removes("cmd/api/plain.go")),
        (OTHER, "a Go file that tags leave out", _writes("cmd/api/special.go", "package other\n")),
        (OTHER, "an embedded file", _writes("cmd/api/text/a.txt", "b")),
        (OTHER, "a new embedded file", _writes("cmd/api/text/b.txt", "b")),
        (OTHER, "a local module", _writes("../dep/dep.go", 'package dep\n\nconst Word = "d"\n')),
        (UNCLEAR, "its go.mod", _writes("../dep/go.mod", "module example.com/other\n")),
        (OTHER, "go.mod", _writes("go.mod", FILES["go.mod"].replace("1.21", "1.22"))),
        (OTHER, "a nested go.mod", _writes("cmd/go.mod", "module example.com/nested\n")),
        (OTHER, "a workspace", _writes("../go.work", "go 1.21\n\nuse ./dep\n")),
        (OTHER, "vendor", _writes("vendor/modules.txt", "# nothing\n")),
        (OTHER, "the lock file", _writes("wherry.lock", "version = 1\n")),
        (OTHER, "kodata", _writes("cmd/api/kodata/page.html", "<b>")),
        (OTHER, "a new file of kodata", _writes("cmd/api/kodata/sub/new.html", "<b>")),
        (OTHER, "kodata of the second program", _writes("cmd/two/kodata/two.html", "<b>")),
        (OTHER, "kodata becomes executable", _chmods("cmd/api/kodata/page.html", 0o755)),
        (OTHER, "a link in kodata", _links("cmd/api/kodata/page.html", "../text/a.txt")),
        (OTHER, "a file", _writes("web/one.js", "1")),
        (OTHER, "a new file", _writes("web/sub/new.js", "1")),
        (OTHER, "a file goes", _removes("web/sub/two.js")),
        (OTHER, "a file becomes executable", _chmods("web/run.sh", 0o755)),
        (OTHER, "a link leads elsewhere", _links("web/link", "run.sh")),
        (OTHER, "a file becomes a link", _links("web/run.sh", "one.js")),
        (OTHER, "a link leads out", _links("web/link", "../../dep/dep.go")),
        (OTHER, "the settings are no TOML", _writes("wherry.toml", "[build")),
        (OTHER, "the settings go", _removes("wherry.toml")),
        (OTHER, "go env -w", _writes("../home/.config/go/env", "GOAMD64=v3\n")),
        (OTHER, "default.pgo", _writes("cmd/api/default.pgo", "no profile")),
        (NOTHING, "a default.pgo of no program", _writes("lib/default.pgo", "no profile")),
        (UNCLEAR, "go.sum", _writes("go.sum", "")),
        (UNCLEAR, "a Dockerfile", _writes("Dockerfile", "FROM scratch\n")),
        (NOTHING, "settings further down", _writes("cmd/wherry.toml", "[build")),
        (NOTHING, "ko's file beside wherry.toml", _writes(".ko.yaml", "no: [yaml")),
        (NOTHING, "ignore rules", _writes(".dockerignore", "*")),
        (NOTHING, "a text", _writes("README.md", "text")),
        (NOTHING, "a package that nothing imports", _writes("lib/lib.go", "package lib // x\n")),
        (NOTHING, "a commit, unstamped", _git("commit", "--quiet", "--allow-empty", "--message=x")),
        (NOTHING, "no repository", lambda shelf: shutil.rmtree(shelf.root / ".git")),
        (NOTHING, "a file's other bits", _chmods("web/one.js", 0o600)),
        (NOTHING, "a file is touched", lambda shelf: os.utime(shelf.root / "web/one.js")),
        (NOTHING, "main.go is touched", lambda shelf: os.utime(shelf.root / "cmd/api/main.go")),
        (UNCLEAR, "a test", _writes("cmd/api/main_test.go", "package main\n")),
    ):  # fmt: skip
        yield Change(name, effect, edit)


def history_changes() -> Iterator[Change]:
    """What git knows of the module, for an image with labels about it."""
    for effect, name, edit in (
        (OTHER, "the work tree is dirty", _writes("lib/lib.go", "package lib // changed\n")),
        (OTHER, "an untracked file", _writes("untracked", "")),
        (OTHER, "a commit", _git("commit", "--quiet", "--allow-empty", "--message=second")),
        (OTHER, "a tag", _git("tag", "v1.2.3")),
        (OTHER, "a remote", _git("remote", "add", "origin", "https://example.com/x.git")),
        (OTHER, "no repository", lambda shelf: shutil.rmtree(shelf.root / ".git")),
        (OTHER, "GIT_DIR", _sets("GIT_DIR", "/proc/nonexistent")),
        (OTHER, "no git", _sets("PATH", "/proc/nonexistent")),
        (NOTHING, "another branch", _git("branch", "--move", "trunk")),
        (NOTHING, "a file is touched", lambda shelf: os.utime(shelf.root / "cmd/api/main.go")),
    ):
        yield Change(name, effect, edit)


def changes(go: str, root: Path) -> tuple[Change, ...]:
    """All of them, for a module with a `wherry.toml`."""
    return (
        *settings_changes(go),
        *request_changes(root),
        *environment_changes(),
        *file_changes(),
    )


KO = (
    "defaultPlatforms: [linux/amd64]\nbuilds:\n- main: ./cmd/api\n"
    '  ldflags: ["-X main.word={{.Env.WHO}}"]\n'
)
TOML = '[image.x]\npackages = ["./cmd/two"]\n'


def ko_changes() -> tuple[Change, ...]:
    """For a module without a `wherry.toml`, before ko's file comes or while it lies there."""
    return tuple(
        Change(name, effect, edit)
        for effect, name, edit in (
            (OTHER, "a wherry.toml", _writes("wherry.toml", TOML)),
            (OTHER, "ko's file", _writes(".ko.yaml", KO.replace("amd64", "arm64"))),
            (UNCLEAR, "ko's other file", _writes(".ko.yml", KO.replace("amd64", "arm64"))),
            (OTHER, "WHO", _sets("WHO", "you")),
            (OTHER, "KO_DEFAULTPLATFORMS", _sets("KO_DEFAULTPLATFORMS", "linux/arm64")),
            (OTHER, "KO_CONFIG_PATH", _sets("KO_CONFIG_PATH", "/proc/nonexistent")),
            (NOTHING, "UNRELATED", _sets("UNRELATED", "1")),
        )
    )
