# SPDX-License-Identifier: Apache-2.0
"""Rules about what the final image lacks for its program to run."""

from __future__ import annotations

from typing import Final

from wherry.advice.model import Need, Rule, Severity
from wherry.advice.reading.linked import wrong_libc
from wherry.advice.rules.image_programs import missing_programs, started_directories
from wherry.advice.rules.image_users import low_ports, unknown_users
from wherry.advice.rules.lacking import no_certificates, no_temporary, no_zones
from wherry.advice.rules.shells import idle_healthcheck, no_shell
from wherry.advice.rules.unexported import lost_configuration

_CLOSURE: Final = frozenset((Need.CONTEXT, Need.MODULE, Need.CLOSURE))

RULES: Final = (
    Rule("GO221", "program-not-there", Severity.ERROR,
         "what the image starts is not in its root", missing_programs, mends=True),
    Rule("GO222", "directory-as-program", Severity.ERROR,
         "what the image starts is a directory", started_directories, mends=True),
    Rule("GO223", "wrong-libc", Severity.ERROR,
         "the program is linked against a libc that the image lacks", wrong_libc, mends=True),
    Rule("GO224", "no-shell", Severity.ERROR,
         "a command in shell form, and no shell for it", no_shell, mends=True),
    Rule("GO225", "healthcheck-cannot-run", Severity.ERROR,
         "a HEALTHCHECK whose shell or program the image lacks", idle_healthcheck),
    Rule("GO226", "unknown-user", Severity.ERROR,
         "a USER by a name that the image does not know", unknown_users, mends=True),
    Rule("GO227", "configuration-not-exported", Severity.WARNING,
         "EXPOSE, USER, CMD and the like in a stage that no image is made of", lost_configuration,
         mends=True),
    Rule("GO228", "no-certificates", Severity.WARNING,
         "the program needs CA certificates, which the image lacks", no_certificates, _CLOSURE,
         mends=True),
    Rule("GO229", "no-zones", Severity.WARNING,
         "the program needs time zones, which the image lacks", no_zones, _CLOSURE, mends=True),
    Rule("GO230", "no-temporary", Severity.WARNING,
         "the program makes temporary files, and the image has no /tmp", no_temporary, _CLOSURE),
    Rule("GO231", "low-port", Severity.INFO,
         "a port below 1024 for a program that does not run as root", low_ports),
)  # fmt: skip
"""In the order of their ids."""
