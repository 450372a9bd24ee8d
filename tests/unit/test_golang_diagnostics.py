# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E501 - messages stand as Go prints them
"""Go's messages, as Go 1.21 to 1.27 print them, and the errors made of them."""

import pytest

from wherry.errors import BuildError, MachineError, NetworkError, UsageError, WherryError
from wherry.golang.command import LineKind, messages, sort_line
from wherry.golang.credentials import mask_credentials
from wherry.golang.diagnostics import Failure, explain_failure

GIT = "main.go:2:8: reading example.com/x/go.mod at revision v1.0.0: git ls-remote -q origin: exit status 128:\n\t"
TOOLCHAIN = "go: download go1.27.9: golang.org/toolchain@v0.0.1-go1.27.9.linux-amd64: "

CASES: list[tuple[type[WherryError], str, str]] = [
    (MachineError, "out of memory", "# net\n/opt/go/pkg/tool/linux_amd64/compile: signal: killed"),
    (MachineError, "out of memory", "fatal error: runtime: out of memory\n\nruntime stack:"),
    (MachineError, "out of memory", "go: fork/exec /opt/go/bin/x: cannot allocate memory"),
    (
        MachineError,
        "disk is full",
        "m: go build m: copying /tmp/a.out: write /o: no space left on device",
    ),
    (MachineError, "disk is full", "fmt: write /tmp/x/importcfg: disk quota exceeded"),
    (
        MachineError,
        "read-only",
        "go: creating work dir: mkdir /tmp/go-build1: read-only file system",
    ),
    (
        BuildError,
        "go.sum recorded",
        "verifying example.com/x@v1.8.1: checksum mismatch\n\tdownloaded: h1:a\n\tgo.sum:     h1:b\n\nSECURITY ERROR\nThis download does NOT match",
    ),
    (
        BuildError,
        "out of date",
        "main.go:4:2: missing go.sum entry for module providing package example.com/x; to add:\n\tgo get m",
    ),
    (BuildError, "out of date", "go: updates to go.mod needed; to update it:\n\tgo mod tidy"),
    (
        BuildError,
        "vendor/",
        "go: inconsistent vendoring in /src:\n\texample.com/x@v1: is explicitly required",
    ),
    (
        MachineError,
        "too old",
        "go: go.mod requires go >= 1.28 (running go 1.26.8; GOTOOLCHAIN=local)",
    ),
    (
        MachineError,
        "too old",
        "go: module ./b requires go >= 1.28 (running go 1.26.8; GOTOOLCHAIN=local)",
    ),
    (BuildError, "newer Go than go.mod", "go: module ./b requires go >= 1.28 (running go 1.26.8)"),
    (MachineError, "GOTOOLCHAIN", 'go: cannot find "go1.27.2" in PATH'),
    (
        NetworkError,
        "toolchain",
        TOOLCHAIN
        + 'Get "https://proxy.example/x.zip": dial tcp: lookup proxy.example: no such host',
    ),
    (NetworkError, "toolchain", TOOLCHAIN + "reading https://proxy.example/x.zip: 404 Not Found"),
    (NetworkError, "toolchain", "go: download go1.99.2 for linux/amd64: toolchain not available"),
    (UsageError, "no Go module", "go: cannot find main module, but found .git/config in /src"),
    (
        UsageError,
        "go.work names a module that is not here",
        "go: cannot load module internal/tools listed in go.work file: open internal/tools/go.mod: no such file or directory",
    ),
    (
        UsageError,
        "go.work is for an older Go",
        "go: module ../a listed in go.work file requires go >= 1.26.0, but go.work lists go 1.24; to update it:\n\tgo work use",
    ),
    (
        UsageError,
        "not in the workspace",
        "current directory is contained in a module that is not one of the workspace modules listed in go.work. You can add the module to the workspace using:\n\tgo work use .",
    ),
    (UsageError, "GOFLAGS", 'go: parsing $GOFLAGS: non-flag "bad"'),
    (
        UsageError,
        "GOFLAGS",
        "go: flag needs an argument: -ldflags (from $GOFLAGS)\nusage: go build",
    ),
    (
        UsageError,
        "build flag",
        "invalid value \"-X 'a\" for flag -ldflags: unterminated ' string\nusage: go build",
    ),
    (UsageError, "platform", "go: unsupported GOOS/GOARCH pair linux/nosuch"),
    (UsageError, "platform", "go: unknown GOEXPERIMENT xx"),
    (UsageError, "GOPROXY", "main.go:2:8: invalid proxy URL missing scheme: nonsense"),
    (
        MachineError,
        "git",
        "error obtaining VCS status: exit status 128\n\tUse -buildvcs=false to disable VCS stamping.",
    ),
    (
        MachineError,
        "C compiler",
        '# runtime/cgo\ncgo: C compiler "gcc" not found: exec: "gcc": executable file not found in $PATH',
    ),
    (
        NetworkError,
        "refused",
        "main.go:2:8: example.com/x@v1.8.1: reading https://proxy.example/x.zip: 401 Unauthorized",
    ),
    (
        NetworkError,
        "from proxy.example:",
        "main.go:2:8: example.com/x@v1.8.1: reading https://proxy.example/x.zip: 410 Gone",
    ),
    (
        NetworkError,
        "refused",
        GIT + "fatal: could not read Username for 'https://example.com': terminal prompts disabled",
    ),
    (
        NetworkError,
        "refused",
        GIT + "git@example.com: Permission denied (publickey).\n\tfatal: Could not read",
    ),
    (
        NetworkError,
        "from example.com",
        GIT
        + "fatal: unable to access 'https://example.com/x/': Could not resolve host: example.com",
    ),
    (
        NetworkError,
        "from proxy.example",
        "main.go:2:8: example.com/x@v1.8.1: reading https://proxy.example/x.zip: 503 Service Unavailable",
    ),
    (
        NetworkError,
        "from proxy.example",
        'main.go:2:8: example.com/x: Get "https://proxy.example/x": dial tcp 192.0.2.1:443: i/o timeout',
    ),
    (
        NetworkError,
        "from proxy.example",
        'example.com/x: Get "https://proxy.example/x": tls: failed to verify certificate: x509: certificate signed by unknown authority',
    ),
    (
        NetworkError,
        "from vanity.example",
        'main.go:2:8: unrecognized import path "vanity.example/c": https fetch: Get "https://vanity.example/c?go-get=1": dial tcp: lookup vanity.example: no such host',
    ),
    (
        NetworkError,
        "from sums.example",
        'x@v1.8.1: verifying module: x@v1.8.1: initializing sumdb.Client: checking tree#7: Get "https://sums.example/tile": dial tcp 192.0.2.1:1: connect: connection refused',
    ),
    (NetworkError, "GOPROXY=off", "main.go:4:2: module lookup disabled by GOPROXY=off"),
    (
        MachineError,
        "build cache",
        "failed to initialize build cache at /root/c: mkdir /root/c: permission denied",
    ),
    (
        MachineError,
        "build cache",
        "build cache is required, but could not be located: GOCACHE is not defined",
    ),
    (
        MachineError,
        "may not write",
        "m: go build m: copying /tmp/a.out: open /root/o: permission denied",
    ),
    (
        MachineError,
        "cannot start",
        "go: fork/exec /opt/go/pkg/tool/linux_amd64/compile: permission denied",
    ),
    (UsageError, "cannot be read", "open /src/main.go: permission denied"),
    (UsageError, "cannot be read", "go: open /src/go.mod: permission denied"),
    (
        MachineError,
        "broken",
        '# internal/goarch\ncompile: version "go1.25.0" does not match go tool version "go1.26.8"',
    ),
    (BuildError, "these tags", "package m: build constraints exclude all Go files in /src"),
    (BuildError, "does not link", "# m\nmain.main: relocation target x.y not defined"),
    (
        BuildError,
        "does not compile",
        "# m\n./main.go:2:29: cannot range over 10 (untyped int constant): requires go1.22 or later (-lang was set to go1.21; check go.mod)",
    ),
    (
        BuildError,
        "does not compile",
        "package m\n\timports m/b from main.go\n\timports m/a from b.go: import cycle not allowed",
    ),
    (
        BuildError,
        "does not compile",
        "# m\n./main.go:9:2: undefined: openFile // no such host, permission denied, connection refused",
    ),
]


