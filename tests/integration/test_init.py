# SPDX-License-Identifier: Apache-2.0
"""`wherry init --from-ko` as a command: the path on stdout, what is left to say on stderr."""

import json
from collections.abc import Callable
from pathlib import Path

from wherry_fixtures import Finished

Wherry = Callable[..., Finished]


def test_init_from_ko(wherry: Wherry, tmp_path: Path) -> None:
    place = tmp_path / "project"
    place.mkdir()
    (place / "go.mod").write_text("module example.com/m\n")
    (place / ".ko.yaml").write_text("defaultBaseImage: localhost/base\nsbom: none\n")
    done = wherry("init", "--from-ko", "project", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"{place}/wherry.toml\n")
    assert done.stderr == ".ko.yaml:2: sbom is no setting of ko's: left out\n"
    assert (place / "wherry.toml").read_text() == '[build]\nbase = "localhost/base"\n'
    again = wherry("init", "--from-ko", cwd=place)
    assert (again.returncode, again.stdout) == (2, "")
    assert "--force" in again.stderr
    forced = wherry("init", "--from-ko", "--force", "--json", cwd=place)
    assert json.loads(forced.stdout) == {
        "path": f"{place}/wherry.toml",
        "source": f"{place}/.ko.yaml",
        "notes": [".ko.yaml:2: sbom is no setting of ko's: left out"],
    }


def test_init_needs_to_know_what_from(wherry: Wherry, tmp_path: Path) -> None:
    for words in (("init",), ("init", "--from-ko", "gone"), ("init", "--from-ko")):
        done = wherry(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "hint: " in done.stderr
