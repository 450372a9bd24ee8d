# SPDX-License-Identifier: Apache-2.0
"""What values about an image may be: its configuration (OCI image specification), names, platforms.

Parsers as in `kinds`; beside each stands what JSON Schema can say of the value.
"""

from __future__ import annotations

import re
from typing import Any, Final

from wherry.errors import UsageError, near
from wherry.oci.image import Pairs
from wherry.oci.platform import Platform, parse_exact
from wherry.oci.reference import DEFAULT_REGISTRY, parse_reference
from wherry.process.capabilities import NAMES as CAPABILITIES
from wherry.settings.kinds import list_of, parse_entries, parse_items, parse_text, refuse_twice
from wherry.settings.templated import PAIRS, parse_templated, shape

_NAME = "[A-Za-z0-9_][A-Za-z0-9_.-]*"
# 2147483647 is the last that runtimes take.
_ID = (
    "(?:[0-9]{1,9}|1[0-9]{9}|20[0-9]{8}|21[0-3][0-9]{7}|214[0-6][0-9]{6}|2147[0-3][0-9]{5}"
    "|21474[0-7][0-9]{4}|214748[0-2][0-9]{3}|2147483[0-5][0-9]{2}|21474836[0-3][0-9]|214748364[0-7])"
)
_ONE_USER = f"(?:(?=[0-9]*[A-Za-z_.-]){_NAME}|{_ID})"
_USER = re.compile(f"{_ONE_USER}(?::{_ONE_USER})?")
_PORT = re.compile(r"([1-9][0-9]{0,4})(?:/(tcp|udp|sctp))?")
_LAST_PORT = 65535
_PORT_PATTERN = (
    "(?:[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
)
_LEAST_LEVEL, _GREATEST_LEVEL = 0, 22


def _capability_pattern() -> str:
    lower, upper = "|".join(CAPABILITIES), "|".join(CAPABILITIES).upper()
    return f"^(?:(?:cap_)?(?:{lower})|(?:CAP_)?(?:{upper}))$"


ENVIRONMENT: Final[dict[str, Any]] = {**PAIRS, "propertyNames": {"pattern": "^[^=\\u0000]+$"}}
USER: Final = {"type": "string", "pattern": f"^{_ONE_USER}(?::{_ONE_USER})?$"}
PORTS: Final = list_of(
    {
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": _LAST_PORT},
            {"type": "string", "pattern": f"^{_PORT_PATTERN}(?:/(?:tcp|udp|sctp))?$"},
        ]
    }
)
PATH: Final = {
    "type": "string",
    "pattern": "^/(?!(?:[^\\u0000]*/)?\\.\\.?(?:/|$))[^\\u0000]*$",
}
CAPABILITY_LIST: Final = list_of({"type": "string", "pattern": _capability_pattern()})
PLATFORMS: Final = list_of(
    {"type": "string", "pattern": "^(?:linux/)?[a-z0-9_-]+(?:/[a-z0-9.,_-]+)?$"},
    "wherry knows which architectures and variants Go has",
)
TAGS: Final = list_of(
    {
        "type": "string",
        "pattern": "^(?:[A-Za-z0-9._:/\\[\\]-]|\\{\\{[^\\u0000]*\\}\\})+$",
    },
    "wherry reads references and templates, and refuses one twice",
)
LEVEL: Final = {"type": "integer", "minimum": _LEAST_LEVEL, "maximum": _GREATEST_LEVEL}


def parse_environment(value: object) -> Pairs:
    """A table of environment variables."""
    return tuple(parse_entries(value, _parse_variable))


def parse_user(value: object) -> str:
    """`user` or `user:group`, names or numbers."""
    text = parse_text(value)
    if _USER.fullmatch(text) is None:
        raise UsageError(f"{text!r} is no user", hint='write it as "65532" or "65532:65532"')
    return text


def parse_ports(value: object) -> tuple[str, ...]:
    """A list of ports, each a number or `"8000/udp"`; gives `8000/tcp`."""
    return tuple(dict.fromkeys(parse_items(value, _parse_port)))


