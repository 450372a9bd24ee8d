# SPDX-License-Identifier: Apache-2.0
"""What the language refuses: message, lines and hint of each error, and all of a file together."""

from __future__ import annotations

import time

import pytest

from wherry.frontends.dockerfile.parse import parse
from wherry.frontends.dockerfile.source import Position, Problem, Problems, Range
from wherry.frontends.dockerfile.typed import MOST_PROBLEMS, read_dockerfile


def problems(text: str) -> tuple[Problem, ...]:
    with pytest.raises(Problems) as caught:
        read_dockerfile(parse(text))
    return caught.value.problems


_BASE = "write FROM BASE or FROM BASE AS NAME"
_NAME = "begin with a letter, and use letters, digits, '-', '_' and '.' only"
_UNITS = "write numbers with units, such as 30s, 1m30s or 500ms (units: ns, us, ms, s, m, h)"
_COPY_FLAGS = "the flags of COPY are: --from, --chown, --chmod, --link, --parents, --exclude"
_ADD_FLAGS = (
    "the flags of ADD are: --chown, --chmod, --link, --checksum, --keep-git-dir, --unpack,"
    " --exclude"
)
_KEYS = (
    "the keys are: type, target, dst, destination, source, src, from, id, ro, readonly, rw,"
    " readwrite, sharing, required, mode, uid, gid, size, env"
)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("FROM", "FROM has no base", _BASE),
        ("FROM x AS", "FROM has no name after AS", _BASE),
        ("FROM x y", "FROM has words after the base that are not AS NAME: y", _BASE),
        ("FROM x IS y", "FROM has words after the base that are not AS NAME: IS y", _BASE),
        ("FROM x AS y z", "FROM has too much after the name: z", _BASE),
        ("FROM x AS 1y", "'1y' is not a name for a stage", _NAME),
        ("FROM x AS y/z", "'y/z' is not a name for a stage", _NAME),
        ("FROM x AS \u00e4", "'\u00e4' is not a name for a stage", _NAME),
        ("FROM --platform x", "--platform has no value", "write --platform=VALUE, without a blank"),
        (
            "FROM --platfrom=x y",
            "FROM has no flag --platfrom",
            "did you mean '--platform'? the flags of FROM are: --platform",
        ),
        ("ARG", "ARG names no argument", "write ARG NAME or ARG NAME=DEFAULT"),
        ("ARG A =b", "ARG has a default without a name before =", "write ARG NAME=DEFAULT"),
        ("ENV", "ENV sets nothing", "write ENV NAME=VALUE"),
        ("ENV =x", "ENV has a value without a name before =", "write ENV NAME=VALUE"),
        ("ENV a=b =x", "ENV has a value without a name before =", "write ENV NAME=VALUE"),
        ("LABEL", "LABEL sets nothing", "write LABEL NAME=VALUE"),
        ("LABEL =x", "LABEL has a value without a name before =", "write LABEL NAME=VALUE"),
        (
            "ENV --x a=b",
            "ENV takes no flags, but has --x",
            "remove it, or write -- before it if it is not meant as a flag: ENV -- ...",
        ),
        (
            "COPY",
            "COPY has neither source nor destination",
            "write COPY SOURCE ... DESTINATION",
        ),
        (
            "ADD []",
            "ADD has neither source nor destination",
            "write ADD SOURCE ... DESTINATION",
        ),
        (
            "ADD a",
            "ADD has one path only: the destination is missing",
            "write ADD SOURCE ... DESTINATION",
        ),
        (
            "COPY --from=x a",
            "COPY has one path only: the destination is missing",
            "write COPY SOURCE ... DESTINATION",
        ),
        (
            "COPY --form=x a b",
            "COPY has no flag --form",
            f"did you mean '--from'? {_COPY_FLAGS}",
        ),
        ("COPY --checksum=x a b", "COPY has no flag --checksum", _COPY_FLAGS),
        ("COPY --unpack a b", "COPY has no flag --unpack", _COPY_FLAGS),
        ("ADD --from=x a b", "ADD has no flag --from", _ADD_FLAGS),
        ("ADD --zzz a b", "ADD has no flag --zzz", _ADD_FLAGS),
        ("COPY --From=x a b", "COPY has no flag --From", f"did you mean '--from'? {_COPY_FLAGS}"),
        ("COPY --chown a b", "--chown has no value", "write --chown=VALUE, without a blank"),
        ("COPY --exclude a b", "--exclude has no value", "write --exclude=VALUE, without a blank"),
        ("COPY --from=x --from=x a b", "COPY has --from twice", "remove one of them"),
        ("COPY --link --link a b", "COPY has --link twice", "remove one of them"),
        (
            "COPY --link=1 a b",
            "--link is true or false, not '1'",
            "write --link or --link=false",
        ),
        (
            "ADD --keep-git-dir= a b",
            "--keep-git-dir is true or false, not ''",
            "write --keep-git-dir or --keep-git-dir=false",
        ),
        ("RUN --network x", "--network has no value", "write --network=VALUE, without a blank"),
        (
            "RUN --network=hots x",
            "--network is one of default, none, host, not 'hots'",
            "did you mean 'host'? write --network= with one of: default, none, host",
        ),
        (
            "RUN --security= x",
            "--security is one of sandbox, insecure, not ''",
            "write --security= with one of: sandbox, insecure",
        ),
        ("RUN --network=none --network=none x", "RUN has --network twice", "remove one of them"),
        ("RUN --mount x", "--mount has no value", "write --mount=VALUE, without a blank"),
        (
            "RUN --mont=x x",
            "RUN has no flag --mont",
            "did you mean '--mount'? the flags of RUN are: --mount, --network, --security,"
            " --device",
        ),
        (
            "RUN --mount=targte=/x x",
            "--mount=targte=/x: there is no key 'targte'",
            f"did you mean 'target'? {_KEYS}",
        ),
        (
            "RUN --mount=targte=/$x x",
            "--mount=targte=/$x: there is no key 'targte'",
            f"did you mean 'target'? {_KEYS}",
        ),
        (
            "RUN --mount=from=$x,target=/a x",
            "--mount=from=$x,target=/a: variables are not expanded in from",
            "give the stage or image a name of its own (FROM ... AS NAME), and write from=NAME",
        ),
        (
            "RUN --device=a,name=b x",
            "--device=a,name=b: the device is named 'a' already",
            "remove one name",
        ),
        (
            "RUN --device=a,reqired=true x",
            "--device=a,reqired=true: 'reqired=true' is neither name=NAME nor required",
            "did you mean 'required'? the keys are: name, required",
        ),
        (
            "RUN --device=a,required=yes x",
            "--device=a,required=yes: 'yes' is neither true nor false",
            "",
        ),
        (
            "RUN --device= x",
            "--device=: it is empty",
            "write key=value pairs, joined by commas",
        ),
        (
            "CMD --x a",
            "CMD takes no flags, but has --x",
            "remove it, or write -- before it if it is not meant as a flag: CMD -- ...",
        ),
        (
            "ENTRYPOINT --x a",
            "ENTRYPOINT takes no flags, but has --x",
            "remove it, or write -- before it if it is not meant as a flag: ENTRYPOINT -- ...",
        ),
        ("WORKDIR", "WORKDIR takes one argument, not none", "write WORKDIR /PATH"),
        ("USER", "USER takes one argument, not none", "write USER NAME or USER NAME:GROUP"),
        ("STOPSIGNAL", "STOPSIGNAL takes one argument, not none", "write STOPSIGNAL SIGTERM"),
        (
            "MAINTAINER",
            "MAINTAINER takes one argument, not none",
            'write LABEL org.opencontainers.image.authors="NAME"',
        ),
        ("EXPOSE", "EXPOSE names no port", "write EXPOSE 8080 or EXPOSE 53/udp"),
        ("VOLUME", "VOLUME names no path", "write VOLUME /PATH"),
        ("VOLUME []", "VOLUME names no path", "write VOLUME /PATH"),
        ('VOLUME ["/a", " "]', "VOLUME has an empty path", "write VOLUME /PATH"),
        ("SHELL", "SHELL has no program", 'write SHELL ["/bin/bash", "-c"]'),
        ("SHELL []", "SHELL has no program", 'write SHELL ["/bin/bash", "-c"]'),
        (
            "SHELL /bin/zsh -c",
            "SHELL takes a JSON array of texts only",
            'write SHELL ["/bin/zsh", "-c"]',
        ),
        ("ONBUILD", "ONBUILD has no instruction", "write ONBUILD COPY . /src"),
        ("ONBUILD ONBUILD RUN x", "ONBUILD does not trigger ONBUILD", "remove one ONBUILD"),
        ("ONBUILD from x", "ONBUILD does not trigger FROM", "remove the line"),
        ("ONBUILD MAINTAINER x", "ONBUILD does not trigger MAINTAINER", "remove the line"),
        (
            "HEALTHCHECK",
            "HEALTHCHECK has no type",
            "write HEALTHCHECK CMD COMMAND, or NONE",
        ),
        (
            "HEALTHCHECK curl x",
            "HEALTHCHECK has no type 'curl'",
            "write HEALTHCHECK CMD COMMAND, or NONE; choose from: CMD, NONE",
        ),
        (
            "HEALTHCHECK NONE x",
            "HEALTHCHECK NONE takes nothing after it",
            "remove what follows NONE",
        ),
        ("HEALTHCHECK CMD", "HEALTHCHECK CMD has no command", "write it after CMD"),
        ("HEALTHCHECK CMD []", "HEALTHCHECK CMD has no command", "write it after CMD"),
        (
            "HEALTHCHECK --interval=30 CMD x",
            "--interval: the duration '30' has no unit",
            _UNITS,
        ),
        ("HEALTHCHECK --timeout=x CMD x", "--timeout: 'x' is not a duration", _UNITS),
        (
            "HEALTHCHECK --start-period=1d CMD x",
            "--start-period: the duration '1d' has the unknown unit 'd'",
            _UNITS,
        ),
        (
            "HEALTHCHECK --start-interval=999us CMD x",
            "--start-interval: 999us is less than 1ms",
            "0 stands for the default",
        ),
        (
            "HEALTHCHECK --interval=-1s CMD x",
            "--interval: -1s is less than 1ms",
            "0 stands for the default",
        ),
        (
            "HEALTHCHECK --interval=9999999h CMD x",
            "--interval: the duration '9999999h' is longer than 292 years",
            _UNITS,
        ),
        (
            "HEALTHCHECK --retries=-1 CMD x",
            "--retries: -1 is less than 0",
            "0 stands for the default, 3",
        ),
        (
            "HEALTHCHECK --retries=many CMD x",
            "--retries: 'many' is not a number from -2147483648 to 2147483647",
            "",
        ),
        (
            "HEALTHCHECK --retry=3 CMD x",
            "HEALTHCHECK has no flag --retry",
            "did you mean '--retries'? the flags of HEALTHCHECK are: --interval, --timeout,"
            " --start-period, --start-interval, --retries",
        ),
    ],
)
def test_errors(line: str, message: str, hint: str) -> None:
    (problem,) = problems(f"FROM x\n\n{line}\nUSER me\n")
    assert (problem.message, problem.hint, problem.range.lines) == (message, hint, (3, 3))


