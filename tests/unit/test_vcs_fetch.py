# SPDX-License-Identifier: Apache-2.0
"""Trees fetched from git repositories over loopback HTTP, and what is refused."""

import base64
import os
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from git_server import GitServer, git, git_server
from wherry.errors import BuildError, MachineError, NetworkError, UsageError, WherryError
from wherry.process.cancel import Cancelled, CancelToken
from wherry.vcs.fetch import Checkout, GitAccess, fetch_tree, resolve_commit
from wherry.vcs.git_url import GitSource

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")

COMMIT_TIME = 1767323045
ENV = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[GitServer]:
    root = tmp_path / "served"
    root.mkdir()
    with git_server(root) as running:
        yield running


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two commits on main, the tags `light` (the first) and v1 (annotated), a branch, a pull."""
    path = tmp_path_factory.mktemp("template") / "it.git"
    path.mkdir()
    git(path, "init", "-q")
    (path / "a").write_text("one")
    (path / "d" / "e").mkdir(parents=True)
    (path / "d" / "run").write_text("#!/bin/sh")
    (path / "d" / "run").chmod(0o755)
    (path / "d" / "e" / "f").write_text("f")
    (path / "link").symlink_to("d/run")
    (path / "out").symlink_to("/etc")
    git(path, "add", ".")
    git(path, "commit", "-qm", "first")
    git(path, "tag", "light")
    (path / "a").write_text("two")
    git(path, "commit", "-qam", "second")
    git(path, "tag", "-am", "note", "v1")
    git(path, "branch", "feature/x", "light")
    git(path, "update-ref", "refs/pull/7/head", "light")
    return path


@pytest.fixture
def repository(server: GitServer, template: Path) -> Path:
    """A copy of the template, served as it.git."""
    return Path(shutil.copytree(template, server.root / "it.git", symlinks=True))


def access(env: dict[str, str] | None = None) -> GitAccess:
    return GitAccess(ENV if env is None else env, CancelToken())


def fetch(tmp_path: Path, server: GitServer, ref: str = "", **fields: object) -> Checkout:
    source = GitSource(f"{server.url}/it.git", ref, **fields)  # type: ignore[arg-type] # by name
    work = tmp_path / "work"
    work.mkdir()
    return fetch_tree(source, str(work), access())


def commit(repository: Path, name: str) -> str:
    return git(repository, "rev-parse", f"{name}^{{commit}}")


@pytest.mark.parametrize(
    ("ref", "content"),
    [("", "two"), ("main", "two"), ("refs/heads/main", "two"), ("heads/main", "two"),
     ("v1", "two"), ("refs/tags/v1", "two"), ("light", "one"), ("feature/x", "one"),
     ("refs/pull/7/head", "one"), ("pull/7/head", "one")],
)  # fmt: skip
def test_refs_of_all_forms(
    tmp_path: Path, server: GitServer, repository: Path, ref: str, content: str
) -> None:
    found = fetch(tmp_path, server, ref)
    root = Path(found.root)
    assert (root / "a").read_text() == content
    assert found.commit == commit(repository, "main" if content == "two" else "light")
    assert sorted(path.name for path in root.iterdir()) == ["a", "d", "link", "out"]


@pytest.mark.parametrize("old_protocol", [False, True])
@pytest.mark.parametrize("name", ["light", "main", "main~1"])
def test_commits(
    tmp_path: Path, server: GitServer, repository: Path, name: str, old_protocol: bool
) -> None:
    for text in ("three", "four"):
        (repository / "a").write_text(text)
        git(repository, "commit", "-qam", text)
    server.old_protocol = old_protocol
    wanted = commit(repository, name)
    found = fetch(tmp_path, server, wanted, keep_git_dir=name == "main~1")
    assert found.commit == wanted
    assert (Path(found.root) / "a").read_text() == git(repository, "show", f"{wanted}:a")


@pytest.mark.parametrize("old_protocol", [False, True])
def test_a_commit_that_is_not_there(
    tmp_path: Path, server: GitServer, repository: Path, old_protocol: bool
) -> None:
    server.old_protocol = old_protocol
    with pytest.raises(BuildError, match="has no commit 1234"):
        fetch(tmp_path, server, "1234" * 10)


def test_modes_times_and_links_are_settled(
    tmp_path: Path, server: GitServer, repository: Path
) -> None:
    root = Path(fetch(tmp_path, server).root)
    modes = {
        str(path.relative_to(root)): stat.S_IMODE(path.lstat().st_mode)
        for path in (root, *root.rglob("*"))
        if not path.is_symlink()
    }
    assert modes == {".": 0o755, "a": 0o644, "d": 0o755, "d/run": 0o755, "d/e": 0o755,
                     "d/e/f": 0o644}  # fmt: skip
    assert os.readlink(root / "out") == "/etc"
    times = {path.lstat().st_mtime for path in (root, *root.rglob("*"))}
    assert times == {COMMIT_TIME}


def test_a_part_of_the_tree(tmp_path: Path, server: GitServer, repository: Path) -> None:
    found = fetch(tmp_path, server, "main", directory="d", keep_git_dir=True)
    assert sorted(os.listdir(found.root)) == ["e", "run"]


@pytest.mark.parametrize(
    ("directory", "message"),
    [("none", "no directory none"), ("link", "link in the git"), ("out", "out in the git"),
     ("a", "a in the git"), ("out/ssl", "out/ssl in the git")],
)  # fmt: skip
def test_a_part_that_is_no_directory(
    tmp_path: Path, server: GitServer, repository: Path, directory: str, message: str
) -> None:
    with pytest.raises(BuildError, match=message):
        fetch(tmp_path, server, directory=directory)


@pytest.mark.parametrize("directory", ["..", "../..", "d/../..", "/etc", "d/"])
def test_a_part_that_leads_out_is_refused(
    tmp_path: Path, server: GitServer, repository: Path, directory: str
) -> None:
    with pytest.raises(UsageError, match="director"):
        fetch(tmp_path, server, directory=directory)


def shape(root: Path) -> tuple[str, ...]:
    return tuple(git(root, "for-each-ref", "--format=%(objecttype) %(refname)").splitlines())


@pytest.mark.parametrize(
    ("ref", "refs"),
    [
        ("", ("commit refs/heads/main", "commit refs/tags/main")),
        ("main", ("commit refs/heads/main", "commit refs/tags/main")),
        ("light", ("commit refs/heads/light", "commit refs/tags/light")),
        ("v1", ("tag refs/tags/v1",)),
        ("refs/tags/v1", ("tag refs/tags/v1",)),
        ("refs/heads/main", ("commit refs/heads/main", "commit refs/tags/refs/heads/main")),
        ("COMMIT", ()),
    ],
)
def test_the_git_directory_that_is_kept(
    tmp_path: Path, server: GitServer, repository: Path, ref: str, refs: tuple[str, ...]
) -> None:
    """The same refs as BuildKit's fetches leave there."""
    ref = commit(repository, "main") if ref == "COMMIT" else ref
    root = Path(fetch(tmp_path, server, ref, keep_git_dir=True).root)
    assert shape(root) == refs
    wanted = commit(repository, "light" if ref == "light" else "main")
    assert (root / ".git" / "HEAD").read_text().strip() == wanted
    assert (root / ".git" / "shallow").read_text().strip() == wanted
    assert not (root / ".git" / "FETCH_HEAD").exists()
    assert git(root, "status", "--porcelain") == ""
    assert git(root, "remote", "get-url", "origin") == f"{server.url}/it.git"
    assert git(root, "rev-list", "--count", "HEAD") == "1"
    config = (root / ".git" / "config").read_text()
    assert str(tmp_path) not in config
    assert oct(stat.S_IMODE((root / ".git" / "config").stat().st_mode)) == "0o644"


