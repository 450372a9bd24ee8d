# SPDX-License-Identifier: Apache-2.0
"""The files of a step that tell of the network and of trust: hosts, resolv.conf, certificates.

They are bound over those of the root while the step runs and never become part of it. Hosts are as
BuildKit writes them: nothing of this machine's own file. The name servers are this machine's: the
network is too, so even a resolver at a loopback address can be reached.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

from wherry.sandbox.mounts import Mount
from wherry.sandbox.rootpath import read_bytes
from wherry.sandbox.step_spec import StepSpec

HOSTNAME: Final = "buildkitsandbox"
CERTIFICATES: Final = "/dev/ca-certificates.pem"
_RESOLV: Final = "/etc/resolv.conf"
_HOSTS: Final = "/etc/hosts"
# Where distributions keep their bundle: Debian, Alpine; Fedora, RHEL; openSUSE; others.
_BUNDLES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_LARGEST: Final = 16 << 20
_VARIABLES: Final = (
    "SSL_CERT_FILE", "CURL_CA_BUNDLE", "GIT_SSL_CAINFO", "REQUESTS_CA_BUNDLE",
    "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
_OPTIONS: Final = ("bind", "rprivate", "nosuid", "noexec", "nodev", "ro")


class _File(NamedTuple):
    target: str
    content: bytes


def host_mounts(spec: StepSpec, root: str, directory: str) -> tuple[Mount, ...]:
    """Write the files into `directory` and return the mounts that show them to the step.

    `root` is the step's own, whose certificates are read. Raises `OSError`.
    """
    files = [_File(_RESOLV, _name_servers()), _File(_HOSTS, hosts(spec).encode())]
    if spec.certificates:
        files.append(_File(CERTIFICATES, bundle(root, spec.certificates)))
    mounts = []
    for file in files:
        path = os.path.join(directory, os.path.basename(file.target))
        with open(path, "xb") as stream:
            stream.write(file.content)
            os.fchmod(stream.fileno(), 0o644)
        mounts.append(Mount(file.target, "bind", path, _OPTIONS))
    return tuple(mounts)


def hosts(spec: StepSpec) -> str:
    """The text of /etc/hosts (hosts(5))."""
    name = spec.hostname or HOSTNAME
    lines = [f"127.0.0.1\tlocalhost {name}", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{host}" for host, address in spec.hosts]
    return "".join(f"{line}\n" for line in lines)


def bundle(root: str, certificates: bytes) -> bytes:
    """The root's own certificates and then ours, in PEM."""
    for path in _BUNDLES:
        own = read_bytes(root, path, _LARGEST)
        if own:
            return own.rstrip(b"\n") + b"\n" + certificates
    return certificates


def certificate_variables() -> tuple[tuple[str, str], ...]:
    """The variables by which programs find the bundle."""
    return tuple((name, CERTIFICATES) for name in _VARIABLES)


def _name_servers() -> bytes:
    try:
        with open(_RESOLV, "rb") as file:
            return file.read(_LARGEST)
    except OSError:
        # As a machine without the file: the loopback address is asked (resolv.conf(5)).
        return b""
