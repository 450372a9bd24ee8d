# SPDX-License-Identifier: Apache-2.0
"""Being denied, told to people: what was asked for, as whom, in whose words, and what to do."""

from __future__ import annotations

from wherry.registry.credential import Credential
from wherry.registry.model import Scope
from wherry.registry.problems import Answered, Refused, printable


class Denied(Refused):
    """A registry or its token server does not let this user do what was asked."""


def task(scope: Scope) -> str:
    """What a scope is for, in words: `push to localhost:5000/team/app`."""
    if not scope.repository:
        return f"log in to {scope.registry}"
    name = f"{scope.registry}/{scope.repository}"
    if "delete" in scope.actions:
        return f"delete in {name}"
    return f"push to {name}" if "push" in scope.actions else f"pull {name}"


def denied(scope: Scope, credential: Credential | None, answer: Answered) -> Denied:
    """The error for an answer that means: not you."""
    login = f"`wherry login {scope.registry}`"
    if credential is None:
        who = "asked anonymously"
    elif credential.username:
        who = f"asked as user {printable(credential.username, most=100)}"
    else:
        who = "asked with a stored token"
    if not scope.repository:
        what = f"{scope.registry} does not accept the login"
        hint = "check the user name and password; some registries want an access token instead"
        return Denied(what, answer, note=who, hint=hint)
    what = f"not allowed to {task(scope)}"
    if credential is None:
        hint = f"{login} if it is private"
    else:
        hint = f"{login} as a user who may, or again if the password or token has changed"
    absent = "registries deny what does not exist, too: check the name"
    return Denied(what, answer, note=who, hint=f"{hint}; {absent}")
