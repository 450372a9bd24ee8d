# SPDX-License-Identifier: Apache-2.0
"""What instructions make of an image's configuration, and their lines in its history."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from lowering import World, history_of, lowered, problems_of
from wherry.frontends.dockerfile.gotext import duration, quoted
from wherry.oci.image import RunConfig, parse_config

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
FULL = RunConfig(
    user="bob",
    env=("A=1", "B=2", "BARE"),
    entrypoint=("e",),
    cmd=("c",),
    working_dir="/base",
    exposed_ports=("1/tcp",),
    volumes=("/v",),
    labels=(("l", "1"),),
    stop_signal="9",
    healthcheck='{"Test":["NONE"]}',
    stop_timeout=5,
    shell=("/bin/bash", "-c"),
    on_build=(),
    args_escaped=True,
)


def run_of(text: str, base: RunConfig | None = None) -> RunConfig:
    return lowered(f"FROM base\n{text}\n", world=World({"base": base or RunConfig()})).run


def history(text: str, base: RunConfig | None = None) -> list[str]:
    result = lowered(f"FROM base\n{text}\n", world=World({"base": base or RunConfig()}))
    return history_of(result)[1:]


def test_a_base_hands_everything_down_but_the_stop_timeout() -> None:
    run = run_of("", FULL)
    assert run == replace(FULL, stop_timeout=None, env=(*FULL.env, PATH))


def test_path_is_always_there() -> None:
    assert run_of("").env == (PATH,)
    assert run_of("", RunConfig(env=("PATH=/x",))).env == ("PATH=/x",)
    assert lowered("FROM scratch\n").run == RunConfig(env=(PATH,), working_dir="/")


def test_env_keeps_places_and_replaces_values() -> None:
    base = RunConfig(env=("A=1", "PATH=/x", "B=2"))
    assert run_of("ENV C=3 A=4\nENV B 5  6", base).env == ("A=4", "PATH=/x", "B=5  6", "C=3")
    assert history("ENV C=3 A='4 5'\nENV B 5  6") == ["ENV C=3 A=4 5", "ENV B=5  6"]


def test_labels() -> None:
    run = run_of('LABEL z=1 "a b"="c d"\nLABEL z=$X', RunConfig(labels=(("l", "1"),)))
    assert run.labels == (("a b", "c d"), ("l", "1"), ("z", ""))
    assert history('LABEL z=1 "a b"="c d"') == ["LABEL z=1 a b=c d"]


def test_labels_of_the_request_come_last() -> None:
    result = lowered("FROM x\nLABEL a=1 b=1\n", labels=(("b", "2"), ("c", "3")))
    assert result.run.labels == (("a", "1"), ("b", "2"), ("c", "3"))


@pytest.mark.parametrize(("text", "entrypoint", "cmd"), [
    ("", ("e",), ("c",)),
    ('ENTRYPOINT ["x"]', ("x",), ()),
    ('CMD ["y"]', ("e",), ("y",)),
    ('CMD ["y"]\nENTRYPOINT ["x"]', ("x",), ("y",)),
    ('ENTRYPOINT ["x"]\nCMD ["y"]', ("x",), ("y",)),
    ("ENTRYPOINT x $Y", ("/bin/bash", "-c", "x $Y"), ()),
    ("CMD x  'y'", ("e",), ("/bin/bash", "-c", "x  'y'")),
    ('SHELL ["sh", "-e"]\nCMD x', ("e",), ("sh", "-e", "x")),
    ("CMD []", ("e",), ()),
    ("ENTRYPOINT []", (), ()),
])  # fmt: skip
def test_entrypoint_and_command(
    text: str, entrypoint: tuple[str, ...], cmd: tuple[str, ...]
) -> None:
    run = run_of(text, FULL)
    assert (run.entrypoint, run.cmd) == (entrypoint, cmd)


def test_a_command_of_a_stage_below_is_inherited_and_so_dropped() -> None:
    text = 'FROM x AS a\nCMD ["y"]\nFROM a\nENTRYPOINT ["e"]\n'
    assert lowered(text).run.cmd == ()


def test_commands_are_escaped_as_docker_says() -> None:
    assert run_of("").as_json().get("ArgsEscaped") is None
    assert run_of("CMD x").as_json()["ArgsEscaped"] is True


def test_lines_of_commands_are_quoted() -> None:
    assert history('CMD echo "hi"\nENTRYPOINT ["a b", "\\u00e9\\t"]\nSHELL ["x", "y z"]') == [
        'CMD ["/bin/sh" "-c" "echo \\"hi\\""]',
        'ENTRYPOINT ["a b" "é\\t"]',
        "SHELL [x y z]",
    ]


def test_working_directories() -> None:
    assert run_of("WORKDIR a\nWORKDIR ../b/", FULL).working_dir == "/base/b"
    # An absolute one is kept as it is written.
    assert run_of("WORKDIR /x/../y/").working_dir == "/x/../y/"
    assert history("WORKDIR a\nWORKDIR $HOME/b\nWORKDIR /\nWORKDIR c", FULL) == [
        "+ WORKDIR /base/a",
        "+ WORKDIR /b",
        "WORKDIR /",
        "+ WORKDIR /c",
    ]


def test_users() -> None:
    assert run_of("USER a:$B", FULL).user == "a:2"
    assert history("USER a:$B", FULL) == ["USER a:2"]


def test_ports() -> None:
    text = 'EXPOSE 80 81/UDP 8000-8002\nARG P="90 91/tcp"\nEXPOSE $P 127.0.0.1:5:6 [::1]:7:8'
    assert run_of(text, FULL).exposed_ports == (
        "1/tcp", "6/tcp", "8/tcp", "80/tcp", "8000/tcp", "8001/tcp", "8002/tcp", "81/udp",
        "90/tcp", "91/tcp",
    )  # fmt: skip
    assert history("EXPOSE 80 81/UDP 3-4/sctp") == ["EXPOSE [3/sctp 4/sctp 80/tcp 81/udp]"]


@pytest.mark.parametrize(("port", "message"), [
    ("x", "'x' is not a port"), ("80/tpc", "unknown protocol 'tpc'"), ("/tcp", "there is no port"),
    ("5-4", "5-4 is no range"), ("65536", "ports are 0 to 65535, not 65536"), ("1-", "'' is"),
    ("-1", "'' is not a port"), ("a:1", "'a' is not a port"), ("1.2.3:4:5", "not an IP address"),
    ("1-2:3-5", "the two ranges differ in length"), ("9" * 5000, "ports are 0 to"),
    ("1:2:3:4", "'1:2' is not an IP address"), ("$P", "'x' is not a port"),
    ("[::1:2:3", "not an IP"),
])  # fmt: skip
def test_what_is_no_port(port: str, message: str) -> None:
    (problem,) = problems_of(f"FROM x\nARG P=x\nEXPOSE 1\nEXPOSE {port}\n")
    assert message in problem.message
    assert problem.range.start.line == 4
    assert problem.hint


def test_volumes() -> None:
    assert run_of('VOLUME /a $B\nVOLUME ["/c d"]', FULL).volumes == ("/a", "/c d", "/v", "2")
    assert history('VOLUME /a $B\nVOLUME ["/c d"]', FULL) == ["VOLUME [/a 2]", "VOLUME [/c d]"]
    (problem,) = problems_of("FROM x\nVOLUME /a $NONE\n")
    assert (problem.message, problem.hint) == (
        "VOLUME has an empty path",
        "$NONE expands to nothing",
    )


@pytest.mark.parametrize(
    "signal", ["SIGTERM", "term", "9", "RTMIN+15", "SIGRTMAX-14", "-1", "77", "+9"]
)
def test_signals(signal: str) -> None:
    assert run_of(f"STOPSIGNAL {signal}").stop_signal == signal
    assert history("ARG S=9\nSTOPSIGNAL $S")[1] == "STOPSIGNAL 9"


@pytest.mark.parametrize("signal", ["0", "SIGTREM", "RTMIN+16", "RTMAX-15", "$NONE", "SIG9"])
def test_what_is_no_signal(signal: str) -> None:
    (problem,) = problems_of(f"FROM x\nSTOPSIGNAL {signal}\n")
    assert problem.message.startswith("unknown signal")
    assert problem.hint


class TestHealthcheck:
    def test_of_the_shell_and_of_words(self) -> None:
        text = run_of("HEALTHCHECK --interval=90s --retries=2 CMD curl $X || exit 1").healthcheck
        assert json.loads(text) == {
            "Test": ["CMD-SHELL", "curl $X || exit 1"], "Interval": 90 * 10**9, "Retries": 2,
        }  # fmt: skip
        text = run_of('HEALTHCHECK CMD ["a", "b"]').healthcheck
        assert json.loads(text) == {"Test": ["CMD", "a", "b"]}

    def test_none_and_inherited(self) -> None:
        assert json.loads(run_of("HEALTHCHECK NONE").healthcheck) == {"Test": ["NONE"]}
        text = "FROM x AS a\nHEALTHCHECK CMD y\nFROM a\n"
        assert json.loads(lowered(text).run.healthcheck) == {"Test": ["CMD-SHELL", "y"]}

    def test_its_line(self) -> None:
        assert history(
            "HEALTHCHECK --interval=1h2m3.5s --timeout=250ms --start-interval=1s CMD x y"
        ) == [
            "HEALTHCHECK {Test:[CMD-SHELL x y] Interval:1h2m3.5s Timeout:250ms StartPeriod:0s"
            " StartInterval:1s Retries:0}"
        ]


def test_the_author() -> None:
    world = World(authors={"base": "them"})
    assert lowered("FROM base\n", world=world).graph.image.author == "them"
    result = lowered("FROM base AS a\nMAINTAINER me <$X>\nFROM a\n", world=world)
    assert result.graph.image.author == "me <$X>"
    assert history("MAINTAINER me") == ["MAINTAINER me"]


def test_onbuild_has_no_line() -> None:
    assert history("ONBUILD RUN x") == []


def test_arguments_have_a_line() -> None:
    assert history("ARG A=1 B C=$A") == ["ARG A=1 B C=1"]


def test_created_and_annotations_are_the_request_s() -> None:
    image = lowered("FROM x\n").graph.image
    assert (image.created, image.annotations) == ("2001-02-03T04:05:06Z", ())


def test_every_line_has_the_comment() -> None:
    image = lowered("FROM scratch\nENV A=1\nCOPY a /\n").graph.image
    assert {line.comment for line in image.layers} == {"wherry.dockerfile"}


def test_args_escaped_is_read_from_a_config() -> None:
    data = b'{"os":"linux","rootfs":{"diff_ids":[]},"config":{"ArgsEscaped":%s}}'
    assert parse_config(data % b"true").run.args_escaped
    for other in (b"false", b'"yes"', b"null"):
        assert not parse_config(data % other).run.args_escaped


@pytest.mark.parametrize(("nanoseconds", "text"), [
    (0, "0s"), (1, "1ns"), (1_500, "1.5µs"), (2_000_000, "2ms"), (10**9, "1s"),
    (90 * 10**9, "1m30s"), (3600 * 10**9, "1h0m0s"), (3_661_000_000_001, "1h1m1.000000001s"),
    (-1_500_000, "-1.5ms"), (59_999_000_000, "59.999s"),
])  # fmt: skip
def test_durations_as_go_prints_them(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


@pytest.mark.parametrize(("text", "printed"), [
    ("a b", '"a b"'), ('"\\', '"\\"\\\\"'), ("\n\t\x00\x7f", '"\\n\\t\\x00\\x7f"'), ("é€", '"é€"'),
    ("\u00a0\u200b", '"\\u00a0\\u200b"'), ("\U0010ffff", '"\\U0010ffff"'), ("\udcff", '"\\xff"'),
])  # fmt: skip
def test_texts_as_go_quotes_them(text: str, printed: str) -> None:
    assert quoted(text) == printed
