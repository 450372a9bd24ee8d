# SPDX-License-Identifier: Apache-2.0
"""`[store] size`: what grows the store keeps to it, and what was made just now stays."""

import json
import os
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from fault_registry import FaultRegistry
from registry_samples import image as sample_image
from registry_samples import layer
from store_samples import put_image, put_snapshot
from wherry.api.library import prune_store
from wherry.oci.reference import parse_reference
from wherry.store.store import open_store
from wherry_fixtures import MAIN, Finished, Project

Make = Callable[..., Project]
Wherry = Callable[..., Finished]

_MB = 10**6
_SMALL = '[store]\nsize = "100MB"\n'


def _fill(store: Path, size: int = 110 * _MB) -> None:
    """Put records with blobs into the store that nobody will ask for again, two hours ago."""
    with open_store(store, clock=lambda: time.time() - 7200) as opened:
        for number in range(size // (10 * _MB)):
            digest = opened.blobs.put(os.urandom(10 * _MB))
            opened.records.put("layer", f"old{number}", b"v", [digest])


def _config(home: Path, text: str) -> None:
    path = home / ".config" / "wherry" / "config.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def _size(store: Path) -> int:
    with open_store(store) as opened:
        return opened.usage().total


def test_a_store_over_its_size_shrinks_after_a_build(project: Make) -> None:
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _fill(made.store)
    image = made.build()
    assert _size(made.store) <= 100 * _MB
    # What was made just now is all there: the image and the record that answers the next build.
    assert made.program(image)
    assert made.build().reused


def test_a_size_that_became_less_counts_at_once(project: Make) -> None:
    made = project()
    made.build()
    _fill(made.store)
    made.write("main.go", MAIN + "\n// 2\n")
    made.build()
    assert _size(made.store) > 100 * _MB
    # A look at every file was a moment ago; it was for another size.
    made.write("wherry.toml", _SMALL)
    made.build()
    assert _size(made.store) <= 100 * _MB


def test_the_users_size_beats_the_projects(project: Make, home: Path) -> None:
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _config(home, '[store]\nsize = "1GB"\n')
    _fill(made.store)
    made.build()
    assert _size(made.store) > 100 * _MB


def test_what_a_failed_build_leaves_counts_too(project: Make, wherry: Wherry) -> None:
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _fill(made.store)
    done = wherry("build", "-t", "127.0.0.1:1/a:1", "--push", ".", cwd=made.root)
    assert done.returncode == 4, done.stderr
    assert _size(made.store) <= 100 * _MB


def test_prune_goes_by_the_size(project: Make, wherry: Wherry) -> None:
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _fill(made.store)
    elsewhere = wherry("cache", "prune", "--json")
    assert json.loads(elsewhere.stdout)["remaining"] > 100 * _MB
    here = wherry("cache", "prune", "--json", cwd=made.root)
    assert json.loads(here.stdout)["remaining"] <= 100 * _MB


def test_a_flag_beats_the_size(project: Make, wherry: Wherry) -> None:
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _fill(made.store)
    done = wherry("cache", "prune", "--json", "--keep-storage", "1GB", cwd=made.root)
    assert json.loads(done.stdout)["remaining"] > 100 * _MB


def test_pull_keeps_to_the_size(home: Path, store: Path, wherry: Wherry) -> None:
    _config(home, _SMALL)
    _fill(store)
    with FaultRegistry() as registry:
        sample = sample_image([layer({"a": "b"})])
        registry.put_sample("team/app", "1", sample)
        name = f"{registry.host}/team/app:1"
        done = wherry("pull", name)
        assert done.returncode == 0, done.stderr
    assert _size(store) <= 100 * _MB
    assert name in wherry("images").stdout


@pytest.mark.parametrize("verb", ["build", "pull"])
def test_a_bad_size_is_told_before_the_work(
    project: Make, home: Path, wherry: Wherry, verb: str
) -> None:
    _config(home, '[store]\nsize = "20 parsecs"\n')
    made = project()
    words = ("build", ".") if verb == "build" else ("pull", "127.0.0.1:1/a:1")
    done = wherry(*words, cwd=made.root)
    assert done.returncode == 2
    assert "config.toml:2" in done.stderr
    assert wherry("images", "--json").stdout.strip() in ("[]", "")


def test_print_settings_tells_the_size_and_who_says_it(
    project: Make, home: Path, wherry: Wherry
) -> None:
    made = project({"main.go": MAIN, "wherry.toml": f'# mine\n{_SMALL}[build]\nbase = "scratch"\n'})

    def told() -> tuple[str, str]:
        done = wherry("build", "--print-settings", cwd=made.root)
        assert done.returncode == 0, done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("size"))
        return tomllib.loads(done.stdout)["store"]["size"], line.partition("# ")[2]

    assert told() == ("100MB", "wherry.toml:3")
    _config(home, '\n[store]\nsize = "1.5GiB"\n')
    assert told() == ("1536MiB", "config.toml:3")
    _config(home, "")
    made.write("wherry.toml")
    assert told()[1] == "default"


