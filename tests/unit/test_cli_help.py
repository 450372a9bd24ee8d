# SPDX-License-Identifier: Apache-2.0
"""Help pages: headings, examples, 80 columns; and the reference pages written from the same."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from wherry.cli.flags import BUILD_FLAGS
from wherry.cli.reference import main, reference_pages
from wherry.cli.verbs import VERBS, run_verb, verb_named

REFERENCE = Path(__file__).resolve().parents[2] / "docs" / "reference"


def verbs() -> Iterator[tuple[str, ...]]:
    """All verbs, and those below a verb."""
    for name in VERBS:
        yield (name,)
        verb = verb_named(name)
        if isinstance(verb, click.Group):
            yield from ((name, inner) for inner in verb.commands)


@pytest.mark.parametrize("words", [(), *verbs()], ids=" ".join)
def test_a_page_fits_into_80_columns_and_has_examples(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run_verb([*words, "--help"]) == 0
    page = capsys.readouterr().out
    assert max(map(len, page.splitlines())) <= 80
    start = f"\n    wherry {' '.join(words)}".rstrip()
    assert "\n  Examples:\n" in page
    assert start in page


def test_the_flags_of_build_stand_under_their_headings(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run_verb(["build", "--help"])
    page = capsys.readouterr().out
    headings = list(dict.fromkeys(flag.group for flag in BUILD_FLAGS))
    assert headings[:5] == ["Input", "Image", "Go", "Dockerfile", "Output"]
    places = [page.index(f"\n{heading}:\n") for heading in headings]
    assert places == sorted(places)
    for flag in BUILD_FLAGS:
        place = page.index(f"--{flag.name} ")
        above = max(start for start in places if start < place)
        assert places.index(above) == headings.index(flag.group)
    assert "\nOptions:" not in page


def test_what_most_verbs_take_stands_below_what_one_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run_verb(["pull", "--help"])
    page = capsys.readouterr().out
    assert page.index("--all-platforms") < page.index("\nCommon options:\n") < page.index("--store")


def test_the_reference_pages_are_what_the_declarations_say() -> None:
    found = {path.name: path.read_text() for path in REFERENCE.glob("*.md")}
    stale = [name for name, page in reference_pages().items() if found.get(name) != page]
    assert stale == [], "write them anew: python -m wherry.cli.reference docs/reference"


def test_a_page_tells_every_flag_and_its_choices() -> None:
    page = reference_pages()["build.md"]
    for flag in BUILD_FLAGS:
        assert f"`--{flag.name}" in page
        assert "\\|".join(flag.choices) in page
    assert "`-t`, `--tag NAME[:TAG]` | Name the image; repeatable (default: " in page


def test_the_pages_are_written_by_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 0
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == reference_pages()
    assert main([]) == 2
    assert capsys.readouterr().err.startswith("usage: ")