def test_a_heredoc_is_no_destination() -> None:
    (problem,) = problems("FROM x\nCOPY a <<EOF\nb\nEOF\n")
    assert problem.message == "the destination of COPY is a heredoc, <<EOF"
    assert problem.hint == "write the destination last: COPY <<EOF /PATH"
    assert problem.range.lines == (2, 4)


_ALL = (
    "the instructions are: FROM, ARG, ENV, LABEL, RUN, COPY, ADD, WORKDIR, USER, CMD, ENTRYPOINT,"
    " SHELL, EXPOSE, VOLUME, STOPSIGNAL, HEALTHCHECK, ONBUILD, MAINTAINER"
)


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("COPPY a b", "unknown instruction COPPY", f"did you mean 'COPY'? {_ALL}"),
        ("work_dir /a", "unknown instruction work_dir", f"did you mean 'WORKDIR'? {_ALL}"),
        (
            "&& make",
            "unknown instruction &&",
            f"if the line belongs to the one above, end that with \\; {_ALL}",
        ),
        (
            "x" * 1000,
            f"unknown instruction {'x' * 40}...",
            f"if the line belongs to the one above, end that with \\; {_ALL}",
        ),
    ],
)
def test_unknown_instructions(line: str, message: str, hint: str) -> None:
    (problem,) = problems(f"FROM x\n{line}\n")
    assert (problem.message, problem.hint, problem.range.lines) == (message, hint, (2, 2))


