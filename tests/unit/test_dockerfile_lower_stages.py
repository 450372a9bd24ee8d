# SPDX-License-Identifier: Apache-2.0
"""Which stages are lowered, what they begin with, and how they lean on one another."""

from __future__ import annotations

import pytest

from lowering import (
    AMD64,
    ARM64,
    World,
    changes_of,
    commands_of,
    history_of,
    images_of,
    lowered,
    problems_of,
    request_of,
    vertex_of,
)
from wherry.errors import UsageError
from wherry.frontends.dockerfile.lower import lower
from wherry.frontends.dockerfile.request import (
    NamedContext,
    NamedDirectory,
    NamedGit,
    NamedHttp,
    NamedImage,
)
from wherry.frontends.dockerfile.source import Problems
from wherry.graph.ops import ComposedBase, Copy, GitOp, HttpOp, ImageOp, LocalOp
from wherry.oci.image import RunConfig
from wherry.oci.platform import Platform

ALPINE, BUSYBOX = "docker.io/library/alpine:latest", "docker.io/library/busybox:latest"


def test_only_the_stages_that_the_target_needs_are_there() -> None:
    world = World()
    result = lowered(
        "FROM alpine AS one\nRUN 1\nFROM busybox AS two\nRUN 2\n"
        "FROM debian AS three\nRUN 3\nFROM scratch\nCOPY --from=two /a /\n",
        world=world,
    )
    assert world.asked == [("busybox", AMD64)]
    assert [op.args[-1] for op in commands_of(result)] == ["2"]
    assert result.stages_used == ("two", "3")


def test_the_target_may_be_any_stage_in_any_case() -> None:
    result = lowered("FROM alpine AS one\nENV A=1\nFROM one AS two\nENV A=2\n", target="ONE")
    assert "A=1" in result.run.env
    assert result.stages_used == ("one",)


def test_a_mount_needs_its_stage_too() -> None:
    result = lowered(
        "FROM alpine AS tools\nRUN make\nFROM busybox\nRUN --mount=from=tools,target=/t x\n"
    )
    assert result.stages_used == ("tools", "1")


def test_a_stage_goes_on_where_its_base_ended() -> None:
    result = lowered(
        "FROM alpine AS base\nENV A=1\nWORKDIR /w\nUSER app\nRUN first\nFROM base\nRUN second\n"
    )
    first, second = commands_of(result)
    assert (second.cwd, second.user) == ("/w", "app")
    assert "A=1" in second.env
    assert vertex_of(result, "second").inputs == (
        result.graph.vertices.index(vertex_of(result, "first")),
    )
    assert history_of(result)[1:] == [
        "ENV A=1",
        "+ WORKDIR /w",
        "USER app",
        f"+ RUN {' '.join(first.args)} # wherry",
        f"+ RUN {' '.join(second.args)} # wherry",
    ]


def test_scratch_is_an_empty_root_without_a_layer() -> None:
    result = lowered("FROM scratch\nCOPY a /\n")
    op = result.graph.vertices[vertex_of(result, "COPY").inputs[0]].op
    assert isinstance(op, ImageOp)
    assert op.base is ComposedBase.SCRATCH
    assert history_of(result) == ["+ COPY a / # wherry"]


def test_an_empty_image_has_no_vertex_at_all() -> None:
    result = lowered("FROM scratch\nENV A=1\n")
    assert result.graph.vertices == ()
    assert result.run.working_dir == "/"


def test_stages_are_named_by_number_too() -> None:
    result = lowered("FROM alpine\nRUN 1\nFROM busybox\nRUN 2\nFROM scratch\nCOPY --from=1 a /\n")
    copy = vertex_of(result, "COPY")
    assert result.graph.vertices[copy.inputs[1]].name == "[stage-1 2/2] RUN 2"


def test_of_stages_with_one_name_the_last_is_copied_from() -> None:
    result = lowered("FROM alpine AS a\nRUN 1\nFROM busybox AS a\nRUN 2\nFROM a\nRUN 3\n")
    assert [op.args[-1] for op in commands_of(result)] == ["2", "3"]


def test_a_mount_has_no_stage_numbers() -> None:
    world = World()
    lowered("FROM alpine AS a\nFROM busybox\nRUN --mount=from=0,target=/t x\n", world=world)
    assert world.asked == [("busybox", AMD64), ("0", AMD64)]


