# SPDX-License-Identifier: Apache-2.0
"""`.ko.yaml` as wherry's settings: what is taken, what is told, what is refused, with its line."""

import time
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.ko import KoPlace, parse_ko
from wherry.settings.model import BuildSettings, ImageSettings, Settings
from wherry.settings.reading import parse_settings
from wherry.settings.registry import RegistrySettings
from wherry.settings.templates import Values, parse
from wherry.settings.writing import write_settings


def read(
    text: str, env: Mapping[str, str] | None = None, modules: tuple[str, ...] = ()
) -> tuple[Settings, tuple[str, ...]]:
    place = KoPlace("example.com/Shop", env or {}, lambda path: path in modules)
    settings, notes = parse_ko(text, ".ko.yaml", place)
    assert all("\n" not in note for note in notes)
    assert parse_settings(write_settings(settings), "/m/wherry.toml") == settings_at(settings)
    return settings, notes


def settings_at(settings: Settings) -> Settings:
    return Settings(settings.build, settings.images, "/m/wherry.toml", settings.registry)


def test_a_whole_file() -> None:
    settings, notes = read(
        """
defaultBaseImage: gcr.io/distroless/static:nonroot
baseImageOverrides:
  example.com/shop/cmd/api: docker.io/library/debian:12-slim
  ko://example.com/shop/tools/Gen: alpine
defaultPlatforms: [linux/amd64, linux/arm64]
defaultLdflags: [-s, -X main.channel=stable]
defaultFlags: [-trimpath, -tags, "netgo,osusergo"]
builds:
- id: api
  main: ./cmd/api/main.go
  ldflags:
  - -s -w
  - -X main.version={{.Git.Tag}}
- id: worker
  dir: ./cmd
  main: worker
  env: [CGO_ENABLED=1]
  flags: -tags=sqlite -gcflags "all=-N"
  linux_capabilities: net_bind_service=ep
- main: .
"""
    )
    assert settings == Settings(
        build=BuildSettings(
            base="gcr.io/distroless/static:nonroot",
            platforms=("linux/amd64", "linux/arm64"),
            ldflags=("-s", "-X main.channel=stable"),
            build_tags=("netgo", "osusergo"),
        ),
        images=(
            ImageSettings(
                name="api",
                packages=("./cmd/api",),
                base="docker.io/library/debian:12-slim",
                ldflags=("-s -w", "-X main.version={{.Git.Tag}}"),
            ),
            ImageSettings(
                name="worker",
                packages=("./cmd/worker",),
                cgo=True,
                build_tags=("sqlite",),
                # As ko has it: blanks part the words, and quotes stay.
                gcflags=('"all=-N"',),
                capabilities=("net_bind_service",),
            ),
            ImageSettings(name="Shop", packages=(".",)),
            ImageSettings(
                name="Gen", packages=("./tools/Gen",), base="docker.io/library/alpine:latest"
            ),
        ),
    )
    assert notes == ()


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "builds: []\n", "builds:\n"])
def test_nothing_said(text: str) -> None:
    assert read(text) == (Settings(), ())
    assert write_settings(Settings()) == ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("defaultBaseImage: static", "docker.io/library/static:latest"),
        ("defaultbaseimage: team/base:1", "docker.io/team/base:1"),
        ("DEFAULTBASEIMAGE: localhost:5000/base", "localhost:5000/base"),
    ],
)
def test_a_base_means_what_it_means_to_ko(text: str, wanted: str) -> None:
    assert read(text)[0].build.base == wanted


def test_an_entry_replaces_the_defaults_and_says_so_where_it_has_less() -> None:
    settings, _ = read(
        """
defaultEnv: [CGO_ENABLED=1, GOTOOLCHAIN=go1.25.3]
defaultFlags: [-tags=a, -gcflags=-l, -buildvcs=true]
defaultLdflags: -s -w
builds:
- {main: ./same}
- {main: ./other, flags: [-v], env: [CGO_ENABLED=0], ldflags: []}
- {main: ./third, flags: ["-ldflags=-X main.a=b"]}
"""
    )
    assert settings.build == BuildSettings(
        cgo=True, go="1.25.3", build_tags=("a",), gcflags=("-l",), stamp="full", ldflags=("-s -w",)
    )
    same, other, third = settings.images
    assert same == ImageSettings(name="same", packages=("./same",))
    assert other == ImageSettings(
        name="other", packages=("./other",), build_tags=(), gcflags=(), stamp="off", cgo=False
    )
    assert third.ldflags == ("-X main.a=b",)


def test_variables_of_the_entry_go_into_its_templates() -> None:
    settings, notes = read(
        """
builds:
- env: [VERSION=1.0 beta, "BRACES={{x}}{", UNUSED=hunter2]
  ldflags: ["-X 'main.v={{.Env.VERSION}}' {{.Env.BRACES}}{{.Git.Tag}}", "{{ .Env.HOME }}"]
"""
    )
    first, second = settings.images[0].ldflags or ()
    assert second == "{{.Env.HOME}}"
    rendered = parse(first).render(Values(facts={"Git.Tag": "v1"}))
    assert rendered == "-X 'main.v=1.0 beta' {{x}}{v1"
    (note,) = notes
    assert note == ".ko.yaml:3: env: set for the build itself, not in wherry.toml: UNUSED"