def test_only_arg_stands_before_from_and_that_is_told_once() -> None:
    first, second = problems("ARG A\nRUN x\nCOPY a b\nUSER\nFROM x\n")
    assert (first.message, first.range.lines) == ("RUN stands before the first FROM", (2, 2))
    assert first.hint == "begin with FROM; only ARG may stand before it"
    assert (second.message, second.range.lines) == ("USER takes one argument, not none", (4, 4))


def test_a_file_of_arguments_has_no_from() -> None:
    (problem,) = problems("ARG A\nARG B\n")
    assert (problem.message, problem.range.lines) == ("the file has no FROM", (2, 2))
    assert problem.hint == "begin with FROM BASE"


def test_a_misspelt_or_bad_from_is_one_problem() -> None:
    assert [p.message for p in problems("FORM x\nRUN y\n")] == ["unknown instruction FORM"]
    assert [p.message for p in problems("FROM\nRUN y\n")] == ["FROM has no base"]


def test_all_problems_are_told_in_the_order_of_lines() -> None:
    found = problems(
        "FROM a b\nCOPY x\nRUN --mount=type=x,target=/a --network=x --foo y\n"
        "HEALTHCHECK --interval=1 --retries=x CMD y\nNONSENSE\nRUN fine\nVOLUME\n"
    )  # fmt: skip
    assert [(p.range.lines[0], p.message.split(":")[0]) for p in found] == [
        (1, "FROM has words after the base that are not AS NAME"),
        (2, "COPY has one path only"),
        (3, "RUN has no flag --foo"),
        (4, "--interval"),
        (4, "--retries"),
        (5, "unknown instruction NONSENSE"),
        (7, "VOLUME names no path"),
    ]