def test_checksums(tmp_path: Path, server: GitServer, repository: Path) -> None:
    wanted = commit(repository, "main")
    for number, checksum in enumerate((wanted, wanted[:8], wanted[:8].upper(),
                                       git(repository, "rev-parse", "v1"))):  # fmt: skip
        place = tmp_path / str(number)
        place.mkdir()
        assert fetch(place, server, "v1", checksum=checksum).commit == wanted
    with pytest.raises(BuildError, match="another commit") as caught:
        fetch(tmp_path, server, "light", checksum=wanted)
    assert wanted in caught.value.why
    assert commit(repository, "light") in caught.value.why


def test_fetch_by_commit_does_not_ask_what_the_branch_is(
    tmp_path: Path, server: GitServer, repository: Path
) -> None:
    first = commit(repository, "light")
    found = fetch(tmp_path, server, "main", checksum=first, fetch_by_commit=True, keep_git_dir=True)
    assert found.commit == first
    assert shape(Path(found.root)) == ("commit refs/heads/main",)


def test_resolving_and_fetching_apart(tmp_path: Path, server: GitServer, repository: Path) -> None:
    source = GitSource(f"{server.url}/it.git", "main")
    resolved = resolve_commit(source, str(tmp_path / "work"), access())
    (repository / "a").write_text("three")
    git(repository, "commit", "-qam", "third")
    # The branch has moved: what was resolved is still what is fetched.
    found = fetch_tree(source, str(tmp_path / "work"), access(), resolved)
    assert found.commit == resolved.commit == commit(repository, "v1")
    assert (Path(found.root) / "a").read_text() == "two"