def test_equal_steps_are_one_vertex() -> None:
    text = "FROM alpine AS a\nRUN x\nFROM alpine AS b\nRUN x\nCOPY --from=a /x /y\n"
    result = lowered(text)
    assert len(commands_of(result)) == 1
    assert images_of(result) == [(ALPINE, AMD64)]


@pytest.mark.parametrize("line", [
    "COPY --from={} a /", "RUN --mount=from={},target=/t x", "ADD a /\nCOPY --from={} a /",
])  # fmt: skip
def test_what_is_no_stage_is_an_image_for_the_target(line: str) -> None:
    result = lowered(
        f"FROM --platform=linux/amd64 alpine\n{line.format('busybox')}\n", platform=ARM64
    )
    assert images_of(result) == [(ALPINE, AMD64), (BUSYBOX, ARM64)]


class TestPlatform:
    def test_a_stage_may_have_its_own(self) -> None:
        result = lowered("FROM --platform=$BUILDPLATFORM alpine\nRUN x\n", platform=ARM64)
        assert images_of(result) == [(ALPINE, AMD64)]
        assert commands_of(result)[0].platform == AMD64
        assert result.graph.image.platform == ARM64

    def test_a_stage_on_another_has_that_ones(self) -> None:
        text = "FROM --platform=linux/arm64 alpine AS a\nFROM --platform=linux/s390x a\nRUN x\n"
        assert commands_of(lowered(text))[0].platform == ARM64

    def test_nothing_is_for_the_target(self) -> None:
        result = lowered("FROM --platform=linux/arm64 scratch\nRUN x\n")
        assert commands_of(result)[0].platform == AMD64

    def test_where_none_was_asked_for_the_base_decides(self) -> None:
        request = request_of("FROM --platform=linux/arm64 alpine\n")
        assert lower(request._replace(platform_given=False)).graph.image.platform == ARM64
        assert lower(request).graph.image.platform == AMD64

    def test_the_variant_of_the_base_is_kept(self) -> None:
        world = World(platforms={"alpine": Platform("linux", "amd64", "v2")})
        assert lowered("FROM alpine\n", world=world).graph.image.platform.variant == "v2"

    def test_arm_is_version_seven(self) -> None:
        result = lowered(
            "FROM scratch\nARG TARGETPLATFORM\nENV P=$TARGETPLATFORM\n",
            platform=Platform("linux", "arm"),
        )
        assert "P=linux/arm/v7" in result.run.env
        assert result.graph.image.platform == Platform("linux", "arm", "v7")

    def test_a_base_for_another_machine_is_worth_a_word(self) -> None:
        (warning,) = lowered("FROM alpine\n", world=World(platforms={"alpine": ARM64})).warnings
        assert warning.message == "alpine is for linux/arm64, not for linux/amd64"
        assert warning.range.start.line == 1


