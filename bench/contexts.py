# SPDX-License-Identifier: Apache-2.0
"""The build contexts that are built: a small one with several stages, and one of many files.

Files hold words of a made-up language in sizes as source files have them, from a fixed seed: the
same bytes on every machine, and they compress about as source text does.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DIRECTORIES = 40
FILES = 20_000

_SEED = 5
_CORPUS = 4_000_000  # far more than the window of gzip
_LARGEST = 100_000

_SMALL = """\
ARG BASE={base}

FROM ${{BASE}} AS settings
ARG STAGE=production
ENV STAGE=${{STAGE}} LANG=C.UTF-8
WORKDIR /settings
COPY settings/ ./
COPY --chmod=0600 --chown=1000:1000 settings/file-0.txt secret.txt

FROM settings AS pages
WORKDIR /pages
COPY --exclude=*-1.txt pages/ ./
ADD LICENSE /licenses/

FROM scratch AS unused
COPY missing /

FROM ${{BASE}}
ARG VERSION=1.2.3
LABEL org.opencontainers.image.version="${{VERSION}}" org.opencontainers.image.title=small
ENV PATH=/srv/bin:${{PATH:-/bin}} VERSION=${{VERSION%.*}}
COPY --from=settings /settings /etc/small/
COPY --from=pages /pages /srv/pages/
COPY --from=pages --chown=65534 /licenses /licenses/
COPY <<TEXT /etc/motd
This is small ${{VERSION}}.
TEXT
WORKDIR /srv
EXPOSE 8080
USER 65534:65534
STOPSIGNAL SIGTERM
ENTRYPOINT ["/srv/bin/serve"]
CMD ["--pages", "/srv/pages"]
"""

_LARGE = """\
FROM scratch
COPY src /src
"""


@dataclass(frozen=True)
class Context:
    """A directory with a Dockerfile; `files` and `size` (bytes) are what its image has to hold.

    `arguments` are names and values for its ARG instructions.
    """

    name: str
    directory: Path
    files: int = 0
    size: int = 0
    arguments: tuple[tuple[str, str], ...] = ()


def small(directory: Path, base: str) -> Context:
    """Twenty files for four stages on `base`; one stage is not needed and could not be built."""
    texts = _Texts()
    for name in ("settings", "pages"):
        (directory / name).mkdir(parents=True)
        for number in range(10):
            (directory / name / f"file-{number}.txt").write_bytes(texts.next())
    (directory / "LICENSE").write_bytes(texts.next())
    (directory / "Dockerfile").write_text(_SMALL.format(base=base))
    (directory / ".dockerignore").write_text("*.log\n.git\n")
    return Context("small", directory)


def large(directory: Path) -> Context:
    """`FILES` files in `DIRECTORIES` directories, all of them copied."""
    texts, size = _Texts(), 0
    for number in range(DIRECTORIES):
        place = directory / "src" / f"package-{number:02}"
        place.mkdir(parents=True)
        for file in range(FILES // DIRECTORIES):
            data = texts.next()
            (place / f"file-{file:03}.txt").write_bytes(data)
            size += len(data)
    (directory / "Dockerfile").write_text(_LARGE)
    return Context("large", directory, FILES, size)


class _Texts:
    """Texts without end: a line of its own, then some lines out of the corpus."""

    def __init__(self) -> None:
        self._random = random.Random(_SEED)
        self._corpus = b"".join(self._lines())
        self._made = 0

    def next(self) -> bytes:
        """The next text; half of them are shorter than 1.6 kB, the mean is about 3 kB."""
        self._made += 1
        size = min(int(self._random.lognormvariate(7.4, 1.1)), _LARGEST)
        start = self._random.randrange(_CORPUS - _LARGEST)
        return b"file %d\n" % self._made + self._corpus[start : start + size] + b"\n"

    def _lines(self) -> Iterator[bytes]:
        letters = "etaoinshrdlu"
        words = [
            "".join(self._random.choices(letters, k=self._random.randint(2, 10)))
            for _ in range(3000)
        ]
        weights = [1 / (rank + 10) for rank in range(len(words))]
        length = 0
        while length < _CORPUS:
            line = " ".join(self._random.choices(words, weights, k=9)).encode() + b"\n"
            length += len(line)
            yield line
