# SPDX-License-Identifier: Apache-2.0
"""The table `[registry]`, which a project and its user both may write, and how the two meet.

A project may be somebody else's: what it says about its own needs holds, but who may see the
user's passwords unencrypted, and with which keys the user signs in, only the user says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from wherry.settings import hosts
from wherry.settings.declaration import Kind, setting
from wherry.settings.hosts import ClientCertificate

__all__ = ["ClientCertificate", "RegistrySettings", "merged"]

DEFAULT = Kind(
    "registry, or registry and path",
    hosts.parse_default,
    '"registry.example.com/team"',
    schema=hosts.REGISTRY,
)
MIRRORS = Kind(
    "table of lists of mirrors",
    hosts.parse_mirrors,
    '{ "docker.io" = ["mirror.example.com/hub", "http://localhost:5000"] }',
    schema=hosts.MIRRORS,
)
HOSTS = Kind(
    "list of `host[:port]`", hosts.parse_hosts, '["registry.lan:5000"]', schema=hosts.HOSTS
)
FILES = Kind(
    "list of files",
    hosts.parse_files,
    '["certificates/ca.pem"]',
    hosts.locate_files,
    schema=hosts.FILES,
)
CERTIFICATES = Kind(
    "table of `{ cert, key }`",
    hosts.parse_certificates,
    '{ "registry.example.com" = { cert = "~/certs/me.pem", key = "~/certs/me.key" } }',
    hosts.locate_certificates,
    schema=hosts.CERTIFICATES,
)
CONCURRENCY = Kind("number from 1 to 64", hosts.parse_concurrency, "4", schema=hosts.CONCURRENCY)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrySettings:
    """What one file says about registries, or two files together; None is not said.

    `ca_by_user` and `insecure_by_user` are those of `ca` and `insecure` that the user's own file
    names: the others are good for what is asked without credentials. `ca` and
    `client_certificates` are absolute paths.
    """

    default: str | None = setting(
        DEFAULT,
        "Where images without a registry in their name are, for push, pull and `--base`; "
        "without it Docker Hub",
        unsaid="docker.io",
    )
    mirrors: tuple[tuple[str, tuple[str, ...]], ...] = setting(
        MIRRORS,
        "For each registry the places asked before it when pulling, in order: "
        "`host[:port][/path]`, with `http://` before it for plain HTTP",
        (),
    )
    insecure: tuple[str, ...] = setting(
        HOSTS,
        "Where plain HTTP may be spoken, besides this machine itself; passwords go there only if "
        "the user's own `config.toml` names the host",
        (),
    )
    ca: tuple[str, ...] = setting(
        FILES,
        "PEM files of certificates to trust besides the system's, relative to this file's "
        "directory; passwords go over such a connection only if the user's own `config.toml` or "
        "`--ca` names the file",
        (),
    )
    client_certificates: tuple[tuple[str, ClientCertificate], ...] = setting(
        CERTIFICATES,
        "For each `host[:port]` the PEM files to sign in with; `key` may be left out where `cert` "
        "holds it",
        (),
        users=True,
    )
    concurrency: int | None = setting(
        CONCURRENCY, "Requests to one host at once; the default is 4", unsaid=4
    )
    insecure_by_user: tuple[str, ...] = ()
    ca_by_user: tuple[str, ...] = ()


def merged(user: RegistrySettings, project: RegistrySettings) -> RegistrySettings:
    """What holds for `project`, which wins where both say something.

    Tables are merged, the lists `ca` and `insecure` joined. `insecure_by_user`, `ca_by_user` and
    `client_certificates` are the user's, whatever the project says.
    """
    return replace(
        user,
        default=user.default if project.default is None else project.default,
        mirrors=tuple({**dict(user.mirrors), **dict(project.mirrors)}.items()),
        insecure=tuple(dict.fromkeys((*user.insecure, *project.insecure))),
        ca=tuple(dict.fromkeys((*user.ca, *project.ca))),
        concurrency=user.concurrency if project.concurrency is None else project.concurrency,
    )
