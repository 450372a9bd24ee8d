# SPDX-License-Identifier: Apache-2.0
"""Several platforms and a Dockerfile: refused, with the way to the Go module where there is one."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.api.building import check_request
from wherry.api.request import BuildRequest
from wherry.errors import UsageError

SEVERAL = "linux/amd64,linux/arm64"


@pytest.fixture
def asked(tmp_path: Path) -> BuildRequest:
    """A build of a directory that holds a Go module and a Dockerfile."""
    (tmp_path / "go.mod").write_text("module example.com/m\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\n")
    return BuildRequest(".", str(tmp_path), {}, str(tmp_path / "store"), platform=SEVERAL)


def refusal(request: BuildRequest) -> UsageError:
    with pytest.raises(UsageError) as caught:
        check_request(request)
    assert caught.value.what == f"several platforms: {SEVERAL}"
    assert caught.value.why == "a Dockerfile is built for one"
    assert caught.value.hint.startswith("name one, such as linux/amd64")
    return caught.value


def test_the_way_to_the_go_module_is_told(asked: BuildRequest) -> None:
    assert "--frontend gomodule" in refusal(asked).hint
    # What the hint says holds.
    assert check_request(asked._replace(frontend="gomodule")) == "gomodule"
    assert check_request(asked._replace(platform="linux/amd64")) == "dockerfile"


@pytest.mark.parametrize(
    "chosen", [{"frontend": "dockerfile"}, {"file": "Dockerfile"}, {"source": "-"}]
)
def test_who_asked_for_the_dockerfile_is_told_of_it_alone(
    asked: BuildRequest, chosen: dict[str, str]
) -> None:
    assert "gomodule" not in refusal(asked._replace(**chosen)).hint


def test_without_a_go_module_there_is_no_such_way(asked: BuildRequest) -> None:
    Path(asked.cwd, "go.mod").unlink()
    assert "gomodule" not in refusal(asked).hint