def test_all_bad_values_of_a_run_are_told() -> None:
    found = problems("FROM x\nRUN --mount=type=x --network=x --security=x --device=a,b=c y\n")
    assert [p.message.split(":")[0] for p in found] == [
        "--mount=type=x",
        "--network is one of default, none, host, not 'x'",
        "--security is one of sandbox, insecure, not 'x'",
        "--device=a,b=c",
    ]


def test_problems_of_others_are_told_with_the_rest() -> None:
    parsed = parse("RUN x\nUSER\n")
    known = Problem("what the parser found", Range(Position(1, 0), Position(1, 5)))
    with pytest.raises(Problems) as caught:
        read_dockerfile(parsed, (known,))
    # The line that was wrong may have been the FROM.
    assert [p.message for p in caught.value.problems] == [
        "what the parser found",
        "USER takes one argument, not none",
    ]


def test_values_that_may_be_secret_are_in_no_message() -> None:
    for line in ("ARG =hunter2", "ENV =hunter2", "LABEL =hunter2", "ADD https://u:hunter2@h/x"):
        (problem,) = problems(f"FROM x\n{line}\n")
        assert "hunter2" not in problem.message + problem.hint


def test_a_file_that_is_no_dockerfile_ends_soon() -> None:
    begin = time.monotonic()
    found = problems("FROM x\n" + "".join(f"w{n} x\n" for n in range(20_000)))
    assert len(found) == MOST_PROBLEMS + 1
    assert found[-1].message == "more than 100 problems: the file is not read further"
    assert time.monotonic() - begin < 10
