# SPDX-License-Identifier: Apache-2.0
"""The Dockerfiles with RUN steps that are built, and what changes before each build."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.contexts import Context, small
from bench.projects import Project, values

STAGES = 10
STEPS = 100

_MOVIES_BASES = (("golang:1.26", "golang:1"), ("gcr.io/distroless/static:nonroot", "static:1"))

_UNCHANGED = """\
FROM {host}/busybox:1 AS settings
ARG STAGE=production
ENV STAGE=${{STAGE}}
WORKDIR /settings
COPY settings/ ./
RUN for file in *; do echo "$STAGE $file" >>index; done
RUN --mount=type=cache,target=/cache sort index | tee /cache/index >sorted && rm index

FROM {host}/busybox:1 AS pages
WORKDIR /pages
RUN --mount=type=bind,source=pages,target=/source cat /source/* >all.txt
RUN --mount=type=tmpfs,target=/scratch <<TEXT
set -e
wc all.txt >/scratch/count
cp /scratch/count count
TEXT

FROM {host}/busybox:1
RUN echo app:x:1000:1000::/srv:/bin/sh >>/etc/passwd
COPY --from=settings /settings /etc/app/
COPY --from=pages --chown=app /pages /srv/pages/
RUN ["chmod", "0700", "/srv/pages"]
USER app
CMD ["ls", "/srv/pages"]
"""

_APT = """\
FROM {host}/debian:1
ARG MIRROR
RUN : VALUE \\
    && echo "deb [trusted=yes] ${{MIRROR}} ./" >/etc/apt/sources.list \\
    && apt-get update \\
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends {packages} \\
    && rm -rf /var/lib/apt/lists/*
"""

_CADDY = """\
FROM {host}/golang:1 AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/go/pkg/mod \\
    --mount=type=cache,target=/root/.cache/go-build \\
    go build -trimpath -ldflags="-s -w" -o /out/caddy ./cmd/caddy

FROM {host}/static:1
COPY --from=build /out/caddy /usr/bin/caddy
ENTRYPOINT ["/usr/bin/caddy"]
"""


@dataclass(frozen=True)
class Scene:
    """A context, and `edit`, which is called before each measured build.

    `warm_ups` builds go before; without any, each side begins every build with nothing at all.
    """

    context: Context
    edit: Callable[[], None]
    warm_ups: int


@dataclass(frozen=True)
class _Text:
    """A file with the word VALUE, which is another each time."""

    file: Path
    text: str
    values: Iterator[str] = field(default_factory=values)

    def edit(self) -> None:
        self.file.write_text(self.text.replace("VALUE", next(self.values)))


def _scene(
    name: str, directory: Path, text: str, arguments: tuple[tuple[str, str], ...] = ()
) -> Scene:
    """A context of a Dockerfile alone, in which VALUE changes; everything below it is warm."""
    directory.mkdir(parents=True)
    changing = _Text(directory / "Dockerfile", text)
    return Scene(Context(name, directory, arguments=arguments), changing.edit, warm_ups=1)


def unchanged(directory: Path, host: str) -> Scene:
    """Three stages with RUN steps of each form and with mounts; nothing changes."""
    context = small(directory, "")
    (directory / "Dockerfile").write_text(_UNCHANGED.format(host=host))
    return Scene(context, lambda: None, warm_ups=2)


def stages(directory: Path, host: str) -> Scene:
    """Ten stages that need nothing of each other; each sleeps a second."""
    lines = [
        f"FROM {host}/busybox:1 AS stage-{number}\nRUN sleep 1; echo VALUE {number} >/done\n"
        for number in range(STAGES)
    ]
    lines.append(f"FROM {host}/busybox:1\n")
    lines += [f"COPY --from=stage-{number} /done /done-{number}\n" for number in range(STAGES)]
    return _scene("stages", directory, "".join(lines))


def steps(directory: Path, host: str) -> Scene:
    """A hundred steps, each on the one before; each writes one small file."""
    lines = [f"RUN echo VALUE >/step-{number}\n" for number in range(STEPS)]
    return _scene("steps", directory, "".join([f"FROM {host}/busybox:1\n", *lines]))


def apt(directory: Path, host: str, mirror: str, packages: tuple[str, ...]) -> Scene:
    """Packages installed into a Debian base that is there; they come from loopback."""
    text = _APT.format(host=host, packages=" ".join(packages))
    return _scene("apt", directory, text, (("MIRROR", mirror),))


def movies(directory: Path, host: str, example: Path) -> Scene:
    """The running example by its two-stage Dockerfile, with other bases and no syntax line."""
    shutil.copytree(example, directory)
    text = (example / "Dockerfile.multi").read_text()
    for name, ours in _MOVIES_BASES:
        if f"FROM {name}" not in text:
            raise ValueError(f"Dockerfile.multi has no base {name}")
        text = text.replace(f"FROM {name}", f"FROM {host}/{ours}")
    _, _, text = text.partition("# syntax=docker/dockerfile:1\n")
    (directory / "Dockerfile").write_text(text)
    return Scene(Context("movies", directory), lambda: None, warm_ups=0)


def caddy(project: Project, host: str) -> Scene:
    """A large module with cache mounts as one writes them by hand; one line of it changes."""
    (project.directory / "Dockerfile").write_text(_CADDY.format(host=host))
    return Scene(Context("caddy", project.directory), project.edit, warm_ups=1)
