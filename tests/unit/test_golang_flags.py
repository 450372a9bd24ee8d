# SPDX-License-Identifier: Apache-2.0
"""wherry's default flags beside GOFLAGS, compared with the real go."""

import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from golang_support import go_env, needs_go, the_go, write_files
from wherry.errors import UsageError
from wherry.golang.flags import FlagSettings, build_flags, flag_name, flag_value, split_goflags

DEFAULTS = ("-trimpath", "-ldflags=-s -w", "-buildvcs=false")


@pytest.mark.parametrize(
    ("goflags", "settings", "expected"),
    [
        ("", FlagSettings(), DEFAULTS),
        ("-mod=mod -p=2", FlagSettings(), DEFAULTS),
        ("-trimpath=false", FlagSettings(), DEFAULTS[1:]),
        ("--ldflags=-X=main.v=1", FlagSettings(), (DEFAULTS[0], DEFAULTS[2])),
        ("'-ldflags=-s -X main.v=1'", FlagSettings(), (DEFAULTS[0], DEFAULTS[2])),
        ("-buildvcs=auto", FlagSettings(), DEFAULTS[:2]),
        ("-buildvcs=auto", FlagSettings(stamp="labels"), DEFAULTS[:2]),
        ("", FlagSettings(stamp="labels"), DEFAULTS),
        ("", FlagSettings(stamp="full"), (*DEFAULTS[:2], "-buildvcs=true")),
        ("-buildvcs=false", FlagSettings(stamp="full"), (*DEFAULTS[:2], "-buildvcs=true")),
        ("-ldflags=-w -trimpath -buildvcs", FlagSettings(), ()),
        (
            "-ldflags=-w -tags=x",
            FlagSettings(ldflags=("-X main.a=1", "-X 'main.b=2 3'"), tags=("y", "z")),
            ("-trimpath", "-ldflags=-s -w -X main.a=1 -X 'main.b=2 3'", "-buildvcs=false",
             "-tags=y,z"),
        ),
        ("-n -json=true", FlagSettings(), (*DEFAULTS, "-json=false", "-n=false")),
    ],
)  # fmt: skip
def test_defaults_give_way_to_goflags(
    goflags: str, settings: FlagSettings, expected: tuple[str, ...]
) -> None:
    assert build_flags(goflags, settings) == expected


@pytest.mark.parametrize("goflags", ["ldflags=-s", "'-x", "-ldflags='-X a=b'", "---x", "--", "''"])
def test_goflags_that_go_refuses_are_a_usage_error(goflags: str) -> None:
    with pytest.raises(UsageError, match="GOFLAGS"):
        split_goflags(goflags)


def test_an_open_quote_in_ldflags_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="ldflags"):
        build_flags("", FlagSettings(ldflags=("-X 'main.v=1",)))


def test_values_of_flags() -> None:
    words = ("-tags=a", "--pgo=off", "-x", "-tags=b,c")
    assert [flag_value(words, name) for name in ("tags", "pgo", "x", "mod")] == [
        "b,c", "off", "true", None,
    ]  # fmt: skip
    assert flag_name("--ldflags=-s -w") == "ldflags"


@given(st.lists(st.text("ab -='\"\t", max_size=6), max_size=4))
@example(["a b", "it's"])
def test_quoted_words_come_back(values: list[str]) -> None:
    words = [f"-x={value}" for value in values if not ("'" in value and '"' in value)]
    text = " ".join(f'"{word}"' if "'" in word else f"'{word}'" for word in words)
    assert split_goflags(text) == tuple(words)


@needs_go
@pytest.mark.parametrize(
    "goflags",
    ["-tags=a -tags=b", "\t'-tags=x y' ", '"-tags=q"-mod=mod', "-tags='a", "-tags='a b'", "-tags",
     "'-tags=a''-mod=mod'", "--tags=a", "---tags=a", "tags", "'-tags=it\"s'"],
)  # fmt: skip
def test_goflags_are_read_as_go_reads_them(tmp_path: Path, goflags: str) -> None:
    """Go prints each word that it takes as a flag only through its effect: the tags it uses."""
    write_files(tmp_path, {"main.go": "package main\nfunc main() {}\n"})
    run = subprocess.run(
        [the_go().path, "list", "-e", "-f", "{{context.BuildTags}}", "."],
        cwd=tmp_path, env=go_env(tmp_path, GOFLAGS=goflags), capture_output=True, text=True,
    )  # fmt: skip
    try:
        words = split_goflags(goflags)
    except UsageError:
        assert "parsing $GOFLAGS" in run.stderr
        return
    assert "parsing $GOFLAGS" not in run.stderr
    tags = flag_value([word for word in words if "=" in word], "tags")
    if run.returncode == 0:
        assert run.stdout.strip() == f"[{(tags or '').replace(',', ' ')}]"


@needs_go
def test_the_linker_flags_reach_the_binary(tmp_path: Path) -> None:
    source = 'package main\n\nvar v = "unset"\n\nfunc main() { print(v) }\n'
    write_files(tmp_path, {"main.go": source})
    flags = build_flags("", FlagSettings(ldflags=("-X 'main.v=set by us'",)))
    out = tmp_path / "out"
    subprocess.run(
        [the_go().path, "build", "-o", str(out), *flags, "."],
        cwd=tmp_path, env=go_env(tmp_path, GOFLAGS="-ldflags=-X=main.v=lost"), check=True,
    )  # fmt: skip
    assert subprocess.run([out], capture_output=True, text=True).stderr == "set by us"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("-N", "-l"), ["-gcflags=-N -l"]),
        (("all=-N -l", "example.com/m/...=-N", "-l"),
         ["-gcflags=all=-N -l", "-gcflags=example.com/m/...=-N -l"]),
        (("-N", "net=-l"), ["-gcflags=-N", "-gcflags=net=-l"]),
        (("-d", "checkptr=1"), ["-gcflags=-d checkptr=1"]),
    ],
)  # fmt: skip
def test_each_package_pattern_has_a_flag_of_its_own(
    words: tuple[str, ...], expected: list[str]
) -> None:
    flags = build_flags("", FlagSettings(gcflags=words))
    assert [flag for flag in flags if flag.startswith("-gcflags")] == expected
