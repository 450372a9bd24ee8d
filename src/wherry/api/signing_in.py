# SPDX-License-Identifier: Apache-2.0
"""`wherry login` and `logout`: credentials are tried at the registry before they are kept."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from wherry.api.registries import Registries, RegistryAround
from wherry.errors import UsageError, WherryError
from wherry.oci.reference import DEFAULT_REGISTRY, is_host
from wherry.registry import login
from wherry.registry.authfile import read_auth_file
from wherry.registry.credential import Credential
from wherry.registry.credentials import auth_file_paths
from wherry.registry.login import verify_login_by_name


def log_in(registry: str, username: str, password: str, around: RegistryAround) -> str:
    """Try the credentials at `registry` and keep them; gives the place where they are kept.

    Raises `NetworkError` where the registry refuses them, `MachineError` where they cannot be kept.
    """
    name = registry_named(registry)
    with Registries(around, project=False) as registries:

        def check(credential: Credential) -> None:
            insecure = frozenset(registries.settings.insecure_by_user)
            verify_login_by_name(registries.transport(), name, credential, insecure=insecure)

        return login.log_in(
            name, username, password, env=around.env, check=check, cancel=around.cancel
        )


def log_out(registry: str, around: RegistryAround) -> bool:
    """Forget the credentials for `registry`; whether there were any."""
    return login.log_out(registry_named(registry), env=around.env, cancel=around.cancel)


def signed_in(env: Mapping[str, str]) -> tuple[str, ...]:
    """The registries that credentials are kept for, as `logout` takes them; never raises.

    Helper programs are not asked, only those files that name registries.
    """
    found: dict[str, None] = {}
    for path in auth_file_paths(env):
        with suppress(WherryError):
            file = read_auth_file(path)
            found |= dict.fromkeys(file.registries() if file is not None else ())
    return tuple(found)


def registry_named(text: str) -> str:
    """A registry's host from what people type: a host, a host with port, or its address."""
    rest = text.strip().removeprefix("https://").removeprefix("http://")
    host = rest.partition("/")[0]
    # Not Docker Hub: a script's variable was empty, and the password is for another registry.
    if not host:
        raise UsageError("the registry's name is empty", hint="name it: wherry login HOST")
    if host in (DEFAULT_REGISTRY, "index.docker.io", "registry-1.docker.io"):
        return DEFAULT_REGISTRY
    if not is_host(host):
        raise UsageError(f"not a registry: {host!r}",
                         hint="write it as registry.example.com or localhost:5000")  # fmt: skip
    return host
