# SPDX-License-Identifier: Apache-2.0
"""What variables mean at each line: ARG, ENV, automatic and predefined arguments."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowering import ARM64, World, commands_of, history_of, lowered, problems_of, request_of
from wherry.frontends.dockerfile.checks import Checks
from wherry.frontends.dockerfile.lower import lower
from wherry.frontends.dockerfile.quick import quick
from wherry.frontends.dockerfile.words import expand
from wherry.oci.image import RunConfig


def value_of(text: str, args: Mapping[str, str] | None = None) -> str:
    """What the last line, an ENV of `R`, sets."""
    found = [item for item in lowered(text, args).run.env if item.startswith("R=")]
    return found[0].removeprefix("R=")


@pytest.mark.parametrize(("text", "args", "value"), [
    # A build argument beats the default, which beats the global scope.
    ("FROM x\nARG A=default\nENV R=$A", {}, "default"),
    ("FROM x\nARG A=default\nENV R=$A", {"A": "given"}, "given"),
    ("FROM x\nARG A=default\nENV R=$A", {"A": ""}, ""),
    ("ARG A=global\nFROM x\nARG A\nENV R=$A", {}, "global"),
    ("ARG A=global\nFROM x\nARG A=own\nENV R=$A", {}, "own"),
    ("ARG A=global\nFROM x\nENV R=[$A]", {}, "[]"),
    ("ARG A=global\nFROM x\nARG A\nENV R=$A", {"A": "given"}, "given"),
    ("ARG A\nFROM x\nARG A\nENV R=[${A-unset}]", {}, "[unset]"),
    # Defaults see what stands before them, in the same line too.
    ("FROM x\nARG A=1 B=$A-2\nENV R=$B", {}, "1-2"),
    ("ARG A=1\nARG B=${A}2\nFROM x\nARG B\nENV R=$B", {}, "12"),
    ("ARG P=${TARGETARCH}\nFROM x\nARG P\nENV R=$P", {}, "amd64"),
    # What was set last counts.
    ("FROM x\nENV A=env\nARG A=arg\nENV R=$A", {}, "arg"),
    ("FROM x\nARG A=arg\nENV A=env\nENV R=$A", {"A": "given"}, "env"),
    # Within an ENV all values are those from before.
    ("FROM x\nENV A=old\nENV A=new R=$A", {}, "old"),
    # Values that stages hand on: all, but an ENV of the base counts again.
    ("FROM x AS a\nARG A=1\nFROM a\nENV R=$A", {}, "1"),
    ("FROM x AS a\nENV A=env\nARG A=arg\nFROM a\nENV R=$A", {}, "env"),
    ("FROM x AS a\nARG A=1\nFROM x\nENV R=[$A]", {}, "[]"),
    # Names are expanded in ENV, but not in ARG.
    ("FROM x\nARG N=R\nENV $N=1", {}, "1"),
    ("FROM x\nARG A='$B' C=\"$A\"\nENV R=$C", {}, "$B"),
    # Automatic arguments are only where they are declared, and may be given.
    ("FROM x\nENV R=[$TARGETOS]", {}, "[]"),
    ("FROM x\nARG TARGETOS TARGETARCH TARGETVARIANT\nENV R=$TARGETOS/$TARGETARCH/$TARGETVARIANT",
     {}, "linux/amd64/"),
    ("FROM x\nARG TARGETARCH\nENV R=$TARGETARCH", {"TARGETARCH": "odd"}, "odd"),
    ("FROM x\nARG TARGETSTAGE\nENV R=$TARGETSTAGE", {}, "default"),
    ("FROM x AS a\nFROM a AS end\nARG TARGETSTAGE\nENV R=$TARGETSTAGE", {}, "end"),
    # BuildKit's scanner reads these two; nobody else does.
    ("FROM x\nARG BUILDKIT_SBOM_SCAN_STAGE=1\nENV R=[$BUILDKIT_SBOM_SCAN_STAGE]", {}, "[]"),
])  # fmt: skip
def test_values(text: str, args: dict[str, str], value: str) -> None:
    assert value_of(f"{text}\n", args) == value


def test_the_machine_that_builds_is_not_the_one_built_for() -> None:
    text = "FROM x\nARG BUILDPLATFORM TARGETPLATFORM\nENV R=$BUILDPLATFORM-$TARGETPLATFORM\n"
    assert "R=linux/amd64-linux/arm64" in lowered(text, platform=ARM64).run.env


def test_the_target_that_was_asked_for_has_its_name_as_it_was_typed() -> None:
    text = "FROM x AS a\nARG TARGETSTAGE\nENV R=$TARGETSTAGE\nFROM x AS b\n"
    assert "R=A" in lowered(text, target="A").run.env


def test_global_arguments_are_for_from_lines() -> None:
    world = World()
    lowered("ARG NAME=busybox TAG=1\nFROM ${NAME}:$TAG\n", {"TAG": "2"}, world=world)
    assert [name for name, _ in world.asked] == ["busybox:2"]


def test_a_run_sees_arguments_and_environment() -> None:
    world = World({"x": RunConfig(env=("PATH=/p", "LANG=C"))})
    result = lowered("FROM x\nARG A=1 NONE\nENV B=2\nENV LANG=D\nRUN y\n", world=world)
    assert commands_of(result)[0].env == ("PATH=/p", "A=1", "B=2", "LANG=D")
    assert result.run.env == ("PATH=/p", "LANG=D", "B=2")


def test_the_history_of_a_run_has_all_arguments_so_far() -> None:
    result = lowered("FROM x\nARG A=1 B\nENV A=2\nARG C=3\nRUN y\nARG A=4\nRUN z\n")
    assert [line for line in history_of(result) if "RUN" in line] == [
        "+ RUN |3 A=2 B= C=3 /bin/sh -c y # wherry",
        "+ RUN |3 A=4 B= C=3 /bin/sh -c z # wherry",
    ]


PROXIES = {"HTTP_PROXY": "http://one", "http_proxy": "http://two", "No_Proxy": "x", "A": "1"}


class TestProxies:
    def test_a_run_gets_them_in_both_spellings(self) -> None:
        op = commands_of(lowered("FROM x\nARG A\nRUN y\n", PROXIES))[0]
        assert op.proxy == (
            ("HTTP_PROXY", "http://two"), ("http_proxy", "http://two"),
            ("NO_PROXY", "x"), ("no_proxy", "x"),
        )  # fmt: skip
        assert not [item for item in op.env if "one" in item or "two" in item]

    def test_they_are_in_no_image(self) -> None:
        result = lowered("FROM x\nRUN y\n", PROXIES)
        assert "two" not in str((result.run, result.graph.image.layers))

    def test_they_are_no_variables_unless_declared(self) -> None:
        assert value_of("FROM x\nENV R=[$HTTP_PROXY]\n", PROXIES) == "[]"
        assert value_of("FROM x\nARG HTTP_PROXY\nENV R=$HTTP_PROXY\n", PROXIES) == "http://one"


class TestWarnings:
    def told(self, text: str, args: Mapping[str, str] | None = None) -> list[tuple[int, str]]:
        found = lowered(text, args).warnings
        return [(warning.range.start.line, warning.message) for warning in found]

    def test_arguments_that_nothing_takes(self) -> None:
        (warning,) = lowered("FROM x\nARG VERSION\n", {"VERSON": "1"}).warnings
        assert warning.message == "no ARG takes --build-arg VERSON"
        assert warning.hint == "did you mean 'VERSION'?"

    def test_arguments_that_something_takes(self) -> None:
        given = dict.fromkeys(
            ("A", "B", "C", "D", "https_proxy", "TARGETOS", "BUILDKIT_INLINE_CACHE",
             "SOURCE_DATE_EPOCH"), "1",
        )  # fmt: skip
        world = World({"x": RunConfig(on_build=("ARG D",))})
        text = "ARG A\nFROM a\nARG B\nFROM x\nARG C\n"
        assert lowered(text, given, world=world).warnings == ()

    def test_variables_that_nothing_sets(self) -> None:
        text = "FROM x\nARG NONE\nENV VERSION=1\nENV B=$VERSON$NONE\nCOPY $VERSION $XX /\n"
        assert self.told(text) == [
            (4, "the variable VERSON is not set"),
            (5, "the variable XX is not set"),
        ]
        assert lowered(text).warnings[0].hint == "did you mean 'VERSION'? (check UndefinedVar)"

    def test_variables_in_from(self) -> None:
        assert self.told("FROM x${NOPE}\n") == [(1, "the variable NOPE is not set")]

    def test_the_shell_has_variables_of_its_own(self) -> None:
        assert self.told("FROM x\nRUN echo $FOO\nCMD echo $FOO\nENTRYPOINT $X\n") == []

    def test_they_can_be_switched_off(self) -> None:
        request = request_of("FROM x\nENV B=$NOPE\n")
        for skipped in ("UndefinedVar", "all"):
            checks = Checks(frozenset({skipped}))
            assert lower(request._replace(checks=checks)).warnings == ()


@pytest.mark.parametrize("line", [
    "ENV A=${B:?needed}", "ENV ${B:?needed}=1", "LABEL a=${B?needed}",
    "COPY ${B:?needed} /", "COPY a ${B:?needed}", "COPY --chown=${B:?needed} a /",
    "WORKDIR ${B:?needed}", "USER ${B:?needed}", "VOLUME ${B:?needed}",
    "STOPSIGNAL ${B:?needed}", "EXPOSE ${B:?needed}", "ARG A=${B:?needed}",
    "RUN --mount=target=${B:?needed} x", "ADD ${B:?needed} /",
    "COPY <<E /\n${B:?needed}\nE",
])  # fmt: skip
def test_where_a_word_cannot_be_expanded(line: str) -> None:
    (problem,) = problems_of(f"FROM x\n\n{line}\n")
    assert problem.range.start.line == 3
    assert problem.message.endswith("B: needed")


def test_errors_before_the_first_from() -> None:
    problems = problems_of("ARG A=${B:?no}\nFROM x:${C:?no}\nFROM --platform=${D?no} y\n")
    assert [problem.range.start.line for problem in problems] == [1, 2, 3]


def test_an_argument_that_was_given_needs_no_default() -> None:
    assert value_of("FROM x\nARG A=${B:?no}\nENV R=$A\n", {"A": "1"}) == "1"


def test_the_escape_of_the_file_counts() -> None:
    assert value_of("# escape=`\nFROM x\nENV A=1\nENV R=`$A\\b\n") == "$A\\b"


VARIABLES = {"A": "1 2", "B": '$A"', "EMPTY": "", "_x": "u"}
PIECES = (
    "$A", "${A}", "$B", "${EMPTY}", "$Z", "$_x", "a", "}", "{", "1", " ", "<", "\n", "-", "_",
    '"', "'", "$", "é", "\\", "`", "$1", "$$", "${", "\ufeff",
    "${A:-b}", "${EMPTY:-c d}", "${EMPTY-c}", "${Z-}", "${Z:+x}", "${A:+x}", "${EMPTY+x}", "${A-:}",
    "${A%2}", "${A%%?*}", "${A#?}", "${A##* }", "${Z%x}", "${B#$}", "${A%[1-3]}",
)  # fmt: skip


class TestQuick:
    @given(st.lists(st.sampled_from(PIECES), max_size=7).map("".join), st.booleans())
    def test_it_says_what_the_whole_language_says(self, word: str, keep: bool) -> None:
        for text in (word, f'"{word}"'):
            found = quick(text, VARIABLES, raw=keep)
            if found is not None:
                for escape in "\\`":
                    whole = expand(text, VARIABLES, escape, raw_quotes=keep, keep_unset=keep)
                    assert found.text == whole.text
                    assert set(found.unmatched) == whole.unmatched

    @pytest.mark.parametrize("word", ["plain", "$A", '"$A-${B}"', "a$A}b", "${Z}", "${A:-b}", ""])
    def test_it_takes_the_usual_words(self, word: str) -> None:
        assert quick(word, VARIABLES) is not None
