# SPDX-License-Identifier: Apache-2.0
"""`wherry build --dry-run`: the plan of a build on stdout."""

from __future__ import annotations

import json
import os
import sys

from wherry.api.dry_run import BuildPlan, plan_build
from wherry.api.request import BuildRequest
from wherry.cli.progress.select import Mode, make_sink
from wherry.cli.stopping import stopping


def print_plan(request: BuildRequest, mode: Mode, *, as_json: bool) -> int:
    """Print what a build would do; 1 where an image cannot be. Raises what finding out raises."""
    with stopping() as token, make_sink(mode, sys.stderr, os.environ) as sink:
        plan = plan_build(request, sink, token)
    sys.stdout.write(_as_json(plan) if as_json else render_plan(plan))
    return 1 if plan.failures else 0


def render_plan(plan: BuildPlan) -> str:
    """The plan as text: the images, then the steps with what becomes of them."""
    lines = []
    for image in plan.images:
        where = f" -> {', '.join(image.outputs)}" if image.outputs else ""
        lines.append(f"image {', '.join(image.tags)} for {', '.join(image.platforms)}{where}")
    width = max((len(step.fate) for step in plan.steps), default=0)
    for step in plan.steps:
        why = f" ({step.why})" if step.why else ""
        lines.append(f"  {step.fate:<{width}}  {step.name}{why}")
    if not plan.steps:
        lines.append(f"  {plan.reason}: no step runs")
    lines += [f"cannot be built: {text}" for text in plan.failures]
    return "\n".join(lines) + "\n"


def _as_json(plan: BuildPlan) -> str:
    value = {
        "images": [image._asdict() for image in plan.images],
        "steps": [step._asdict() for step in plan.steps],
        "reason": plan.reason,
        "failures": plan.failures,
    }
    return json.dumps(value) + "\n"