@pytest.mark.parametrize(("error", "words", "text"), CASES)
def test_each_message_gets_its_class_and_keeps_its_words(
    error: type[WherryError], words: str, text: str
) -> None:
    made = explain_failure(Failure(text))
    assert type(made) is error
    assert words in made.what
    assert made.why == text
    assert made.hint


def test_a_signal_and_silence() -> None:
    killed = explain_failure(Failure("", -9))
    assert isinstance(killed, MachineError)
    assert "signal 9" in killed.what
    silent = explain_failure(Failure("", 3, "./cmd/api"))
    assert isinstance(silent, BuildError)
    assert "./cmd/api" in silent.what
    assert "status 3" in silent.why


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("# m\n./main.go:6:6: declared and not used: s\n./z.go:1:1: x", "main.go:6"),
        ("# m\ncmd/api/a b.go:6: bad", "cmd/api/a b.go:6"),
        ("package m\n\tmain.go:2:8: use of internal package x not allowed", "main.go:2"),
        ("go: errors parsing go.mod:\n/src/go.mod:5: unknown directive: requir", "/src/go.mod:5"),
        ("package m: build constraints exclude all Go files in /src", ""),
        ("go: something else", ""),
    ],
)
def test_the_place_of_the_first_error(text: str, where: str) -> None:
    assert explain_failure(Failure(text)).where == where


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("GOPROXY=https://me:secret@proxy.example/x", "GOPROXY=https://xxxxx@proxy.example/x"),
        ("'https://token@example.com/r': no", "'https://xxxxx@example.com/r': no"),
        ("https://me:se@cret@proxy.example", "https://xxxxx@proxy.example"),
        ("ssh://git@example.com/x", "ssh://git@example.com/x"),
        (
            "https://proxy.example/x/@v/v1.zip x@v1.0.0",
            "https://proxy.example/x/@v/v1.zip x@v1.0.0",
        ),
        ("https://a.example https://b:c@d.example", "https://a.example https://xxxxx@d.example"),
    ],
)
def test_credentials_are_masked(text: str, masked: str) -> None:
    assert mask_credentials(text) == masked
    assert explain_failure(Failure(text)).why == masked


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("example.com/m/v2/cmd/api", LineKind.PACKAGE),
        ("fmt", LineKind.PACKAGE),
        ("vendor/golang.org/x/net/idna", LineKind.PACKAGE),
        ("gopkg.in/yaml.v3", LineKind.PACKAGE),
        ("command-line-arguments", LineKind.PACKAGE),
        ("go: downloading example.com/x v1.0.0", LineKind.FETCH),
        ("go: downloading go1.27.2 (linux/amd64)", LineKind.FETCH),
        ("go: x@v1.0.0 requires go >= 1.27; switching to go1.27.3", LineKind.FETCH),
        ("# example.com/m", LineKind.MESSAGE),
        ("SECURITY ERROR", LineKind.MESSAGE),
        ("./main.go:1:1: undefined: x", LineKind.MESSAGE),
        ("\tgo get example.com/x", LineKind.MESSAGE),
        ("compilation terminated.", LineKind.MESSAGE),
        ("main.main()", LineKind.MESSAGE),
        ("", LineKind.MESSAGE),
    ],
)
def test_lines_are_sorted(line: str, kind: LineKind) -> None:
    assert sort_line(line) is kind


def test_only_verbose_output_has_packages_in_it() -> None:
    stderr = b"go: downloading x v1\nexample.com/m\n# example.com/m\n\n./a.go:1:1: \xff\n"
    assert messages(stderr) == "example.com/m\n# example.com/m\n\n./a.go:1:1: \ufffd"
    assert messages(stderr, verbose=True) == "# example.com/m\n\n./a.go:1:1: \ufffd"