def test_unknown_refs(tmp_path: Path, server: GitServer, repository: Path) -> None:
    for ref in ("none", "HEAD", "ain", commit(repository, "main")[:12]):
        with pytest.raises(BuildError, match=f"it.git has no {ref}"):
            resolve_commit(GitSource(f"{server.url}/it.git", ref), str(tmp_path / "w"), access())


def test_an_unknown_repository(tmp_path: Path, server: GitServer) -> None:
    with pytest.raises(NetworkError, match="cannot fetch http://127"):
        resolve_commit(GitSource(f"{server.url}/none.git"), str(tmp_path / "w"), access())


def add_submodule(server: GitServer, repository: Path, url: str) -> Path:
    inner = server.root / "inner.git"
    if not inner.exists():
        inner.mkdir()
        git(inner, "init", "-q")
        (inner / "file").write_text("inner")
        git(inner, "add", ".")
        git(inner, "commit", "-qm", "inner")
    git(repository, "submodule", "--quiet", "add", "--", str(inner), "sub")
    git(repository, "config", "-f", ".gitmodules", "submodule.sub.url", url)
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "submodule")
    return inner


@pytest.mark.parametrize("keep", [False, True])
def test_submodules_come_along(
    tmp_path: Path, server: GitServer, repository: Path, keep: bool
) -> None:
    add_submodule(server, repository, "../inner.git")
    root = Path(fetch(tmp_path, server, keep_git_dir=keep).root)
    assert (root / "sub" / "file").read_text() == "inner"
    # It would name a directory of this machine that is gone.
    assert (root / "sub" / ".git").exists() is keep
    if keep:
        assert (root / "sub" / ".git").read_text() == "gitdir: ../.git/modules/sub\n"
        assert git(root / "sub", "status", "--porcelain") == ""


def test_submodules_can_be_left_out(tmp_path: Path, server: GitServer, repository: Path) -> None:
    add_submodule(server, repository, "../inner.git")
    root = Path(fetch(tmp_path, server, submodules=False).root)
    assert os.listdir(root / "sub") == []


@pytest.mark.parametrize("kind", ["path", "file", "ext", "option"])
def test_hostile_submodules_are_refused(
    tmp_path: Path, server: GitServer, repository: Path, kind: str
) -> None:
    witness = tmp_path / "witness"
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {witness}\n")
    script.chmod(0o755)
    url = {
        "path": str(server.root / "inner.git"),
        "file": f"file://{server.root}/inner.git",
        "ext": f"ext::{script}",
        "option": f"--upload-pack={script}",
    }[kind]
    add_submodule(server, repository, url)
    with pytest.raises((UsageError, NetworkError)) as caught:
        fetch(tmp_path, server)
    assert "submodule" in caught.value.why or "not allowed" in caught.value.why
    assert not witness.exists()


