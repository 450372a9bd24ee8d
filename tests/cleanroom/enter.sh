#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# enter.sh ROOM AS [COMMAND...]: started by run.sh in new mount and process namespaces. Makes ROOM
# the root directory for good, then becomes the wanted user. (A plain chroot would not do: the
# kernel refuses user namespaces there.)
set -eu

room=$1 as=$2
shift 2

mount --bind "$room" "$room"
mount -t proc proc "$room/proc"
mount --rbind /sys "$room/sys"
mount --rbind /dev "$room/dev"
mount -t tmpfs -o mode=1777 tmp "$room/tmp"
cd "$room"
mkdir -p outside
pivot_root . outside
cd /
umount -l /outside
rmdir /outside

if [ $# -eq 0 ]; then
    if [ "$as" = refused ]; then
        set -- make demo
    else
        set -- sh -c 'make demo && make test'
    fi
fi
cd /src/wherry

as_boatman() {
    export HOME=/empty-home USER=boatman LOGNAME=boatman
    exec setpriv --reuid boatman --regid boatman --clear-groups "$@"
}

# A user namespace with all ids as they are, in which no further one may be made: the limit counts
# for this namespace alone, so the machine around it is untouched.
as_refused() {
    mkfifo /tmp/mapped
    # The first exec waits for the ids; the second then holds the capabilities of a mapped root.
    unshare --user -- sh -c 'read -r _ </tmp/mapped; exec sh "$@"' sh -c '
        echo 0 >/proc/sys/user/max_user_namespaces
        export HOME=/empty-home USER=boatman LOGNAME=boatman
        exec setpriv --reuid boatman --regid boatman --clear-groups "$@"' sh "$@" &
    inner=$!
    until [ "$(readlink "/proc/$inner/ns/user")" != "$(readlink /proc/self/ns/user)" ]; do
        sleep 0.05
    done
    echo '0 0 65536' >"/proc/$inner/uid_map"
    echo '0 0 65536' >"/proc/$inner/gid_map"
    echo go >/tmp/mapped
    wait "$inner"
}

case $as in
root)
    export HOME=/empty-home USER=root LOGNAME=root
    exec "$@"
    ;;
user) as_boatman "$@" ;;
refused) as_refused "$@" ;;
esac
