# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.differential [WORD...]`: builds the cases by both builders, prints the table.

A WORD is a part of the name of the cases wanted, as `copying/` or `chown`; without any all are
built. `--buildkit` builds by BuildKit alone and shows what it makes, `--why` shows the differences
below the table, `--jobs N` builds N at once (two unless told), `--run` takes those with RUN only.
With `--as-user` wherry runs as an ordinary user made for the time; BuildKit is always root's.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from differential import runs
from differential.cases import CASES
from differential.user import ordinary_user
from differential.world import entered


def main() -> int:
    asked = argparse.ArgumentParser(prog="python -m tests.differential")
    asked.add_argument("words", nargs="*", metavar="WORD")
    asked.add_argument("--buildkit", action="store_true")
    asked.add_argument("--why", action="store_true")
    asked.add_argument("--sample", action="store_true")
    asked.add_argument("--run", action="store_true")
    asked.add_argument("--as-user", action="store_true")
    asked.add_argument("--jobs", type=int, default=2)
    options = asked.parse_args()
    cases = {
        name: case for name, case in CASES.items()
        if (not options.words or any(word in name for word in options.words))
        and (case.sample or not options.sample)
        and (case.runs or not options.run)
    }  # fmt: skip
    with ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory())
        user = stack.enter_context(ordinary_user()) if options.as_user else None
        world = stack.enter_context(entered(Path(work, "world")))
        if world.buildkit is None:
            print(f"skipped: {world.why_not}")
            return 0
        results = runs.run(
            cases, world, Path(work, "cases"), options.jobs, wherry=not options.buildkit, user=user,
            told=lambda result: print(f"{result.verdict:<12} {result.name}", file=sys.stderr),
        )  # fmt: skip
    print(runs.shown(results) if options.buildkit else runs.table(results, why=options.why))
    return int(any(result.is_bad for result in results))


if __name__ == "__main__":
    sys.exit(main())
