# SPDX-License-Identifier: Apache-2.0
"""The no-change path: a build record that still holds answers, and Go is not started.

Nothing here may import rich, urllib3, asyncio, ssl, subprocess or the engines: a test reads what
Python loads.
"""

from __future__ import annotations

from typing import NamedTuple

from wherry.api.recorded import (
    BuildRecord,
    Output,
    decode_record,
    load_records,
    request_key,
)
from wherry.api.request import BuildRequest
from wherry.golang.record import Memo, first_change
from wherry.oci.digest import parse_digest
from wherry.process.cancel import CancelToken
from wherry.store.store import Store


class Verdict(NamedTuple):
    """The record that holds, or why none does; `records` are those that were looked at."""

    record: BuildRecord | None
    reason: str
    records: list[BuildRecord]


def ask_records(request: BuildRequest, store: Store, cancel: CancelToken) -> Verdict:
    """Look for a record of this request whose inputs and blobs are all as they were."""
    memo = Memo()
    reason = "first build"
    records: list[BuildRecord] = []
    for line in load_records(store.records, request_key(request)):
        record = decode_record(line)
        if record is None:
            continue
        records.append(record)
        change = first_change(record.inputs, request.env, memo)
        for output in record.outputs:
            change = change or _missing(output, store) or _base_moved(output, store)
        change = change or moved_on(record, request, cancel)
        cancel.check()
        if not change:
            return Verdict(record, "", records)
        if len(records) == 1:
            reason = change
    return Verdict(None, reason, records)


def _missing(output: Output, store: Store) -> str:
    for digest, size in output.blobs:
        if not store.blobs.has(parse_digest(digest), size):
            return f"the store lost {digest}"
    for digest, size in output.lazy:
        if not store.blobs.known(parse_digest(digest), size):
            return f"the store forgot where {digest} is"
    return ""


def _base_moved(output: Output, store: Store) -> str:
    if not output.bases:
        return ""
    from wherry.api.resolved import meaning_of  # noqa: PLC0415 - only on a base by reference
    from wherry.oci.reference import parse_reference  # noqa: PLC0415 - as above

    for name, *before in output.bases:
        if tuple(before) != meaning_of(store, parse_reference(name)):
            return f"the base {name} is another one now"
    return ""


def moved_on(record: BuildRecord, request: BuildRequest, cancel: CancelToken) -> str:
    """What version control or templates say otherwise now; the empty string where all holds."""
    # Only a stamped build asks git: it is the one program that this path may start.
    if record.stamps:
        from wherry.api.stamp import read_stamp  # noqa: PLC0415 - spares every other build

        for root, words in record.stamps:
            if read_stamp(root, request.env, cancel).words != words:
                return "version control moved on"
    if record.templates:
        from wherry.api.template_values import (  # noqa: PLC0415 - as above
            TemplateInputs,
            template_facts,
        )

        for root, facts, env, salt, words in record.templates:
            inputs = TemplateInputs(facts, env, salt)
            if template_facts(inputs, root, request.env, cancel).words != words:
                return "what the templates look at is another now"
    return ""