def test_goflags_count_below_flags() -> None:
    settings, notes = read("defaultEnv: [GOFLAGS=-tags=a -mod=mod]\ndefaultFlags: [-tags=b]\n")
    assert settings.build.build_tags == ("b",)
    assert notes == (".ko.yaml:1: -mod has no key in wherry.toml: set it in GOFLAGS for the build",)


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("sbom: none", ".ko.yaml:1: sbom is no setting of ko's"),
        ("builds:\n- goos: [linux]", ".ko.yaml:2: builds: goos is left out: ko does not read it"),
        ("builds:\n- flags: [-race]", ".ko.yaml:2: -race has no key"),
        ("builds:\n- flags: [-tags, '{{.Env.A}}']", ".ko.yaml:2: -tags={{.Env.A}} is left out"),
        ("builds:\n- flags: ['-tags a']", ".ko.yaml:2: '-tags a' is no flag"),
        ("builds:\n- env: [GOARM=7, GOOS=linux]", ".ko.yaml:2: env: left out, platforms decide"),
        ("builds:\n- env: [GOTOOLCHAIN=local]", ".ko.yaml:2: env: GOTOOLCHAIN is left out"),
        ("builds:\n- env: [GOTOOLCHAIN=go1.25.3]", ".ko.yaml:2: builds: GOTOOLCHAIN of one image"),
        ("builds:\n- dir: ../x", ".ko.yaml:2: ../x is left out: it lies outside"),
        ("builds:\n- dir: tools/gen", ".ko.yaml:2: tools/gen is left out: tools is"),
        ("defaultPlatforms: [all]", ".ko.yaml:1: the platform 'all'"),
        ("defaultPlatforms:\n- windows/amd64", ".ko.yaml:2: the platform windows/amd64"),
        ("defaultBaseImage: ko.local/base", ".ko.yaml:1: the base ko.local/base is an engine's"),
        ("baseImageOverrides:\n  other.com/x: alpine", ".ko.yaml:2: the base for other.com"),
        ("builds:\n- linux_capabilities: net_raw", ".ko.yaml:2: linux_capabilities: wherry"),
        ("builds:\n- linux_capabilities: all=ep", ".ko.yaml:2: linux_capabilities: 'all=ep'"),
        ("builds:\n- ldflags: ['{{.Date}}']", "{{.Date}} and {{.Timestamp}} are SOURCE_DATE_EPOCH"),
    ],
)  # fmt: skip
def test_what_has_no_counterpart_is_one_note(text: str, note: str) -> None:
    _, notes = read(text, modules=("tools",))
    assert len(notes) == 1, notes
    assert notes[0].startswith(note)


