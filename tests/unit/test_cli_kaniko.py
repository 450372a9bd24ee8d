# SPDX-License-Identifier: Apache-2.0
"""`wherry kaniko`: how its command line is read, and what becomes of each of kaniko's flags."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.api.asked_caches import asked_caches
from wherry.api.asked_mounts import asked_mounts
from wherry.api.registries import Registries, RegistryAround
from wherry.api.request import BuildRequest
from wherry.cli.flags import BUILD_FLAGS
from wherry.cli.kaniko import command
from wherry.cli.kaniko_context import GitContext
from wherry.cli.kaniko_fates import ignored_lines
from wherry.cli.kaniko_flags import BY_LETTER, BY_NAME, FLAGS, Fate, KanikoFlag
from wherry.cli.kaniko_page import BEGIN, END, main, written
from wherry.cli.kaniko_request import Translation, translate
from wherry.cli.kaniko_words import read_words
from wherry.cli.verbs import run_verb
from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.events import discard
from wherry.exporters.spec import OutputKind, parse_outputs
from wherry.gocache.spec import parse_cache_spec
from wherry.process.cancel import CancelToken
from wherry.settings.hosts import ClientCertificate
from wherry.settings.load import load_settings
from wherry.vcs.git_url import GitSource

PAGE = Path(__file__).resolve().parents[2] / "docs" / "kaniko.md"
HOME = {"HOME": "/nonexistent"}
# What cmd/executor/cmd/root.go of kaniko's last release and of its two forks declare, by kind.
DECLARED = {
    "switch": "cache cache-copy-layers cache-run-layers cleanup compressed-caching dryrun force "
    "force-build-metadata ignore-var-run insecure insecure-pull log-timestamp materialize no-push "
    "no-push-cache pre-cleanup preserve-context push-ignore-immutable-tag-errors reproducible "
    "single-snapshot skip-default-registry-fallback skip-push-permission-check skip-tls-verify "
    "skip-tls-verify-pull skip-unused-stages use-new-run whitelist-var-run",
    "text": "azure-container-registry-config bucket cache-dir cache-repo context context-sub-path "
    "custom-platform customPlatform digest-file dockerfile image-name-tag-with-digest-file "
    "image-name-with-digest-file kaniko-dir oci-layout-path tar-path tarPath",
    "texts": "annotation build-arg credential-helpers destination git ignore-path "
    "insecure-registry label registry-certificate registry-client-cert registry-map "
    "registry-mirror secret skip-tls-verify-registry target",
    "choice": "compression image-format log-format snapshot-mode snapshotMode verbosity",
    "number": "compression-level image-download-retry image-fs-extract-retry push-retry",
    "duration": "cache-ttl",
}
LETTERS = {"b": "bucket", "c": "context", "d": "destination", "f": "dockerfile", "v": "verbosity"}
SAMPLES = {"switch": "false", "number": "3", "duration": "1h30m", "text": "x", "texts": "x"}
SECRET = "s3cret-w0rd"


def call(*words: str, env: Mapping[str, str] | None = None, cwd: str = "/here") -> Translation:
    """A call that pushes nothing, unless `words` name a destination."""
    has_name = any(word.startswith(("-d", "--destination", "--no-push=")) for word in words)
    more = () if has_name else ("--no-push",)
    return translate(read_words([*words, *more]), {**HOME, **(env or {})}, cwd)


def request(*words: str, **around: Any) -> BuildRequest:
    return call(*words, **around).request


def refused(*words: str, env: Mapping[str, str] | None = None) -> str:
    """The text of the usage error that the call is."""
    with pytest.raises((UsageError, SeveralErrors)) as caught:
        call(*words, env=env)
    assert isinstance(caught.value, UsageError | SeveralErrors)
    errors = caught.value.errors if isinstance(caught.value, SeveralErrors) else (caught.value,)
    for error in errors:
        assert error.exit_code == 2
        assert error.hint, error.what
    return str(caught.value)


# --- the table ----------------------------------------------------------------------------------


def test_the_table_has_all_flags_of_kaniko_and_its_forks() -> None:
    wanted = {name: kind for kind, names in DECLARED.items() for name in names.split()}
    assert {name: flag.takes for name, flag in BY_NAME.items()} == wanted
    assert {letter: flag.name for letter, flag in BY_LETTER.items()} == LETTERS
    assert len({flag.name for flag in FLAGS}) == len(FLAGS)


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_the_table_says_what_there_is_to_say(flag: KanikoFlag) -> None:
    assert bool(flag.told) == (flag.fate is not Fate.REFUSED)
    if flag.fate is Fate.REFUSED or flag.refuses:
        assert flag.why
        assert flag.hint
    assert bool(flag.choices) == (flag.takes == "choice")
    if flag.takes in ("text", "texts", "number", "duration"):
        assert flag.metavar
    assert not flag.beside or flag.beside in BY_NAME


@pytest.mark.parametrize("flag", FLAGS, ids=lambda flag: flag.name)
def test_every_flag_is_read_in_every_form(flag: KanikoFlag) -> None:
    value = flag.choices[0] if flag.choices else SAMPLES[flag.takes]
    wanted = ((flag, value),)
    for name in (flag.name, *flag.older):
        assert read_words([f"--{name}={value}"]).values == wanted
        if flag.takes == "switch":
            assert read_words([f"--{name}"]).values == ((flag, "true"),)
        else:
            assert read_words([f"--{name}", value]).values == wanted
    if flag.short:
        for words in ([f"-{flag.short}", value], [f"-{flag.short}{value}"],
                      [f"-{flag.short}={value}"]):  # fmt: skip
            assert read_words(words).values == wanted


def test_the_page_has_the_table_of_today(tmp_path: Path) -> None:
    text = PAGE.read_text()
    assert text.count(BEGIN) == text.count(END) == 1
    assert written(text) == text, f"write it anew: {BEGIN.strip('<!- >').partition(': ')[2]}"
    for name, flag in BY_NAME.items():
        assert f"`--{name}" in text
        assert flag.fate is not Fate.REFUSED or flag.why in text
    old = tmp_path / "page.md"
    old.write_text(f"# Title\n\n{BEGIN}\n| old |\n{END}\n\nEnd\n")
    assert main([str(old)]) == 0
    assert old.read_text() == written(old.read_text())
    assert old.read_text().startswith(f"# Title\n\n{BEGIN}\n\n### Used\n")
    assert old.read_text().endswith(f"\n{END}\n\nEnd\n")


def test_the_page_needs_a_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


# --- each flag ----------------------------------------------------------------------------------

APP = ("-d", "registry.example.com/team/app:1")
USED: dict[str, tuple[tuple[str, ...], Callable[[Translation], object], object]] = {
    "context": (("-c", "src"), lambda t: t.context.directory, "/here/src"),
    "context-sub-path": (("-c=dir:///src", "--context-sub-path=a/b"), lambda t: t.context.below,
                         "a/b"),
    "git": (("-c=git://example.com/a.git", "--git=branch=dev"), lambda t: t.context.git.source.ref,
            "dev"),
    "dockerfile": (("-fweb.Dockerfile",), lambda t: t.context.dockerfile, "web.Dockerfile"),
    "build-arg": (("--build-arg", "B=b=c", "--build-arg=A", "--build-arg=C", "--build-arg=B=2"),
                  lambda t: t.request.build_args, (("A", "of the machine"), ("B", "2"), ("C", ""))),
    "target": (("--target=web", "--target", "web"), lambda t: t.request.target, "web"),
    "custom-platform": (("--customPlatform=linux/arm64",), lambda t: t.request.platform,
                        "linux/arm64"),
    "secret": (("--secret=id=a,src=/f", "--secret", "id=b,env=A"), lambda t: t.request.secrets,
               ("id=a,src=/f", "id=b,env=A")),
    "destination": ((*APP, "--destination=b"), lambda t: (t.request.tags, t.request.push),
                    ((APP[1], "docker.io/library/b:latest"), True)),
    "label": (("--label", "b=1", "--label=a=x=y"), lambda t: t.request.labels,
              (("a", "x=y"), ("b", "1"))),
    "annotation": (("--annotation=a=b",), lambda t: t.request.annotations, (("a", "b"),)),
    "reproducible": (("--reproducible",), lambda t: t.request.env["SOURCE_DATE_EPOCH"], "0"),
    "compression": ((*APP, "--compression=zstd"), lambda t: (t.request.outputs, t.request.push),
                    (("type=registry,compression=zstd",), False)),
    "compression-level": ((*APP, "--compression-level=9"), lambda t: t.request.outputs,
                          ("type=registry,compression=gzip,compression-level=9",)),
    "image-format": (("--image-format=oci",), lambda t: t.ignored, ()),
    "no-push": ((*APP, "--no-push"), lambda t: (t.request.tags, t.request.push),
                ((APP[1],), False)),
    "tar-path": (("--tarPath=a.tar",), lambda t: t.request.outputs,
                 ("type=docker,dest=/here/a.tar",)),
    "oci-layout-path": (("--oci-layout-path=/l",), lambda t: t.request.outputs,
                        ("type=oci,tar=false,dest=/l",)),
    "digest-file": (("--digest-file=d",), lambda t: t.files.digest, "/here/d"),
    "image-name-with-digest-file": ((*APP, "--image-name-with-digest-file=n"),
                                    lambda t: t.files.names, "/here/n"),
    "image-name-tag-with-digest-file": ((*APP, "--image-name-tag-with-digest-file=n"),
                                        lambda t: t.files.tags, "/here/n"),
    "dryrun": (("--dryrun",), lambda t: t.is_dry, True),
    "verbosity": (("-v", "FATAL"), lambda t: t.mode, "quiet"),
    "log-format": (("--log-format=text",), lambda t: t.mode, "plain"),
    "cache": (("--cache", *APP), lambda t: (t.request.cache_from, t.request.cache_to),
              (("registry.example.com/team/app/cache:wherry",),) * 2),
    "cache-repo": (("--cache=true", "--cache-repo", "reg:5000/c"),
                   lambda t: (t.request.cache_from, t.request.cache_to),
                   (("reg:5000/c:wherry",),) * 2),
    "no-push-cache": (("--cache", "--cache-repo=r/c", "--no-push-cache"),
                      lambda t: (t.request.cache_from, t.request.cache_to),
                      (("docker.io/r/c:wherry",), ("",))),
    "insecure": (("--insecure", *APP, "--cache", "--cache-repo=other:5000/c", "-d", "hub"),
                 lambda t: t.request.registries.insecure, ("registry.example.com", "other:5000")),
    "insecure-registry": (("--insecure-registry=A:5000", "--insecure-registry", "b"),
                          lambda t: t.request.registries.insecure, ("a:5000", "b")),
    "registry-certificate": (("--registry-certificate=a:5000=ca.pem",),
                             lambda t: t.request.registries.certificates, ("/here/ca.pem",)),
    "registry-client-cert": (("--registry-client-cert", "a=/c.pem,k.pem"),
                             lambda t: t.request.registries.clients,
                             (("a", ClientCertificate("/c.pem", "/here/k.pem")),)),
    "registry-mirror": (("--registry-mirror=mirror:5000/hub",),
                        lambda t: t.request.registries.mirrors,
                        (("docker.io", ("mirror:5000/hub", "of.env")),)),
    "registry-map": (("--registry-map=index.docker.io=m;gcr.io=g:1/x", "--registry-map=gcr.io=h"),
                     lambda t: t.request.registries.mirrors,
                     (("docker.io", ("m", "of.env")), ("gcr.io", ("g:1/x", "h")))),
    "kaniko-dir": (("--kaniko-dir=/no/such",), lambda t: "DOCKER_CONFIG" in t.request.env, False),
}  # fmt: skip
IGNORED = {
    "cache-dir": "/cache", "cache-ttl": "6h", "cache-copy-layers": "true",
    "cache-run-layers": "true", "compressed-caching": "false", "push-retry": "5",
    "image-download-retry": "2", "image-fs-extract-retry": "1",
    "skip-push-permission-check": "true", "snapshot-mode": "redo", "single-snapshot": "true",
    "use-new-run": "true", "skip-unused-stages": "true", "ignore-var-run": "false",
    "force-build-metadata": "true", "cleanup": "true", "pre-cleanup": "true",
    "preserve-context": "true", "force": "true", "log-timestamp": "true",
}  # fmt: skip
REFUSED = {
    "bucket": "b", "insecure-pull": "true", "skip-tls-verify": "true",
    "skip-tls-verify-pull": "true", "skip-tls-verify-registry": "registry.example.com",
    "skip-default-registry-fallback": "true", "credential-helpers": "ecr",
    "azure-container-registry-config": "/f", "push-ignore-immutable-tag-errors": "true",
    "ignore-path": "/root/.ssh", "materialize": "true",
}  # fmt: skip


def test_each_flag_is_tested() -> None:
    by_fate = {Fate.USED: USED, Fate.IGNORED: IGNORED, Fate.REFUSED: REFUSED}
    for fate, tested in by_fate.items():
        assert set(tested) == {flag.name for flag in FLAGS if flag.fate is fate}


@pytest.mark.parametrize("name", USED)
def test_a_flag_that_is_used(name: str) -> None:
    words, look, wanted = USED[name]
    env = {"A": "of the machine", "KANIKO_REGISTRY_MIRROR": "of.env"}
    found = call(*words, env=env)
    assert look(found) == wanted
    assert found.ignored == ()


@pytest.mark.parametrize("name", IGNORED)
def test_a_flag_that_changes_nothing(name: str) -> None:
    found = call(f"--{name}={IGNORED[name]}", f"--{name}={IGNORED[name]}")
    assert found.ignored == (f"--{name}",)
    assert found._replace(ignored=()) == call()


@pytest.mark.parametrize("name", REFUSED)
def test_a_flag_that_cannot_be_done(name: str) -> None:
    env = {"KANIKO_REGISTRY_MIRROR": "mirror"}
    told = refused(f"--{name}={REFUSED[name]}", env=env)
    flag = BY_NAME[name]
    assert told == f"--{name} cannot be done\n{flag.why}\nhint: {flag.hint}"
    off = "--{}={}".format(name, "false" if flag.takes == "switch" else "")
    assert call(off).ignored == (f"--{name}",)


@pytest.mark.parametrize("word", ["--cache-run-layers=0", "--skip-unused-stages=F",
                                  "--image-format=docker"])  # fmt: skip
def test_a_value_that_cannot_be_done(word: str) -> None:
    name = word[2:].partition("=")[0]
    assert refused(word).startswith(f"--{name}=")
    assert BY_NAME[name].hint in refused(word)
    other = "oci" if name == "image-format" else "true"
    assert call(word, f"--{name}={other}").request == request()


def test_what_cannot_be_done_is_told_all_together() -> None:
    with pytest.raises(SeveralErrors) as caught:
        call("--materialize", "--cleanup", "--ignore-path=/x", "--bucket", "b", "--ignore-path=/y")
    assert [error.what for error in caught.value.errors] == [
        "--materialize cannot be done", "--ignore-path cannot be done", "--bucket cannot be done",
    ]  # fmt: skip


def test_plain_http_makes_other_words_needless() -> None:
    found = call("--insecure", "--skip-tls-verify", "--insecure-registry=B:1",
                 "--skip-tls-verify-registry=b:1", *APP)  # fmt: skip
    assert found.request.registries.insecure == ("b:1", "registry.example.com")
    assert found.ignored == ("--skip-tls-verify", "--skip-tls-verify-registry")
    # Bases may come from other registries than the image goes to.
    for flag in ("--insecure-pull", "--skip-tls-verify-pull"):
        assert flag in refused("--insecure", flag, *APP)
    assert "--skip-tls-verify-registry" in refused(
        "--insecure-registry=a", "--skip-tls-verify-registry=a", "--skip-tls-verify-registry=c"
    )
    assert call("--skip-default-registry-fallback").ignored


@pytest.mark.parametrize("path", ["/kaniko", "/product_uuid", "/proc/", "/kaniko/x/../y"])
def test_paths_of_kanikos_own_container_may_be_ignored(path: str) -> None:
    assert call(f"--ignore-path={path}").ignored == ("--ignore-path",)
    assert "--ignore-path" in refused(f"--ignore-path={path}", "--ignore-path=/kaniko/../root")


# --- variables ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "word", "is_pushed"),
    [("true", "--no-push=false", False), ("0", "--no-push", True), ("T", "--force", False)],
)
def test_the_variable_about_pushing_wins(value: str, word: str, is_pushed: bool) -> None:
    assert request(*APP, word, env={"KANIKO_NO_PUSH": value}).push == is_pushed


def test_the_variable_about_pushing_is_a_truth_value() -> None:
    assert "KANIKO_NO_PUSH" in refused(*APP, env={"KANIKO_NO_PUSH": "yes"})


def test_mirrors_of_variables() -> None:
    env = {"KANIKO_REGISTRY_MAP": "docker.io=a;quay.io=b", "KANIKO_REGISTRY_MIRROR": "c/d"}
    found = call("--registry-mirror=e", env=env).request.registries.mirrors
    assert found == (("docker.io", ("a", "e", "c/d")), ("quay.io", ("b",)))
    empty = {"KANIKO_REGISTRY_MAP": "", "KANIKO_REGISTRY_MIRROR": ""}
    assert request(env=empty).registries == request().registries


def test_credentials_where_kanikos_image_has_them(tmp_path: Path) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text("{}")
    wanted = str(tmp_path / ".docker")
    assert request(env={"KANIKO_DIR": str(tmp_path)}).env["DOCKER_CONFIG"] == wanted
    found = request("--kaniko-dir", str(tmp_path), env={"KANIKO_DIR": "/other"})
    assert found.env["DOCKER_CONFIG"] == wanted
    own = {"KANIKO_DIR": str(tmp_path), "DOCKER_CONFIG": "/own"}
    assert request(env=own).env["DOCKER_CONFIG"] == "/own"


def test_a_time_that_is_set_stays() -> None:
    env = {"SOURCE_DATE_EPOCH": "17"}
    assert request("--reproducible", env=env).env["SOURCE_DATE_EPOCH"] == "17"
    assert "SOURCE_DATE_EPOCH" not in request("--reproducible=false").env


def test_where_google_cloud_build_looks() -> None:
    env = {"BUILDER_OUTPUT": "/builder"}
    assert call(*APP, env=env).files.builder == "/builder/images"
    assert call(*APP, "--no-push", env=env).files.builder == ""


# --- contexts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "field", "wanted"),
    [
        ((), "directory", "/workspace"),
        (("-c", "."), "directory", "/here"),
        (("--context=dir://.",), "directory", "/here"),
        (("--context=dir:///a/../b/",), "directory", "/b"),
        (("--context=tar://stdin",), "tar", "-"),
        (("--context=tar://a.tgz",), "tar", "/here/a.tgz"),
        (("--context=https://example.com/a.tgz?sig=x",), "url", "https://example.com/a.tgz?sig=x"),
        (("--context=https://x.blob.core.windows.net/a?sig=1",), "url",
         "https://x.blob.core.windows.net/a?sig=1"),
    ],
)  # fmt: skip
def test_where_the_context_is(words: tuple[str, ...], field: str, wanted: str) -> None:
    context = call(*words, env={"AZURE_STORAGE_ACCESS_KEY": "k"}).context
    assert getattr(context, field) == wanted
    places = (context.directory, context.tar, context.url, context.git)
    assert len(list(filter(None, places))) == 1


ID = "0123456789abcdef0123456789abcdef01234567"


@pytest.mark.parametrize(
    ("context", "words", "remote", "ref"),
    [
        ("git://example.com/a.git", (), "https://example.com/a.git", ""),
        ("git://example.com/a", (), "https://example.com/a", ""),
        ("git+https://example.com/a#", (), "https://example.com/a", ""),
        ("git+http://example.com/a#x", (), "http://example.com/a", "x"),
        ("git://example.com/a#refs/heads/main", (), "https://example.com/a", "refs/heads/main"),
        (f"git://example.com/a#main#{ID}", (), "https://example.com/a", ID),
        (f"git://example.com/a#{ID.upper()}", (), "https://example.com/a", ID),
        (f"git://example.com/a#{ID}", ("--git=branch=b",), "https://example.com/a", ID),
        ("git://example.com/a#main", ("--git=branch=b", "--git=depth=1", "--git=single-branch=t"),
         "https://example.com/a", "b"),
    ],
)  # fmt: skip
def test_repositories(context: str, words: tuple[str, ...], remote: str, ref: str) -> None:
    found = call(f"--context={context}", *words).context.git
    wanted = GitSource(remote, ref, keep_git_dir=True, submodules=False)
    assert found == GitContext(wanted)


def test_submodules_and_the_scheme_of_a_repository() -> None:
    words = ("-c=git://example.com/a", "--git=recurse-submodules=true")
    assert call(*words).context.git.source.submodules is True
    plain = call(*words, env={"GIT_PULL_METHOD": "http"}).context.git
    assert plain.source.remote == "http://example.com/a"
    other = call(*words, env={"GIT_PULL_METHOD": "ssh"}).context.git
    assert other.source.remote == "https://example.com/a"


@pytest.mark.parametrize(
    ("env", "pair"),
    [
        ({"GIT_TOKEN": SECRET}, f"{SECRET}:"),
        ({"GIT_TOKEN": SECRET, "GIT_USERNAME": "u", "GIT_PASSWORD": "p"}, f"{SECRET}:"),
        ({"GIT_USERNAME": "u", "GIT_PASSWORD": SECRET}, f"u:{SECRET}"),
        ({"GIT_PASSWORD": SECRET}, f":{SECRET}"),
        ({"GIT_TOKEN": ""}, None),
    ],
)
def test_credentials_of_a_repository(env: dict[str, str], pair: str | None) -> None:
    found = call("-c", "git://example.com/a", env=env)
    header = found.context.git.authorization
    encoded = base64.b64encode((pair or "").encode()).decode()
    assert header == (f"Basic {encoded}" if pair else "")
    assert SECRET not in repr(found.context)
    assert not encoded or encoded not in repr(found.context)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("-c", ""), "--context is empty"),
        (("-f", ""), "--dockerfile is empty"),
        (("-c", "gs://b/x.tgz"), "--context tar://FILE"),
        (("-c", "s3://b/x.tgz"), "--context tar://FILE"),
        (("-c", "https://x.blob.core.windows.net/a"), "--context tar://FILE"),
        (("-c", "http://example.com/a"), "did you mean 'https'"),
        (("-c", "dirr://x"), "did you mean 'dir'"),
        (("-c", "ftp://u:pw@x"), "dir://, tar://, git://, https://"),
        (("-c", "tar://"), "names nothing"),
        (("-c", "git://"), "names no repository"),
        (("-c", "git:///a.git"), "not the URL of a git repository"),
        (("-c", "git://-x/a.git"), "not the URL of a git repository"),
        (("-c", "git://h/a.git#--upload-pack=x"), "not a git branch"),
        (("-c", "git://h/a.git#main#abc"), "not a whole commit id"),
        (("-c", ".", "--context-sub-path=x"), "--context dir://DIR"),
        (("--git=branch",), "--git is not KEY=VALUE"),
        (("-c=git://h/a", "--git=brnch=x"), "did you mean 'branch'"),
        (("-c=git://h/a", "--git=depth=x"), "depth= is no number"),
        (("-c=git://h/a", "--git=recurse-submodules=maybe"), "neither true nor false"),
        (("-c=git://h/a", "--git=insecure-skip-tls=true"), "SSL_CERT_FILE"),
    ],
)
def test_contexts_that_are_none(words: tuple[str, ...], told: str) -> None:
    if words == ("--git=branch",):
        words = ("-c=git://h/a", *words)
    assert told in refused(*words, env={"AZURE_STORAGE_ACCESS_KEY": "k"})


# --- registries ---------------------------------------------------------------------------------

OWN = """
[registry]
default = "registry.own/team"
insecure = ["own:1"]
ca = ["ca.pem"]
concurrency = 7
[registry.mirrors]
"docker.io" = ["own-mirror", "both"]
"quay.io" = ["q"]
[registry.client-certificates]
"own:1" = { cert = "~/c.pem" }
"""
PROJECT = """
[registry]
insecure = ["project:1"]
[registry.mirrors]
"quay.io" = ["of-the-project"]
[cache]
from = ["registry.example.com/their/cache"]
to = ["registry.example.com/their/cache"]
mounts = ["npm"]
"""


def test_what_the_call_says_of_registries_stands_above_all_settings(tmp_path: Path) -> None:
    own = tmp_path / ".config" / "wherry"
    own.mkdir(parents=True)
    (own / "config.toml").write_text(OWN)
    env = {"HOME": str(tmp_path)}
    said = request(
        "--insecure-registry=new:2",
        "--registry-mirror=both",
        "--registry-mirror=mine",
        "--registry-map=quay.io=of-the-call",
        "--registry-certificate=h=/of the call.pem",
        "--registry-client-cert=h=/c,/k",
    ).registries
    around = RegistryAround("", env, "/", (), discard, CancelToken())
    (tmp_path / "wherry.toml").write_text(PROJECT)
    directory = str(tmp_path)
    mine = Registries(around, directory).settings
    with Registries(around._replace(said=said), directory) as registries:
        found = registries.settings
        # Other connections of the same build.
        assert registries.beside(CancelToken(), 1).settings == found
    assert (found.default, found.concurrency) == (mine.default, mine.concurrency)
    assert found.insecure == ("new:2", "own:1", "project:1")
    assert found.insecure_by_user == ("new:2", "own:1")
    assert found.ca_by_user == ("/of the call.pem", str(own / "ca.pem"))
    assert dict(found.mirrors) == {
        "docker.io": ("both", "mine", "own-mirror"),
        "quay.io": ("of-the-call", "of-the-project"),
    }
    assert dict(found.client_certificates) == {
        "own:1": ClientCertificate(str(tmp_path / "c.pem")),
        "h": ClientCertificate("/c", "/k"),
    }
    assert Registries(around, directory).settings == mine


def test_flags_about_registries_leave_the_environment_as_it_is() -> None:
    found = request("--insecure-registry=new:2", "--registry-mirror=mine", "-d=new:2/app")
    assert found.env == HOME
    assert any(found.registries)
    assert not any(request().registries)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--insecure-registry=http://a",), "--insecure-registry"),
        (("--insecure-registry=a/b",), "is no host"),
        (("--registry-certificate=/ca.pem",), "HOST=FILE"),
        (("--registry-certificate=a=",), "HOST=FILE"),
        (("--registry-certificate=a/b=/x",), "is no host"),
        (("--registry-client-cert=a=/c.pem",), "HOST=CERTIFICATE,KEY"),
        (("--registry-map=gcr.io",), "is not HOST=MIRROR"),
        (("--registry-map=gcr.io=a;b",), "is not HOST=MIRROR"),
        (("--registry-mirror=a b",), "--registry-mirror"),
    ],
)
def test_what_is_no_registry(words: tuple[str, ...], told: str) -> None:
    assert told in refused("--force", *words)


def test_passwords_in_addresses_are_not_told() -> None:
    for flag in ("insecure-registry", "registry-mirror", "registry-certificate", "registry-map"):
        assert SECRET not in refused(f"--{flag}=user:{SECRET}@host")
        assert SECRET not in refused(f"--{flag}=user:{SECRET}@host=/x")


# --- other mistakes -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--no-push=false",), "there is no --destination"),
        (("-d", "a@sha256:" + "0" * 64), "a destination has no digest"),
        (("-d", "A B"), "not an image reference"),
        (("--cache", "--no-push"), "--cache-repo"),
        (("--cache", "--cache-repo=a/b:c"), "has a tag"),
        (("--cache", "--cache-repo=a/b:latest"), "has a tag"),
        (("--cache", "--cache-repo=A b"), "not an image reference"),
        (("--target=a,b",), "several stages: a, b"),
        (("--target=a", "--target=b"), "wherry kaniko --no-push --target b"),
        (("--custom-platform=linux/amd64,linux/arm64",), "wherry build --platform"),
        (("--label=a",), "KEY=VALUE"),
        (("--annotation", "=a"), "KEY=VALUE"),
        (("--build-arg", f"={SECRET}"), "--build-arg VERSION=1.2"),
        (("--tar-path=a", "--compression=zstd"), "--oci-layout-path"),
        (("--digest-file=/",), "is a directory"),
        (("--digest-file=https://x/?sig=" + SECRET,), "curl"),
        (("--image-name-with-digest-file=n",), "--destination NAME:TAG"),
        (("--image-name-tag-with-digest-file=n",), "--destination NAME:TAG"),
        # How words are read.
        (("--cache", "true"), "write --cache=true"),
        (("--cache=yes",), "neither true nor false"),
        (("--cache=",), "neither true nor false"),
        (("--push-retry=many",), "is no number"),
        (("--cache-ttl=2weeks",), "is no duration"),
        (("--verbosity=loud",), "one of: trace"),
        (("--compression=gzipp",), "did you mean 'gzip'"),
        (("--destinaton=a",), "did you mean '--destination'"),
        (("--zzz",), "wherry kaniko --help"),
        (("-x",), "kaniko has no flag -x"),
        (("-context=.",), "write --context"),
        (("-dockerfile", "x"), "write --dockerfile"),
        (("-t", "a"), "kaniko has no flag -t"),
        (("--tag=a",), "--destination NAME:TAG"),
        (("--platform=a",), "--custom-platform"),
        (("--",), "leave it out"),
        (("-",), "the build context is --context"),
        (("--force", SECRET), "word 2, behind --force, is no flag"),
        (("push", "a.tar"), "wherry push"),
        (("version",), "wherry --version"),
        (("-c", "a\0b"), "NUL"),
        (("--dockerfile",), "has no value"),
    ],
)  # fmt: skip
def test_other_mistakes(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(UsageError) as caught:
        call(*words) if words[0] != "--dockerfile" else read_words(words)
    assert told in str(caught.value)
    assert caught.value.hint or "NUL" in told
    assert SECRET not in str(caught.value)


def test_the_last_value_counts_where_there_is_one() -> None:
    found = call("-c", "a", "--context=b", "--cache=false", "--cache", "--cache-repo=r/c",
                 "-f1", "-f2", "--verbosity=info", "-verror")  # fmt: skip
    assert found.context.directory == "/here/b"
    assert found.context.dockerfile == "2"
    assert found.request.cache_from == ("docker.io/r/c:wherry",)
    assert found.mode == "quiet"


def test_caches() -> None:
    assert request("--cache=false").no_cache
    assert request("--cache=false").go_cache == "off"
    assert not request().no_cache
    assert request().go_cache == request("--cache", *APP).go_cache == ""
    assert request("--cache-repo=r/c").cache_from == ("",)
    assert request("--cache", "--no-push-cache").cache_from == ("",)
    assert request("--cache", "--no-push-cache", *APP).cache_from != ("",)
    for path, wanted in (("/a,b/c", "/a,b/c"), ("x", "/here/x"), ('q"', '/here/q"')):
        found = request("--cache", f"--cache-repo=oci:{path}")
        for text, flag in (
            (found.cache_from[0], "--cache-from"),
            (found.cache_to[0], "--cache-to"),
        ):
            spec = parse_cache_spec(text, flag, "/")
            assert (spec.is_directory, spec.path) == (True, wanted)
    inferred = request("--cache", "-d", "app:1").cache_from[0]
    assert inferred == "docker.io/library/app/cache:wherry"
    assert not parse_cache_spec(inferred, "--cache-from", "/").is_directory


@pytest.mark.parametrize(
    ("words", "read", "written"),
    [
        ((), 0, 0),
        (("--cache=false",), 0, 0),
        (("--no-push-cache",), 0, 0),
        (("--cache", "--no-push-cache"), 1, 0),
        (("--cache",), 1, 1),
    ],
)
def test_only_the_call_says_where_caches_are(
    words: tuple[str, ...], read: int, written: int, tmp_path: Path
) -> None:
    (tmp_path / "wherry.toml").write_text(PROJECT)
    # A machine of CI, where places of the project's file would be trusted.
    asking = request(*APP, *words, env={"CI": "true"})
    settings = load_settings(str(tmp_path))
    found = asked_caches(asking, settings)
    own = f"{APP[1].removesuffix(':1')}/cache:wherry"
    assert [spec.place for spec in found.sources] == [own] * read
    assert [spec.place for spec in found.targets] == [own] * written
    assert found.untrusted == ()
    assert asked_mounts(asking, settings) == ("npm",) * read


def test_names_mean_docker_hub_whatever_the_default_registry_is(tmp_path: Path) -> None:
    (tmp_path / "wherry.toml").write_text('[registry]\ndefault = "registry.example.com/team"\n')
    found = call("-d=app:1", "-d=me/app", "--cache", "--cache-repo=me/c",
                 f"--image-name-with-digest-file={tmp_path}/names",
                 env={"BUILDER_OUTPUT": str(tmp_path)})  # fmt: skip
    around = RegistryAround("", HOME, "/", (), discard, CancelToken())
    with Registries(around, str(tmp_path)) as registries:
        names = (*found.request.tags, *found.request.cache_from, *found.request.cache_to)
        assert [registries.reference(name).full for name in names] == [
            "docker.io/library/app:1", "docker.io/me/app:latest",
            "docker.io/me/c:wherry", "docker.io/me/c:wherry",
        ]  # fmt: skip
    found.files.write("sha256:1", found.destinations)
    assert (tmp_path / "names").read_text() == (
        "index.docker.io/library/app@sha256:1\nindex.docker.io/me/app@sha256:1\n"
    )
    told = [json.loads(line)["name"] for line in (tmp_path / "images").read_text().splitlines()]
    assert told == ["app:1", "me/app"]


def test_what_is_told_of_flags_that_are_passed_over() -> None:
    names = call("--cleanup", "--cache-ttl=24h", "--force").ignored
    needless, missed = ignored_lines(names)
    assert needless == "ignored: --cleanup, --force: wherry has no need of them"
    assert missed.startswith("ignored: --cache-ttl: no step expires by its age; --build-arg")
    assert list(ignored_lines(())) == []


def test_the_page_says_what_a_flag_that_is_passed_over_would_do() -> None:
    different = PAGE.read_text().partition("## What is different\n")[2]
    for flag in FLAGS:
        assert not flag.missed or f"`--{flag.name}`" in different


@pytest.mark.parametrize("path", ["/a,b", 'a"b', "a=b", "with space", "-", "./x/../y"])
def test_any_path_is_a_place_for_an_output(path: str) -> None:
    found = request(f"--tar-path={path}", f"--oci-layout-path={path}.d")
    archive, layout = parse_outputs(found.outputs, "/elsewhere")
    wanted = os.path.normpath(os.path.join("/here", path))
    assert (archive.kind, archive.dest, archive.tar) == (OutputKind.DOCKER, wanted, True)
    assert (layout.kind, layout.dest, layout.tar) == (OutputKind.OCI, f"{wanted}.d", False)


@pytest.mark.parametrize(
    ("words", "attributes"),
    [
        (("--compression=gzip",), None),
        (("--compression-level=-1",), None),
        (("--compression-level", "0x9"), "compression=gzip,compression-level=9"),
        (("--compression=zstd", "--compression-level=03"), "compression=zstd,compression-level=3"),
    ],
)
def test_compression(words: tuple[str, ...], attributes: str | None) -> None:
    found = request(*APP, *words)
    assert found.push == (attributes is None)
    assert found.outputs == (() if attributes is None else (f"type=registry,{attributes}",))
    kept = request("--oci-layout-path=/l", *words).outputs
    assert kept == ("type=oci,tar=false,dest=/l" + (f",{attributes}" if attributes else ""),)


def test_the_request_is_one_of_a_dockerfile() -> None:
    found = request(env={"WHERRY_STORE": "/store"})
    assert (found.frontend, found.store, found.cwd) == ("dockerfile", "/store", "/here")


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["--help", "-h", "--help=true"])
def test_help_has_what_is_used_and_nothing_else(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_verb(["kaniko", "-d", "x", word]) == 0
    page = capsys.readouterr().out
    for flag in FLAGS:
        assert (f"--{flag.name} " in page or f"--{flag.name}\n" in page) == (
            flag.fate is Fate.USED
        ), flag.name
    assert page.startswith("Usage: wherry kaniko")


def test_flags_for_help_and_completion_are_those_of_the_table() -> None:
    assert [param.opts[0] for param in command.params] == [f"--{flag.name}" for flag in FLAGS]


def test_words_of_wherry_build_that_mean_something_here() -> None:
    """A new flag of `wherry build` that kaniko has, too, has to mean the same."""
    shared = {flag.name for flag in BUILD_FLAGS} & set(BY_NAME)
    assert shared == {"annotation", "build-arg", "label", "secret", "target"}


# --- odd spellings ------------------------------------------------------------------------------

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)


@st.composite
def spelt(draw: st.DrawFn) -> tuple[list[str], tuple[KanikoFlag, str]]:
    """Words for one flag, in any of the forms that pflag reads, and what they mean."""
    flag = draw(st.sampled_from(FLAGS))
    name = draw(st.sampled_from([flag.name, *flag.older]))
    if flag.takes == "switch":
        value = draw(st.sampled_from(["1", "t", "T", "TRUE", "true", "True", "0", "f", "F",
                                      "FALSE", "false", "False"]))  # fmt: skip
        alone = draw(st.booleans())
        return ([f"--{name}"], (flag, "true")) if alone else ([f"--{name}={value}"], (flag, value))
    value = draw({
        "number": st.integers(-(10**17), 10**17).map(str),
        "duration": st.sampled_from(["1h", "0", "1.5h30m", "300ms", "-2s", "1us", "1µs", ".5h"]),
        "choice": st.sampled_from(flag.choices or ("",)),
    }.get(flag.takes, VALUES))  # fmt: skip
    forms = [[f"--{name}={value}"], [f"--{name}", value]]
    if flag.short:
        forms += [[f"-{flag.short}", value], [f"-{flag.short}={value}"]]
        joined = f"{flag.short}{value}".partition("=")[0]
        if value and not value.startswith("=") and joined not in (*BY_NAME, flag.short):
            forms.append([f"-{flag.short}{value}"])
    return draw(st.sampled_from(forms)), (flag, value)


@given(st.lists(spelt(), max_size=8))
def test_what_is_spelt_is_read(parts: list[tuple[list[str], tuple[KanikoFlag, str]]]) -> None:
    words = [word for spelling, _ in parts for word in spelling]
    found = read_words(words)
    assert found.values == tuple(meant for _, meant in parts)
    assert not found.wants_help


WORDS = st.one_of(
    st.sampled_from([f"--{name}" for name in BY_NAME]),
    st.builds(lambda name, value: f"--{name}={value}", st.sampled_from([*BY_NAME]), VALUES),
    st.sampled_from(
        ["-c", "-d", "-f", "-v", "-b", "-h", "--", "-", "", "true", "--=x", "-=", "--x"]
    ),
    VALUES,
)


@given(st.lists(WORDS, max_size=6))
def test_any_words_are_a_call_or_a_mistake_of_the_users(words: list[str]) -> None:
    try:
        found = translate(read_words(words), HOME, "/here")
    except WherryError as error:
        assert isinstance(error, UsageError | SeveralErrors)
    else:
        assert found.request.frontend == "dockerfile"
        assert set(found.ignored) <= {f"--{flag.name}" for flag in FLAGS}


@given(st.lists(st.sampled_from([
    "--build-arg", "--secret", "--cache", "--force", "-d", "--git", "--label", "--nope", "-x",
    f"TOKEN={SECRET}", SECRET, f"={SECRET}", f"id=a,{SECRET}", "=", "--", f"--build-arg=={SECRET}",
    f"--nope={SECRET}", f"--cache={SECRET}", f"--push-retry={SECRET}", f"--verbosity={SECRET}",
]), max_size=5))  # fmt: skip
def test_no_mistake_tells_a_value_that_may_be_secret(words: list[str]) -> None:
    try:
        read_words(words)
    except UsageError as error:
        assert SECRET not in str(error)
