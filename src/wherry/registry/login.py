# SPDX-License-Identifier: Apache-2.0
"""Logging in and out: credentials are verified first, then kept where Docker finds them too.

They go to the helper program that Docker's config.json names for the registry, else into that file
as `docker login` writes them: base64, which hides nothing, readable by the user alone.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING

from wherry.errors import NetworkError, UsageError
from wherry.process.cancel import CancelToken
from wherry.registry.auth import Authorizer, Sender
from wherry.registry.authfile import AuthFile, key_for, read_auth_file
from wherry.registry.authfile_edit import Content, edit_auth_file, table
from wherry.registry.credential import Credential
from wherry.registry.credentials import docker_config_path
from wherry.registry.endpoint import Endpoint
from wherry.registry.keychain import Helper
from wherry.registry.model import Scope
from wherry.registry.problems import refused
from wherry.registry.schemes import Schemes
from wherry.transport.model import Request
from wherry.transport.origins import parse_origin

if TYPE_CHECKING:
    from wherry.transport.http import Response


def log_in(
    registry: str,
    username: str,
    password: str,
    *,
    env: Mapping[str, str],
    check: Callable[[Credential], None],
    cancel: CancelToken | None = None,
) -> str:
    """Verify credentials with `check` and keep them; where they are kept: a file or a program.

    `check` raises if the registry does not take them, and nothing is written then. Raises
    `UsageError` for input that cannot be a login or a config.json that makes no sense,
    `MachineError` where nothing can be written or the helper fails, `Cancelled`.
    """
    _check_input(registry, username, password)
    path = _config_path(env)
    name = _read(path).helper(registry)
    check(Credential(username, password))
    key = key_for(registry)
    if name:
        helper = Helper(name, path, env, cancel or CancelToken())
        helper.store(key, username, password)
        # As Docker does: an empty entry tells that the helper has one.
        edit_auth_file(path, lambda content: _put(path, content, registry, {}))
        return helper.program
    entry: Content = {"auth": base64.b64encode(f"{username}:{password}".encode()).decode()}
    edit_auth_file(path, lambda content: _put(path, content, registry, entry))
    return path


def log_out(registry: str, *, env: Mapping[str, str], cancel: CancelToken | None = None) -> bool:
    """Forget a registry's credentials in Docker's config.json and its helper; was there any.

    Podman's file is not touched. Raises like `log_in`.
    """
    path = _config_path(env)
    file = _read(path)
    name = file.helper(registry)
    erased = False
    if name:
        helper = Helper(name, path, env, cancel or CancelToken())
        key = key_for(registry)
        # Many helpers say nothing when there is nothing to erase.
        erased = helper.get(key) is not None and helper.erase(key)
    if not file.keys(registry):
        return erased
    return edit_auth_file(path, lambda content: _drop(path, content, registry)) or erased


def verify_login(
    sender: Sender,
    origin: str,
    registry: str,
    credential: Credential,
    *,
    plain_http_ok: frozenset[str] = frozenset(),
) -> None:
    """Ask `origin` (`scheme://host[:port]`) for /v2/ as `credential` and nobody else.

    That is the distribution specification's "Determining Support". Raises `Denied` where the
    registry or its token server refuses, `NetworkError` where there is no registry.
    """
    authorizer = Authorizer(sender, _Only(credential), plain_http_ok=plain_http_ok)
    request, scope = _version_check(registry)(origin)
    _expect_registry(registry, parse_origin(origin).name, authorizer.send(request, scope))


def verify_login_by_name(
    sender: Sender, registry: str, credential: Credential, *, insecure: frozenset[str] = frozenset()
) -> None:
    """Like `verify_login`, at the server that a reference's `registry` means.

    `insecure` are the `host[:port]` names that plain HTTP is allowed for; a registry on this
    machine may speak either.
    """
    authorizer = Authorizer(sender, _Only(credential), plain_http_ok=insecure)
    schemes = Schemes(authorizer, insecure)
    host = Endpoint(registry, "login", schemes).host
    _expect_registry(registry, host, schemes.send(host, _version_check(registry)))


def _version_check(registry: str) -> Callable[[str], tuple[Request, Scope]]:
    return lambda origin: (Request("GET", f"{origin}/v2/"), Scope(origin, registry, "", ()))


def _expect_registry(registry: str, host: str, response: Response) -> None:
    """Raise unless the server itself has answered, and not by a page for people."""
    what, hint = f"{registry} does not answer as a registry", "check the registry's name and port"
    if response.status != HTTPStatus.OK:
        raise refused(what, response, hint=hint)
    response.close()
    there = parse_origin(response.url)
    if there != parse_origin(f"{there.scheme}://{host}"):
        raise NetworkError(f"{registry} sends clients to {there.name}",
                           why="the login was not tried there: it is for the first one alone",
                           hint=f"if that is the registry: wherry login {there.name}")  # fmt: skip
    if response.headers.get("content-type", "").lower().startswith("text/html"):
        raise NetworkError(what, why="it answers with a page for people", hint=hint)


class _Only:
    """One credential for everything."""

    def __init__(self, credential: Credential) -> None:
        self._credential = credential

    def find(self, registry: str, repository: str) -> Credential:  # noqa: ARG002 - a protocol's
        return self._credential


def _check_input(registry: str, username: str, password: str) -> None:
    hint = "give a user name and a password or access token"
    if not username or not password:
        what = "password" if username else "user name"
        raise UsageError(f"no {what} for {registry}", hint=hint)
    if ":" in username:
        raise UsageError(f"a user name for {registry} has a colon in it",
                         why="HTTP's Basic scheme cannot carry that", hint=hint)  # fmt: skip
    if any(letter < " " or letter == "\x7f" for letter in username):
        raise UsageError(f"the user name for {registry} holds a control character", hint=hint)
    # A password may have lines: Google's registry takes a whole key file for one.
    both = f"{username}{password}"
    if "\0" in both or any("\ud800" <= letter <= "\udfff" for letter in both):
        raise UsageError(f"the user name or password for {registry} is no text",
                         why="it holds a NUL character or is not UTF-8", hint=hint)  # fmt: skip


def _config_path(env: Mapping[str, str]) -> str:
    path = docker_config_path(env)
    if not path:
        raise UsageError("no place for credentials", why="neither HOME nor DOCKER_CONFIG is set",
                         hint="set DOCKER_CONFIG to a directory")  # fmt: skip
    return path


def _read(path: str) -> AuthFile:
    return read_auth_file(path) or AuthFile(path, {})


def _put(path: str, content: Content, registry: str, entry: Content) -> bool:
    """Set a registry's entry, and drop the ones under other spellings, which would be stale."""
    auths = table(path, content, "auths")
    key = key_for(registry)
    if not entry and auths.get(key) == {}:
        return False
    for other in AuthFile(path, content).keys(registry):
        if other != key:
            del auths[other]
    auths[key] = entry
    return True


def _drop(path: str, content: Content, registry: str) -> bool:
    auths = table(path, content, "auths")
    keys = AuthFile(path, content).keys(registry)
    for key in keys:
        del auths[key]
    return bool(keys)
