#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# lock.sh [--upgrade]: writes locks/*.txt from pyproject.toml. Versions stay as they are where they
# still fit, unless --upgrade is given. The locks name versions and hashes, never an index.
set -euo pipefail
cd "$(dirname "$0")/.."

VENV=${VENV:-.venv}
export UV_CACHE_DIR=$VENV/uv-cache UV_CUSTOM_COMPILE_COMMAND='make lock' UV_NATIVE_TLS=1
if [ -n "${PIP_INDEX_URL:-}" ]; then
    export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$PIP_INDEX_URL}
fi

if [ ! -x "$VENV/uv/bin/uv" ]; then
    "$VENV/bin/pip" install --quiet --disable-pip-version-check --target "$VENV/uv" uv
fi

# requirements KEY...: the list of requirements under this key of pyproject.toml.
requirements() {
    "$VENV/bin/python" - "$@" <<'PY'
import sys, tomllib
from pathlib import Path

table = tomllib.loads(Path("pyproject.toml").read_text())
for key in sys.argv[1:]:
    table = table[key]
print("\n".join(table))
PY
}

compile() {
    local name=$1
    shift
    "$VENV/uv/bin/uv" --no-config pip compile --quiet --universal --python-version 3.11 \
        --generate-hashes --no-emit-index-url --no-emit-find-links "${upgrade[@]}" \
        --output-file "locks/$name.txt" "$@" >/dev/null
    printf '  locks/%s.txt: %s packages\n' "$name" "$(grep -c '==' "locks/$name.txt")" >&2
}

upgrade=("$@")
mkdir -p locks
compile run pyproject.toml
# With the extra whose tests would skip without it.
compile dev pyproject.toml --extra dev --extra otel --constraints locks/run.txt
# The build back end asks for editables where it installs a checkout in place.
{ requirements build-system requires; echo editables; } |
    compile build --constraints locks/dev.txt -
requirements project optional-dependencies go | compile go -