def parse_path(value: object) -> str:
    """An absolute path inside the image, without `.` and `..`; slashes too many are left out."""
    text = parse_text(value)
    parts = text.split("/")
    if parts[0] or len(parts) == 1 or any(part in (".", "..") for part in parts):
        raise UsageError(f"{text!r} is no absolute path", hint="begin it with / and leave .. out")
    return "/" + "/".join(part for part in parts if part)


def parse_paths(value: object) -> tuple[str, ...]:
    """A list of absolute paths inside the image."""
    return tuple(dict.fromkeys(parse_items(value, parse_path)))


def parse_platforms(value: object) -> tuple[str, ...]:
    """A list of platforms, each once, with the variant as it was said.

    A variant that is named beats the environment, the least one too: it has to be kept.
    """
    found: dict[Platform, str] = {}
    for platform in parse_items(value, _parse_platform):
        found.setdefault(platform.normal, str(platform))
    return tuple(found.values())


def parse_capabilities(value: object) -> tuple[str, ...]:
    """A list of Linux capabilities; `CAP_NET_ADMIN` is given as `net_admin`."""
    return tuple(dict.fromkeys(parse_items(value, _parse_capability)))


def parse_level(value: object) -> int:
    """A compression level; which ones there are depends on the compression."""
    if type(value) is not int or not _LEAST_LEVEL <= value <= _GREATEST_LEVEL:
        raise UsageError(
            f"wants a number from {_LEAST_LEVEL} to {_GREATEST_LEVEL}, not {_short(value)}",
            hint="gzip has 0 to 9, zstd 1 to 22",
        )
    return value


def parse_tags(value: object) -> tuple[str, ...]:
    """A list of image references, which may hold templates."""
    tags = parse_items(value, _parse_tag)
    refuse_twice(tags, tag_identity)
    return tags


def tag_identity(tag: str, default: str = DEFAULT_REGISTRY) -> tuple[str, tuple[str, ...]]:
    """What is equal for tags that are the same name, however they are written.

    `default` is where names without a registry are. A template equals only itself.
    """
    text, templates = shape(tag)
    return parse_reference(text, default).full, templates


def _parse_tag(item: object) -> str:
    tag = parse_text(item)
    text, _ = shape(tag)
    if "@" in text and "://" not in text:
        raise UsageError(f"{text.rpartition('@')[2]!r} names a digest",
                         hint="leave everything from @ out")  # fmt: skip
    try:
        parse_reference(text)
    except UsageError as error:
        if text == tag:
            raise
        why = f"with 1 for each template: {error.why}"
        raise UsageError(f"not an image reference: {tag!r}", why=why, hint=error.hint) from error
    return tag


def _parse_variable(name: str, item: object) -> str:
    if not name or "=" in name or "\0" in name:
        hint = "names are not empty and hold no ="
        raise UsageError(f"{name!r} is no name of an environment variable", hint=hint)
    return parse_templated(item)


def _parse_port(item: object) -> str:
    text = str(item) if type(item) is int else item
    match = _PORT.fullmatch(text) if isinstance(text, str) else None
    if match is None or int(match[1]) > _LAST_PORT:
        raise UsageError(f"{_short(item)} is no port", hint='write it as 8000 or "8000/udp"')
    return f"{match[1]}/{match[2] or 'tcp'}"


def _parse_platform(item: object) -> Platform:
    text = parse_text(item)
    if "," in text:
        raise UsageError(f"{text!r} is several platforms", hint="one for each item of the list")
    platform = parse_exact(text)
    if text != text.strip().lower():
        raise UsageError(f"{text!r} is no platform", hint=f'write "{platform}"')
    return platform


def _parse_capability(item: object) -> str:
    text = parse_text(item)
    name = text.lower().removeprefix("cap_")
    if name not in CAPABILITIES or text not in (text.lower(), text.upper()):
        name = name.replace("-", "_")
        begun = [known for known in CAPABILITIES if name and known.startswith(name)]
        hint = f"did you mean {begun[0]!r}?" if len(begun) == 1 else near(name, CAPABILITIES)
        hint = hint or "write it as net_bind_service"
        raise UsageError(f"Linux has no capability {text!r}", hint=hint)
    return name


def _short(value: object) -> str:
    """A wrong value as errors show it: never longer than a line."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
