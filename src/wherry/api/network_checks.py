# SPDX-License-Identifier: Apache-2.0
"""What `wherry doctor` says about the way to registries: proxies, certificates, files of logins.

Names of files, hosts and programs only: no user, password or token is ever shown.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping

from wherry.api.checks import Check, State
from wherry.errors import UsageError, WherryError
from wherry.registry.authfile import AuthFile, read_auth_file
from wherry.registry.credentials import auth_file_paths
from wherry.registry.problems import printable
from wherry.settings.user import load_user_settings, user_settings_path
from wherry.transport.origins import Origin
from wherry.transport.proxies import proxy_for

# A host that no_proxy does not name, to see the proxy for all others.
_ANY_HOST = "any-registry.invalid"
_CERTIFICATES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def network_checks(env: Mapping[str, str]) -> tuple[Check, ...]:
    """Proxies, certificates, registry logins and the user's settings."""
    return (_proxies(env), _certificates(env), _logins(env), _settings(env))


def _proxies(env: Mapping[str, str]) -> Check:
    found = []
    for scheme, port in (("https", 443), ("http", 80)):
        try:
            proxy = proxy_for(Origin(scheme, _ANY_HOST, port), env)
        except UsageError as error:
            return Check("proxy", State.MISSING, error.what, (error.why,), error.hint)
        if proxy is not None:
            with_login = ", with a login" if proxy.authorization else ""
            found.append(f"{scheme} by {proxy.name}{with_login}")
    exceptions = env.get("no_proxy") or env.get("NO_PROXY") or ""
    details = (f"not for {exceptions}",) if found and exceptions else ()
    return Check("proxy", State.NOTE, "; ".join(found) or "none", details)


def _certificates(env: Mapping[str, str]) -> Check:
    given = [(name, env[name]) for name in _CERTIFICATES if env.get(name)]
    absent = [f"{name}={path}" for name, path in given if not os.path.exists(path)]
    if absent:
        return Check("certificates", State.MISSING, f"there is no such path: {', '.join(absent)}",
                     remedy="correct or unset the variable")  # fmt: skip
    found = ", ".join(f"{name}={path}" for name, path in given)
    return Check("certificates", State.NOTE, found or "the system's")


def _logins(env: Mapping[str, str]) -> Check:
    found, details = [], []
    for path in auth_file_paths(env):
        try:
            file = read_auth_file(path)
        except UsageError as error:
            return Check("registry logins", State.MISSING, error.what, (error.why,), error.hint)
        if file is not None:
            found.append(path)
            details += [*_told(file, env)]
    shown = ", ".join(dict.fromkeys(found)) or "none (wherry login REGISTRY makes one)"
    missing = any("not found" in line for line in details)
    state = State.LIMITED if missing else State.NOTE
    return Check("registry logins", state, shown, tuple(details))


def _told(file: AuthFile, env: Mapping[str, str]) -> Iterator[str]:
    auths = file.content.get("auths")
    if isinstance(auths, dict) and auths:
        yield f"{file.path}: logins for {', '.join(sorted(map(printable, auths)))}"
    helpers = file.content.get("credHelpers")
    names = list(helpers.values()) if isinstance(helpers, dict) else []
    for name in dict.fromkeys([file.content.get("credsStore"), *names]):
        if isinstance(name, str) and name and "/" not in name:
            program = f"docker-credential-{name}"
            there = shutil.which(program, path=env.get("PATH", os.defpath))
            yield f"helper {program}" + ("" if there else ": not found on PATH")


def _settings(env: Mapping[str, str]) -> Check:
    path = user_settings_path(env)
    try:
        load_user_settings(env)
    except WherryError as error:
        return Check("settings", State.MISSING, str(error))
    there = bool(path) and os.path.exists(path)
    return Check("settings", State.NOTE, path if there else f"none ({path or 'HOME is unset'})")
