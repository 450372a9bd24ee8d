# SPDX-License-Identifier: Apache-2.0
"""Which ports are read from sources, and which are left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.advice.reading.go_source import go_files
from wherry.advice.writing.ports import Listening, ports_of

HEAD = """\
package main

import (
	"cmp"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
)

"""
ASKS = """
func env(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}
"""

READ = {
    "a text": ('func main() { http.ListenAndServe(":8080", nil) }', (8080,)),
    "all addresses": ('func main() { http.ListenAndServe("0.0.0.0:81", nil) }', (81,)),
    "TLS": ('func main() { http.ListenAndServeTLS("[::]:8443", "c", "k", nil) }', (8443,)),
    "a raw text": ("func main() { http.ListenAndServe(`:8080`, nil) }", (8080,)),
    "a name of a service": ('func main() { http.ListenAndServe(":http", nil) }', (80,)),
    "a server": ('var s = http.Server{\n\tHandler: nil,\n\tAddr: ":9000",\n}', (9000,)),
    "a server of two kinds": (
        'func main() { s := &http.Server{Addr: ":1"}; http.ListenAndServe(":2", f(1, 2)) ; _ = s }',
        (1, 2),
    ),
    "a constant": ('const addr = ":8080"\nfunc main() { http.ListenAndServe(addr, nil) }', (8080,)),
    "a constant of a group": (
        'const (\n\taddr string = ":8080"\n)\nfunc main() { http.ListenAndServe(addr, nil) }',
        (8080,),
    ),
    "a flag": (
        'var addr = flag.String("addr", ":8080", "where")\n'
        "func main() { flag.Parse(); http.ListenAndServe(*addr, nil) }", (8080,)
    ),
    "a flag's variable": (
        'var addr string\nfunc main() {\n\tflag.StringVar(&addr, "addr", ":8080", "a, b")\n'
        "\thttp.ListenAndServe(addr, nil)\n}", (8080,)
    ),
    "a number": (
        'func main() {\n\tport := flag.Int("port", 8080, "x")\n'
        '\thttp.ListenAndServe(fmt.Sprintf(":%d", *port), nil)\n}', (8080,)
    ),
    "a converted number": (
        'func main() {\n\tport := 8080\n\thttp.ListenAndServe(":"+strconv.Itoa(port), nil)\n}',
        (8080,),
    ),
    "the environment": (
        'func main() {\n\tport := os.Getenv("PORT")\n\tif port == "" {\n\t\tport = "8080"\n\t}\n'
        '\thttp.ListenAndServe(":"+port, nil)\n}', (8080,)
    ),
    "the environment with a condition": (
        'func main() {\n\tport := "8080"\n\tif p := os.Getenv("PORT"); p != "" {\n\t\tport = p\n'
        '\t}\n\thttp.ListenAndServe(":"+port, nil)\n}', (8080,)
    ),
    "the environment in short": (
        'func main() { http.ListenAndServe(":"+cmp.Or(os.Getenv("PORT"), "8080"), nil) }', (8080,)
    ),
    "a function that asks": (
        ASKS + 'func main() { http.ListenAndServe(":"+env("PORT", "8080"), nil) }', (8080,)
    ),
    "joined": ('func main() { http.ListenAndServe(net.JoinHostPort("", "8080"), nil) }', (8080,)),
    "a listener": ('func main() { net.Listen("tcp", ":50051") }', (50051,)),
    "this machine alone": ('func main() { http.ListenAndServe("localhost:6060", nil) }', ()),
    "any port": ('func main() { net.Listen("tcp", ":0") }', ()),
    "a socket": ('func main() { net.Listen("unix", "/run/x") }', ()),
    "a comment": ('// http.ListenAndServe(":8080", nil)\nfunc main() {}', ()),
    "a text about it": ('var x = `http.ListenAndServe(":8080", nil)`\nfunc main() {}', ()),
    "no port": ('func main() { http.ListenAndServe(":99999", nil) }', ()),
    "another function's name": (
        'func other() {\n\tport := "1"\n\t_ = port\n}\n'
        'func main() {\n\tport := "2"\n\thttp.ListenAndServe(":"+port, nil)\n}', (2,)
    ),
}  # fmt: skip


UNREAD = {
    "a field": "func main() { http.ListenAndServe(config.Addr, nil) }",
    "a function": "func main() { http.ListenAndServe(address(), nil) }",
    "an argument": 'const addr = ":1"\nfunc serve(addr string) { http.ListenAndServe(addr, nil) }',
    "two values": 'var addr = ":1"\nfunc main() { addr = ":2"; http.ListenAndServe(addr, nil) }',
    "the environment alone": 'func main() { http.ListenAndServe(os.Getenv("ADDR"), nil) }',
    "its port alone": 'func main() { http.ListenAndServe(":"+os.Getenv("PORT"), nil) }',
    "a name of itself": "var a = a\nfunc main() { http.ListenAndServe(a, nil) }",
    "a format of its own": 'func main() { http.ListenAndServe(fmt.Sprintf(":%04d", 80), nil) }',
    "a function that does not ask": (
        "func env(name, fallback string) string { return fallback }\n"
        'func main() { http.ListenAndServe(":"+env("PORT", "8080"), nil) }'
    ),
    "an address of one interface": 'func main() { http.ListenAndServe("10.0.0.1:80", nil) }',
    "an added part": (
        'func main() { addr := ":80"; addr += "80"; http.ListenAndServe(addr, nil) }'
    ),
}


def listening(root: Path, text: str) -> Listening:
    (root / "main.go").write_text(HEAD + text + "\n")
    return ports_of([go_files(str(root))])


@pytest.mark.parametrize("case", READ)
def test_ports_that_are_plain(tmp_path: Path, case: str) -> None:
    text, ports = READ[case]
    assert listening(tmp_path, text) == Listening(ports)


@pytest.mark.parametrize("case", UNREAD)
def test_ports_that_are_not_are_told_of(tmp_path: Path, case: str) -> None:
    found = listening(tmp_path, UNREAD[case])
    assert found == Listening((), ("http.ListenAndServe in main.go",))


@pytest.mark.parametrize(("module", "call"), [
    ("github.com/gin-gonic/gin", 'r.Run(":8080")'),
    ("github.com/labstack/echo/v4", 'e.Start(":8080")'),
    ("github.com/gofiber/fiber/v2", 'app.Listen(":8080")'),
])  # fmt: skip
def test_servers_of_others(tmp_path: Path, module: str, call: str) -> None:
    text = f'package main\n\nimport "{module}"\n\nfunc main() {{ {call} }}\n'
    (tmp_path / "main.go").write_text(text)
    assert ports_of([go_files(str(tmp_path))]).ports == (8080,)
    (tmp_path / "main.go").write_text(text.replace(module, "example.com/other"))
    assert ports_of([go_files(str(tmp_path))]) == Listening()


def test_names_of_other_files_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "more.go").write_text('package main\n\nvar addr = ":8080"\n')
    found = listening(tmp_path, "func main() { http.ListenAndServe(addr, nil) }")
    assert found.ports == (8080,)
