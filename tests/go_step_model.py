# SPDX-License-Identifier: Apache-2.0
"""What a case of Go steps is: two states of one build, and the small modules that it builds.

Nearly all cases compile packages that import nothing of the standard library into archives
(`-o /out/app.a`): such a file tells the sources, the versions and the flags that made it as a
program would, and takes a tenth of a second where a program takes ten.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from differential.model import Around, Files, Meant
from module_samples import escaped, h1

_NONE: Mapping[str, Any] = MappingProxyType({})


class GoCase(NamedTuple):
    """A build, and the same build after a change; `name` is unique.

    The first state is built by wherry into an empty store, the second into the same store; each
    has to be what BuildKit makes of it from nothing. Empty fields of the second state (`then`,
    `after`, ...) are the first's.
    """

    name: str
    checks: str  # what would be seen if this went wrong
    dockerfile: str
    files: Files = _NONE
    then: str = ""  # the Dockerfile of the second state
    after: Files = _NONE  # files that the second state has beside, or otherwise
    gone: tuple[str, ...] = ()  # files that it has not
    args: tuple[Mapping[str, str], Mapping[str, str]] = (_NONE, _NONE)
    target: tuple[str, str] = ("", "")
    platform: str = ""
    around: Around = Around()
    fails: tuple[bool, bool] = (False, False)  # BuildKit builds no image of that state
    same: bool = False  # both states give one image
    between: tuple[str, ...] = ()  # words of a wherry command that runs between the builds
    quick: bool = False  # one of `make test`
    meant: Meant | None = None  # differences that are accepted, by pattern


# --- modules ------------------------------------------------------------------------------------

Module = tuple[str, str]  # path, version
Modules = Mapping[Module, Mapping[str, str]]


def _dep(name: str) -> dict[str, str]:
    return {
        "dep.go": f'package dep\n\nfunc Name() string {{ return "dep {name}" }}\n',
        "extra/extra.go": f'package extra\n\nconst Name = "extra {name}"\n',
        "data/file.txt": f"data {name}\n",
        "data/run.sh": "#!/bin/sh\n",
    }


def _tool(name: str) -> dict[str, str]:
    """A program that writes a Go file to its standard output."""
    text = f'"package app\\n\\nconst Generated = \\"{name}\\"\\n"'
    return {
        "main.go": 'package main\n\nimport "syscall"\n\n'
        f"func main() {{ syscall.Write(1, []byte({text})) }}\n"
    }


DEP = "example.com/dep"
# Go's key of a package has the files of its directory, but not this header.
ASM = '#include "sub/x.h"\n\nTEXT \u00b7Answer(SB), 4, $0-8\n\tMOVQ $ANSWER, ret+0(FP)\n\tRET\n'
# What the proxy of the base image offers.
MODULES: Modules = {
    (DEP, "v1.0.0"): _dep("one"),
    (DEP, "v1.1.0"): _dep("two"),
    ("example.com/deep", "v1.0.0"): {
        "go.mod": f"module example.com/deep\n\ngo 1.21\n\nrequire {DEP} v1.0.0\n",
        "deep.go": f'package deep\n\nimport "{DEP}"\n\nvar Name = dep.Name()\n',
    },
    ("example.com/Upper", "v0.1.0"): {"upper.go": 'package upper\n\nconst Name = "Upper"\n'},
    ("example.com/asm", "v1.0.0"): {
        "asm.go": "package asm\n\nfunc Answer() int64\n",
        "asm_amd64.s": ASM,
        "sub/x.h": "#define ANSWER 41\n",
    },
    ("example.com/tool", "v1.0.0"): _tool("one"),
    ("example.com/tool", "v1.1.0"): _tool("two"),
}


def _content(module: Module, files: Mapping[str, str]) -> dict[str, bytes]:
    given = {"go.mod": f"module {module[0]}\n\ngo 1.21\n", **files}
    return {name: text.encode() for name, text in given.items()}


def proxy_files(modules: Modules, below: str = "proxy") -> dict[str, bytes]:
    """A module proxy as files, the same bytes at every call."""
    found: dict[str, bytes] = {}
    for (path, version), files in modules.items():
        content, place = _content((path, version), files), f"{below}/{escaped(path)}/@v"
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in sorted(content.items()):
                archive.writestr(zipfile.ZipInfo(f"{path}@{version}/{name}"), data)
        info = {"Version": version, "Time": "2024-01-02T03:04:05Z"}
        found[f"{place}/{version}.zip"] = packed.getvalue()
        found[f"{place}/{version}.mod"] = content["go.mod"]
        found[f"{place}/{version}.info"] = json.dumps(info).encode()
        found[f"{place}/list"] = found.get(f"{place}/list", b"") + f"{version}\n".encode()
    return found


def go_sum(*wanted: Module, modules: Modules = MODULES) -> str:
    """The text of a go.sum for these modules."""
    lines = []
    for path, version in wanted:
        content = _content((path, version), modules[path, version])
        whole = {f"{path}@{version}/{name}": data for name, data in content.items()}
        lines.append(f"{path} {version} {h1(whole)}\n")
        lines.append(f"{path} {version}/go.mod {h1({'go.mod': content['go.mod']})}\n")
    return "".join(lines)


def go_mod(*wanted: Module, name: str = "example.com/app", more: str = "") -> str:
    """The text of a go.mod that requires these modules."""
    required = "".join(f"require {path} {version}\n" for path, version in wanted)
    return f"module {name}\n\ngo 1.24\n\n{required}{more}"


def lib(word: str, more: str = "") -> str:
    """A package on `example.com/dep` whose code holds the word."""
    return (
        f'package app\n\nimport "{DEP}"\n\nfunc Name() string {{ return "{word}" + dep.Name() }}\n'
        + more
    )


ONE: Module = (DEP, "v1.0.0")
FILES: Files = {"go.mod": go_mod(ONE), "go.sum": go_sum(ONE), "lib.go": lib("first")}
CHANGED: Files = {"lib.go": lib("second")}

# --- pieces of Dockerfiles ----------------------------------------------------------------------

FROM = "FROM %REGISTRY%/go AS build\nWORKDIR /src\n"
FROM_CGO = "FROM %REGISTRY%/go-cgo AS build\nWORKDIR /src\n"
END = "FROM scratch\nCOPY --from=build /out /\n"
DOWNLOAD = "COPY go.mod go.sum ./\nRUN go mod download\nCOPY . .\n"
BUILD = "RUN go build -o /out/app.a .\n"
BUILD_BOTH = f"go build -o /out/app.a . && go build -o /out/dep.a {DEP}"
DEP_DIR = f"/go/pkg/mod/{DEP}@v1.0.0"
# The directories are there from the beginning, and may hold more than a stage put there.
NOTICED = Meant(
    "a step sees the directories of Go caches, and what other builds have left in them",
    r"^\w+: (/whole content|refusal: BuildKit builds an image.*/go/pkg.*File exists)",
)
# GOCACHE without what is another in each build: the times in the entries of actions.
SCRUBBED = (
    "find /root/.cache/go-build -type f ! -name '*-d' ! -name README -exec truncate -s 0 {} +"
)


def case(name: str, checks: str, steps: str, files: Files = FILES, after: Files = CHANGED,
         **more: Any) -> GoCase:  # fmt: skip
    """A case of one Go stage whose `/out` is the image; `then`: its steps in the second state.

    With `std` it has the standard library.
    """
    then = more.pop("then", "")
    begin = FROM.replace("/go ", "/go-std ") if more.pop("std", False) else FROM
    return GoCase(
        name, checks, f"{begin}{steps}{END}", files, f"{begin}{then}{END}" if then else "", after,
        **more,
    )  # fmt: skip
