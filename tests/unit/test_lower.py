# SPDX-License-Identifier: Apache-2.0
"""Lowering a Go module: the graph, the run configuration, and golden bytes of an image.

The digests below are a promise: equal inputs give these very bytes. A change of one of them is a
change of every image that users build, and belongs into the changelog.
"""

import json
from dataclasses import replace

from wherry.engines.local.engine import compose
from wherry.engines.local.results import Built
from wherry.frontends.gomodule.lower import Compiling, GoImage, Program, lower, run_config
from wherry.graph.ops import ComposedBase, FilesOp, GoBuildOp, ImageOp
from wherry.oci.digest import sha256
from wherry.oci.image import LAYER_GZIP, Descriptor, Layer, RunConfig
from wherry.oci.platform import Platform

IMAGE = GoImage(
    programs=(Program("example.com/shop/cmd/api", "api"),),
    compiling=Compiling(
        directory="/home/somebody/src/shop",
        platform=Platform("linux", "amd64"),
        flags=("-trimpath", "-ldflags=-s -w", "-buildvcs=false"),
        environment=(("CGO_ENABLED", "0"), ("GOARCH", "amd64"), ("GOOS", "linux")),
        go_version="go1.26.8",
    ),
    base=ComposedBase.STATIC,
    base_run=RunConfig(
        user="65532:65532",
        env=("PATH=/usr/bin:/bin", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"),
    ),
    data_versions=(("certifi", "2026.1.1"), ("tzdata", "2026a")),
    created="1970-01-01T00:00:00Z",
)
FULL = replace(
    IMAGE,
    created="2026-03-04T04:06:07Z",
    run=RunConfig(
        user="1000",
        env=("LOG_FORMAT=json", "PATH=/opt/bin"),
        cmd=("--verbose",),
        working_dir="/srv",
        exposed_ports=("8000/tcp", "53/udp"),
        labels=(("org.opencontainers.image.revision", "0123"), ("team", "shop")),
    ),
    annotations=(("org.opencontainers.image.revision", "0123"),),
)


def fake_layer(word: str) -> Built:
    descriptor = Descriptor(LAYER_GZIP, sha256(f"{word}.gz".encode()), len(word))
    return Built((Layer(descriptor, sha256(word.encode())),), 1)


def composed(image: GoImage) -> tuple[str, str, dict, dict]:
    """Config and manifest, as digests and as JSON."""
    output = lower([image]).image
    made = compose(output, tuple(fake_layer(f"layer {item.vertex}") for item in output.layers))
    return (
        str(sha256(made.config_bytes)),
        str(made.digest),
        json.loads(made.config_bytes),
        json.loads(made.manifest_bytes),
    )


def test_golden_digests_of_a_plain_image():
    config, manifest, _, _ = composed(IMAGE)
    assert config == "sha256:59d2020dc624bdd474f23bf305655e51e0395bf08ee57c3001ce37b6764c33b2"
    assert manifest == "sha256:848519ddf10bab8922d7ed041fc1a412e07d1429b0a84c4acafe1df083ce28f8"


def test_golden_digests_of_an_image_with_everything():
    config, manifest, _, _ = composed(FULL)
    assert config == "sha256:dfd26eeecaed0758cf235c9185126b7abd8347141f674394644c9df7417d2984"
    assert manifest == "sha256:8771cdc778802a0f4f3d14254c0815b11619c17cf64a27a2705e9b666d540746"


def test_golden_digests_on_scratch():
    image = replace(IMAGE, base=ComposedBase.SCRATCH, data_versions=())
    config, manifest, _, _ = composed(image)
    assert config == "sha256:8c644dc7abc05aa314c8e22bb2af6a4e770d33a61c993623392332b9149b5023"
    assert manifest == "sha256:d6dfcc981c36ec108ecd4e026e2d12971545811970a609255c9811d99d79ffc7"


def test_the_config_says_what_runs_and_nothing_empty():
    _, _, config, _ = composed(IMAGE)
    assert config["config"] == {
        "User": "65532:65532",
        "Env": [
            "PATH=/usr/bin:/bin:/app",
            "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        ],
        "Entrypoint": ["/app/api"],
        "Labels": {"org.opencontainers.image.title": "api"},
    }
    assert (config["os"], config["architecture"]) == ("linux", "amd64")


def test_history_has_one_line_for_each_layer():
    _, _, config, manifest = composed(IMAGE)
    assert config["history"] == [
        {
            "created": "1970-01-01T00:00:00Z",
            "created_by": "wherry base static",
            "comment": "certifi 2026.1.1, tzdata 2026a",
        },
        {
            "created": "1970-01-01T00:00:00Z",
            "created_by": "wherry go build example.com/shop/cmd/api",
            "comment": "go1.26.8",
        },
    ]
    assert len(config["rootfs"]["diff_ids"]) == len(manifest["layers"]) == 2


def test_annotations_name_the_program_and_the_data_of_the_base():
    _, _, _, manifest = composed(FULL)
    assert manifest["annotations"] == {
        "org.opencontainers.image.title": "api",
        "org.opencontainers.image.revision": "0123",
        "wherry.base": "static",
        "wherry.base.certifi": "2026.1.1",
        "wherry.base.tzdata": "2026a",
    }


def test_what_the_user_says_beats_the_base():
    run = run_config(FULL)
    assert run.user == "1000"
    assert run.cmd == ("--verbose",)
    assert run.working_dir == "/srv"
    assert run.env == (
        "PATH=/opt/bin:/app",
        "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt",
        "LOG_FORMAT=json",
    )
    assert dict(run.labels)["team"] == "shop"


def test_a_user_s_title_wins_everywhere():
    title = (("org.opencontainers.image.title", "The shop"),)
    image = replace(IMAGE, run=RunConfig(labels=title), annotations=title)
    _, _, config, manifest = composed(image)
    assert config["config"]["Labels"]["org.opencontainers.image.title"] == "The shop"
    assert manifest["annotations"]["org.opencontainers.image.title"] == "The shop"


def test_the_title_is_the_image_s_own_name_before_the_binary_s_and_the_base_s():
    base = RunConfig(labels=(("org.opencontainers.image.title", "a base"),))
    for title, wanted in (("", "api"), ("shop", "shop")):
        _, _, config, manifest = composed(replace(IMAGE, base_run=base, title=title))
        assert config["config"]["Labels"]["org.opencontainers.image.title"] == wanted
        assert manifest["annotations"]["org.opencontainers.image.title"] == wanted


def test_what_a_base_declares_stays():
    base = RunConfig(
        user="65532", exposed_ports=("8000/tcp",), volumes=("/data",), stop_signal="SIGQUIT",
        labels=(("vendor", "somebody"),), working_dir="/base", cmd=("base-command",),
    )  # fmt: skip
    run = run_config(replace(IMAGE, base_run=base, run=RunConfig(exposed_ports=("9000/tcp",))))
    assert run.exposed_ports == ("8000/tcp", "9000/tcp")
    assert run.volumes == ("/data",)
    assert run.stop_signal == "SIGQUIT"
    assert run.working_dir == "/base"
    assert dict(run.labels)["vendor"] == "somebody"
    # The base's arguments belong to the base's program.
    assert run.cmd == ()


def test_a_path_that_has_the_directory_keeps_its_order():
    run = run_config(replace(IMAGE, run=RunConfig(env=("PATH=/app:/bin",))))
    assert run.env[0] == "PATH=/app:/bin"


def test_the_graph_is_the_base_and_the_program():
    graph = lower([IMAGE])
    base, program = (vertex.op for vertex in graph.vertices)
    assert base == ImageOp(ComposedBase.STATIC, IMAGE.data_versions, IMAGE.platform)
    assert isinstance(program, GoBuildOp)
    assert program.packages == ("example.com/shop/cmd/api",)
    assert program.names == ("api",)
    assert program.image_directory == "app"
    assert not program.dynamic_allowed
    assert [layer.vertex for layer in graph.image.layers] == [0, 1]


def test_scratch_has_no_base_layer():
    graph = lower([replace(IMAGE, base=ComposedBase.SCRATCH, data_versions=())])
    assert [type(vertex.op) for vertex in graph.vertices] == [GoBuildOp]
    assert len(graph.image.layers) == 1


def test_the_module_s_place_on_this_machine_is_not_in_the_image():
    here, there = (
        composed(IMAGE),
        composed(replace(IMAGE, compiling=replace(IMAGE.compiling, directory="/somewhere/else"))),
    )
    assert here == there


def named(name: str, lane: str = "", **others: object) -> GoImage:
    image = replace(IMAGE, programs=(Program(f"example.com/shop/cmd/{name}", name),))
    return replace(image, lane=lane, **others)  # type: ignore[arg-type]


def steps(*images: GoImage) -> list[tuple[str, str]]:
    graph = lower(images)
    return list(zip(graph.lanes(), (vertex.name for vertex in graph.vertices), strict=True))


def test_what_one_image_alone_needs_is_in_its_lane() -> None:
    own_flags = replace(IMAGE.compiling, flags=("-trimpath",))
    files = FilesOp(sha256(b"files"), 0)
    found = steps(
        named("api", "api", files=files),
        named("web", "shop-web", base=ComposedBase.SCRATCH),
        named("mail", "mail", compiling=own_flags),
    )
    assert found == [
        ("", "base static"),
        ("api", "files"),
        ("", "build api, web for linux/amd64"),
        ("mail", "build mail for linux/amd64"),
    ]


def test_files_that_images_share_are_in_no_lane_and_an_image_alone_has_none() -> None:
    files = FilesOp(sha256(b"files"), 0)
    both = steps(named("api", "api", files=files), named("web", "web", files=files))
    assert ("", "files of api") in both
    assert steps(named("api", files=files)) == [
        ("", "base static"), ("", "files of api"), ("", "build api for linux/amd64"),
    ]  # fmt: skip


def test_steps_of_one_name_are_told_apart() -> None:
    arm = replace(IMAGE.compiling, platform=Platform("linux", "arm64"))
    found = steps(named("api"), named("api", compiling=arm))
    assert len(set(found)) == len(found) == 4
    assert ("", "base static for linux/arm64") in found
    other = replace(IMAGE, programs=(Program("example.com/shop/other/api", "api"),), lane="")
    found = steps(named("api"), other)
    assert [name for _, name in found] == [
        "base static",
        "build api for linux/amd64 (example.com/shop/cmd/api)",
        "build api for linux/amd64 (example.com/shop/other/api)",
    ]
