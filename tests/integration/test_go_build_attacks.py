# SPDX-License-Identifier: Apache-2.0
"""Go builds under attack: what contradicts itself, two things at one path, odd trees, odd ends.

What cannot be is told before anything is compiled or written, with the exit code of its kind;
`--dry-run` says the same and leaves the store as it was.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from wherry.errors import SeveralErrors, WherryError
from wherry_fixtures import MAIN, Finished, Project

Make = Callable[..., Project]
Wherry = Callable[..., Finished]

TWO = {"a/main.go": MAIN, "b/main.go": MAIN}
API = '[image.api]\npackages = ["."]\n'


def refusal(project: Project, **asked: object) -> WherryError:
    """What a build says, which has not begun: nothing was compiled."""
    with pytest.raises(WherryError) as caught:
        project.build(**asked)
    error = caught.value
    assert error.exit_code == 2 if not isinstance(error, SeveralErrors) else error.code == 2
    assert not list(project.store.glob("work/*/*"))
    return error


def pair(first: str = "", second: str = "", before: str = "") -> str:
    """Settings of two images."""
    return (
        f'{before}[image.a]\npackages = ["./a"]\n{first}\n[image.b]\npackages = ["./b"]\n{second}\n'
    )


@pytest.mark.parametrize(
    "text",
    [
        pair('tags = ["docker.io/library/b"]'),
        pair('tags = ["index.docker.io/library/b:latest"]'),
        pair('tags = ["x:{{.Env.V}}"]', 'tags = ["x:1"]'),
        pair('tags = ["x:{{.Env.V}}"]', 'tags = ["docker.io/library/x:1"]'),
        pair('tags = ["x:{{.Env.V}}"]', 'tags = ["x:{{.Env.W}}"]'),
        pair('tags = ["r.example.com/x:{{.Env.V}}", "y"]', 'tags = ["z", "r.example.com/x:1"]'),
    ],
)
def test_two_images_of_one_name_however_it_is_written(project: Make, text: str) -> None:
    made = project({**TWO, "wherry.toml": text})
    made.env |= {"V": "1", "W": "1"}
    error = refusal(made)
    assert "two images would be named" in str(error)
    assert "example.com/m/a" in error.why


@pytest.mark.parametrize("value", ["", "a" * 256, "UP/.."])
@pytest.mark.parametrize("tag", ["x:{{.Env.V}}", "{{.Env.V}}/x"])
def test_a_tag_that_is_none_once_it_is_rendered(project: Make, tag: str, value: str) -> None:
    if (tag, value) == ("x:{{.Env.V}}", "UP/.."):
        value = ".1"
    made = project({"main.go": MAIN, "wherry.toml": f'{API}tags = ["{tag}"]\n'})
    made.env["V"] = value
    error = refusal(made)
    assert str(error).startswith("wherry.toml:3: image.api.tags: ")
    assert f"{tag} becomes" in str(error)


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "type=oci,dest=x", "-o", "type=docker,dest=./y/../x"),
        ("-o", "type=oci,tar=false,dest=x", "-o", "type=local,dest=x"),
        ("-o", "type=local,dest=x", "-o", "type=oci,tar=false,dest=x/"),
        ("-o", "x", "-o", "x"),
        ("-o", "type=oci,dest=x", "--iidfile", "x"),
        ("-o", "type=oci,dest=x", "--metadata-file", "y/../x"),
        ("-o", "x", "--metadata-file", "x"),
        ("--metadata-file", "x", "--iidfile", "x"),
        ("--metadata-file", "x", "--iidfile", "link"),
    ],
)
def test_two_outputs_at_one_place(
    wherry: Wherry, module: Callable[..., Path], words: tuple[str, ...]
) -> None:
    root = module()
    (root / "y").mkdir()
    (root / "link").symlink_to("x")
    for more in ((), ("--dry-run",)):
        done = wherry("build", "--base", "scratch", *words, *more, ".", cwd=root)
        assert done.returncode == 2, done.stderr
        assert "want" in done.stderr
        assert not done.stdout
        assert not (root / "x").exists()


@pytest.mark.parametrize(
    ("words", "code", "why"),
    [
        (("-o", "type=oci,dest=y"), 2, "it is a directory"),
        (("-o", "type=docker,dest=y"), 2, "it is a directory"),
        (("-o", "type=tar,dest=y"), 2, "it is a directory"),
        (("--iidfile", "y"), 2, "it is a directory"),
        (("--metadata-file", "y"), 2, "it is a directory"),
        (("--metadata-file", "no/x"), 3, "No such file"),
        (("--iidfile", "main.go/x"), 3, "Not a directory"),
        (("-o", "type=oci,dest=no/x"), 3, "No such file"),
        (("-o", "type=local,dest=main.go"), 2, "it is a file"),
        (("-o", "type=local,dest=main.go/x"), 3, "Not a directory"),
        (("-o", "type=oci,tar=false,dest=main.go"), 2, "it is a file"),
    ],
)
def test_a_place_that_cannot_be_is_told_before_anything_is_built(
    wherry: Wherry,
    module: Callable[..., Path],
    store: Path,
    words: tuple[str, ...],
    code: int,
    why: str,
) -> None:
    root = module()
    (root / "y").mkdir()
    for more in ((), ("--dry-run",)):
        done = wherry("build", "--base", "scratch", *words, *more, ".", cwd=root)
        assert done.returncode == code, done.stderr
        assert f"\n{why}" in done.stderr
        assert "\nhint: " in done.stderr
        assert not list(store.glob("work/*/*"))
    assert (root / "main.go").read_text() == MAIN


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ('{ from = "d", to = "/app/m" }', "/app/m"),
        ('{ from = "d/x", to = "/app/m/y/z" }', "/app/m"),
        ('{ from = "d/x", to = "/app/m" }', "/app/m"),
        ('{ from = "d/x", to = "/app" }', "/app"),
        ('{ from = "d/x", to = "/q" }, { from = "d/y", to = "/q" }', "/q"),
        ('{ from = "d", to = "/q" }, { from = "e", to = "/q" }', "/q/x"),
        ('{ from = "d/x", to = "/q" }, { from = "e", to = "/q" }', "/q"),
        ('{ from = "d/x", to = "/q" }, { from = "e/x", to = "/q/x" }', "/q"),
        ('{ from = "e/x", to = "/q/x" }, { from = "d/x", to = "/q" }', "/q"),
        ('{ from = "d/x", to = "/var/run/ko/k" }', "/var/run/ko/k"),
        ('{ from = "d/x", to = "/var/run" }', "/var/run"),
        ('{ from = "none", to = "/q" }, { from = "*.zip", to = "/q/" }', "matches nothing"),
        ('{ from = "d/*", to = "/q" }', "2 things"),
        ('{ from = "d/x", to = "/q", owner = "nobody-here" }', "nobody-here"),
    ],
)
def test_files_that_contradict_one_another(project: Make, files: str, words: str) -> None:
    tree = {"d/x": "1", "d/y": "2", "e/x": "3", "kodata/k": "4", "main.go": MAIN}
    made = project({**tree, "wherry.toml": f"{API}files = [{files}]\n"})
    assert words in str(refusal(made))


@pytest.mark.parametrize(
    ("user", "base", "words"),
    [
        ("nosuch", "static", "no user 'nosuch'"),
        ("nonroot:nosuch", "static", "no group 'nosuch'"),
        ("nonroot", "scratch", "no user 'nonroot'"),
        ("2147483648", "static", "2147483648"),
        ("99999999999", "static", "99999999999"),
        ("1:99999999999", "static", "99999999999"),
    ],
)
def test_a_user_that_no_runtime_could_find(project: Make, user: str, base: str, words: str) -> None:
    made = project({"main.go": MAIN, "wherry.toml": f'{API}user = "{user}"\n'})
    assert words in str(refusal(made, base=base))


def test_a_user_that_the_image_s_own_files_bring(project: Make) -> None:
    files = 'files = [{ from = "passwd", to = "/etc/passwd" }]\n'
    text = f'{API}user = "me"\n{files}'
    made = project({"main.go": MAIN, "passwd": "me:x:7:7::/:\n", "wherry.toml": text})
    assert made.build(base="static").digest


def test_a_program_whose_name_no_file_can_have(project: Make) -> None:
    module = f"module example.com/{'a' * 300}\n\ngo 1.21\n"
    assert "too long" in str(refusal(project({"main.go": MAIN, "go.mod": module})))
