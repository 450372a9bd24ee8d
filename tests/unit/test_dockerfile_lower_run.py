# SPDX-License-Identifier: Apache-2.0
"""RUN as an exec op: command and shell, heredocs, mounts, network, what it sees."""

from __future__ import annotations

import time

import pytest

from lowering import (
    AMD64,
    World,
    commands_of,
    history_of,
    lowered,
    problems_of,
    request_of,
    vertex_of,
)
from wherry.frontends.dockerfile.lower import lower
from wherry.frontends.dockerfile.source import Problems
from wherry.graph.ops import ExecMount, ExecOp, LocalOp, MountKind
from wherry.oci.image import RunConfig

BIND, CACHE, TMPFS, SECRET, SSH = (
    MountKind.BIND, MountKind.CACHE, MountKind.TMPFS, MountKind.SECRET, MountKind.SSH,
)  # fmt: skip


def command_of(text: str) -> ExecOp:
    """The last RUN of a stage."""
    return commands_of(lowered(f"FROM x\n{text}\n"))[-1]


def mounts_of(flags: str, before: str = "") -> tuple[ExecMount, ...]:
    return command_of(f"{before}\nRUN {flags} y").mounts


def test_all_of_it() -> None:
    world = World({"x": RunConfig(env=("PATH=/p",), user="u", working_dir="/w")})
    request = request_of("FROM x\nRUN a  'b' $C\n", world=world)
    (op,) = commands_of(lower(request._replace(hostname="h", network="none")))
    assert op == ExecOp(
        args=("/bin/sh", "-c", "a  'b' $C"),
        env=("PATH=/p",),
        cwd="/w",
        user="u",
        mounts=(),
        network="none",
        security="sandbox",
        platform=AMD64,
        hostname="h",
    )


def test_shells() -> None:
    assert command_of('RUN ["a", "$B"]').args == ("a", "$B")
    assert command_of('SHELL ["s", "-x"]\nRUN a b').args == ("s", "-x", "a b")
    world = World({"x": RunConfig(shell=("/bin/bash", "-c"))})
    assert commands_of(lowered("FROM x\nRUN a\n", world=world))[0].args[0] == "/bin/bash"


RIGHTS = frozenset(("network.host", "security.insecure"))


def test_network_security_and_devices() -> None:
    text = "FROM x\nRUN --network=host --security=insecure --device=v/d=0,required x\n"
    (op,) = commands_of(lower(request_of(text)._replace(allowed=RIGHTS)))
    assert (op.network, op.security) == ("host", "insecure")
    assert op.devices == (("v/d=0", True),)
    request = request_of("FROM x\nRUN --network=default x\n")._replace(allowed=RIGHTS)
    assert commands_of(lower(request._replace(network="host")))[0].network == "host"


class TestRights:
    TEXT = (
        "FROM x AS other\nRUN --network=host y\n"
        "FROM x\nRUN y\nRUN --security=insecure \\\n  --network=host y\nRUN --network=none y\n"
    )

    def test_what_was_not_allowed_is_refused_with_its_line_and_flag(self) -> None:
        problems = problems_of(self.TEXT)
        assert [(found.message, found.range.lines, found.hint) for found in problems] == [
            ("RUN with the host's network is not allowed", (5, 6),
             "if you trust it: --allow network.host"),
            ("RUN with --security=insecure is not allowed", (5, 6),
             "if you trust it: --allow security.insecure"),
        ]  # fmt: skip

    @pytest.mark.parametrize("right", sorted(RIGHTS))
    def test_one_right_is_not_the_other(self, right: str) -> None:
        request = request_of(self.TEXT)._replace(allowed=frozenset((right,)))
        with pytest.raises(Problems) as raised:
            lower(request)
        (problem,) = raised.value.problems
        (missing,) = RIGHTS - {right}
        assert problem.hint.endswith(f"--allow {missing}")

    def test_both_are_enough(self) -> None:
        request = request_of(self.TEXT)._replace(allowed=RIGHTS)
        assert [op.network for op in commands_of(lower(request))] == ["default", "host", "none"]

    def test_the_network_of_all_steps_needs_the_right_where_a_step_takes_it(self) -> None:
        request = request_of("FROM x\nRUN y\n")._replace(network="host")
        with pytest.raises(Problems, match="network is not allowed"):
            lower(request)
        narrowed = request_of("FROM x\nRUN --network=none y\n")._replace(network="host")
        assert commands_of(lower(narrowed))[0].network == "none"

    def test_triggers_are_held_to_it(self) -> None:
        world = World({"x": RunConfig(on_build=("RUN --network=host y",))})
        with pytest.raises(Problems, match="network is not allowed"):
            lower(request_of("FROM x\n", world=world))


