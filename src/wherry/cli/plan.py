# SPDX-License-Identifier: Apache-2.0
"""`wherry build --dry-run`: the plan of a build on stdout."""

from __future__ import annotations

import json
import sys
from contextlib import suppress

from wherry.api.dry_run import BuildPlan, plan_build
from wherry.api.request import BuildRequest
from wherry.cli.listening import listening, raise_failures
from wherry.cli.progress.select import Mode


def print_plan(request: BuildRequest, mode: Mode, *, as_json: bool) -> int:
    """Print what a build would do. Raises what finding out raises, as a build does.

    That is `ImagesFailed` where some of several images cannot be, once the others were told.
    """
    plan: BuildPlan | None = None
    try:
        with listening(mode) as (sink, token):
            plan = plan_build(request, sink, token)
            raise_failures(plan.failures)
    finally:
        # What can be said comes first: errors are the last words.
        if plan is not None:
            sys.stdout.write(_as_json(plan) if as_json else render_plan(plan))
            with suppress(OSError):
                sys.stdout.flush()
    return 0


def render_plan(plan: BuildPlan) -> str:
    """The plan as text: the images, then the steps with what becomes of them."""
    lines = []
    for image in plan.images:
        where = f" -> {', '.join(image.outputs)}" if image.outputs else ""
        lines.append(f"image {', '.join(image.tags)} for {', '.join(image.platforms)}{where}")
    width = max((len(step.fate) for step in plan.steps), default=0)
    for step in plan.steps:
        why = f" ({step.why})" if step.why else ""
        whose = f"{step.image}: " if step.image else ""
        lines.append(f"  {step.fate:<{width}}  {whose}{step.name}{why}")
    if not plan.steps:
        lines.append(f"  {plan.reason}: no step runs")
    lines += [f"cannot be built: {failure.name}" for failure in plan.failures]
    return "\n".join(lines) + "\n"


def _as_json(plan: BuildPlan) -> str:
    value = {
        "images": [image._asdict() for image in plan.images],
        "steps": [step._asdict() for step in plan.steps],
        "reason": plan.reason,
        "failures": [f"{failure.name}: {failure.error.what}" for failure in plan.failures],
    }
    return json.dumps(value) + "\n"
