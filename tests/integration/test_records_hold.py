# SPDX-License-Identifier: Apache-2.0
"""A build record holds for just what it should: all around a recorded build is changed in turn.

After each change either the record does not answer, or the image is what a fresh store gives.
"""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import fields
from pathlib import Path

import pytest

from record_changes import (
    EXEMPT,
    IMAGE_SETTINGS,
    KO,
    NOTHING,
    OTHER,
    OTHER_TABLES,
    Change,
    Shelf,
    changes,
    common_settings,
    file_changes,
    history_changes,
    ko_changes,
    request_changes,
    settings_text,
)
from wherry.api.building import build_images, check_request
from wherry.api.request import BuildRequest
from wherry.api.unchanged import ask_records
from wherry.errors import SeveralErrors, WherryError
from wherry.events import discard
from wherry.golang.facts import query_go
from wherry.golang.toolchain import GoCommand
from wherry.process.cancel import CancelToken
from wherry.settings.cache import CacheSettings
from wherry.settings.check import CheckSettings
from wherry.settings.declaration import declared, key_of
from wherry.settings.model import BuildSettings, ImageSettings
from wherry.settings.registry import RegistrySettings
from wherry.settings.store import StoreSettings
from wherry.store.store import open_store
from wherry_fixtures import Project

Make = Callable[..., Project]
# What a build came to: its images, or what was wrong.
Outcome = tuple[object, ...]


def request(shelf: Shelf, change: Change | None = None) -> BuildRequest:
    env = {**shelf.env, **shelf.variables}
    kept = {name: value for name, value in env.items() if value is not None}
    asked = BuildRequest(".", str(shelf.root), kept, str(shelf.project.store))
    return asked._replace(**{**shelf.asked, **(change.asked if change else {})})  # type: ignore[arg-type]


def holds(asked: BuildRequest) -> bool:
    """Whether a record would answer."""
    if check_request(asked) != "gomodule":
        return False
    with open_store(asked.store) as store:
        return ask_records(asked, store, CancelToken()).record is not None


def outcome(asked: BuildRequest) -> Outcome:
    try:
        made = build_images(asked, discard, CancelToken())
    except SeveralErrors as several:
        return tuple(str(error) for error in several.errors)
    except WherryError as error:
        return (str(error),)
    images = tuple(
        (image.digest, image.tags, image.platform, image.binaries, image.warnings, image.unpacked)
        for image in made.images
    )
    return (*images, *((failure.name, str(failure.error)) for failure in made.failures))


def version_of(shelf: Shelf, go: GoCommand) -> str:
    env = {**shelf.project.env, **dict(go.env)}
    return query_go(go, str(shelf.root), env, CancelToken()).version.removeprefix("go")


@pytest.fixture
def shelf(project: Make, go: GoCommand) -> Shelf:
    made = Shelf(project({}), "")
    (made.root / "wherry.toml").write_text(settings_text(version_of(made, go)))
    made.keep()
    return made


def wrong_answers(shelf: Shelf, tried: Iterable[Change]) -> list[str]:
    """The changes whose effect the record misjudges; a build between two puts it right again."""
    wrong: list[str] = []
    before = outcome(request(shelf))
    for change in tried:
        if not holds(request(shelf)):
            if outcome(request(shelf)) != before:
                wrong.append(f"back from the change before {change.name}: another image")
            assert holds(request(shelf)), f"no record before {change.name}"
        change.edit(shelf)
        if holds(request(shelf, change)) != (change.effect is NOTHING):
            wrong.append(f"{change.name}: the record holds or not, unlike {change.effect}")
        shelf.put_back()
    return wrong


def wrong_images(shelf: Shelf, tried: Iterable[Change], tmp_path: Path) -> list[str]:
    """The changes after which the used store gives another image than a fresh one."""
    wrong: list[str] = []
    before = outcome(request(shelf))
    for number, change in enumerate(tried):
        assert outcome(request(shelf)) == before, f"another image before {change.name}"
        change.edit(shelf)
        asked = request(shelf, change)
        used, fresh = outcome(asked), outcome(asked._replace(store=str(tmp_path / f"{number}")))
        shelf.put_back()
        if used != fresh:
            wrong.append(f"{change.name}: {used} and not {fresh}")
        if change.effect is OTHER and used == before:
            wrong.append(f"{change.name} does nothing")
    return wrong