def test_what_the_command_line_gives_to_every_step() -> None:
    request = request_of("FROM x\nRUN y\nRUN z\n")._replace(
        extra_hosts=(("db", "10.0.0.7"), ("db", "::1")),
        shm_size=1 << 20,
        ulimits=(("nofile", 1, 2),),
    )
    for op in commands_of(lower(request)):
        assert op.hosts == (("db", "10.0.0.7"), ("db", "::1"))
        assert op.host_names == ("db", "db")
        assert (op.shm_size, op.ulimits) == (1 << 20, (("nofile", 1, 2),))


def test_the_hostname_may_be_an_argument() -> None:
    result = lowered("FROM x\nRUN y\n", {"BUILDKIT_SANDBOX_HOSTNAME": "box"})
    assert commands_of(result)[0].hostname == "box"


class TestHeredocs:
    def test_a_script_for_the_shell(self) -> None:
        op = command_of("RUN <<E\na $B\n\tc\nE")
        assert (op.args, op.heredocs) == (("/bin/sh", "-c", "a $B\n\tc\n"), ())

    def test_a_script_with_an_interpreter(self) -> None:
        result = lowered("FROM x\nRUN <<-E\n\t#!/usr/bin/python\n\tprint()\n\tE\n")
        (op,) = commands_of(result)
        assert op.args == ("/bin/sh", "-c", "/dev/pipes/E")
        assert op.heredocs == (("E", "#!/usr/bin/python\nprint()\n"),)
        assert history_of(result)[-1] == "+ RUN /bin/sh -c /dev/pipes/E # wherry"
        assert vertex_of(result, "RUN").name == "[2/2] RUN <<-E (#!/usr/bin/python...)"

    def test_others_are_left_to_the_shell(self) -> None:
        op = command_of("RUN cat <<A >f && cat <<-'B'\na\nA\n\tb\n\tB")
        assert op.args[-1] == "cat <<A >f && cat <<-'B'\na\nA\n\tb\nB"

    def test_one_line_is_the_whole_summary(self) -> None:
        result = lowered("FROM x\nRUN <<E\n\n  echo\n\nE\n")
        assert vertex_of(result, "RUN").name == "[2/2] RUN <<E (echo)"