class TestTriggers:
    def test_they_run_right_after_from_and_once(self) -> None:
        result = lowered(
            "FROM alpine AS base\nONBUILD RUN one\nONBUILD COPY a /a\nFROM base AS on\nRUN two\n"
            "FROM on\nRUN three\n"
        )
        assert [op.args[-1] for op in commands_of(result)] == ["one", "two", "three"]
        assert result.run.on_build == ()
        assert vertex_of(result, "one").name == "[on 1/3] ONBUILD RUN one"

    def test_the_base_itself_only_keeps_them(self) -> None:
        result = lowered("FROM alpine\nONBUILD RUN one\nONBUILD ENV A=1 \\\n  B=2\n")
        assert result.run.on_build == ("RUN one", "ENV A=1   B=2")
        assert commands_of(result) == []
        assert len(history_of(result)) == 1

    def test_those_of_an_image_may_copy_from_stages(self) -> None:
        world = World({"base": RunConfig(on_build=("COPY --from=a /x /y", "ENV A=$A"))})
        result = lowered("FROM alpine AS a\nRUN x\nFROM base\nRUN y\n", world=world)
        copy = vertex_of(result, "ONBUILD COPY")
        assert result.graph.vertices[copy.inputs[1]].name == "[a 2/2] RUN x"
        assert copy.lines == (3, 3)
        assert result.stages_used == ("a", "1")
        assert result.run.on_build == ()

    def test_their_own_stage_is_what_is_there_so_far(self) -> None:
        world = World({"base": RunConfig(on_build=("RUN x", "COPY --from=here /x /y"))})
        result = lowered("FROM base AS here\n", world=world)
        copy = vertex_of(result, "COPY")
        assert copy.inputs[0] == copy.inputs[1]

    def test_heredocs_come_along(self) -> None:
        result = lowered("FROM alpine AS a\nONBUILD RUN <<EOF\necho hi\nEOF\nFROM a\n")
        assert commands_of(result)[0].args == ("/bin/sh", "-c", "echo hi\n")

    def test_bad_ones_are_told_at_the_from(self) -> None:
        world = World({"base": RunConfig(on_build=("NONSENSE x", "FROM a"))})
        with pytest.raises(Problems) as raised:
            lowered("FROM alpine\nFROM base\n", world=world)
        assert [(p.range.start.line, p.message.partition(": ")[0]) for p in
                raised.value.problems] == [
            (2, "the base's ONBUILD NONSENSE x"),
            (2, "the base's ONBUILD FROM a"),
        ]  # fmt: skip

    def test_one_that_needs_a_later_stage_is_refused(self) -> None:
        world = World({"base": RunConfig(on_build=("COPY --from=late a b",))})
        with pytest.raises(Problems, match="stage late stands after the one that needs it"):
            lowered("FROM base AS a\nFROM alpine AS late\nFROM a\n", world=world)


class TestContexts:
    def test_one_stands_for_an_image_by_its_short_name(self) -> None:
        image = World().image("example.com/own", AMD64)
        world = World(contexts={"alpine": NamedImage(image)})
        for name in ("alpine", "alpine:latest", "docker.io/library/alpine"):
            result = lowered(f"FROM {name}\n", world=world)
            assert images_of(result) == [("example.com/own:latest", AMD64)]

    def test_one_for_a_platform_comes_first(self) -> None:
        own, other = (World().image(name, ARM64) for name in ("own", "other"))
        world = World(
            contexts={"alpine": NamedImage(other), "alpine::linux/arm64": NamedImage(own)}
        )
        result = lowered("FROM --platform=linux/arm64 alpine\n", world=world)
        assert images_of(result) == [("docker.io/library/own:latest", ARM64)]

    def test_one_stands_for_a_stage_and_all_it_does(self) -> None:
        world = World(contexts={"build": NamedImage(World().image("made", AMD64))})
        result = lowered(
            "FROM golang AS build\nRUN go build\nFROM scratch\nCOPY --from=build /a /\n",
            world=world,
        )
        assert commands_of(result) == []
        assert world.asked == []
        assert [name for name, _ in images_of(result)] == ["docker.io/library/made:latest"]

    def test_scratch_is_one_too(self) -> None:
        world = World(contexts={"alpine": NamedImage(None)})
        result = lowered("FROM alpine\nCOPY a /\n", world=world)
        assert images_of(result) == []
        assert result.run.working_dir == "/"

    @pytest.mark.parametrize(("context", "op"), [
        (NamedDirectory("src", ("*.o",), "/srv"), LocalOp("src", ("*.o",), "/srv")),
        (NamedGit("https://example.com/a.git", "main", "d"),
         GitOp("https://example.com/a.git", "main", "d", keep_git_dir=False)),
        (NamedHttp("https://example.com/f"), HttpOp("https://example.com/f", "", "context")),
    ])  # fmt: skip
    def test_files_are_copied_from_and_may_be_a_base(
        self, context: NamedContext, op: LocalOp | GitOp | HttpOp
    ) -> None:
        world = World(contexts={"src": context})
        result = lowered("FROM scratch\nCOPY --from=src a /\n", world=world)
        copy = vertex_of(result, "COPY")
        assert result.graph.vertices[copy.inputs[1]].op == op
        result = lowered("FROM src\nENV A=1\n", world=world)
        (change,) = changes_of(result)
        assert change.actions == (Copy(1, "/", "/", literal=True),)
        assert [vertex.op for vertex in result.graph.vertices if vertex.op == op]
        assert result.run.env[0].startswith("PATH=")

    def test_scratch_and_context_are_never_replaced(self) -> None:
        world = World(contexts={name: NamedHttp("http://x/") for name in ("scratch", "context")})
        result = lowered("FROM scratch\nCOPY --from=context a /\n", world=world)
        assert [name for name, _ in images_of(result)] == ["docker.io/library/context:latest"]

    def test_the_main_one_has_rules_and_a_place(self) -> None:
        request = request_of("FROM scratch\nCOPY a b /\nADD c /\nRUN --mount=target=/t x\n")
        result = lower(request._replace(ignore=("*.o",), context_place="/srv"))
        found = [v.op for v in result.graph.vertices if isinstance(v.op, LocalOp)]
        assert found == [LocalOp("context", ("*.o",), "/srv")]

    def test_none_is_read_that_is_not_needed(self) -> None:
        result = lowered("FROM scratch\nADD https://example.com/a /\n")
        assert not [v for v in result.graph.vertices if isinstance(v.op, LocalOp)]