def test_hooks_and_filters_do_not_run(tmp_path: Path, server: GitServer, repository: Path) -> None:
    """Not the user's template and configuration either, which may have both."""
    witness = tmp_path / "witness"
    hooks = tmp_path / "template" / "hooks"
    hooks.mkdir(parents=True)
    hook = hooks / "post-checkout"
    hook.write_text(f"#!/bin/sh\ntouch {witness}\n")
    hook.chmod(0o755)
    home = tmp_path / "home"
    home.mkdir()
    (home / ".gitconfig").write_text(
        f"[init]\ntemplateDir = {hooks.parent}\n[core]\nhooksPath = {hooks}\n"
        f'[filter "x"]\nsmudge = touch {witness}\n[url "file:///"]\ninsteadOf = http://\n'
    )
    (repository / ".gitattributes").write_text("* filter=x\n")
    git(repository, "add", ".")
    git(repository, "commit", "-qm", "attributes")
    work = tmp_path / "work"
    env = {**ENV, "HOME": str(home), "GIT_TEMPLATE_DIR": str(hooks.parent), "GIT_DIR": "/x",
           "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"), "GIT_EXEC_PATH": "/x"}  # fmt: skip
    for keep in (False, True):
        source = GitSource(f"{server.url}/it.git", keep_git_dir=keep)
        fetch_tree(source, str(work / str(keep)), access(env))
    assert not witness.exists()


HOSTILE = (
    "--upload-pack=touch /tmp/x", "-x", "ext::sh -c touch%20x", "file:///etc", "/etc", "../x",
    "ftp://host/x.git", "ssh://-oProxyCommand=x/y", "git@-oProxyCommand:x", "git@host:-x",
    "http://", "https:///x.git", "git@ext::sh", "a\nb@host:x", "ssh://-x@host/y", "x",
)  # fmt: skip


@pytest.mark.parametrize("remote", HOSTILE)
def test_hostile_remotes_are_refused(tmp_path: Path, remote: str) -> None:
    with pytest.raises(UsageError, match="not the URL of a git repository"):
        fetch_tree(GitSource(remote), str(tmp_path / "work"), access({"PATH": "/nonexistent"}))


@pytest.mark.parametrize(
    "ref", ["-x", "--upload-pack=x", "a b", "a:b", "+a", "a..b", "a\n", "a^{}"]
)
def test_hostile_refs_are_refused(
    tmp_path: Path, server: GitServer, repository: Path, ref: str
) -> None:
    with pytest.raises((UsageError, BuildError)):
        fetch(tmp_path, server, ref)


def test_local_repositories_only_where_that_is_allowed(tmp_path: Path, repository: Path) -> None:
    source = GitSource(f"file://{repository}")
    with pytest.raises(UsageError):
        fetch_tree(source, str(tmp_path / "work"), access())
    local = access()
    found = fetch_tree(
        source, str(tmp_path / "work"), GitAccess(local.env, local.cancel, allow_local=True)
    )
    assert (Path(found.root) / "a").read_text() == "two"


