# SPDX-License-Identifier: Apache-2.0
"""What `--print-settings` shows: each value that holds, and where it comes from."""

import tomllib

from hypothesis import given
from hypothesis import strategies as st

from wherry.settings.declaration import declared, key_of
from wherry.settings.model import BuildSettings, FileEntry, ImageSettings, Settings
from wherry.settings.reading import parse_settings
from wherry.settings.reference import render_example
from wherry.settings.sources import Line, Told, explain, render
from wherry.settings.toml_text import toml_key, toml_value

TEXT = """\
[build]
go = "1.26.8"
base = "debian"
env = { A = "1", B = "2" }
ports = [80]
compression = "zstd"

[image.api]
packages = ["./cmd/api"]
ports = []
[image.api.env]
B = "own"
C = "3"
[image.other]
packages = ["."]
base = "scratch"
"""
SETTINGS = parse_settings(TEXT, "wherry.toml")


def by_key(lines: tuple[Line, ...]) -> dict[str, Line]:
    found = {line.key: line for line in lines}
    assert len(found) == len(lines)
    return found


def test_each_value_has_the_line_that_says_it():
    found = by_key(explain(SETTINGS, "api", {}))
    assert found["go"] == Line("build", "go", "1.26.8", "wherry.toml:2")
    assert found["base"] == Line("image.api", "base", "debian", "wherry.toml:3")
    assert found["packages"] == Line("image.api", "packages", ("./cmd/api",), "wherry.toml:9")
    # An empty list is said, too.
    assert found["ports"] == Line("image.api", "ports", (), "wherry.toml:10")
    assert found["env.A"].source == "wherry.toml:4"
    assert (found["env.B"].value, found["env.B"].source) == ("own", "wherry.toml:12")
    assert found["env.C"].source == "wherry.toml:13"
    assert found["stamp"] == Line("image.api", "stamp", "off", "default")
    assert found["user"] == Line("image.api", "user", None, "default")
    assert by_key(explain(SETTINGS, "other", {}))["base"].source == "wherry.toml:16"


def test_flags_beat_the_file_that_beats_the_environment_that_beats_defaults():
    lines = explain(
        SETTINGS,
        "api",
        {
            "base": "alpine",
            "labels": {"a": "b"},
            "tags": ("x",),
            "compression": Told("gzip", "--output"),
            "packages": Told(("./other",), "SOURCE"),
        },
        environment={"base": Told("x", "BASE"), "ldflags": Told(("-s",), "GOFLAGS")},
        defaults={"ldflags": ("y",), "user": "65532:65532", "stamp": "full", "go": "1.20"},
    )
    found = by_key(lines)
    assert [(key, found[key].value, found[key].source) for key in (
        "base", "labels.a", "tags", "compression", "packages", "ldflags", "user", "stamp", "go",
    )] == [
        ("base", "alpine", "--base"),
        ("labels.a", "b", "--label"),
        ("tags", ("x",), "--tag"),
        ("compression", "gzip", "--output"),
        ("packages", ("./other",), "SOURCE"),
        ("ldflags", ("-s",), "environment GOFLAGS"),
        ("user", "65532:65532", "default"),
        ("stamp", "full", "default"),
        ("go", "1.26.8", "wherry.toml:2"),
    ]  # fmt: skip


def test_flags_for_tables_replace_their_own_entries_only():
    settings = parse_settings('[build]\nlabels = { a = "1",\tb = "2" }', "wherry.toml")
    found = by_key(explain(settings, "x", {"labels": (("b", "3"), ("c d", "4"))}))
    labels = {key: line[2:] for key, line in found.items() if key.startswith("labels")}
    assert labels == {
        "labels.a": ("1", "wherry.toml:2"),
        "labels.b": ("3", "--label"),
        'labels."c d"': ("4", "--label"),
    }


def test_it_is_the_outcome_that_a_build_takes():
    for name in ("api", "other"):
        image = next(image for image in SETTINGS.images if image.name == name)
        outcome, found = SETTINGS.resolved(image), by_key(explain(SETTINGS, name, {}))
        for item in declared(ImageSettings):
            value = getattr(outcome, item.name)
            if item.name in ("env", "labels", "annotations"):
                said = {key: line.value for key, line in found.items() if key.startswith(item.name)}
                assert said == {f"{item.name}.{key}": text for key, text in value}
            elif value not in (None, ()):
                assert found[key_of(item.name)].value == value


def test_every_key_is_shown():
    found = by_key(explain(Settings(), "x", {}))
    tables = {"env", "labels", "annotations"}
    keys = {key_of(item.name) for item in (*declared(ImageSettings), *declared(BuildSettings))}
    assert found.keys() == keys - tables


def test_it_is_shown_as_toml_with_sources():
    shown = render(
        (
            Line("build", "go", "1.26.8", "wherry.toml:2"),
            Line('image."a.b"', "tags", ("x" * 30, "y" * 30), "--tag"),
            Line('image."a.b"', "user", None, "default"),
            Line('image."a.b"', "files", (FileEntry("a\n", "/b", "", 0o40),), "wherry.toml:3"),
            Line('image."a.b"', "cgo", False, "environment A\nB"),
        )
    )
    assert shown == (
        "[build]\n"
        'go = "1.26.8"                                    # wherry.toml:2\n'
        "\n"
        '[image."a.b"]\n'
        "tags = [                                         # --tag\n"
        f'  "{"x" * 30}",              # --tag\n'
        f'  "{"y" * 30}",              # --tag\n'
        "]                                                # --tag\n"
        "# user: not set                                  # default\n"
        "files = [                                        # wherry.toml:3\n"
        '  { from = "a\\n", to = "/b", mode = "0040" },    # wherry.toml:3\n'
        "]                                                # wherry.toml:3\n"
        "cgo = false                                      # environment A?B\n"
    )


def test_what_is_shown_means_the_same_when_it_is_read_again():
    settings = parse_settings(render_example(), "wherry.toml")
    again = parse_settings(render(explain(settings, "api", {})), "wherry.toml")
    before, after = settings.resolved(settings.images[0]), again.resolved(again.images[0])
    assert before == after
    assert again.build.go == settings.build.go


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@given(TEXTS, st.lists(TEXTS, max_size=3), st.dictionaries(TEXTS, TEXTS, max_size=3), TEXTS)
def test_any_text_is_written_as_toml(text: str, items: list[str], table: dict, source: str):
    assert tomllib.loads(f"{toml_key(text)} = {toml_value(text)}") == {text: text}
    lines = (
        Line("build", "args", tuple(items), source),
        *(Line("build", f"env.{toml_key(key)}", value, source) for key, value in table.items()),
    )
    shown = tomllib.loads(render(lines))["build"]
    assert shown["args"] == items
    assert shown.get("env", {}) == table
