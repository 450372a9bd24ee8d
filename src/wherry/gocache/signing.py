# SPDX-License-Identifier: Apache-2.0
"""`--cache-key FILE`: signatures of pack sets by Ed25519 (RFC 8032), in files of PEM.

A private key signs and checks, a public key checks. What is signed is the whole index behind a line
that no other protocol has, so that a signature made for anything else never fits. The index names
all blobs by digest, so that these need no signatures. A signature does not say where or when: who
may write to a place can put an older pack set there that the same key has signed.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from typing import TYPE_CHECKING, Final, NoReturn

from wherry.errors import MachineError, UsageError
from wherry.oci.digest import sha256

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import (
        Ed25519PrivateKey,
        Ed25519PublicKey,
    )

_DOMAIN: Final = b"wherry gocache index, signature version 1\n\0"
_SCHEME: Final = "ed25519"
_FILE_LIMIT: Final = 64 << 10
_KEY_ID_LENGTH: Final = 16
_SIGNATURE_SIZE: Final = 64
_MAKE: Final = "openssl genpkey -algorithm ed25519 -out cache.key"
_MAKE_PUBLIC: Final = "openssl pkey -in cache.key -pubout -out cache.pub"


class CacheKey:
    """One key of `--cache-key`. Thread-safe; its repr does not show it."""

    def __init__(
        self, public: Ed25519PublicKey, private: Ed25519PrivateKey | None = None, warning: str = ""
    ) -> None:
        from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - 50 ms
            Encoding,
            PublicFormat,
        )

        self._public = public
        self._private = private
        self.warning = warning
        """What the user should be told about the file, or nothing."""
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.id: str = sha256(raw).hex[:_KEY_ID_LENGTH]
        """Tells keys apart: the beginning of the public key's sha256."""

    def __repr__(self) -> str:
        return f"CacheKey({self.id})"

    @property
    def can_sign(self) -> bool:
        """Whether it is a private key."""
        return self._private is not None

    def sign(self, index: bytes) -> str:
        """The signature of an index, as text; raises `UsageError` for a public key."""
        if self._private is None:
            raise UsageError("a public key cannot sign a cache",
                             why="--cache-to needs the private key, --cache-from either",
                             hint="name the private key's file")  # fmt: skip
        made = base64.b64encode(self._private.sign(_DOMAIN + index)).decode()
        return f"{_SCHEME}:{self.id}:{made}"

    def check(self, index: bytes, signature: str) -> str:
        """Why `signature` is none of this key for this index; empty where it is one."""
        from cryptography.exceptions import InvalidSignature  # noqa: PLC0415 - as above

        if not signature:
            return "it is not signed"
        scheme, _, rest = signature.partition(":")
        key_id, _, text = rest.partition(":")
        try:
            made = base64.b64decode(text.encode("ascii"), validate=True)
        except (binascii.Error, UnicodeEncodeError):
            made = b""
        if scheme != _SCHEME or len(made) != _SIGNATURE_SIZE:
            return "its signature is of a form that wherry does not know"
        if key_id != self.id:
            return f"it is signed by another key than {self.id}"
        try:
            self._public.verify(made, _DOMAIN + index)
        except InvalidSignature:
            return "its signature does not fit: it was changed after it was signed"
        return ""


def load_cache_key(path: str, flag: str = "--cache-key") -> CacheKey:
    """The key in the PEM file at `path`.

    Raises `UsageError` with the command that makes a key where it holds none that fits, and
    `MachineError` where it cannot be read. Nothing of the file is ever part of an error.
    """
    data, mode = _read(path, flag)
    if b"-----BEGIN " not in data:
        _refuse(path, flag, "it is not a PEM file")
    if b"-----BEGIN OPENSSH PRIVATE KEY" in data:
        _refuse(path, flag, "it is a key of OpenSSH, which is a format of its own")
    if b"PRIVATE KEY-----" in data:
        warning = ""
        if mode & stat.S_IROTH:
            warning = (
                f"everybody on this machine can read the private key {path}: "
                f"`chmod 600 {path}` if it is meant to be secret here"
            )
        private = _private(data, path, flag)
        return CacheKey(private.public_key(), private, warning)
    return CacheKey(_public(data, path, flag))


def _read(path: str, flag: str) -> tuple[bytes, int]:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT + 1)
            mode = os.fstat(file.fileno()).st_mode
    except FileNotFoundError:
        _refuse(path, flag, "there is no such file")
    except IsADirectoryError:
        _refuse(path, flag, "it is a directory")
    except OSError as error:
        raise MachineError(f"{flag}: cannot read {path}", why=error.strerror or str(error),
                           hint="name a file that you may read") from None  # fmt: skip
    if len(data) > _FILE_LIMIT:
        _refuse(path, flag, "it is too large for a key")
    return data, mode


def _private(data: bytes, path: str, flag: str) -> Ed25519PrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as above
        load_pem_private_key,
    )

    try:
        key = load_pem_private_key(data, password=None)
    except TypeError:
        _refuse(path, flag, "it is encrypted, and nobody is there to type the password",
                f"`openssl pkey -in {path} -out cache.key` decrypts it, or make one: {_MAKE}",
                )  # fmt: skip
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, flag, "its private key cannot be read: damaged, or of an unknown kind")
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        _refuse(path, flag, f"it is {_kind(key)}, not an Ed25519 key")
    return key


def _public(data: bytes, path: str, flag: str) -> Ed25519PublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.asymmetric import ed25519  # noqa: PLC0415 - as above
    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415 - as above
        load_pem_public_key,
    )

    if b"-----BEGIN CERTIFICATE" in data:
        _refuse(path, flag, "it is a certificate, not a key")
    try:
        key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        _refuse(path, flag, "its public key cannot be read: damaged, or of an unknown kind")
    if not isinstance(key, ed25519.Ed25519PublicKey):
        _refuse(path, flag, f"it is {_kind(key)}, not an Ed25519 key")
    return key


def _kind(key: object) -> str:
    """`an RSA key`, by the name of the key's class."""
    name = type(key).__name__.partition("P")[0].removeprefix("_").lstrip("_")
    known = {"RSA": "an RSA key", "EllipticCurve": "an ECDSA key", "EC": "an ECDSA key",
             "DSA": "a DSA key", "X25519": "an X25519 key", "Ed448": "an Ed448 key"}  # fmt: skip
    return known.get(name, "a key of another kind")


def _refuse(path: str, flag: str, why: str, hint: str = "") -> NoReturn:
    raise UsageError(f"{flag}: {path} is no key for caches", why=why,
                     hint=hint or f"make one: {_MAKE}; its public half: {_MAKE_PUBLIC}"
                     ) from None  # fmt: skip
