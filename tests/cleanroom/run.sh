#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
#
# Proves the two commands of the README on a machine with nothing on it: a fresh Debian root with
# Python, its venv package, make and the CA certificates, an empty HOME and no Go on PATH.
#
#   tests/cleanroom/run.sh [OPTION...] CACHE [COMMAND...]
#
#   --as root      (default) root in the room: make demo, then make test
#   --as user      a plain user: make demo, then make test
#   --as refused   a plain user who may not make user namespaces: make demo, which must say so
#   --worktree     the files of the working tree; default is a clone of HEAD
#   --suite NAME   the Debian release, default bookworm; a root of another system laid down by hand
#                  as CACHE/base-NAME is taken as it is
#   --keep         leave the room where it is
#
# CACHE is a directory that keeps the base root between runs; rooms are copies of it and are made
# beside it. COMMAND replaces the make commands. Needs root and debootstrap. The room has its own
# root directory, mounts and processes; the network is the machine's.
set -euo pipefail

as=root suite=bookworm source=clone keep=no
while [ $# -gt 0 ]; do
    case $1 in
    --as) as=$2; shift ;;
    --suite) suite=$2; shift ;;
    --worktree) source=worktree ;;
    --keep) keep=yes ;;
    -*) echo "unknown option: $1" >&2; exit 2 ;;
    *) break ;;
    esac
    shift
done
case $as in root | user | refused) ;; *) echo "--as root, user or refused" >&2; exit 2 ;; esac
[ $# -gt 0 ] || { echo "name a directory for the cache" >&2; exit 2; }
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 3; }

here=$(cd "$(dirname "$0")" && pwd)
checkout=$(cd "$here/../.." && pwd)
mkdir -p "$1"
cache=$(cd "$1" && pwd)
shift

say() { printf '\n== %s\n' "$*" >&2; }

# The base root is made once: staged, then renamed.
make_base() {
    base=$cache/base-$suite
    if [ -d "$base" ]; then return; fi
    say "base root: $suite"
    local staged=$cache/base-$suite.$$
    debootstrap --variant=minbase --include=python3,python3-venv,make,ca-certificates \
        "$suite" "$staged" >"$cache/debootstrap.log" 2>&1 ||
        { tail -n 20 "$cache/debootstrap.log" >&2; rm -rf --one-file-system "$staged"; exit 1; }
    mv "$staged" "$base"
}

make_room() {
    room=$(mktemp -d "$cache/room.XXXXXX")
    trap leave EXIT
    cp -a "$base/." "$room"
    chmod 755 "$room"
    cp -L /etc/resolv.conf /etc/hosts "$room/etc/"
    trust_host
    chroot "$room" useradd --create-home --skel /dev/null --shell /bin/sh boatman
    mkdir "$room/empty-home"
    copy_checkout "$room/src/wherry"
    cp "$here/enter.sh" "$room/enter.sh"
    if [ "$as" != root ]; then
        chroot "$room" chown -R boatman: /src /empty-home
    fi
}

# What the machine trusts, the room trusts: each certificate of its bundle.
trust_host() {
    local bundle=${SSL_CERT_FILE:-/etc/ssl/certs/ca-certificates.crt}
    local target=$room/usr/local/share/ca-certificates
    [ -e "$bundle" ] || return 0
    awk -v to="$target/host-" '/BEGIN CERT/ { n++; out = to n ".crt" } out { print > out }
        /END CERT/ { close(out); out = "" }' "$bundle"
    chroot "$room" update-ca-certificates >/dev/null 2>&1
}

copy_checkout() {
    if [ "$source" = clone ]; then
        git clone --quiet --no-hardlinks "$checkout" "$1"
        git -C "$1" remote remove origin
    else
        mkdir -p "$1"
        (cd "$checkout" && git ls-files -z --cached --others --exclude-standard |
            xargs -0 sh -c 'for f; do [ -e "$f" ] && printf "%s\0" "$f"; done' sh |
            tar --null -T - -cf -) | tar -xf - -C "$1" --no-same-owner
    fi
}

leave() {
    local status=$?
    if [ "$keep" = yes ]; then
        say "kept: $room"
    else
        # Mounts lived in the namespace that is gone; a left one must not be followed.
        rm -rf --one-file-system "$room"
    fi
    exit "$status"
}

# What the room takes over from outside: how to reach the indexes and what to trust.
passed_environment() {
    env -0 | while IFS= read -r -d '' pair; do
        case $pair in
        PIP_* | SSL_* | GOPROXY=* | GOSUMDB=* | GONOSUMDB=* | GONOSUMCHECK=* | \
            http_proxy=* | https_proxy=* | no_proxy=* | HTTP_PROXY=* | HTTPS_PROXY=* | NO_PROXY=*)
            printf '%s\0' "$pair" ;;
        esac
    done
}

make_base
make_room
mapfile -d '' -t passed < <(passed_environment)
say "room: $suite, as $as, from $source"
unshare --mount --pid --fork --kill-child --ipc --uts --propagation private -- \
    env -i "${passed[@]}" PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 TERM=dumb \
    sh "$room/enter.sh" "$room" "$as" "$@"
say "done: as $as"