def test_credentials_reach_the_server_and_nobody_else(
    tmp_path: Path, server: GitServer, repository: Path
) -> None:
    add_submodule(server, repository, "../inner.git")
    server.wanted = "Basic " + base64.b64encode(b"me:p@ss word").decode()
    remote = server.url.replace("http://", "http://me:p%40ss%20word@") + "/it.git"
    source = GitSource(remote, keep_git_dir=True)
    assert "word" not in repr(source) + source.shown
    found = fetch_tree(source, str(tmp_path / "work"), access())
    root = Path(found.root)
    assert (root / "sub" / "file").read_text() == "inner"
    assert git(root, "remote", "get-url", "origin") == f"{server.url}/it.git"
    for path in (tmp_path / "work").rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            assert b"p%40ss" not in data
            assert server.wanted.split(" ")[1].encode() not in data
    with pytest.raises(NetworkError) as caught:
        fetch_tree(GitSource(remote.replace("word", "wrong")), str(tmp_path / "w2"), access())
    assert "wrong" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_token_as_the_users_name(tmp_path: Path, server: GitServer, repository: Path) -> None:
    server.wanted = "Basic " + base64.b64encode(b"secret-token:").decode()
    remote = server.url.replace("http://", "http://secret-token@") + "/it.git"
    fetch_tree(GitSource(remote), str(tmp_path / "work"), access())
    server.wanted = "Bearer other"
    given = GitAccess(ENV, CancelToken(), authorization="Bearer other")
    fetch_tree(GitSource(f"{server.url}/it.git"), str(tmp_path / "w2"), given)
    assert "other" not in repr(given)
    with pytest.raises(NetworkError) as caught:
        fetch_tree(GitSource(remote), str(tmp_path / "w3"), access())
    assert "secret-token" not in str(caught.value)


def test_nobody_is_asked_for_a_password(
    tmp_path: Path, server: GitServer, repository: Path
) -> None:
    witness = tmp_path / "witness"
    ask = tmp_path / "ask"
    ask.write_text(f"#!/bin/sh\ntouch {witness}\n")
    ask.chmod(0o755)
    server.wanted = "Basic x"
    env = {**ENV, "GIT_ASKPASS": str(ask), "SSH_ASKPASS": str(ask), "DISPLAY": ":0"}
    with pytest.raises(NetworkError, match="cannot fetch") as caught:
        fetch_tree(GitSource(f"{server.url}/it.git"), str(tmp_path / "work"), access(env))
    assert "private" in caught.value.hint
    assert not witness.exists()


def test_git_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="cannot start git") as caught:
        resolve_commit(
            GitSource("https://example.com/x.git"), str(tmp_path), access({"PATH": "/nonexistent"})
        )
    assert "install" in caught.value.hint


def test_a_cancelled_fetch_ends(tmp_path: Path) -> None:
    """The server never answers."""
    cancel = CancelToken()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/x.git"
        timer = threading.Timer(0.3, cancel.cancel)
        timer.start()
        start = time.monotonic()
        with pytest.raises(Cancelled):
            resolve_commit(GitSource(url), str(tmp_path / "work"), GitAccess(ENV, cancel))
        assert time.monotonic() - start < 10
        timer.join()


def test_a_repository_with_sha256_ids(tmp_path: Path, server: GitServer) -> None:
    path = server.root / "it.git"
    path.mkdir()
    git(path, "init", "-q", "--object-format=sha256")
    (path / "a").write_text("long")
    git(path, "add", ".")
    git(path, "commit", "-qm", "one")
    found = fetch(tmp_path, server, keep_git_dir=True)
    assert len(found.commit) == 64
    assert (Path(found.root) / "a").read_text() == "long"


def test_an_empty_repository(tmp_path: Path, server: GitServer) -> None:
    path = server.root / "it.git"
    path.mkdir()
    git(path, "init", "-q")
    with pytest.raises(WherryError, match="has no default branch"):
        fetch(tmp_path, server)


def test_nothing_secret_on_a_command_line(
    tmp_path: Path, server: GitServer, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.Popen

    def watching(argv: tuple[str, ...], **rest: object) -> object:
        seen.extend(argv)
        return real(argv, **rest)  # type: ignore[call-overload] # as given

    monkeypatch.setattr(subprocess, "Popen", watching)
    server.wanted = "Basic " + base64.b64encode(b"me:hidden").decode()
    remote = server.url.replace("http://", "http://me:hidden@") + "/it.git"
    fetch_tree(GitSource(remote), str(tmp_path / "work"), access())
    assert "ls-remote" in seen
    assert not any("hidden" in word or server.wanted.split(" ")[1] in word for word in seen)