class TestNoCache:
    def test_one_stage(self) -> None:
        request = request_of("FROM alpine AS a\nRUN 1\nFROM a AS b\nRUN 2\nWORKDIR /w\nCOPY a b\n")
        result = lower(request._replace(no_cache_filter=("B",)))
        assert [vertex.name for vertex in result.graph.vertices if vertex.fresh] == [
            "[b 1/3] RUN 2",
            "[b 3/3] COPY a b",
        ]

    def test_all_stages(self) -> None:
        result = lower(request_of("FROM alpine\nRUN 1\n")._replace(no_cache=True))
        assert [vertex.fresh for vertex in result.graph.vertices] == [False, True]


class TestNames:
    def test_steps_count_within_their_stage(self) -> None:
        text = "FROM alpine AS b\nENV A=1\n" + "RUN x\n" * 9 + "FROM scratch\nCOPY a b\n"
        names = [v.name for v in lowered(text, target="b").graph.vertices]
        assert names[0].startswith("[b  1/10] FROM docker.io/library/alpine:latest@sha256:")
        assert names[-1] == "[b 10/10] RUN x"

    def test_a_stage_alone_has_no_name(self) -> None:
        assert lowered("FROM scratch\nCOPY a b\n").graph.vertices[-1].name == "[1/1] COPY a b"
        result = lowered("FROM scratch AS x\ncopy --from=alpine a b\n")
        assert result.graph.vertices[-1].name == "[x 1/1] COPY --from=alpine a b"

    def test_variables_are_shown_but_secret_ones(self) -> None:
        result = lowered(
            "FROM alpine\nARG V=1 API_TOKEN\nRUN x $V '$V' $NONE $API_TOKEN\n",
            {"API_TOKEN": "s3cret"},
        )
        assert result.graph.vertices[-1].name == "[2/2] RUN x 1 '$V' $NONE ****"

    def test_urls_are_shown_without_what_opens_them(self) -> None:
        result = lowered("FROM scratch\nADD https://u:pw@example.com/a?sig=x#y /\n")
        assert result.graph.vertices[-1].name == "[1/1] ADD https://****@example.com/a?****#y /"
        assert "pw" not in result.graph.image.layers[-1].created_by

    def test_lines_are_those_of_the_instruction(self) -> None:
        result = lowered("FROM scratch\n\nCOPY a \\\n  b \\\n  /\nRUN <<E\nx\nE\n")
        assert vertex_of(result, "COPY").lines == (3, 5)
        assert vertex_of(result, "RUN").lines == (6, 8)


def said(text: str, **how: str) -> list[tuple[int, str, str]]:
    return [(p.range.start.line, p.message, p.hint) for p in problems_of(text, **how)]


