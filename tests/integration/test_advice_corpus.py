# SPDX-License-Identifier: Apache-2.0
"""What fixes do to Dockerfiles that people wrote: they end, and leave a Dockerfile behind.

`WHERRY_CORPUS` names a directory of sources, as `tools/corpus.py` lays them out. Nothing in it is
written.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from wherry.api.check_mending import Allowed, mend_files
from wherry.api.checking import Checked, CheckedFile, Checker, CheckRequest

pytestmark = pytest.mark.soak

WAYS = {
    "safe": Allowed(),
    "unsafe": Allowed(unsafe=True),
    "split": Allowed(split=True),
    "all": Allowed(unsafe=True, split=True),
}


def sources() -> list[Path]:
    """The directories with an `@` in their names, which are as deep as names of modules are."""
    top = os.environ.get("WHERRY_CORPUS", "")
    found: list[Path] = []
    for directory, below, _ in os.walk(top) if top else ():
        named = [name for name in below if "@" in name]
        found.extend(Path(directory, name) for name in named)
        below[:] = [name for name in below if name not in named]
    return sorted(found)


@pytest.fixture(scope="module")
def corpus() -> list[Path]:
    found = sources()
    if not found:
        pytest.skip("no corpus: set WHERRY_CORPUS to what tools/corpus.py laid out")
    return found


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", WAYS)
def test_fixes_end_and_leave_a_dockerfile(corpus: list[Path], way: str) -> None:
    wrong: list[str] = []
    seen = mended = 0
    for source in corpus:
        checker = Checker(CheckRequest(str(source), dict(os.environ)))
        for file in checker.check().files:
            seen += 1
            after = mend_files(checker, Checked((file,)), WAYS[way]).files[0]
            mended += after.data != file.data
            wrong += [f"{source.name}/{file.path}: {what}" for what in _wrong(checker, file, way)]
    assert mended, f"nothing to mend in {seen} Dockerfiles"
    assert not wrong, "\n".join(wrong)


def _wrong(checker: Checker, file: CheckedFile, way: str) -> Iterator[str]:
    mending = mend_files(checker, Checked((file,)), WAYS[way])
    after = mending.files[0]
    if mending.undone:
        yield f"fixes of {', '.join(mending.undone)} never come to an end or break the file"
    if len(after.subject.problems) > len(file.subject.problems):
        yield f"new problems: {after.subject.problems}"
    if len(after.subject.stages) < len(file.subject.stages):
        yield "a stage is gone"
    before, now = _started(file), _started(after)
    if before - now:
        yield f"gone: {sorted(before - now)}"
    again = mend_files(checker, Checked((after,)), WAYS[way])
    if again.files[0].data != after.data:
        yield f"a second fix changes it: {[finding.rule.id for _, finding in again.applied]}"
    # Lines for other files are not written, so that only edits of the file itself can be left.
    for finding in after.advice.findings:
        edits = finding.fix.edits if finding.fix else ()
        if any(not edit.path for edit in edits) and WAYS[way].allows(finding, has_place=True):
            yield f"not applied: {finding.rule.id} in line {finding.range.start.line}"


def _started(file: CheckedFile) -> Counter[str]:
    """How many instructions say what an image starts; one without effect may go."""
    kinds = ("CMD", "ENTRYPOINT")
    stages: set[tuple[str, int]] = {
        (line.node.keyword, stage.number)
        for stage in file.subject.stages
        for line in stage.lines
        if line.node.keyword in kinds
    }
    return Counter(keyword for keyword, _ in stages)