def test_every_key_and_every_field_is_changed(tmp_path: Path) -> None:
    keys = {key_of(item.name) for item in declared(BuildSettings)}
    assert keys == common_settings("1.26.1").keys()
    own = {key_of(item.name) for item in declared(ImageSettings)}
    assert own == (keys - {"go"}) | IMAGE_SETTINGS.keys()
    others = {
        "registry": RegistrySettings, "store": StoreSettings, "cache": CacheSettings,
        "check": CheckSettings,
    }  # fmt: skip
    assert others.keys() == OTHER_TABLES.keys()
    for table, owner in others.items():
        known = {key_of(item.name) for item in declared(owner) if not item.metadata["users"]}
        assert known == OTHER_TABLES[table].keys(), fields(owner)
    changed = {field for change in request_changes(tmp_path) for field in change.asked}
    assert changed | EXEMPT.keys() == set(BuildRequest._fields)
    assert not changed & EXEMPT.keys()


def test_the_record_answers_where_nothing_changed_and_nowhere_else(
    shelf: Shelf, go: GoCommand
) -> None:
    every = changes(version_of(shelf, go), shelf.root)
    # All keys are in one file, whose text is compared: some stand for all of them.
    keys = [change for change in every if change.name.startswith(("build.", "image."))]
    rest = [change for change in every if change not in keys]
    assert not wrong_answers(shelf, [*keys[::9], *rest])


def test_the_record_of_a_stamped_image_knows_its_commit(shelf: Shelf) -> None:
    shelf.asked["stamp"] = "labels"
    assert not wrong_answers(shelf, history_changes())


def test_every_variable_of_go_is_watched(shelf: Shelf, go: GoCommand) -> None:
    outcome(request(shelf))
    env = {**shelf.project.env, **dict(go.env)}
    names = query_go(go, str(shelf.root), env, CancelToken()).all
    assert len(names) > 30
    held = []
    for name in sorted(names):
        shelf.variables = {name: "changed"}
        if holds(request(shelf)):
            held.append(name)
    assert not held


@pytest.mark.parametrize("text", [None, KO], ids=["before", "with"])
def test_ko_files_are_watched(project: Make, text: str | None) -> None:
    made = Shelf(project({}), None)
    if text is not None:
        made.write(".ko.yaml", text)
        made.keep()
    tried = ko_changes() if text else [change for change in ko_changes() if change.name != "WHO"]
    made.asked["source"] = "./cmd/api"
    assert not wrong_answers(made, tried)


def test_ko_files_may_come_where_the_environment_says(project: Make) -> None:
    made = Shelf(project({}), None)
    made.asked["source"] = "./cmd/api"
    made.env["KO_CONFIG_PATH"] = "../conf"
    (made.root / "../conf").mkdir()
    made.keep()
    come = Change("ko's file elsewhere", OTHER, lambda one: one.write("../conf/.ko.yaml", KO))
    assert not wrong_answers(made, [come])


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("group", range(4))
def test_a_used_store_gives_what_a_fresh_one_gives(
    shelf: Shelf, go: GoCommand, tmp_path: Path, group: int
) -> None:
    tried = changes(version_of(shelf, go), shelf.root)
    assert not wrong_images(shelf, tried[group::4], tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("stamp", ["labels", "full"])
def test_a_used_store_gives_the_stamps_of_a_fresh_one(
    shelf: Shelf, tmp_path: Path, stamp: str
) -> None:
    shelf.asked["stamp"] = stamp
    assert not wrong_images(shelf, history_changes(), tmp_path)


@pytest.mark.soak
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("source", [".", "./...", "./cmd/api"])
def test_changes_upon_changes(shelf: Shelf, go: GoCommand, tmp_path: Path, source: str) -> None:
    """Several records are kept for a request, and each change may bring an old one back."""
    shelf.asked["source"] = source
    chance = random.Random(f"{source} {os.environ.get('WHERRY_SOAK_SEED', '1')}")
    every = [change for change in changes(version_of(shelf, go), shelf.root) if not change.asked]
    made: list[str] = []
    reused = 0
    for number in range(40):
        if chance.random() < 0.4:
            shelf.put_back()
            made.append("all back")
        elif chance.random() < 0.8:
            change = chance.choice(every)
            with suppress(OSError, subprocess.CalledProcessError):
                change.edit(shelf)
            made.append(change.name)
        # Times are no proof until they are older.
        time.sleep(chance.choice((0, 2.1)))
        asked = request(shelf)
        reused += holds(asked)
        used, fresh = outcome(asked), outcome(asked._replace(store=str(tmp_path / f"{number}")))
        shutil.rmtree(tmp_path / f"{number}", ignore_errors=True)
        assert used == fresh, f"after {made}"
    assert reused, "no record ever held"


def test_of_some_changes_the_image_is_compared(shelf: Shelf, tmp_path: Path) -> None:
    some = [change for change in file_changes() if change.name in ("an embedded file", "kodata")]
    assert len(some) == 2
    assert not wrong_images(shelf, some, tmp_path)
