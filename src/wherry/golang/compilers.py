# SPDX-License-Identifier: Apache-2.0
"""The C compiler that cgo uses: which one, for which machine, and whether it works.

Go takes it from CC and finds out at the first package that needs it; a compiler for another
machine then fails with an assembler's errors. Asked before, it can be said in words.
"""

from __future__ import annotations

import os
import re
import shlex
import tempfile
from typing import TYPE_CHECKING, Final, NamedTuple

from wherry.errors import MachineError, UsageError
from wherry.golang.record import look_up
from wherry.process.spawn import Command, Finished, run

if TYPE_CHECKING:
    from collections.abc import Mapping

    from wherry.oci.platform import Platform
    from wherry.process.cancel import CancelToken

# The first word of a compiler's target ("GNU triplet"), as Go's architecture.
_MACHINES: Final = (
    (r"x86_64|amd64", "amd64"),
    (r"i[3-6]86", "386"),
    (r"aarch64|arm64", "arm64"),
    (r"arm.*", "arm"),
    (r"loongarch64", "loong64"),
    (r"mips64el|mipsisa64r6el", "mips64le"),
    (r"mips64|mipsisa64r6", "mips64"),
    (r"mipsel|mipsisa32r6el", "mipsle"),
    (r"mips|mipsisa32r6", "mips"),
    (r"powerpc64le|ppc64le", "ppc64le"),
    (r"powerpc64|ppc64", "ppc64"),
    (r"riscv64", "riscv64"),
    (r"s390x", "s390x"),
)
# Compilers that make programs of both, told by a flag that Go gives.
_RELATED: Final = (
    {"386", "amd64"},
    {"mips", "mipsle", "mips64", "mips64le"},
    {"ppc64", "ppc64le"},
)
# Debian's packages of compilers for other machines.
_CROSS: Final = {
    "386": "i686-linux-gnu", "amd64": "x86-64-linux-gnu", "arm": "arm-linux-gnueabihf",
    "arm64": "aarch64-linux-gnu", "mips64le": "mips64el-linux-gnuabi64",
    "ppc64le": "powerpc64le-linux-gnu", "riscv64": "riscv64-linux-gnu", "s390x": "s390x-linux-gnu",
}  # fmt: skip
_INSTALL: Final = "install one (Debian: apt-get install gcc libc6-dev)"
_PROGRAM: Final = "#include <stdlib.h>\nint main(void) { return EXIT_SUCCESS; }\n"


class Compiler(NamedTuple):
    """A compiler that was found: its words as CC has them, the program, and its own target.

    `machine` is as the compiler names it (`x86_64-linux-gnu`), empty where it does not say.
    """

    words: tuple[str, ...]
    path: str
    machine: str

    @property
    def architecture(self) -> str:
        """Go's name of the machine it compiles for; empty where that is unknown."""
        first = self.machine.partition("-")[0]
        return next((name for form, name in _MACHINES if re.fullmatch(form, first)), "")


def find_compiler(
    variables: Mapping[str, str], env: Mapping[str, str], cancel: CancelToken
) -> Compiler:
    """The compiler that `go env` names (`variables`), found on the PATH of `env`.

    Raises `MachineError` where there is none, `UsageError` for a CC that cannot be read,
    `Cancelled`.
    """
    words = _words(variables.get("CC", "")) or ("gcc",)
    program = words[0]
    path = program if os.path.isabs(program) else look_up(program, env.get("PATH", ""))
    if not path or not os.access(path, os.X_OK):
        raise MachineError(
            "cgo needs a C compiler, and there is none",
            why=f"{program} is not on PATH",
            hint=f"{_INSTALL}, name yours with CC, or leave out `cgo = true`",
        )
    try:
        done = run(Command((path, *words[1:], "-dumpmachine"), "/", _in_english(env)), cancel)
    except MachineError:
        return Compiler(words, path, "")
    text = done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""
    return Compiler(words, path, text if re.fullmatch(r"[\w.-]+", text) else "")


def require_compiler(
    variables: Mapping[str, str], platform: Platform, env: Mapping[str, str], cancel: CancelToken
) -> Compiler:
    """The compiler for cgo on `platform`; raises as `find_compiler`, and for another machine's.

    `variables` is what `go env` says for the platform (`GoFacts.all`).
    """
    compiler = find_compiler(variables, env, cancel)
    wanted, found = platform.architecture, compiler.architecture
    same = not found or found == wanted or any({found, wanted} <= pair for pair in _RELATED)
    if same and (not found or "linux" in compiler.machine):
        return compiler
    triplet = _CROSS.get(wanted, "")
    program = triplet.replace("x86-64", "x86_64")
    install = f" (Debian: apt-get install gcc-{triplet})" if triplet else ""
    raise MachineError(
        f"cgo for {platform} needs a C compiler for it",
        why=f"{' '.join(compiler.words)} makes programs for {compiler.machine}",
        hint=f"set CC={program or 'such a compiler'}{install}, build on such a machine, or leave "
        "out `cgo = true`",
    )


def why_broken(compiler: Compiler, env: Mapping[str, str], cancel: CancelToken) -> str:
    """What the compiler says where it cannot make the least program; empty where it can."""
    place = env.get("TMPDIR") or None
    try:
        with tempfile.TemporaryDirectory(prefix="wherry-cc-", dir=place) as directory:
            source = os.path.join(directory, "least.c")
            with open(source, "w", encoding="ascii") as file:
                file.write(_PROGRAM)
            argv = (compiler.path, *compiler.words[1:], "-o", f"{source}.out", source)
            done = run(Command(argv, directory, _in_english(env)), cancel)
    except OSError as error:
        return str(error)
    except MachineError as error:
        return error.why
    return _first_lines(done) if done.returncode else ""


def _words(text: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        raise UsageError("CC cannot be read", why=str(error), hint="check: go env CC") from error


def _first_lines(done: Finished) -> str:
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    return "\n".join(lines[:5]) or f"it ended with status {done.returncode}"


def _in_english(env: Mapping[str, str]) -> dict[str, str]:
    return {**env, "LC_ALL": "C"}
