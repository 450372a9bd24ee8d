# SPDX-License-Identifier: Apache-2.0
"""What a program wants to find in its image, read from the module's own sources.

Only what is written there counts, and only where it is plain: a server that imports net/http brings
crypto/tls along but needs no CA certificates, and a client of `http://localhost` needs none either.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wherry.advice.reading.go_source import GoFile


class Needs(NamedTuple):
    """What the program needs at run time, each with the words of the code that say so.

    `certificates`: the CA certificates; `zones`: the time zones; `temporary`: `/tmp`; `users`:
    `/etc/passwd`. Empty where the code does not say so plainly.
    """

    certificates: str = ""
    zones: str = ""
    temporary: str = ""
    users: str = ""


# Whoever imports these talks to somebody's service by HTTPS. Drivers of databases and clients of
# Kubernetes are not among them: they often talk in plain text, or bring certificates of their own.
_CLIENTS: Final = (
    "cloud.google.com/go/", "google.golang.org/api/", "github.com/aws/aws-sdk-go",
    "github.com/Azure/azure-sdk-for-go/", "golang.org/x/oauth2", "github.com/google/go-github",
    "github.com/stripe/stripe-go", "github.com/slack-go/slack", "github.com/coreos/go-oidc",
    "golang.org/x/crypto/acme/autocert", "github.com/caddyserver/certmagic",
    "github.com/getsentry/sentry-go", "github.com/digitalocean/godo",
    "github.com/twilio/twilio-go", "github.com/sashabaranov/go-openai",
    "github.com/openai/openai-go", "github.com/bwmarrin/discordgo",
    "github.com/go-telegram-bot-api/telegram-bot-api", "github.com/cloudflare/cloudflare-go",
    "github.com/sendgrid/sendgrid-go", "github.com/xanzy/go-gitlab", "gitlab.com/gitlab-org/api",
    "github.com/mymmrac/telego", "github.com/go-telegram/bot", "gopkg.in/telebot.",
    "gopkg.in/tucnak/telebot.",
)  # fmt: skip
# These put certificates into the program.
_BUNDLES: Final = (
    "golang.org/x/crypto/x509roots/fallback", "github.com/breml/rootcerts",
    "github.com/certifi/gocertifi", "github.com/gwatts/rootcerts",
)  # fmt: skip
_HTTP: Final = (
    "Get", "Post", "PostForm", "Head", "Client", "DefaultClient", "NewRequest",
    "NewRequestWithContext",
)  # fmt: skip
# An address that is asked; in the midst of a text it is one to read more at.
_SECURE: Final = re.compile(r"""["`']https://""")
# With a configuration from elsewhere, TLS may be an option that few take.
_DIALS: Final = re.compile(r"\bDial(?:WithDialer)?\([^\n]*(?:\bnil\)|&[\w.]*Config\{)")
_FIXED_ZONE: Final = re.compile(r'\bLoadLocation\s*\(\s*(?:"(?:UTC|Local)?"|``)\s*\)')
_ZONE: Final = re.compile(r"\bLoadLocation\s*\(")
_TEMPORARY: Final = re.compile(
    r'\b(?:CreateTemp|MkdirTemp|TempFile|TempDir)\s*\(\s*(?:""|``|os\s*\.\s*TempDir\b)'
)


def needs_of(
    own: Iterable[GoFile], closure: frozenset[str], tags: frozenset[str] = frozenset()
) -> Needs:
    """What a program needs: `own` are the main module's files in it, `closure` all packages."""
    files = tuple(own)
    return Needs(
        _certificates(files, closure),
        _zones(files) if "time/tzdata" not in closure and "timetzdata" not in tags else "",
        next(filter(None, map(_temporary, files)), ""),
        next(filter(None, map(_users, files)), ""),
    )


def _certificates(files: tuple[GoFile, ...], closure: frozenset[str]) -> str:
    if "crypto/tls" not in closure or any(path.startswith(_BUNDLES) for path in closure):
        return ""
    # Whoever makes a pool of certificates may bring those that it needs.
    if any(file.uses("crypto/x509", "NewCertPool") for file in files):
        return ""
    for file in files:
        for _, path in file.imports:
            if path.startswith(_CLIENTS):
                return path
        if file.uses("google.golang.org/grpc/credentials", "NewClientTLSFromCert"):
            return "credentials.NewClientTLSFromCert"
        if file.uses("crypto/tls", "Dial", "DialWithDialer") and _DIALS.search(file.text):
            return "tls.Dial"
    secure = any(_SECURE.search(file.text) for file in files)
    # Where the code names plain addresses alone, those that it is given will be plain, too.
    if not secure and any("http://" in file.text for file in files):
        return ""
    for file in files:
        if _SECURE.search(file.text) or "http://" not in file.text:
            found = next((name for name in _HTTP if file.uses("net/http", name)), "")
            if found:
                return f"http.{found}"
    return ""


def _zones(files: tuple[GoFile, ...]) -> str:
    for file in files:
        some = len(_ZONE.findall(file.code)) > len(_FIXED_ZONE.findall(file.text))
        if some and file.uses("time", "LoadLocation"):
            return "time.LoadLocation"
    return ""


def _temporary(file: GoFile) -> str:
    if file.uses("os", "TempDir"):
        return "os.TempDir"
    if _TEMPORARY.search(file.text):
        for path, names in (("os", ("CreateTemp", "MkdirTemp")),
                            ("io/ioutil", ("TempFile", "TempDir"))):  # fmt: skip
            found = next((name for name in names if file.uses(path, name)), "")
            if found:
                return f"{path.rpartition('/')[2]}.{found}"
    return ""


def _users(file: GoFile) -> str:
    names = ("Current", "LookupId", "LookupGroupId", "LookupGroup", "Lookup")
    found = next((name for name in names if file.uses("os/user", name)), "")
    return f"user.{found}" if found else ""
