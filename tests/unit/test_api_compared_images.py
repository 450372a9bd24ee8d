# SPDX-License-Identifier: Apache-2.0
"""In what two run configurations differ."""

from __future__ import annotations

from wherry.api.compared_images import ConfigDifference, config_differences
from wherry.oci.image import RunConfig


def test_what_is_the_same_is_not_told() -> None:
    run = RunConfig(user="app", env=("A=1",), cmd=("/a",), exposed_ports=("80/tcp",))
    assert config_differences(run, run) == ()


def test_each_instruction_is_told_by_name() -> None:
    before = RunConfig(
        user="root", env=("PATH=/bin", "A=1"), entrypoint=("/a", "-v"), working_dir="/src",
        labels=(("x", "1"),),
    )  # fmt: skip
    after = RunConfig(
        env=("PATH=/bin", "A=2"), cmd=("/a",), working_dir="/src", exposed_ports=("80/tcp",),
        labels=(("x", "1"),),
    )  # fmt: skip
    assert config_differences(before, after) == (
        ConfigDifference("USER", "root", ""),
        ConfigDifference("ENTRYPOINT", '["/a", "-v"]', ""),
        ConfigDifference("CMD", "", '["/a"]'),
        ConfigDifference("ENV", "A=1", "A=2"),
        ConfigDifference("EXPOSE", "", "80/tcp"),
    )


def test_secrets_are_not_told() -> None:
    before = RunConfig(env=("DB_PASSWORD=a b", "PATH=/bin"), cmd=("/a", "--token=abc"))
    after = RunConfig(env=("DB_PASSWORD=a c", "PATH=/bin"))
    assert config_differences(before, after) == (
        ConfigDifference("CMD", '["/a", "--token=***"]', ""),
        ConfigDifference("ENV", "DB_PASSWORD=***", "DB_PASSWORD=***"),
    )
