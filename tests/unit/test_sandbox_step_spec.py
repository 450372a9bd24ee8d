# SPDX-License-Identifier: Apache-2.0
"""Steps as values: what is sent arrives whole, and nobody prints a secret."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from wherry.sandbox.step_spec import StepMount, StepSpec

TEXT = st.text(max_size=8)
MOUNT = st.builds(
    StepMount,
    kind=st.sampled_from(("bind", "cache", "tmpfs", "secret", "ssh")),
    target=TEXT,
    lowers=st.lists(TEXT, max_size=3).map(tuple),
    directory=TEXT,
    selector=TEXT,
    read_only=st.booleans(),
    size=st.integers(0, 1 << 40),
    mode=st.integers(0, 0o7777),
    uid=st.integers(0, 1 << 31),
    gid=st.integers(0, 1 << 31),
    data=st.binary(max_size=20),
    socket=TEXT,
)
PAIRS = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
STEP = st.builds(
    StepSpec,
    args=st.lists(TEXT, max_size=3).map(tuple),
    env=st.lists(TEXT, max_size=3).map(tuple),
    cwd=TEXT,
    user=TEXT,
    hostname=TEXT,
    network=st.sampled_from(("default", "none", "host")),
    insecure=st.booleans(),
    mounts=st.lists(MOUNT, max_size=3).map(tuple),
    hosts=PAIRS,
    shm_size=st.integers(0, 1 << 40),
    ulimits=st.lists(st.tuples(TEXT, st.integers(), st.integers()), max_size=2).map(tuple),
    pipes=PAIRS,
    proxy=PAIRS,
    certificates=st.binary(max_size=20),
    secret_env=st.lists(st.tuples(TEXT, st.binary(max_size=20)), max_size=2).map(tuple),
    terminal=st.booleans(),
)


@given(STEP)
def test_a_step_survives_the_wire(step: StepSpec) -> None:
    arrived = StepSpec.parse(json.loads(json.dumps(step.as_json())))
    assert arrived == step
    assert [type(field) for field in arrived] == [type(field) for field in step]
    assert all(isinstance(mount, StepMount) for mount in arrived.mounts)
    # Equal to a list of the same values it would not be, and so not hashable.
    assert hash(arrived) == hash(step)


def test_no_representation_shows_a_secret() -> None:
    step = StepSpec(
        ("true",),
        mounts=(StepMount("secret", "/s", data=b"hidden"),),
        proxy=(("HTTP_PROXY", "http://me:hidden@proxy"),),
        secret_env=(("T", b"hidden"),),
    )
    assert "hidden" not in f"{step} {step!r} {step.mounts} {step._replace(cwd='/')}"