@pytest.mark.parametrize(
    ("text", "where", "what"),
    [
        ("- a", ".ko.yaml:1", "the file is no table"),
        ("builds: {a: b}", ".ko.yaml:1", "builds wants a list"),
        ("builds:\n- a", ".ko.yaml:2", "an entry is no table"),
        ("builds:\n- main: [a]", ".ko.yaml:2", "main wants a text"),
        ("builds:\n- main: a b", ".ko.yaml:2", "no package"),
        ("builds:\n- env:\n  - SECRET", ".ko.yaml:3", "env: an entry has no '='"),
        ("builds:\n- flags: [-tags]", ".ko.yaml:2", "-tags needs a value"),
        ("builds:\n- flags: ['-tags=a-b']", ".ko.yaml:2", "no build tag"),
        ("builds:\n- ldflags:\n  - -s\n  - '{{.Vesion}}'", ".ko.yaml:4", "{{.Vesion}}"),
        ("builds:\n- ldflags: ['{{or .Env.A .Env.B}}']", ".ko.yaml:2", "functions such as 'or'"),
        ("builds:\n- ldflags: ['{{.Env.GOARCH}}']", ".ko.yaml:2", "{{.Env.GOARCH}} here"),
        ('builds:\n- ldflags: ["a\\0b"]', ".ko.yaml:2", "holds what is no text"),
        ("builds:\n- linux_capabilities: [net_rav]", ".ko.yaml:2", "net_rav"),
        ("defaultPlatforms: [linux/a/b/c]", ".ko.yaml:1", "linux/a/b/c"),
        ("defaultBaseImage: UPPER CASE", ".ko.yaml:1", "UPPER CASE"),
        ("baseImageOverrides: [a]", ".ko.yaml:1", "baseImageOverrides is no table"),
        ("a: b: c", ".ko.yaml:1:5", "not valid YAML"),
        ("a: 1\na: 2", ".ko.yaml:2", "a stands here twice"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, where: str, what: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(text)
    assert caught.value.where == where
    assert what in caught.value.what
    assert caught.value.hint
    assert "SECRET" not in str(caught.value)


def test_all_errors_at_once() -> None:
    with pytest.raises(SeveralErrors) as caught:
        read("defaultBaseImage: A A\nbuilds: [1, 2]\n")
    assert len(caught.value.errors) == 3


def test_variables_beat_the_file() -> None:
    env = {
        "KO_DOCKER_REPO": "registry.example.com/team",
        "KO_DEFAULTBASEIMAGE": "localhost/base",
        "KO_DEFAULTPLATFORMS": "linux/arm64,linux/amd64",
        "KO_DEFAULTLDFLAGS": "-s -w",
        "KO_GO_PATH": "/opt/go/bin/go",
    }
    settings, notes = read("defaultBaseImage: alpine\ndefaultLdflags: [-X a=b]\n", env)
    assert settings.build == BuildSettings(
        base="localhost/base", platforms=("linux/arm64", "linux/amd64"), ldflags=("-s", "-w")
    )
    assert settings.registry == RegistrySettings(default="registry.example.com/team")
    assert notes == ("KO_GO_PATH is not read: put that go on PATH",)
    with pytest.raises(UsageError) as caught:
        read("", {"KO_DEFAULTBASEIMAGE": "A A"})
    assert caught.value.where == "KO_DEFAULTBASEIMAGE"


@pytest.mark.parametrize(
    ("repository", "default"),
    [
        ("ko.local", None),
        ("kind.local", None),
        ("someone", "docker.io/someone"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_the_repository(repository: str, default: str | None) -> None:
    settings, notes = read("", {"KO_DOCKER_REPO": repository})
    assert settings.registry.default == default
    assert bool(notes) == (default is None)


def test_names_that_fall_together_are_told_apart() -> None:
    builds = "[{main: a/app}, {main: b/App}, {id: 'my app', main: c/app}, {id: x, main: d/v2}]"
    settings, _ = read(f"builds: {builds}")
    assert [image.name for image in settings.images] == ["app", "App-2", "my-app", "d"]


def test_variables_that_may_be_unset() -> None:
    settings, _ = read(
        """
builds:
- env: [SET=x]
  ldflags:
  - '{{ if index .Env "LD_FLAGS" }}{{ .Env.LD_FLAGS }}{{ end }}'
  - '{{if (index .Env "SET")}}{{.Env.SET}}{{end}}{{index .Env "SET"}}'
"""
    )
    assert settings.images[0].ldflags == ('{{index .Env "LD_FLAGS"}}', "xx")
    with pytest.raises(UsageError, match="'if'"):
        read("builds: [{ldflags: ['{{if index .Env \"A\"}}{{.Env.B}}{{end}}']}]")


def test_the_environment_is_in_no_repr() -> None:
    assert "hunter2" not in repr(KoPlace("", {"TOKEN": "hunter2"}, bool))


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{','.join(['*' + chr(97 + i)] * 9)}]\n" for i in range(9)
)
MERGES = "a: &a {k: v}\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} {{<<: [{','.join(['*' + chr(97 + i)] * 9)}]}}\n"
    for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (BOMB, "values with its aliases"),
        (MERGES, "values with its aliases"),
        ("a: &a [*a]", "an alias holds itself"),
        ("[" * 100_000, "nested"),
        ("- " * 100_000, "nested"),
        ("a" * 1_000_000, "too large"),
        ("!!python/object/apply:os.system [true]", "is not read"),
        ("a: \x01", "not valid YAML"),
        ("[a]: b", "a key is no text"),
        ("a: {<<: [b]}", "merges tables only"),
    ],
)
def test_hostile_yaml_is_bounded(text: str, what: str) -> None:
    began = time.monotonic()
    with pytest.raises(UsageError) as caught:
        read(text)
    assert what in str(caught.value)
    assert len(str(caught.value)) < 1000
    assert time.monotonic() - began < 20


def test_anchors_and_merges_are_read() -> None:
    settings, _ = read(
        "x: &flags [-s, -w]\n"
        "builds:\n- &one {main: one, ldflags: *flags}\n- {<<: *one, main: two}\n"
    )
    assert [image.ldflags for image in settings.images] == [("-s", "-w")] * 2
    assert [image.name for image in settings.images] == ["one", "two"]


@given(st.text(alphabet="builds:-\n {}[]&*!<>|'\"#dflagmen=x0~,", max_size=60))
def test_any_text_is_settings_or_an_error(text: str) -> None:
    try:
        read(text)
    except WherryError as error:
        assert error.exit_code in (2, 5)


words = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20)


@given(st.lists(words, max_size=4), st.lists(words, max_size=4))
def test_what_is_written_is_read_again(ldflags: list[str], gcflags: list[str]) -> None:
    plain = [text for text in ldflags if "{{" not in text]
    settings = Settings(
        build=BuildSettings(ldflags=tuple(plain) or None),
        images=(
            ImageSettings(
                name="a.b",
                packages=("./a",),
                gcflags=tuple(text for text in gcflags if "{{" not in text),
                env=(("A B" if False else "A_B", '\x7f\t"\\\n'),),
                labels=(("org.example.a b", "x"),),
            ),
        ),
    )
    assert parse_settings(write_settings(settings), "/m/wherry.toml") == settings_at(settings)
