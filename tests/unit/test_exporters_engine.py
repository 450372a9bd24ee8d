# SPDX-License-Identifier: Apache-2.0
"""`--load`: what goes to an engine, what it is then called, and engines that misbehave."""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from certificates import Authority
from exporter_samples import sample_export, sample_index
from fake_engine import FakeEngine, fake_engine
from wherry.api.engine_image import Loadable
from wherry.api.loading import load_images
from wherry.api.registries import RegistryAround
from wherry.errors import MachineError, UsageError
from wherry.events import Event, StepEnded
from wherry.exporters.blobs import ExportedImage
from wherry.exporters.engine_watch import Patience
from wherry.exporters.spec import LOAD
from wherry.oci.digest import Digest
from wherry.process.cancel import Cancelled, CancelToken

IMPATIENT = Patience(answer=1.0, quiet=0.3, limit=5.0)


@pytest.fixture
def short() -> Iterator[Path]:
    """A directory whose sockets have names that fit: 107 bytes is all they may have."""
    with tempfile.TemporaryDirectory(prefix="engine-") as directory:
        yield Path(directory)


@pytest.fixture
def engine(short: Path) -> Iterator[FakeEngine]:
    with fake_engine(short) as made:
        yield made


class Loading:
    """Loads images into one engine, and keeps what was asked and told."""

    def __init__(self, address: str) -> None:
        self.env = {"DOCKER_HOST": address}
        self.cancel = CancelToken()
        self.events: list[Event] = []
        self.needed: list[frozenset[Digest]] = []
        self.ids: list[str] = []

    def __call__(self, *images: ExportedImage) -> tuple[tuple[str, ...], ...]:
        def ready(image: ExportedImage, needed: frozenset[Digest]) -> ExportedImage:
            self.needed.append(needed)
            return image

        around = RegistryAround("", self.env, "/", (), self.events.append, self.cancel)
        wanted = tuple(Loadable(image, ready) for image in images)
        loaded = load_images(wanted, LOAD, SimpleNamespace(around=around), IMPATIENT)  # type: ignore[arg-type]
        self.ids = [str(one.digest) for one in loaded]
        return tuple(one.names for one in loaded)

    @property
    def remarks(self) -> list[str]:
        return [event.detail for event in self.events if isinstance(event, StepEnded)]


@pytest.fixture
def load(engine: FakeEngine) -> Loading:
    return Loading(engine.address)


def big_export(*names: str) -> ExportedImage:
    """An image that no socket's buffer takes as a whole."""
    return sample_export(os.urandom(4 << 20), *names)


NAMES = ("movies:1.0", "registry.example.com/team/movies:2")


@pytest.mark.parametrize("kind", ["docker", "containerd"])
def test_docker_knows_it_by_the_names_that_people_say(
    engine: FakeEngine, load: Loading, kind: str
) -> None:
    engine.kind = kind
    assert load(sample_export(b"x", *NAMES)) == (NAMES,)
    assert set(engine.names) == set(NAMES)
    assert len(engine.loads) == 1


def test_podman_puts_short_names_below_localhost_and_that_is_told(
    engine: FakeEngine, load: Loading
) -> None:
    engine.kind = "podman"
    assert load(sample_export(b"x", *NAMES)) == (("localhost/movies:1.0", NAMES[1]),)


def test_podman_has_another_image_below_localhost(engine: FakeEngine, load: Loading) -> None:
    # What `podman build -t movies:1.0` leaves there; podman 4 loads short names as docker.io's.
    engine.kind, engine.prefix = "podman", "docker.io/library/"
    load(sample_export(b"another", "localhost/movies:1.0"))
    told = load(sample_export(b"x", "movies:1.0"))
    assert told == (("docker.io/library/movies:1.0",),)
    assert engine.names[told[0][0]] != engine.names["localhost/movies:1.0"]


@pytest.mark.parametrize("kind", ["docker", "containerd", "podman"])
def test_what_the_engine_has_already_is_named_and_not_sent(
    engine: FakeEngine, load: Loading, kind: str
) -> None:
    engine.kind = kind
    load(sample_export(b"x", "movies:1.0"))
    load(sample_export(b"x", "movies:2.0"))
    assert len(engine.loads) == 1
    assert engine.named("movies:1.0") == engine.named("movies:2.0") != ""
    assert load.ids == [engine.named("movies:1.0")]
    assert load.remarks[1] == "it has the image already"