class TestMounts:
    def test_bind(self) -> None:
        result = lowered(
            "FROM a AS s\nRUN make\nFROM x\nWORKDIR /w\n"
            "RUN --mount=target=t --mount=type=bind,from=s,src=/o/../p/,dst=/a,rw"
            " --mount=from=y,target=/b y\n"
        )
        vertex = result.graph.vertices[-1]
        assert isinstance(vertex.op, ExecOp)
        assert vertex.op.mounts == (
            ExecMount(BIND, "/a", 2, "/p"),
            ExecMount(BIND, "/b", 3, read_only=True),
            ExecMount(BIND, "/w/t", 1, read_only=True),
        )
        inputs = [result.graph.vertices[number] for number in vertex.inputs[1:]]
        assert isinstance(inputs[0].op, LocalOp)
        assert inputs[1].name == "[s 2/2] RUN make"
        assert inputs[2].name.startswith("FROM docker.io/library/y:latest@")

    def test_cache(self) -> None:
        assert mounts_of("--mount=type=cache,target=/c/../d") == (
            ExecMount(CACHE, "/d", id="/d", sharing="shared"),
        )
        assert mounts_of(
            "--mount=type=cache,target=c,id=$I,sharing=locked,uid=1,ro", "ENV I=name"
        ) == (
            ExecMount(CACHE, "/c", id="name", sharing="locked", read_only=True, mode=0o755, uid=1),
        )
        assert mounts_of("--mount=type=cache,target=/c,from=b,source=/d,mode=700,gid=2") == (
            ExecMount(CACHE, "/c", 1, "/d", id="/c", sharing="shared", mode=0o700, gid=2),
        )

    def test_caches_may_have_a_namespace(self) -> None:
        text = "FROM x\nRUN --mount=type=cache,target=/c y\n"
        (op,) = commands_of(lowered(text, {"BUILDKIT_CACHE_MOUNT_NS": "ns"}))
        assert op.mounts[0].id == "ns//c"

    def test_tmpfs(self) -> None:
        assert mounts_of("--mount=type=tmpfs,target=/t,size=10m") == (
            ExecMount(TMPFS, "/t", size=10 << 20),
        )

    def test_secret(self) -> None:
        assert mounts_of(
            "--mount=type=secret,id=a/b --mount=type=secret,id=c,env=C,required "
            "--mount=type=secret,id=d,env=D,target=/d,uid=1 "
            "--mount=type=secret,target=/x/e,mode=440"
        ) == (
            ExecMount(SECRET, "/run/secrets/b", id="a/b", mode=0o400),
            ExecMount(SECRET, "", id="c", env="C", required=True, mode=0o400),
            ExecMount(SECRET, "/d", id="d", env="D", uid=1, mode=0o400),
            ExecMount(SECRET, "/x/e", id="e", mode=0o440),
        )

    def test_ssh(self) -> None:
        op = command_of("RUN --mount=type=ssh --mount=type=ssh,id=k,target=/s,required,mode=666 y")
        assert op.mounts == (
            ExecMount(SSH, "/run/buildkit/ssh_agent.0", id="default", mode=0o600),
            ExecMount(SSH, "/s", id="k", required=True, mode=0o666),
        )
        assert op.env[-1] == "SSH_AUTH_SOCK=/run/buildkit/ssh_agent.0"
        own = command_of("ENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh y")
        assert own.env[-1] == "SSH_AUTH_SOCK=/own"

    def test_a_secret_variable_is_masked_in_the_name(self) -> None:
        result = lowered("FROM x\nENV A=1\nRUN --mount=type=secret,id=a,env=A y $A\n")
        assert vertex_of(result, "RUN").name.endswith(" y ****")

    def test_their_variables_are_expanded_one_value_at_a_time(self) -> None:
        before = 'ENV A=/x,ro=false B="/y z"'
        assert mounts_of("--mount=target=$A,source='${B}'", before) == (
            ExecMount(BIND, "/x,ro=false", 1, "/y z", read_only=True),
        )

    @pytest.mark.parametrize(("flags", "message"), [
        ("--mount=target=/", "would hide the whole root"),
        ("--mount=type=cache,target=/a/..", "would hide the whole root"),
        ("--mount=type=tmpfs,target=.", "would hide the whole root"),
        ("--mount=type=ssh,source=/a", "a mount of type ssh has no source"),
        ("--mount=type=$T,target=/a", "there is no type 'bnd'"),
        ("--mount=target=${U:?no}", "U: no"),
        ("--mount=from=late,target=/a", "stage late stands after the one that needs it"),
    ])  # fmt: skip
    def test_refused(self, flags: str, message: str) -> None:
        text = f"FROM x\nENV T=bnd\n\nRUN {flags} y\nFROM x AS late\nFROM x\n"
        (problem,) = problems_of(text.replace("FROM x\nENV", "FROM x AS one\nENV"), target="one")
        assert message in problem.message
        assert problem.range.start.line == 4


def test_the_step_has_its_root_first() -> None:
    result = lowered("FROM scratch\nRUN --mount=from=scratch,target=/a x\n")
    vertex = result.graph.vertices[-1]
    assert vertex.inputs == (0, 0)


@pytest.mark.parametrize("lines", [2000])
def test_long_files_take_time_in_proportion(lines: int) -> None:
    stages = "".join(f"FROM scratch AS s{n}\nCOPY --from=s{n - 1} a b\n" for n in range(1, lines))
    copies = "".join(f"COPY a{n} $NONE{n} /b\nENV A{n}=$A{n - 1}\n" for n in range(lines))
    started = time.process_time()
    lowered(f"FROM scratch AS s0\n{stages}{copies}")
    # On a slow machine about half a second; a look at every stage for every stage took minutes.
    assert time.process_time() - started < 10


def test_a_run_without_a_command() -> None:
    """The shell runs nothing, which works; nothing without a shell is no command."""
    (op,) = commands_of(lowered("FROM x\nRUN\n"))
    assert op.args[:2] == ("/bin/sh", "-c")
    (problem,) = problems_of("FROM x\nRUN []\n")
    assert "names no program" in problem.message
