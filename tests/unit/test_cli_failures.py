# SPDX-License-Identifier: Apache-2.0
"""Images that failed are told at the end, each reason once."""

from __future__ import annotations

from wherry.cli.failures import render_failures
from wherry.errors import BuildError, MachineError, WherryError

LIB = "# example.com/m/lib\nlib/lib.go:3:2: undefined: x\nlib/lib.go:9:1: missing return"
API = "# example.com/m/cmd/api\ncmd/api/main.go:7:4: undefined: y"


def compile_error(why: str, where: str = "lib/lib.go:3") -> WherryError:
    hint = "mend what Go names, and build again"
    return BuildError("the Go code does not compile", why=why, where=where, hint=hint)


def test_a_compile_error_of_a_shared_package_is_told_once() -> None:
    text = render_failures(
        [("api", compile_error(f"{LIB}\n{API}")), ("web", compile_error(LIB)),
         ("worker", compile_error(f"{LIB}\n"))],
        color=False,
    )  # fmt: skip
    assert text == (
        "api, web, worker: not built\n"
        "error: lib/lib.go:3: the Go code does not compile\n"
        f"{LIB}\n{API}\n"
        "hint: mend what Go names, and build again"
    )


def test_reasons_of_several_kinds_stand_apart() -> None:
    full = MachineError("the disk is full", why="/var", hint="make room")
    text = render_failures(
        [("api", compile_error(API)), ("web", full), ("worker", compile_error(LIB))], color=False
    )
    first, second = text.split("\n\n")
    assert first.startswith("api, worker: not built\nerror: lib/lib.go:3: ")
    assert first.index(API) < first.index(LIB)
    assert second == "web: not built\nerror: the disk is full\n/var\nhint: make room"


def test_many_images_are_counted_and_the_errors_themselves_are_left_alone() -> None:
    errors = [(f"image{number}", compile_error(f"{LIB}\n{number}")) for number in range(20)]
    text = render_failures(errors, color=False)
    assert text.startswith("image0, image1, image2, image3 and 16 more: not built\n")
    assert text.count("error:") == 1
    assert errors[0][1].why == f"{LIB}\n0"