def test_layers_that_docker_s_store_has_are_not_sent(engine: FakeEngine, load: Loading) -> None:
    first, second = sample_export(b"x", "movies:1"), sample_export(b"y", "movies:1")
    load(first)
    load(second)
    program = second.images[0].manifest.layers[1].digest.hex
    config = second.images[0].manifest.config.digest.hex
    sent = sorted([f"blobs/sha256/{config}", f"blobs/sha256/{program}"])
    assert engine.loads[1] == [*sent, "manifest.json", "repositories"]
    assert load.needed[1] == {second.images[0].layers[1].diff_id}


@pytest.mark.parametrize("kind", ["containerd", "podman"])
def test_stores_that_want_all_layers_get_them(engine: FakeEngine, load: Loading, kind: str) -> None:
    engine.kind = kind
    load(sample_export(b"x", "movies:1"))
    load(sample_export(b"y", "movies:1"))
    assert len(engine.loads[1]) == len(engine.loads[0]) == 8


def test_layers_that_went_meanwhile_are_sent_after_all(engine: FakeEngine, load: Loading) -> None:
    load(sample_export(b"x", "movies:1"))
    engine.fault = "lost-layers"
    load(sample_export(b"y", "movies:2"))
    assert [len(files) for files in engine.loads] == [8, 4, 8]
    assert "movies:2" in engine.names


@pytest.mark.parametrize(("architecture", "program"), [("amd64", 0), ("arm", 1)])
def test_of_several_platforms_the_engine_gets_its_own(
    engine: FakeEngine, load: Loading, architecture: str, program: int
) -> None:
    engine.architecture = architecture
    exported = sample_index("movies:1")
    load(exported)
    layer = exported.images[program].manifest.layers[1].digest.hex
    other = exported.images[1 - program].manifest.layers[1].digest.hex
    assert f"blobs/sha256/{layer}" in engine.loads[0]
    assert f"blobs/sha256/{other}" not in engine.loads[0]
    assert engine.named("movies:1") == str(exported.images[program].manifest.config.digest)


def test_containerd_s_store_gets_all_platforms(engine: FakeEngine, load: Loading) -> None:
    engine.kind = "containerd"
    exported = sample_index("movies:1")
    assert load(exported) == (("movies:1",),)
    assert load.ids == [engine.named("movies:1")] == [str(exported.root.digest)]
    held = {f"blobs/sha256/{item.digest.hex}" for item in exported.descriptors()}
    assert held <= set(engine.loads[0])
    assert load.needed == [{layer.diff_id for item in exported.images for layer in item.layers}]


def test_no_platform_for_the_engine_is_told_with_the_flag(
    engine: FakeEngine, load: Loading
) -> None:
    engine.architecture = "s390x"
    with pytest.raises(UsageError, match="movies has no image for the engine") as caught:
        load(sample_index("movies:1"))
    assert "linux/amd64, linux/arm/v7" in caught.value.why
    assert caught.value.hint == "add --platform linux/s390x"


def test_an_image_for_another_architecture_is_loaded_all_the_same(
    engine: FakeEngine, load: Loading
) -> None:
    engine.architecture = "arm64"
    assert load(sample_export(b"x", "movies:1")) == (("movies:1",),)


def test_several_images_are_loaded_one_after_the_other(engine: FakeEngine, load: Loading) -> None:
    assert load(sample_export(b"x", "a:1"), sample_export(b"y", "b:1")) == (("a:1",), ("b:1",))


# --- engines that misbehave ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "what", "why"),
    [
        ("refuse", "cannot load movies", "storage driver [31mexploded"),
        ("error", "cannot load movies", "Error processing tar file"),
        ("garbage", "is no Docker or Podman engine", "nothing that anybody knows"),
        ("endless", "is no Docker or Podman engine", "does not end"),
        ("hang-up", "hung up in the middle", ""),
        ("forget", "does not know movies:1 after loading it", ""),
        ("no-engine", "is no Docker or Podman engine", "its answer is not JSON"),
        ("hang", "stopped answering", "does not answer to a ping"),
    ],
)
def test_what_goes_wrong_is_this_machine_s_error(
    engine: FakeEngine, load: Loading, fault: str, what: str, why: str
) -> None:
    engine.fault = fault
    with pytest.raises(MachineError) as caught:
        load(big_export("movies:1"))
    assert what in caught.value.what
    assert why in caught.value.why
    assert caught.value.exit_code == 3
    assert caught.value.hint
    assert "\x1b" not in str(caught.value)


def test_a_refusal_in_the_middle_of_the_upload_is_heard(engine: FakeEngine, load: Loading) -> None:
    engine.fault = "early"
    with pytest.raises(MachineError, match="cannot load movies") as caught:
        load(big_export("movies:1"))
    assert caught.value.why == "no space left on device"