class TestRefused:
    def test_a_target_that_is_not_there(self) -> None:
        text = "FROM alpine AS builder\nFROM alpine AS final\n"
        assert said(text, target="bulder") == [
            (1, "there is no stage 'bulder'",
             "did you mean 'builder'? the stages are: builder, final"),
        ]  # fmt: skip
        assert said(text, target="0")[0][1] == "there is no stage '0'"
        assert said("FROM a\n", target="b")[0][2] == "no stage has a name"

    def test_a_number_that_no_stage_has(self) -> None:
        assert said("FROM alpine\nCOPY --from=1 a b\nCOPY --from=-1 a b\n") == [
            (2, "there is no stage 1", "stages count from 0: the last is 0"),
            (3, "there is no stage -1", "stages count from 0: the last is 0"),
        ]

    def test_circles(self) -> None:
        assert said("FROM alpine AS a\nCOPY --from=a x y\n")[0][:2] == (2, "stage a needs itself")
        assert said(
            "FROM alpine AS a\nRUN x\nCOPY --from=c x y\nFROM alpine AS b\nCOPY --from=0 x y\n"
            "FROM alpine AS c\nRUN --mount=from=b,target=/b y\nFROM alpine\n"
        )[0][:2] == (3, "stages need each other: a -> c -> b -> a")
        two = "FROM x AS a\nCOPY --from=a x y\nFROM x AS b\nCOPY --from=b x y\nCOPY --from=a x y\n"
        assert [line for line, *_ in said(two)] == [2, 4]

    def test_a_stage_that_stands_behind(self) -> None:
        assert said("FROM alpine AS a\nCOPY --from=b x y\nFROM a AS b\n")[0] == (
            2, "stage b stands after the one that needs it",
            "move it before the stage that needs it",
        )  # fmt: skip

    def test_one_that_is_not_needed_may_lean_on_what_stands_behind(self) -> None:
        lowered("FROM alpine AS a\nCOPY --from=b x y\nFROM alpine AS b\n")

    @pytest.mark.parametrize("name", ["$A", "${A:-b}", "x$A"])
    def test_a_variable_in_from(self, name: str) -> None:
        (problem,) = problems_of(f"ARG A=b\nFROM alpine\nCOPY --from={name} x y\n")
        assert problem.message == f"--from={name}: variables are not expanded there"

    def test_bases_that_are_no_images(self) -> None:
        assert [problem.message for problem in problems_of(
            "ARG TAG\nFROM alpine:$TAG\nFROM Alpine\nFROM $TAG\nFROM a AS b.\n"
            "FROM x\nCOPY --from=Busybox a b\n"
        )] == [
            "not an image reference: 'alpine:': '' is not a tag: up to 128 letters, digits, '.',"
            " '_', '-'",
            "not an image reference: 'Alpine': a repository name is lower case",
            "the base '$TAG' expands to nothing",
            "not an image reference: 'b.': 'b.' is not a repository name: lower-case letters,"
            " digits, '.', '_', '-', '/'",
            "not an image reference: 'Busybox': a repository name is lower case",
        ]  # fmt: skip

    def test_a_base_that_is_nearly_a_stage(self) -> None:
        text = "FROM alpine AS builder\nFROM Builder\n"
        assert said(text)[0][2] == "did you mean 'builder'?"
        world = World(missing=("bilder",))
        with pytest.raises(UsageError) as raised:
            lowered("FROM alpine AS builder\nFROM scratch\nCOPY --from=bilder a b\n", world=world)
        assert (raised.value.where, raised.value.hint) == (
            "Dockerfile:3", "did you mean 'builder'?",
        )  # fmt: skip

    def test_platforms(self) -> None:
        assert [line for line, *_ in said(
            "ARG P\nFROM --platform=$P a\nFROM --platform=windows/amd64 a\n"
            "FROM --platform=linux/amd65 a\nFROM --platform=linux a\n"
        )] == [2, 3, 4]  # fmt: skip
        (problem,) = problems_of("FROM --platform=$BILDPLATFORM a\n")
        assert problem.hint == "did you mean 'BUILDPLATFORM'?"

    def test_all_at_once_and_before_anything_is_fetched(self) -> None:
        world = World()
        with pytest.raises(Problems) as raised:
            lowered("FROM Alpine\nFROM a\nCOPY --from=9 a b\nCOPY --from=$A a b\n", world=world)
        assert len(raised.value.problems) == 3
        assert world.asked == []

    def test_what_is_wrong_with_the_file_comes_before_the_world(self) -> None:
        world = World(missing=("gone",))
        with pytest.raises(Problems):
            lowered("FROM alpine AS a\nSTOPSIGNAL x\nFROM gone\nCOPY --from=a a b\n", world=world)
