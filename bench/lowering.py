# SPDX-License-Identifier: Apache-2.0
"""How long wherry takes from the text of a Dockerfile to its graph, within one process.

`python -m bench.lowering ROUNDS` prints the seconds of each round as a JSON array. It is a process
of its own, so that nothing of wherry is imported into the benchmark.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable

LINES = 200
_STAGES = 10

# Twenty lines; each stage stands on the one before it, so that all of them are lowered.
_STAGE = """\
FROM {below} AS stage-{number}
ARG VERSION=1.{number}
ARG TARGETARCH
ENV HOME=/home/app PATH=/opt/stage-{number}/bin:$PATH RELEASE=${{VERSION:-none}}
# what the packages need
WORKDIR /work/${{VERSION%.*}}/stage-{number}
COPY --chown=1000:1000 --chmod=0644 go.mod go.sum ./
COPY --link --exclude=**/*_test.go src/stage-{number}/ ./src/
RUN --mount=type=cache,target=/root/.cache,id=cache-{number} \\
    --mount=type=bind,source=scripts,target=/scripts \\
    set -e; \\
    /scripts/install --arch "${{TARGETARCH}}" && \\
    /scripts/build --version "$VERSION"
COPY <<EOF /etc/stage-{number}.conf
version = ${{VERSION#1.}}
EOF
LABEL org.example.stage="{number}" org.example.version=$VERSION
EXPOSE 80{number:02}/tcp
USER 1000:1000
ENTRYPOINT ["/opt/stage-{number}/bin/serve", "--port", "80{number:02}"]
"""


def dockerfile() -> str:
    """A Dockerfile of `LINES` lines."""
    stages = (
        _STAGE.format(number=number, below=f"stage-{number - 1}" if number else "example/base:1")
        for number in range(_STAGES)
    )
    return "".join(stages)


def main(rounds: int) -> int:
    text = dockerfile()
    if text.count("\n") != LINES:
        print(f"the Dockerfile has not {LINES} lines", file=sys.stderr)
        return 1
    lower_once = _prepared(text)
    for _ in range(5):
        lower_once()
    samples = []
    for _ in range(rounds):
        begin = time.perf_counter()
        lower_once()
        samples.append(time.perf_counter() - begin)
    print(json.dumps(samples))
    return 0


def _prepared(text: str) -> Callable[[], None]:
    """One round: parse, type and lower; the base is known already, nothing is asked of anyone."""
    from wherry.frontends.dockerfile.lower import lower
    from wherry.frontends.dockerfile.parse import parse
    from wherry.frontends.dockerfile.request import BaseImage, Request
    from wherry.frontends.dockerfile.typed import read_dockerfile
    from wherry.oci.digest import sha256
    from wherry.oci.image import RunConfig
    from wherry.oci.platform import Platform

    platform = Platform("linux", "amd64")
    run = RunConfig(env=("PATH=/usr/bin:/bin",), cmd=("/bin/sh",))
    base = BaseImage(sha256(b"base"), "docker.io/example/base:1", platform, run)

    class Known:
        """A resolver that knows one image and no further context."""

        def image(self, reference: str, platform: Platform) -> BaseImage:  # noqa: ARG002 - protocol
            return base

        def named(self, name: str, platform: Platform) -> None:  # noqa: ARG002 - protocol
            return None

    def lower_once() -> None:
        lowered = lower(
            Request(
                dockerfile=read_dockerfile(parse(text)),
                resolver=Known(),
                platform=platform,
                build_platform=platform,
                build_args={},
                created="1970-01-01T00:00:00Z",
            )
        )
        if len(lowered.stages_used) != _STAGES:
            raise SystemExit(f"{len(lowered.stages_used)} of {_STAGES} stages were lowered")

    return lower_once


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
