# SPDX-License-Identifier: Apache-2.0
"""Images that failed are told at the end, each reason once."""

from __future__ import annotations

from wherry.api.request import ImageFailure, ImagesFailed
from wherry.cli.errors import render_error
from wherry.cli.failures import render_failures
from wherry.errors import BuildError, MachineError, SeveralErrors, WherryError

LIB = "# example.com/m/lib\nlib/lib.go:3:2: undefined: x\nlib/lib.go:9:1: missing return"
API = "# example.com/m/cmd/api\ncmd/api/main.go:7:4: undefined: y"


def compile_error(why: str, where: str = "lib/lib.go:3") -> WherryError:
    hint = "mend what Go names, and build again"
    return BuildError("the Go code does not compile", why=why, where=where, hint=hint)


def failed(**errors: WherryError) -> tuple[ImageFailure, ...]:
    return tuple(ImageFailure(*item) for item in errors.items())


def test_a_compile_error_of_a_shared_package_is_told_once() -> None:
    text = render_failures(
        failed(api=compile_error(f"{LIB}\n{API}"), web=compile_error(LIB),
               worker=compile_error(f"{LIB}\n")),
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
        failed(api=compile_error(API), web=full, worker=compile_error(LIB)), color=False
    )
    first, second = text.split("\n\n")
    assert first.startswith("api, worker: not built\nerror: lib/lib.go:3: ")
    assert first.index(API) < first.index(LIB)
    assert second == "web: not built\nerror: the disk is full\n/var\nhint: make room"


def test_many_images_are_counted_and_the_errors_themselves_are_left_alone() -> None:
    each = {f"image{number}": compile_error(f"{LIB}\n{number}") for number in range(20)}
    errors = failed(**each)
    text = render_failures(errors, color=False)
    assert text.startswith("image0, image1, image2, image3 and 16 more: not built\n")
    assert text.count("error:") == 1
    assert errors[0][1].why == f"{LIB}\n0"


def test_where_no_image_could_be_built_reasons_are_merged_too() -> None:
    error = ImagesFailed(failed(api=compile_error(f"{LIB}\n{API}"), web=compile_error(LIB)))
    assert error.code == 1
    text = render_error(error, color=False)
    assert text.startswith("api, web: not built\nerror: ")
    assert text.count("undefined: x") == 1


def test_all_mistakes_of_each_image_are_told() -> None:
    several = [
        SeveralErrors((BuildError(f"{name} one"), BuildError("two"))) for name in ("api", "web")
    ]
    text = render_failures(failed(api=several[0], web=several[1]), color=False)
    assert text.split("\n\n") == [
        "api: not built\nerror: api one",
        "api, web: not built\nerror: two",
        "web: not built\nerror: web one",
    ]
