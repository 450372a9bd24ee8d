# SPDX-License-Identifier: Apache-2.0
"""Keys of `--cache-key`: what signs, what is refused, and what is never shown."""

import base64
import os
import subprocess

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from wherry.errors import MachineError, UsageError
from wherry.gocache.signing import load_cache_key

INDEX = b'{"v":1,"packs":[]}'


def pem(key, encryption=None, form=PrivateFormat.PKCS8) -> bytes:
    return key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())


def public_pem(key) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
def written(tmp_path):
    def write(data: bytes, name: str = "cache.key", mode: int = 0o600) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        path.chmod(mode)
        return str(path)

    return write


@pytest.fixture
def pair(written):
    key = ed25519.Ed25519PrivateKey.generate()
    private = load_cache_key(written(pem(key)))
    return private, load_cache_key(written(public_pem(key), "cache.pub"))


def test_what_a_private_key_signs_both_halves_accept(pair) -> None:
    private, public = pair
    signature = private.sign(INDEX)
    assert (private.can_sign, public.can_sign) == (True, False)
    assert private.id == public.id
    assert private.check(INDEX, signature) == ""
    assert public.check(INDEX, signature) == ""
    assert private.sign(INDEX) == signature


def test_every_byte_of_the_index_counts(pair) -> None:
    private, public = pair
    signature = private.sign(INDEX)
    for number in range(len(INDEX)):
        changed = bytearray(INDEX)
        changed[number] ^= 1
        assert "does not fit" in public.check(bytes(changed), signature)
    assert "does not fit" in public.check(INDEX + b"\n", signature)
    assert "does not fit" in public.check(b"", signature)


def test_a_signature_of_the_bare_bytes_made_for_something_else_does_not_fit(written) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    loaded = load_cache_key(written(pem(key)))
    foreign = base64.b64encode(key.sign(INDEX)).decode()
    assert "does not fit" in loaded.check(INDEX, f"ed25519:{loaded.id}:{foreign}")


def test_missing_foreign_and_malformed_signatures_are_told_apart(pair, written) -> None:
    private, public = pair
    other = load_cache_key(written(pem(ed25519.Ed25519PrivateKey.generate()), "other.key"))
    assert public.check(INDEX, "") == "it is not signed"
    assert public.id in public.check(INDEX, other.sign(INDEX))
    forged = other.sign(INDEX).replace(other.id, public.id)
    assert "does not fit" in public.check(INDEX, forged)
    signature = private.sign(INDEX)
    other_scheme, no_ascii = signature.replace("ed25519", "rsa"), signature.replace("5", "ü")
    cut, longer, spaced = signature[:-8], f"{signature}A", f" {signature}"
    for wrong in ("x", "ed25519", cut, longer, no_ascii, other_scheme, f"{signature}:", spaced):
        assert "form" in public.check(INDEX, wrong), wrong


def test_a_public_key_cannot_sign(pair) -> None:
    with pytest.raises(UsageError, match="public key cannot sign"):
        pair[1].sign(INDEX)


def test_the_file_of_openssl_is_taken(tmp_path) -> None:
    words = ["openssl", "genpkey", "-algorithm", "ed25519", "-out", "cache.key"]
    halves = ["openssl", "pkey", "-in", "cache.key", "-pubout", "-out", "cache.pub"]
    try:
        subprocess.run(words, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    except FileNotFoundError:
        pytest.skip("no openssl on PATH")
    subprocess.run(halves, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    private = load_cache_key(str(tmp_path / "cache.key"))
    assert load_cache_key(str(tmp_path / "cache.pub")).check(INDEX, private.sign(INDEX)) == ""
    assert private.warning == ""


SECRET = ed25519.Ed25519PrivateKey.generate()
RSA = rsa.generate_private_key(65537, 2048)
WRONG = {
    "RSA": (pem(RSA), "an RSA key"),
    "RSA, traditional": (pem(RSA, form=PrivateFormat.TraditionalOpenSSL), "an RSA key"),
    "RSA, public": (public_pem(RSA), "an RSA key"),
    "ECDSA": (pem(ec.generate_private_key(ec.SECP256R1())), "an ECDSA key"),
    "X25519": (pem(x25519.X25519PrivateKey.generate()), "an X25519 key"),
    "Ed448": (public_pem(ed448.Ed448PrivateKey.generate()), "an Ed448 key"),
    "encrypted": (pem(SECRET, BestAvailableEncryption(b"secret")), "encrypted"),
    "of OpenSSH": (pem(SECRET, form=PrivateFormat.OpenSSH), "OpenSSH"),
    "no PEM": (b"just some words\n", "not a PEM file"),
    "raw": (SECRET.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()), "not a PEM"),
    "empty": (b"", "not a PEM file"),
    "half": (pem(SECRET)[:70], "cannot be read"),
    "broken": (pem(SECRET).replace(b"MC4C", b"MC4D"), "cannot be read"),
    "another kind": (b"-----BEGIN X-----\nAAAA\n-----END X-----\n", "cannot be read"),
    "certificate": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certific"),
    "large": (b"-----BEGIN PRIVATE KEY-----\n" + b"A" * (1 << 17), "too large"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_no_key_of_ours_is_refused_with_the_command_that_makes_one(written, kind) -> None:
    data, why = WRONG[kind]
    path = written(data)
    with pytest.raises(UsageError) as caught:
        load_cache_key(path)
    error = caught.value
    assert why in error.why
    assert "openssl genpkey -algorithm ed25519 -out cache.key" in error.hint
    assert path in error.what
    # Neither the error nor what it came from shows anything of the file.
    shown, cause = str(error), error.__cause__
    assert cause is None
    for line in data.decode("latin-1").splitlines():
        if len(line) > 20 and "-----" not in line:
            assert line[:20] not in shown


def test_a_file_that_is_not_there_or_a_directory(tmp_path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(UsageError, match="--cache-key") as caught:
            load_cache_key(str(path))
        assert "openssl genpkey" in caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read(written) -> None:
    with pytest.raises(MachineError, match="cannot read"):
        load_cache_key(written(pem(SECRET), mode=0o000))


def test_a_private_key_that_everybody_can_read_is_told_of(written) -> None:
    assert load_cache_key(written(pem(SECRET), mode=0o640)).warning == ""
    told = load_cache_key(written(pem(SECRET), mode=0o644)).warning
    assert "chmod 600" in told
    assert "cache.key" in told
    assert load_cache_key(written(public_pem(SECRET), "cache.pub", 0o644)).warning == ""


def test_a_key_does_not_show_itself(written) -> None:
    key = load_cache_key(written(pem(SECRET)))
    raw = SECRET.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    for secret in (raw.hex(), base64.b64encode(raw).decode(), repr(raw)):
        assert secret not in repr(key) + str(key)
    assert repr(key) == f"CacheKey({key.id})"
