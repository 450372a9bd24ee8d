# SPDX-License-Identifier: Apache-2.0
"""What a Go source file says at a glance: package, imports, constraint, names. No Go is asked.

Comments and strings are told apart, nothing else is parsed. Whether a file belongs to its package
depends on constraints; here that is said for Linux only, as *surely* or *perhaps*, over the usual
architectures with and without cgo.
Sources: the Go specification ("Source file organization"), `go help buildconstraint`, and
internal/syslist for the systems and architectures that file names may end with.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from wherry.advice.reading.file_contents import read_file

_MOST: Final = 2_000_000  # bytes of one file; larger ones are generated data
_HEAD: Final = 65_536
_TOKEN: Final = re.compile(
    r"""//[^\n]*|/\*.*?(?:\*/|\Z)|"(?:[^"\\\n]|\\.)*"|`[^`]*`|'(?:[^'\\\n]|\\.)*'""", re.DOTALL
)
_VISIBLE: Final = re.compile(r"[^\n]")
_PACKAGE: Final = re.compile(r"[\s;]*package\s+(\w+)")
_IMPORT: Final = re.compile(r'[\s;]*import\b\s*(?:\(([^)]*)\)|([\w.]*\s*(?:"[^"\n]*"|`[^`]*`)))')
_SPEC: Final = re.compile(r'([\w.]*)[ \t]*(?:"([^"\n]*)"|`([^`]*)`)')
_MAIN: Final = re.compile(r"^func\s+main\s*\(\s*\)", re.MULTILINE)
_FUNCTION: Final = re.compile(r"^func\s+(\w+)\s*[(\[]", re.MULTILINE)
_METHOD: Final = re.compile(r"^func\s*\(([^)]*)\)\s*(\w+)\s*\(", re.MULTILINE)
_TYPE: Final = re.compile(r"^type\s+(\w+)", re.MULTILINE)
_TYPES: Final = re.compile(r"^type\s*\(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_GROUPED: Final = re.compile(r"^\t(\w+)\s", re.MULTILINE)
_MAJOR: Final = re.compile(r"v[1-9]\d*")
_TERM: Final = re.compile(r"\|\||&&|[!()]|[\w.]+")
_RELEASE: Final = re.compile(r"go1\.\d+")
_SYSTEMS: Final = frozenset(
    ("aix", "android", "darwin", "dragonfly", "freebsd", "hurd", "illumos", "ios", "js", "linux",
     "nacl", "netbsd", "openbsd", "plan9", "solaris", "wasip1", "windows", "zos")
)  # fmt: skip
_ARCHITECTURES: Final = frozenset(
    ("386", "amd64", "amd64p32", "arm", "armbe", "arm64", "arm64be", "loong64", "mips", "mipsle",
     "mips64", "mips64le", "mips64p32", "mips64p32le", "ppc", "ppc64", "ppc64le", "riscv",
     "riscv64", "s390", "s390x", "sparc", "sparc64", "wasm")
)  # fmt: skip
_ALWAYS: Final = frozenset(("linux", "unix", "gc"))
_BUILDS: Final = tuple(
    _ALWAYS | {architecture} | cgo
    for architecture in ("amd64", "arm64")
    for cgo in (frozenset[str](), frozenset(("cgo",)))
)


class GoFile(NamedTuple):
    """A Go source file.

    `imports` are (name, path), the name empty where none is given. `text` is without comments,
    `code` also without what strings hold; both keep all places. `constraint` is the expression of
    its `//go:build`, or of its `// +build` lines; empty without one.
    """

    name: str
    package: str
    imports: tuple[tuple[str, str], ...]
    text: str
    code: str
    constraint: str

    @property
    def is_test(self) -> bool:
        """Whether only `go test` reads it."""
        return self.name.endswith("_test.go")

    @property
    def has_main(self) -> bool:
        """Whether `func main()` is in it."""
        return bool(_MAIN.search(self.code))

    def functions(self) -> frozenset[str]:
        """The names of its functions, without methods and `init`, which nobody can call."""
        return frozenset(_FUNCTION.findall(self.code)) - {"init", "main", "_"}

    def methods(self) -> tuple[tuple[str, str], ...]:
        """Its methods as (type, name)."""
        found = []
        for receiver, name in _METHOD.findall(self.code):
            words = re.findall(r"\w+", receiver.partition("[")[0])
            if words:
                found.append((words[-1], name))
        return tuple(found)

    def types(self) -> frozenset[str]:
        """The names of its types."""
        grouped = (name for group in _TYPES.findall(self.code) for name in _GROUPED.findall(group))
        return frozenset((*_TYPE.findall(self.code), *grouped))

    def uses(self, path: str, *names: str) -> bool:
        """Whether it speaks of one of an imported package's names, as in `http.Get`."""
        for given, imported in self.imports:
            if imported == path and given != "_":
                front = "" if given == "." else rf"{re.escape(given or local_name(path))}\s*\.\s*"
                if re.search(rf"(?<![\w.]){front}(?:{'|'.join(names)})\b", self.code):
                    return True
        return False

    def is_built(self, tags: frozenset[str] = frozenset()) -> tuple[bool, bool]:
        """Whether a build for Linux with these tags surely, and perhaps, takes it in."""
        verdicts = [self._is_in(build | tags) for build in _BUILDS]
        return all(verdicts), any(verdicts)

    def _is_in(self, tags: frozenset[str]) -> bool:
        if not _name_fits(self.name, tags):
            return False
        if "cgo" not in tags and any(path == "C" for _, path in self.imports):
            return False
        return not self.constraint or holds(self.constraint, tags)


def read_go_file(path: str, *, head: bool = False) -> GoFile | None:
    """The file at `path`; None where it cannot be read or has no package clause.

    With `head`, only its first 64 KiB are looked at: enough for package and constraint.
    """
    data = read_file(path, _HEAD if head else _MOST)
    if data is None:
        return None
    whole = data.decode("utf-8", "replace").removeprefix("\ufeff")
    text = _TOKEN.sub(_without_comment, whole)
    package = _PACKAGE.match(text)
    if package is None:
        return None
    imports: list[tuple[str, str]] = []
    at = package.end()
    while found := _IMPORT.match(text, at):
        at = found.end()
        specs = _SPEC.findall(found[1] or found[2] or "")
        imports.extend((name, quoted or raw) for name, quoted, raw in specs)
    constraint = _constraint(whole[: package.start(1)])
    code = _TOKEN.sub(_blank, text)
    return GoFile(os.path.basename(path), package[1], tuple(imports), text, code, constraint)


def go_files(directory: str) -> tuple[GoFile, ...]:
    """The Go files of a directory that are no tests, by name; none where it cannot be read."""
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return ()
    found = (
        read_go_file(os.path.join(directory, name))
        for name in names
        if name.endswith(".go") and not name.endswith("_test.go") and name[0] not in "_."
    )
    return tuple(file for file in found if file is not None)


def local_name(path: str) -> str:
    """What a package is called where its import gives no name: mostly the path's last element."""
    parts = path.split("/")
    if len(parts) > 1 and _MAJOR.fullmatch(parts[-1]):
        parts.pop()
    return parts[-1]


def holds(expression: str, tags: frozenset[str]) -> bool:
    """Whether a constraint is true for tags; all of Go's releases count as reached.

    False for what is no expression, which Go refuses.
    """
    try:
        return _either(iter((*_TERM.findall(expression), "")), tags)[0]
    except (StopIteration, RecursionError):
        return False


def _either(terms: Iterator[str], tags: frozenset[str]) -> tuple[bool, str]:
    value, after = _both(terms, tags)
    while after == "||":
        other, after = _both(terms, tags)
        value = value or other
    return value, after


def _both(terms: Iterator[str], tags: frozenset[str]) -> tuple[bool, str]:
    value = _one(terms, tags)
    after = next(terms)
    while after == "&&":
        other = _one(terms, tags)
        value = value and other
        after = next(terms)
    return value, after


def _one(terms: Iterator[str], tags: frozenset[str]) -> bool:
    term = next(terms)
    if term == "!":
        return not _one(terms, tags)
    if term == "(":
        return _either(terms, tags)[0]
    return term in tags or bool(_RELEASE.fullmatch(term))


def _without_comment(match: re.Match[str]) -> str:
    return _blank(match) if match[0][0] == "/" else match[0]


def _blank(match: re.Match[str]) -> str:
    return _VISIBLE.sub(" ", match[0])


def _constraint(head: str) -> str:
    """The constraint in what stands before the package clause."""
    old = []
    for line in map(str.strip, head.splitlines()):
        if line.startswith("//go:build "):
            return line.removeprefix("//go:build ").strip()
        words = line.removeprefix("//").split()
        if line.startswith("//") and words[:1] == ["+build"]:
            options = (" && ".join(word.split(",")) for word in words[1:])
            old.append(f"({' || '.join(f'({option})' for option in options)})")
    return " && ".join(old)


def _name_fits(name: str, tags: frozenset[str]) -> bool:
    """go/build's `goodOSArchFile`: `x_windows.go`, `x_linux_arm64.go`."""
    begun = name.split(".", 1)[0].split("_")[1:]
    if begun[-1:] == ["test"]:
        begun.pop()
    if len(begun) >= 2 and begun[-2] in _SYSTEMS and begun[-1] in _ARCHITECTURES:
        return begun[-2] in tags and begun[-1] in tags
    if begun and (begun[-1] in _SYSTEMS or begun[-1] in _ARCHITECTURES):
        return begun[-1] in tags
    return True
