# SPDX-License-Identifier: Apache-2.0
"""Finding ko's settings beside a module, and writing them as `wherry.toml`: whole or not at all."""

import errno
import os
from pathlib import Path

import pytest

from wherry.api.building import check_request
from wherry.api.ko_migration import find_ko, load_ko, migrate_ko
from wherry.api.request import BuildRequest
from wherry.errors import MachineError, UsageError
from wherry.settings.load import load_settings
from wherry.settings.model import ImageSettings

KO = "baseImageOverrides:\n  example.com/m/cmd/api: localhost/base\nbuilds:\n- main: ./cmd/api\n"
TOML = '[image.api]\npackages = ["./cmd/api"]\nbase = "localhost/base"\n'


@pytest.fixture
def module(tmp_path: Path) -> Path:
    (tmp_path / "go.mod").write_text("module example.com/m\n")
    (tmp_path / ".ko.yaml").write_text(KO)
    return tmp_path


def entries(directory: Path) -> set[str]:
    return set(os.listdir(directory))


def test_import_paths_are_those_of_the_module(module: Path) -> None:
    loaded = load_ko(str(module), {})
    assert loaded is not None
    settings, notes = loaded
    image = ImageSettings(name="api", packages=("./cmd/api",), base="localhost/base")
    assert (settings.images, notes) == ((image,), ())
    assert settings.path == str(module / ".ko.yaml")


def test_a_module_below_has_settings_of_its_own(module: Path) -> None:
    (module / "cmd" / "api").mkdir(parents=True)
    (module / "cmd" / "go.mod").write_text("module example.com/m/cmd\n")
    loaded = load_ko(str(module), {})
    assert loaded is not None
    settings, notes = loaded
    assert settings.images == ()
    assert len(notes) == 2
    assert "cmd is a module" in notes[0]


def test_where_ko_s_file_is_looked_for(module: Path, tmp_path: Path) -> None:
    there = str(module)
    assert find_ko(there, {}) == str(module / ".ko.yaml")
    (module / "other").mkdir()
    assert find_ko(there, {"KO_CONFIG_PATH": "other"}) == ""
    (module / ".ko.yaml").rename(module / "other" / ".ko.yml")
    assert find_ko(there, {}) == ""
    assert load_ko(there, {}) is None
    assert find_ko(there, {"KO_CONFIG_PATH": "other"}) == str(module / "other" / ".ko.yml")
    named = str(module / "other" / ".ko.yml")
    assert find_ko("/", {"KO_CONFIG_PATH": named}) == named
    with pytest.raises(UsageError, match="KO_CONFIG_PATH names no file: gone"):
        find_ko(there, {"KO_CONFIG_PATH": "gone"})


def test_the_written_file_gives_the_same_settings(module: Path) -> None:
    loaded = load_ko(str(module), {"KO_DOCKER_REPO": "localhost:5000/team"})
    assert loaded is not None
    migrated = migrate_ko(str(module), {"KO_DOCKER_REPO": "localhost:5000/team"})
    assert migrated == (str(module / "wherry.toml"), str(module / ".ko.yaml"), ())
    written = load_settings(str(module))
    assert (written.build, written.images, written.registry) == (
        loaded[0].build,
        loaded[0].images,
        loaded[0].registry,
    )
    text = (module / "wherry.toml").read_text()
    assert text == TOML + '\n[registry]\ndefault = "localhost:5000/team"\n'
    assert entries(module) == {"go.mod", ".ko.yaml", "wherry.toml"}


def test_an_existing_file_stays_unless_forced(module: Path) -> None:
    target = module / "wherry.toml"
    target.write_text("# mine\n")
    with pytest.raises(UsageError, match="toml exists"):
        migrate_ko(str(module), {})
    assert target.read_text() == "# mine\n"
    migrate_ko(str(module), {}, force=True)
    assert target.read_text() == TOML
    target.unlink()
    target.symlink_to("nowhere")
    with pytest.raises(UsageError, match="toml exists"):
        migrate_ko(str(module), {})
    assert entries(module) == {"go.mod", ".ko.yaml", "wherry.toml"}


def test_a_file_that_appears_meanwhile_stays(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_descriptor: int) -> None:
        (module / "wherry.toml").write_text("# mine\n")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(UsageError, match="toml exists"):
        migrate_ko(str(module), {})
    assert (module / "wherry.toml").read_text() == "# mine\n"


def test_a_file_system_without_hard_links(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(_source: str, _target: str) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", link)
    migrate_ko(str(module), {})
    assert (module / "wherry.toml").read_text() == TOML


def test_a_full_disk_leaves_nothing(module: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fsync(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(MachineError, match="cannot write wherry"):
        migrate_ko(str(module), {})
    assert entries(module) == {"go.mod", ".ko.yaml"}


def test_nothing_to_begin_with(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no \.ko\.yaml in"):
        migrate_ko(str(tmp_path), {})
    assert entries(tmp_path) == set()


def test_what_is_wrong_is_not_written(module: Path) -> None:
    (module / ".ko.yaml").write_text("builds: 1\n")
    with pytest.raises(UsageError) as caught:
        migrate_ko(str(module), {})
    assert caught.value.where == ".ko.yaml:1"
    (module / ".ko.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8"):
        migrate_ko(str(module), {})
    assert entries(module) == {"go.mod", ".ko.yaml"}


@pytest.mark.parametrize(
    ("ko", "toml", "frontend"),
    [
        ("builds:\n- main: ./cmd/api\n", None, "gomodule"),
        ("defaultBaseImage: localhost/base\n", None, "dockerfile"),
        ("builds:\n- main: ./cmd/api\n", '[build]\nbase = "scratch"\n', "dockerfile"),
        (None, None, "dockerfile"),
    ],
)
def test_images_of_ko_count_beside_a_dockerfile(
    module: Path, ko: str | None, toml: str | None, frontend: str
) -> None:
    """Read as it is, the file means what the wherry.toml made of it would mean."""
    for name, text in (("Dockerfile", "FROM scratch\n"), (".ko.yaml", ko), ("wherry.toml", toml)):
        if text is None:
            (module / name).unlink(missing_ok=True)
        else:
            (module / name).write_text(text)
    request = BuildRequest(".", str(module), {}, str(module / "store"))
    assert check_request(request) == frontend
    if ko and not toml:
        migrate_ko(str(module), {})
        assert check_request(request) == frontend
