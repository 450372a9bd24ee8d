# SPDX-License-Identifier: Apache-2.0
"""Media types: what is an image's, what is not, and how a layer is compressed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wherry.errors import UsageError
from wherry.oci import media
from wherry.oci.media import (
    as_oci,
    compression_of,
    foreign_missing,
    is_foreign,
    is_index,
    is_layer,
    is_manifest,
)

OCI = "application/vnd.oci.image."
DOCKER = "application/vnd.docker."
ROOTFS = f"{DOCKER}image.rootfs."
ALL = [value for name, value in vars(media).items() if name.isupper() and isinstance(value, str)]


@pytest.mark.parametrize(
    ("media_type", "compression", "foreign", "oci"),
    [
        (f"{OCI}layer.v1.tar", "none", False, ""),
        (f"{OCI}layer.v1.tar+gzip", "gzip", False, ""),
        (f"{OCI}layer.v1.tar+zstd", "zstd", False, ""),
        (f"{OCI}layer.nondistributable.v1.tar", "none", True, ""),
        (f"{OCI}layer.nondistributable.v1.tar+gzip", "gzip", True, ""),
        (f"{OCI}layer.nondistributable.v1.tar+zstd", "zstd", True, ""),
        (f"{ROOTFS}diff.tar", "none", False, f"{OCI}layer.v1.tar"),
        (f"{ROOTFS}diff.tar.gzip", "gzip", False, f"{OCI}layer.v1.tar+gzip"),
        (f"{ROOTFS}diff.tar.zstd", "zstd", False, f"{OCI}layer.v1.tar+zstd"),
        (f"{ROOTFS}foreign.diff.tar", "none", True, f"{OCI}layer.nondistributable.v1.tar"),
        (f"{ROOTFS}foreign.diff.tar.gzip", "gzip", True,
         f"{OCI}layer.nondistributable.v1.tar+gzip"),
    ],
)  # fmt: skip
def test_a_layer_type(media_type: str, compression: str, foreign: bool, oci: str) -> None:
    assert compression_of(media_type) == compression
    assert is_layer(media_type)
    assert is_foreign(media_type) == foreign
    assert as_oci(media_type) == (oci or media_type)
    assert not is_index(media_type)
    assert not is_manifest(media_type)
    # The OCI's name means the same bytes, and there is one only.
    assert compression_of(as_oci(media_type)) == compression
    assert is_foreign(as_oci(media_type)) == foreign
    assert as_oci(as_oci(media_type)) == as_oci(media_type)


@pytest.mark.parametrize(
    "media_type",
    [
        "application/vnd.in-toto+json", "application/vnd.oci.empty.v1+json",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip", f"{OCI}layer.v1.tar+gzip+encrypted",
        f"{OCI}layer.v1.tar+gzip; x=y", f"{OCI}LAYER.v1.tar", f"{OCI}manifest.v1+json", "",
        "x\n\x1b[",
    ],
)  # fmt: skip
def test_what_is_no_layer_is_refused_by_name(media_type: str) -> None:
    assert not is_layer(media_type)
    assert not is_foreign(media_type)
    with pytest.raises(UsageError) as caught:
        compression_of(media_type)
    assert ascii(media_type) in caught.value.what
    assert "\x1b" not in str(caught.value)


def test_documents() -> None:
    indexes = {item for item in ALL if is_index(item)}
    manifests = {item for item in ALL if is_manifest(item)}
    assert indexes == {f"{OCI}index.v1+json", f"{DOCKER}distribution.manifest.list.v2+json"}
    assert manifests == {f"{OCI}manifest.v1+json", f"{DOCKER}distribution.manifest.v2+json"}
    # Their bytes say what they are: another name would be a lie.
    for item in indexes | manifests:
        assert as_oci(item) == item
    assert as_oci(f"{DOCKER}container.image.v1+json") == f"{OCI}config.v1+json"
    assert as_oci("application/vnd.in-toto+json") == "application/vnd.in-toto+json"


def test_a_missing_foreign_layer_names_its_servers_and_no_secret() -> None:
    urls = ("https://user:secret@layers.example.com/a?token=secret", "http://[", "http://a\x1b/")
    error = foreign_missing("0123456789ab", urls)
    assert "0123456789ab" in error.what
    assert "(layers.example.com)" in error.why
    assert "secret" not in str(error)
    assert "\x1b" not in str(error)


@given(st.lists(st.text() | st.just("https://["), max_size=4).map(tuple))
def test_any_urls_make_an_error_that_can_be_shown(urls: tuple[str, ...]) -> None:
    assert str(foreign_missing("0123456789ab", urls)).isascii()
