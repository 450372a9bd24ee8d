# SPDX-License-Identifier: Apache-2.0
"""All verbs as one click group that imports a verb's module only when it is called."""

from __future__ import annotations

import importlib

import click

from wherry._version import __version__
from wherry.cli.help_page import dressed
from wherry.errors import UsageError, near

VERBS = {
    "build": "build a Go module or a Dockerfile into an image",
    "run": "run a built image, unprivileged",
    "images": "list the images of the local store",
    "tag": "give an image another name",
    "rmi": "remove names of images",
    "pull": "fetch images from registries",
    "push": "send an image to registries",
    "login": "sign in to a registry",
    "logout": "forget a registry's credentials",
    "inspect": "show a manifest as its registry has it",
    "init": "write Dockerfile and the like for a Go program",
    "lock": "pin bases and Go version in wherry.lock",
    "cache": "show and prune the local store, show Go caches elsewhere",
    "check": "find and mend what is wrong in Dockerfiles",
    "doctor": "say what this machine can do and what it lacks",
    "kaniko": "build as kaniko's executor is asked to",
    "completion": "write the completion script of a shell",
}
# What fingers know from docker, crane and skopeo, and what does it here.
_ELSEWHERE = {
    "copy": "pull and push do that: wherry pull A; wherry push A B",
    "digest": "wherry inspect --raw REF | sha256sum",
    "help": "wherry --help, or wherry VERB --help",
    "image": "wherry images, wherry rmi, wherry cache prune",
    "lint": "wherry check",
    "ls": "wherry images",
    "manifest": "wherry inspect --raw REF",
    "ps": "wherry keeps nothing running; `wherry images` lists images",
    "rm": "wherry rmi",
    "save": "wherry build -o type=oci,dest=FILE",
    "version": "wherry --version",
}


def verb_named(name: str) -> click.Command | None:
    """The verb, its module imported; None where there is none of that name."""
    if name not in VERBS:
        return None
    command = importlib.import_module(f"wherry.cli.{name}").command
    return dressed(command, name) if isinstance(command, click.Command) else None


class _Verbs(click.Group):
    """The group: names and short helps are known without importing any verb."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, _ctx: click.Context, cmd_name: str) -> click.Command | None:
        return verb_named(cmd_name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            raise UsageError(f"wherry has no verb {args[0]!r}",
                             hint=_ELSEWHERE.get(args[0]) or near(args[0], tuple(VERBS))
                             or "see: wherry --help")  # fmt: skip
        return super().resolve_command(ctx, args)

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


@click.group(
    cls=_Verbs,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExamples:\n"
    "  wherry build            an image of the Go program or Dockerfile here\n"
    "  wherry build --push -t registry.example.com/shop/api:1.2 ./cmd/api\n"
    "  wherry run movies       what was built, without Docker\n"
    "  wherry doctor           what this machine can do, what is missing\n"
    "  wherry VERB --help      what a verb takes, with examples\n\n"
    "Exit codes: 0 done, 1 the build failed, 2 wrong usage, 3 this machine lacks something, "
    "4 network or registry, 5 a fault in wherry.",
)
@click.version_option(__version__, "--version", message="wherry %(version)s")
def _cli() -> None:
    """Small, safe container images for Go programs, without a daemon and without root."""


def run_verb(arguments: list[str]) -> int:
    """Run a command line; click's complaints become `UsageError`."""
    try:
        outcome = _cli.main(arguments, prog_name="wherry", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return 2
    except click.exceptions.Abort as error:
        raise KeyboardInterrupt from error
    except SystemExit:
        # click's way to say that the reader of stdout went away; what it was told was right.
        return 0
    except click.ClickException as error:
        what = error.format_message().rstrip(".")
        raise UsageError(what, hint=_usage(error, arguments)) from error
    return outcome if isinstance(outcome, int) else 0


def _usage(error: click.ClickException, arguments: list[str]) -> str:
    context = getattr(error, "ctx", None)
    # click's parser does not always know in which verb it is.
    verb = f"wherry {arguments[0]}" if arguments and arguments[0] in VERBS else "wherry"
    path = context.command_path if isinstance(context, click.Context) else verb
    return f"see: {path} --help"