def test_slow_work_of_an_engine_that_lives_is_waited_for(engine: FakeEngine, load: Loading) -> None:
    engine.fault = "slow"
    assert load(sample_export(b"x", "movies:1")) == (("movies:1",),)
    assert "GET /_ping" in engine.requests


def test_cancelling_ends_the_wait_at_once(engine: FakeEngine, load: Loading) -> None:
    engine.fault = "hang"
    timer = threading.Timer(0.2, load.cancel.cancel)
    timer.start()
    began = time.monotonic()
    with pytest.raises(Cancelled):
        load(big_export("movies:1"))
    timer.join()
    assert time.monotonic() - began < 3


def test_a_damaged_layer_is_the_store_s_fault_not_the_engine_s(
    engine: FakeEngine, load: Loading
) -> None:
    exported = sample_export(b"x", "movies:1")
    layer = exported.images[0].manifest.layers[0]
    exported.blobs.data[layer.digest] = b"damaged"  # type: ignore[attr-defined]
    with pytest.raises(MachineError, match=f"the blob {layer.digest} in the store is damaged"):
        load(exported)
    assert engine.images == {}


# --- no engine ----------------------------------------------------------------------------------


def test_no_socket_anywhere_names_the_places_and_how_to_start_one(tmp_path: Path) -> None:
    load = Loading("")
    load.env = {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path), "DOCKER_CONTEXT": ""}
    if any(os.path.exists(path) for path in ("/var/run/docker.sock", "/run/podman/podman.sock")):
        pytest.skip("this machine has an engine of its own")
    with pytest.raises(MachineError, match="no container engine") as caught:
        load(sample_export(b"x", "a:1"))
    assert f"{tmp_path}/podman/podman.sock" in caught.value.why
    assert "systemctl --user start podman.socket" in caught.value.hint


def test_a_named_socket_that_is_not_there_or_dead(short: Path) -> None:
    with pytest.raises(
        MachineError, match="cannot talk to the engine at unix:///nowhere"
    ) as caught:
        Loading("unix:///nowhere/s")(sample_export(b"x", "a:1"))
    assert caught.value.why == "No such file or directory"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short / "dead.sock"))
    with pytest.raises(MachineError) as caught:
        Loading(f"unix://{short}/dead.sock")(sample_export(b"x", "a:1"))
    assert caught.value.why == "Connection refused"
    with pytest.raises(MachineError, match="cannot talk to the engine"):
        Loading(f"unix://{short}/{'long' * 50}")(sample_export(b"x", "a:1"))


def test_an_engine_that_never_answers_is_given_up(short: Path) -> None:
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(short / "silent.sock"))
        silent.listen()
        with pytest.raises(MachineError, match="does not answer"):
            Loading(f"unix://{short}/silent.sock")(sample_export(b"x", "a:1"))


def test_a_dead_usual_socket_gives_way_to_one_that_answers(short: Path) -> None:
    if any(os.path.exists(path) for path in ("/var/run/docker.sock", "/run/podman/podman.sock")):
        pytest.skip("this machine has an engine of its own")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(short / "docker.sock"))
    (short / "podman").mkdir()
    with fake_engine(short / "podman") as engine:
        engine.path.rename(short / "podman" / "podman.sock")
        load = Loading("")
        load.env = {"HOME": str(short), "XDG_RUNTIME_DIR": str(short)}
        assert load(sample_export(b"x", "a:1")) == (("a:1",),)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl on PATH")
def test_tls_with_certificates_of_both_sides(tmp_path: Path, short: Path) -> None:
    authority = Authority(tmp_path / "ca")
    ours, theirs = authority.issue("client"), authority.issue("server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(theirs.certificate, theirs.key)
    context.load_verify_locations(authority.file)
    context.verify_mode = ssl.CERT_REQUIRED
    files = tmp_path / "files"
    files.mkdir()
    for source, name in ((authority.file, "ca"), (ours.certificate, "cert"), (ours.key, "key")):
        shutil.copy(source, files / f"{name}.pem")
    with fake_engine(short, context) as engine:
        load = Loading(engine.address)
        load.env |= {"DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(files)}
        assert load(big_export("movies:1")) == (("movies:1",),)
        shutil.copy(Authority(tmp_path / "other").file, files / "ca.pem")
        with pytest.raises(MachineError, match="cannot talk to the engine at tcp://") as caught:
            load(sample_export(b"y", "movies:2"))
        assert "certificate verify failed" in caught.value.why
        (files / "key.pem").write_text("no key")
        with pytest.raises(MachineError, match="cannot use the TLS files"):
            load(sample_export(b"y", "movies:2"))