def test_no_change_reads_no_settings(project: Make, home: Path) -> None:
    """A build record that holds answers without tomllib."""
    made = project()
    _config(home, _SMALL)
    made.build()
    script = (
        "import sys\nimport os\nfrom wherry.api.building import build_image\n"
        "from wherry.api.request import BuildRequest\nfrom wherry.events import discard\n"
        "from wherry.process.cancel import CancelToken\n"
        "request = BuildRequest('.', sys.argv[1], dict(os.environ), sys.argv[2], base='scratch')\n"
        "assert build_image(request, discard, CancelToken()).reused\n"
        "print([name for name in ('tomllib', 'wherry.settings.reading', 'wherry.settings.model')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(made.root), str(made.store)],
        env=made.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_two_builds_at_once_keep_each_others_content(project: Make) -> None:
    """Each makes room for itself while the other is at work; both can use what they made."""
    made = project({"main.go": MAIN, "wherry.toml": _SMALL})
    _fill(made.store)
    errors: list[BaseException] = []

    def work(number: int) -> None:
        other = Project(made.root.parent / f"m{number}", made.env, made.store, made._go)
        try:
            for turn in range(3):
                other.write("go.mod", "module example.com/m\n\ngo 1.21\n")
                other.write("wherry.toml", _SMALL)
                other.write(
                    "main.go", f"package main\n\nfunc main() {{ println({number}{turn}) }}\n"
                )
                image = other.build(tags=(f"m{number}:{turn}",))
                assert other.program(image)
                assert other.build(tags=(f"m{number}:{turn}",)).reused
        except BaseException as error:  # noqa: BLE001 - told by the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert _size(made.store) <= 100 * _MB


def test_a_store_that_tagged_images_fill_spares_what_was_made_just_now(tmp_path: Path) -> None:
    with open_store(tmp_path, 300_000) as store:
        big = put_image(store, "big", 400_000)
        store.images.tag(parse_reference("big"), big.descriptor, 1.0)
    with open_store(tmp_path) as store:
        store.records.put("layer", "old", b"v", [store.blobs.put(b"o" * 50_000)])
    with open_store(tmp_path, 300_000) as store:
        digest = store.blobs.put(b"n" * 50_000)
        store.records.put("layer", "new", b"v", [digest])
        put_snapshot(store, "new", 10_000)
        store.enforce_limit()
    with open_store(tmp_path) as store:
        assert store.records.get("layer", "old") is None
        assert store.records.get("layer", "new") == b"v"
        assert store.blobs.has(digest)
        assert store.snapshots.find("new") is not None


def test_what_alone_is_over_the_size_is_not_spared(tmp_path: Path) -> None:
    with open_store(tmp_path, 300_000) as store:
        store.records.put("layer", "new", b"v", [store.blobs.put(os.urandom(400_000))])
        store.enforce_limit()
        assert store.usage().blobs == 0


def test_prune_spares_nothing_of_its_own(tmp_path: Path) -> None:
    _fill(tmp_path, 10 * _MB)
    assert prune_store(str(tmp_path), {}, target=0).remaining < _MB
