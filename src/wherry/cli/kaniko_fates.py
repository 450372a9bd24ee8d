# SPDX-License-Identifier: Apache-2.0
"""Which flags of a kaniko call change nothing here, and which cannot be done.

What is refused is told all together: a pipeline is mended once.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator

from wherry.api.request import CallRegistries
from wherry.cli.kaniko_flags import BY_NAME, OWN_PATHS, Fate, KanikoFlag
from wherry.cli.kaniko_words import Given, read_switch
from wherry.errors import SeveralErrors, UsageError


def ignored_flags(given: Given, registries: CallRegistries) -> tuple[str, ...]:
    """The flags that are passed over, as they are written, each once.

    Raises `UsageError`, or `SeveralErrors` for more than one, where flags cannot be done.
    """
    ignored: list[str] = []
    errors: list[UsageError] = []
    for flag in dict.fromkeys(flag for flag, _ in given.values):
        fates = {value: _fate(flag, value, given, registries) for value in _counting(flag, given)}
        refused = [value for value, fate in fates.items() if fate is Fate.REFUSED]
        if refused:
            errors.append(_refusal(flag, refused[0]))
        elif Fate.IGNORED in fates.values():
            ignored.append(f"--{flag.name}")
    if errors:
        raise errors[0] if len(errors) == 1 else SeveralErrors(tuple(errors))
    return tuple(ignored)


def ignored_lines(ignored: Iterable[str]) -> Iterator[str]:
    """What is told of flags that are passed over: of those that somebody may miss, a line each."""
    missed = {name: BY_NAME[name.removeprefix("--")].missed for name in ignored}
    needless = [name for name, why in missed.items() if not why]
    if needless:
        them = "them" if len(needless) > 1 else "it"
        yield f"ignored: {', '.join(needless)}: wherry has no need of {them}"
    yield from (f"ignored: {name}: {why}" for name, why in missed.items() if why)


def _counting(flag: KanikoFlag, given: Given) -> tuple[str, ...]:
    """The values that count: all, or the last."""
    values = given.texts(flag.name)
    return values if flag.takes == "texts" else values[-1:]


def _fate(flag: KanikoFlag, value: str, given: Given, registries: CallRegistries) -> Fate:
    if flag.fate is not Fate.REFUSED:
        return Fate.REFUSED if _word(flag, value) in flag.refuses else flag.fate
    is_off = not read_switch(flag.name, value) if flag.takes == "switch" else not value
    return Fate.IGNORED if is_off or _is_needless(flag, value, given, registries) else flag.fate


def _is_needless(flag: KanikoFlag, value: str, given: Given, registries: CallRegistries) -> bool:
    """Whether what cannot be done would change nothing in this call."""
    match flag.name:
        case "ignore-path":
            path = posixpath.normpath(value)
            return any(path == own or path.startswith(f"{own}/") for own in OWN_PATHS)
        case "skip-default-registry-fallback":
            return not registries.mirrors
    match flag.beside:
        case "insecure":
            # Nothing is pushed over TLS then; bases may come from other registries.
            return bool(given.switch("insecure"))
        case "insecure-registry":
            return value.lower() in registries.insecure
    return False


def _word(flag: KanikoFlag, value: str) -> str:
    if flag.takes == "switch":
        return "true" if read_switch(flag.name, value) else "false"
    return value.lower()


def _refusal(flag: KanikoFlag, value: str) -> UsageError:
    shown = f"={_word(flag, value)}" if flag.refuses else ""
    return UsageError(f"--{flag.name}{shown} cannot be done", why=flag.why, hint=flag.hint)
