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
        change = first_change(record.inputs, request.env, memo) or _missing(record.output, store)
        change = change or _base_moved(record.output, store)
        if not change and record.facts and record.facts != _version_control(request, cancel):
            change = "version control moved on"
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
    if output.base is None:
        return ""
    from wherry.api.resolved import meaning_of  # noqa: PLC0415 - only on a base by reference
    from wherry.oci.reference import parse_reference  # noqa: PLC0415 - as above

    name, *before = output.base
    if tuple(before) == meaning_of(store, parse_reference(name)):
        return ""
    return f"the base {name} is another one now"


def _version_control(request: BuildRequest, cancel: CancelToken) -> str:
    # Only a stamped build asks git: it is the one program that this path may start.
    from wherry.api.stamp import version_control_words  # noqa: PLC0415 - spares every other build

    return version_control_words(request, cancel)
