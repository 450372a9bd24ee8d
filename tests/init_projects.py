# SPDX-License-Identifier: Apache-2.0
"""Small Go projects of all kinds that `wherry init` meets."""

ALL_NEEDS = """\
package main

import (
	"net/http"
	"os"
	"os/user"
	"time"
)

func main() {
	zone, _ := time.LoadLocation(os.Args[1])
	me, _ := user.Current()
	file, _ := os.CreateTemp("", "x")
	answer, _ := http.Get("https://example.com")
	println(zone, me, file, answer)
	http.ListenAndServe(":8080", nil)
}
"""
SERVER = """\
package main

import (
	"net/http"

	"example.com/m/internal/text"
)

func main() { println(text.Text); http.ListenAndServe(":PORT", nil) }
"""
TEXT = "package text\n\nconst Text = 1\n"
TEST = 'package text\n\nimport "testing"\n\nfunc TestText(t *testing.T) {}\n'
MAIN = "package main\n\nfunc main() {}\n"
USES_LIB = 'package main\n\nimport "example.com/lib"\n\nfunc main() { lib.Do() }\n'
LIB = "package lib\n\nfunc Do() {}\n"
LIB_MOD = "module example.com/lib\n\ngo 1.21\n"
GO_MOD = "module example.com/m\n\ngo 1.21\n"

KINDS: dict[str, dict[str, str]] = {
    "one main": {"main.go": ALL_NEEDS, "main_test.go": "package main\n"},
    "several mains": {
        "cmd/api/main.go": SERVER.replace("PORT", "8080"),
        "cmd/worker/main.go": SERVER.replace("PORT", "80"),
        "internal/text/text.go": TEXT, "internal/text/text_test.go": TEST,
        "internal/text/testdata/a": "a",
    },
    "go.work without a module": {
        "go.work": "go 1.21\n\nuse (\n\t./api\n\t./lib\n)\n", "go.mod": "",
        "api/go.mod": "module example.com/api\n\ngo 1.21\n\nrequire example.com/lib v0.0.0\n",
        "api/main.go": USES_LIB, "lib/go.mod": LIB_MOD, "lib/lib.go": LIB,
        "lib/lib_test.go": "package lib\n",
    },
    "go.work around a module": {
        "go.work": "go 1.21\n\nuse (\n\t.\n\t./server\n\t./lib\n)\n",
        "main.go": MAIN, "server/go.mod": "module example.com/server\n\ngo 1.21\n",
        "server/main.go": USES_LIB, "lib/go.mod": LIB_MOD, "lib/lib.go": LIB,
        "lib/lib_test.go": "package lib\n",
    },
    "a local replace": {
        "go.mod": GO_MOD + "\nrequire example.com/lib v0.0.0\n\nreplace example.com/lib => ./lib\n",
        "main.go": USES_LIB, "lib/go.mod": LIB_MOD, "lib/lib.go": LIB,
    },
    "cgo": {
        "main.go": 'package main\n\n// #include "x.h"\nimport "C"\n\nfunc main() { C.x() }\n',
        "x.c": "void x(void) {}\n", "x.h": "void x(void);\n",
    },
    "cgo with C++": {
        "main.go": 'package main\n\n// void x(void);\nimport "C"\n\nfunc main() { C.x() }\n',
        "x.cc": 'extern "C" void x(void) {}\n',
    },
    "embed": {
        "main.go": 'package main\n\nimport "embed"\n\n//go:embed all:web "a b" t/*.html\n'
                   "var files embed.FS\n\nfunc main() { _ = files }\n",
        "web/.hidden": "", "web/index.html": "x", "a b": "x", "t/x.html": "x", "t/x.css": "x",
    },
    "no go.sum": {"go.mod": GO_MOD + "\nrequire example.com/gone v1.2.3\n", "main.go": MAIN},
    "vendor": {
        "go.mod": GO_MOD + "\nrequire example.com/lib v1.0.0\n", "go.sum": "",
        "main.go": USES_LIB, "vendor/example.com/lib/lib.go": LIB,
        "vendor/modules.txt": "# example.com/lib v1.0.0\n## explicit; go 1.21\nexample.com/lib\n",
    },
    "private hosts": {
        "go.mod": GO_MOD + "\nrequire git.example.com/team/lib v1.0.0\n", "go.sum": "",
        "main.go": USES_LIB.replace("example.com/lib", "git.example.com/team/lib"),
    },
    "does not compile": {"main.go": "package main\n\nimport \"gone\"\n\nfunc main() {\n"},
}  # fmt: skip
"""Projects by what is special in them."""
