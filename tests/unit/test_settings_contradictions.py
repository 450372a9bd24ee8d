# SPDX-License-Identifier: Apache-2.0
"""Keys that are right by themselves and wrong together: told with both lines."""

import pytest

from wherry.errors import SeveralErrors, UsageError, WherryError
from wherry.settings.reading import parse_settings


def errors_of(text: str) -> list[WherryError]:
    with pytest.raises(WherryError) as caught:
        parse_settings(text, "wherry.toml")
    error = caught.value
    return list(error.errors) if isinstance(error, SeveralErrors) else [error]


@pytest.mark.parametrize(
    ("text", "line", "what", "why"),
    [
        (
            '[build]\ncgo = true\nbase = "scratch"',
            3, "build.base: 'scratch' holds no C library", "build.cgo in wherry.toml:2",
        ),
        (
            '[build]\ncgo = true\n[image.a]\npackages = ["."]\nbase = "static"',
            5, "image.a.base: 'static' holds no C library", "build.cgo in wherry.toml:2",
        ),
        (
            '[build]\nbase = "static"\n[image.a]\ncgo = true\npackages = ["."]',
            2, "build.base: 'static' holds no C library", "image.a.cgo in wherry.toml:4",
        ),
        (
            '[build]\ncompression = "uncompressed"\ncompression-level = 1',
            3, "uncompressed layers have no level", "build.compression in wherry.toml:2 says so",
        ),
        (
            '[build]\ncompression-level = 10',
            2, "gzip has levels 0 to 9", "gzip is what holds where compression is not said",
        ),
        (
            '[build]\ncompression = "zstd"\ncompression-level = 0',
            3, "zstd has levels 1 to 22", "build.compression in wherry.toml:2",
        ),
        (
            '[build]\ncompression-level = 15\n[image.a]\npackages = ["."]\ncompression = "gzip"',
            2, "gzip has levels 0 to 9", "image.a.compression in wherry.toml:5",
        ),
        (
            '[image.a]\npackages = ["."]\ntags = ["r.example.com/x:1"]\n[image.b]\n'
            'packages = ["."]\ntags = [\n  "y",\n  "r.example.com/x:1",\n]',
            8, "image.b.tags: 'r.example.com/x:1' is named twice", "image.a.tags in wherry.toml:3",
        ),
        (
            '[image.a]\npackages = ["."]\ntags = ["x"]\n[image.b]\npackages = ["."]\n'
            'tags = ["docker.io/library/x:latest"]',
            6, "'docker.io/library/x:latest' is named twice", "image.a.tags in wherry.toml:3",
        ),
        (
            '[registry]\ndefault = "r.example.com/team"\n[image.a]\npackages = ["."]\n'
            'tags = ["x:1"]\n[image.b]\npackages = ["."]\ntags = ["r.example.com/team/x:1"]',
            8, "is named twice", "image.a.tags in wherry.toml:5",
        ),
        (
            '[image.a]\npackages = ["."]\ntags = ["x:{{ .Version }}"]\n[image.b]\n'
            'packages = ["."]\ntags = ["x:{{.Version}}"]',
            6, "is named twice", "image.a.tags in wherry.toml:3",
        ),
        (
            '[image.a]\npackages = ["."]\ntags = ["x", "y", "x:latest"]',
            3, "image.a.tags: names 'x:latest' twice", "",
        ),
        (
            '[image.api]\npackages = ["."]\n[image.API]\npackages = ["."]',
            3, "image.API differs from another image only in case", "image.api in wherry.toml:1",
        ),
        (
            '[image.a]\npackages = ["./x", "./y",\n"./x/"]',
            3, "image.a.packages: names './x/' twice", "",
        ),
        (
            '[build]\n[[build.files]]\nfrom = "a"\nto = "/a"\n[[build.files]]\nto = "/a"\n'
            'mode = 0o600\nfrom = "a"',
            5, "build.files: names 'a for /a' twice", "",
        ),
    ],
)  # fmt: skip
def test_contradictions_are_told_with_both_lines(text: str, line: int, what: str, why: str):
    (error,) = errors_of(text)
    assert isinstance(error, UsageError)
    assert error.where == f"wherry.toml:{line}"
    assert what in error.what
    assert why in error.why
    assert error.hint


@pytest.mark.parametrize(
    "text",
    [
        '[build]\ncgo = true\nbase = "scratch"\nlibc-base = "debian"',
        '[build]\ncgo = true\nbase = "debian"',
        "[build]\ncgo = true",
        '[build]\ncgo = false\nbase = "scratch"',
        '[build]\ncgo = true\nbase = "static"\nldflags = ["-extldflags=-static"]',
        '[build]\ncgo = true\nbase = "static"\n[image.a]\npackages = ["."]\ncgo = false',
        '[build]\ncompression-level = 15\n[image.a]\npackages = ["."]\ncompression = "zstd"',
        '[build]\ncompression = "uncompressed"\n[image.a]\npackages = ["."]\ncompression = "gzip"\n'
        "compression-level = 9",
        '[image.a]\npackages = ["."]\ntags = ["x:1", "x:2", "y:1"]\n[image.b]\npackages = ["."]\n'
        'tags = ["x:3", "x:{{.Version}}", "x:{{.Commit}}", "x:v{{.Version}}"]',
        '[image.a]\npackages = ["."]\n[image.b]\npackages = ["."]',
        '[build]\nfiles = [{ from = "a", to = "/a" }, { from = "a", to = "/b" }]',
    ],
)
def test_what_only_seems_to_contradict_is_fine(text: str):
    assert parse_settings(text, "wherry.toml").lines


def test_what_build_says_for_many_images_is_told_once():
    images = "".join(f'[image.i{number}]\npackages = ["."]\n' for number in range(5))
    (error,) = errors_of(f'[build]\ncgo = true\nbase = "static"\n{images}')
    assert error.where == "wherry.toml:3"


def test_contradictions_come_with_all_other_errors():
    text = '[build]\ncgo = true\nbase = "static"\nusr = 1\ncompression = "uncompressed"\n' \
           "compression-level = 3\n[x]"  # fmt: skip
    assert [error.where for error in errors_of(text)] == [
        f"wherry.toml:{line}" for line in (3, 4, 6, 7)
    ]
