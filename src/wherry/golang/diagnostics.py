# SPDX-License-Identifier: Apache-2.0
"""From Go's messages to wherry's errors.

Go's own words are kept whole as the *why*; what is added is the class (and so the exit code), the
place, and what to do next. The rules are data, tried in order: what breaks a build from outside
(memory, disk, network, toolchain) comes before what the code itself may have wrong, because Go
then prints compile errors as well. A failure that no rule knows is the code's.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from wherry.errors import BuildError, MachineError, NetworkError, UsageError, WherryError
from wherry.golang.credentials import mask_credentials


class Failure(NamedTuple):
    """A Go command that failed: its messages without progress, its status, what it worked on.

    `compiling` is False for a question to Go: what no rule knows is then no fault of the code.
    """

    text: str
    returncode: int = 1
    subject: str = ""
    compiling: bool = True


class _Rule(NamedTuple):
    error: type[WherryError]
    pattern: str
    what: str
    hint: str


_FETCH = r"(?:Get|Head|Post) \"https?:|reading https?://|git (?:ls-remote|fetch)|https fetch:"
_REACH = (
    r"dial tcp|no such host|connection refused|connection reset|i/o timeout|TLS handshake timeout"
    r"|deadline exceeded|Could not resolve host|Could not connect|network is unreachable"
    r"|unexpected EOF|: EOF$|x509:|proxyconnect|Connection timed out|stream error|tls: "
)
_REFUSED = (
    r"40[13] [A-Z]|40[47] [A-Z]|410 Gone|terminal prompts disabled|could not read Username"
    r"|could not read Password|Authentication failed|Permission denied \(publickey"
    r"|[Rr]epository .*not found"
)
_TIDY = "run: go mod tidy"

_RULES: tuple[_Rule, ...] = (
    _Rule(MachineError,
          r"signal: killed$|^fatal error: .*(?:out of memory|summary memory)"
          r"|^runtime: (?:cannot allocate|out of memory)|: cannot allocate memory$",
          "Go ran out of memory, or was killed",
          "give the build more memory, or let Go do less at once: GOFLAGS=-p=1"),
    _Rule(MachineError, r"no space left on device$|[Dd]isk quota exceeded$",
          "the disk is full",
          "make room (wherry cache prune, go clean -cache), or move GOCACHE and GOTMPDIR"),
    _Rule(MachineError, r"[Rr]ead-only file system$",
          "Go cannot write: the file system is read-only",
          "set GOCACHE, GOMODCACHE and GOTMPDIR to directories that can be written"),
    _Rule(BuildError, r"SECURITY ERROR|checksum mismatch$",
          "a module is not what go.sum recorded",
          "find out why it changed (go mod verify); if the new one is right: go mod tidy"),
    _Rule(MachineError, r"^go: .* requires go >= .*\(running go .*GOTOOLCHAIN=",
          "this Go is too old for the module",
          "let Go fetch what go.mod asks for (GOTOOLCHAIN=auto), or install that version"),
    _Rule(MachineError, r"^go: invalid GOTOOLCHAIN|^go: cannot find \"go[\d.a-z]+\" in PATH",
          "GOTOOLCHAIN names no toolchain that can be used",
          "set GOTOOLCHAIN=auto, or the name of a Go release such as go1.26.0"),
    _Rule(NetworkError, r"^go: download go\d.*(?:toolchain not available|40\d |410 )",
          "the Go toolchain that is asked for cannot be fetched",
          "check that this Go version exists and that GOPROXY serves it, or install it"),
    _Rule(NetworkError, r"^go: download go\d",
          "the Go toolchain that is asked for cannot be fetched",
          "check the network and GOPROXY, or install that Go version and set GOTOOLCHAIN=local"),
    _Rule(BuildError, r"^go: .* requires go >= .*\(running go",
          "a module needs a newer Go than go.mod says",
          f"raise the go line of go.mod: {_TIDY}"),
    _Rule(MachineError, r"does not match go tool version|^go: no such tool \"",
          "the Go toolchain is broken: its parts are of different versions",
          "unset GOROOT, or install Go anew"),
    _Rule(UsageError, r"go\.mod file not found|cannot find main module"
          r"|does not contain main module",
          "no Go module here",
          "go to the module's directory, or make one: go mod init example.com/name"),
    _Rule(UsageError, r"^go: cannot load module \S+ listed in go\.work file: open .*: no such file",
          "go.work names a module that is not here",
          "leave the workspace out: GOWORK=off wherry build; or take its line out:"
          " go work edit -dropuse=DIR"),
    _Rule(UsageError, r"^go: module \S+ listed in go\.work file requires go >= ",
          "go.work is for an older Go than one of its modules", "run: go work use"),
    _Rule(UsageError, r"module that is not one of the workspace modules listed in go\.work",
          "this module is not in the workspace of go.work",
          "leave the workspace out: GOWORK=off wherry build; or add the module: go work use ."),
    _Rule(UsageError, r"errors parsing (?:\S*/)?go\.(?:mod|work)|invalid go version"
          r"|^go: error reading (?:\S*/)?go\.mod: ",
          "go.mod cannot be read", "mend the line that Go names"),
    _Rule(UsageError, r"^go: reading go\.work: ",
          "go.work cannot be read", "check: go env GOWORK"),
    _Rule(MachineError, r"^go: cannot find GOROOT directory",
          "GOROOT names no Go toolchain", "unset GOROOT, or install Go anew"),
    _Rule(UsageError, r"requires cgo; enable cgo|requires external \(cgo\) linking, but cgo is not",
          "a build flag needs cgo, which is off",
          "leave the flag out of GOFLAGS, or set cgo = true below [build] in wherry.toml"),
    _Rule(UsageError, r"^go: parsing \$GOFLAGS|\(from \$GOFLAGS\)",
          "GOFLAGS cannot be read", "check: go env GOFLAGS"),
    _Rule(UsageError,
          r"^flag provided but not defined|^invalid (?:boolean )?value .* for (?:boolean )?flag",
          "Go does not know a build flag", "check the flags in wherry.toml and GOFLAGS"),
    _Rule(UsageError, r"^go: unsupported GOOS/GOARCH pair|^go: (?:unknown|unsupported) GOEXPERIMENT"
          r"|^go: invalid GO(?:AMD64|ARM|ARM64|386|RISCV64|PPC64|MIPS)",
          "Go does not know the platform or experiment", "check --platform and: go env"),
    _Rule(UsageError, r"invalid proxy URL|: parse \"https?://",
          "GOPROXY cannot be read", "check: go env GOPROXY"),
    _Rule(MachineError, r"^error obtaining VCS status",
          "Go cannot ask git about the sources",
          "use --stamp off, or make git work here (git status says what is wrong)"),
    _Rule(MachineError, r"C compiler .* not found"
          r"|exec: \".*(?:gcc|clang|cc|g\+\+)\": executable file",
          "cgo needs a C compiler, and there is none",
          "install one (Debian: apt-get install gcc libc6-dev), or build without cgo"),
    _Rule(NetworkError, rf"(?:{_FETCH}).*(?:{_REFUSED})"
          rf"|^\s+(?:fatal|remote|ERROR|git@\S+): .*(?:{_REFUSED})",
          "cannot download a Go module{host}: not found, or access refused",
          "for a private module set GOPRIVATE and give git or ~/.netrc the credentials"),
    _Rule(NetworkError, r"GOPROXY=off",
          "a Go module is not in the module cache, and GOPROXY=off forbids to download it",
          "unset GOPROXY, or fetch it while there is a network: go mod download"),
    _Rule(NetworkError, r"refusing to pass credentials to insecure URL",
          "Go does not send credentials over plain http{host}", "use https in GOPROXY"),
    _Rule(NetworkError,
          rf"(?:{_FETCH}).*(?:{_REACH}|5\d\d [A-Z])|^\s+fatal: unable to access"
          rf"|verifying module: .*(?:{_REACH})",
          "cannot download a Go module{host}",
          "check the network and: go env GOPROXY GONOSUMDB"),
    _Rule(BuildError, r"missing go\.sum entry|updates to go\.(?:mod|sum|work) needed",
          "go.mod or go.sum is out of date", _TIDY),
    _Rule(BuildError, r"^go: inconsistent vendoring",
          "vendor/ does not fit go.mod", "run: go mod vendor"),
    _Rule(BuildError, r"no required module provides package",
          "an imported package is in no module that go.mod requires", _TIDY),
    _Rule(MachineError, r"build cache is required|failed to initialize build cache"
          r"|^go: creating work dir|build cache is disabled",
          "Go has no directory for its build cache or temporary files",
          "set HOME, or GOCACHE and GOTMPDIR, to directories that can be written"),
    _Rule(MachineError, r"fork/exec \S+: ",
          "Go cannot start one of its programs", "check the file that Go names"),
    _Rule(MachineError, r"(?:mkdir|copying|write|create|rename) .*: (?:permission denied"
          r"|operation not permitted)$",
          "Go may not write a file", "check who owns the directory that Go names"),
    _Rule(UsageError, r"(?:open|read|lstat|stat|fdopendir|readdirent) .*: permission denied$",
          "a source file cannot be read", "make it readable: chmod +r"),
    _Rule(BuildError, r"build constraints exclude all Go files",
          "no Go file of a package is for this platform and these tags",
          "check --platform, the build tags, and whether the package needs cgo"),
    _Rule(BuildError, r"\(-lang was set to go|^note: module requires Go ",
          "the Go code does not compile", "raise the go line of go.mod: go mod edit -go=VERSION"),
    _Rule(BuildError, r"relocation target .* not defined|\blink: |/link: |ld returned \d",
          "the program does not link", "mend what Go names"),
)  # fmt: skip

_POSITION = re.compile(r"^\t?(?:\./)?([^\s:][^:\n]*\.(?:\w+):\d+)(?::\d+)?: ", re.MULTILINE)
_HOST = re.compile(r"https?://(?:[^/?#\s\"'@]*@)?([^/?#\s\"'@]+)")


def explain_failure(failure: Failure) -> WherryError:
    """The error for a Go command that failed; credentials in what Go said are masked."""
    text = mask_credentials(failure.text.strip("\n"))
    if failure.returncode < 0:
        return MachineError(f"Go was killed by signal {-failure.returncode}", why=text,
                            hint="if memory is short: GOFLAGS=-p=1")  # fmt: skip
    for rule in _RULES:
        found = re.search(rule.pattern, text, re.MULTILINE)
        if found is not None:
            return _explained(rule, text, found)
    if not failure.compiling:
        return MachineError(f"{failure.subject} does not answer as Go does",
                            why=text or f"it ended with status {failure.returncode}",
                            hint="check which program go on PATH is")  # fmt: skip
    subject = f" {failure.subject}" if failure.subject else ""
    if not text:
        return BuildError(f"Go failed{subject}", why=f"go ended with status {failure.returncode}",
                          hint="try: go build -x")  # fmt: skip
    return BuildError("the Go code does not compile", why=text, where=_where(text),
                      hint="mend what Go names, and build again")  # fmt: skip


def _explained(rule: _Rule, text: str, found: re.Match[str]) -> WherryError:
    where = _where(text) if rule.error in (BuildError, UsageError) else ""
    return rule.error(
        rule.what.format(host=_host_of(text, found)), why=text, hint=rule.hint, where=where
    )


def _where(text: str) -> str:
    position = _POSITION.search(text)
    return position[1] if position else ""


def _host_of(text: str, found: re.Match[str]) -> str:
    """` from HOST`: of the first URL in the lines that the rule found, else of any line."""
    start = text.rfind("\n", 0, found.start()) + 1
    host = _HOST.search(text, start) or _HOST.search(text)
    return f" from {host[1]}" if host else ""
