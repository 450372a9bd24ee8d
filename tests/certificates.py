# SPDX-License-Identifier: Apache-2.0
"""A certificate authority for one test: openssl, elliptic curves, a directory of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import NamedTuple

_CURVE = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")


class Pair(NamedTuple):
    """A certificate and its key, as PEM files; can be given as `FaultRegistry(tls=pair)`."""

    certificate: str
    key: str


class Authority:
    """Signs certificates; `file` is its own, for those who shall trust it."""

    def __init__(self, directory: Path, name: str = "Authority of the tests") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.file = str(directory / "ca.crt")
        self._key = str(directory / "ca.key")
        _openssl(
            *("req", "-x509", *_CURVE, "-days", "2", "-subj", f"/CN={name}"),
            *("-addext", "basicConstraints=critical,CA:true"),
            *("-addext", "keyUsage=critical,keyCertSign,cRLSign"),
            *("-keyout", self._key, "-out", self.file),
        )

    def issue(
        self, name: str, *, hosts: tuple[str, ...] = ("127.0.0.1", "localhost"), days: int = 2
    ) -> Pair:
        """A certificate for servers (and clients) in `NAME.crt`, `NAME.key`.

        `hosts` may be addresses and names; negative `days` give one that has expired.
        """
        base = self._directory / name
        pair = Pair(f"{base}.crt", f"{base}.key")
        request, extensions = f"{base}.csr", Path(f"{base}.ext")
        alternatives = [f"{'IP' if one[0].isdigit() else 'DNS'}:{one}" for one in hosts]
        extensions.write_text(
            f"subjectAltName={','.join(alternatives)}\nbasicConstraints=CA:false\n"
            "extendedKeyUsage=serverAuth,clientAuth\n"
        )
        _openssl("req", *_CURVE, "-subj", f"/CN={name}", "-keyout", pair.key, "-out", request)
        _openssl(
            *("x509", "-req", "-in", request, "-CA", self.file, "-CAkey", self._key),
            *("-CAcreateserial", "-days", str(days), "-extfile", str(extensions)),
            *("-out", pair.certificate),
        )
        return pair


def _openssl(*words: str) -> None:
    done = subprocess.run(
        ["openssl", *words], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, f"openssl {words[0]}: {done.stderr}"
