# SPDX-License-Identifier: Apache-2.0
"""All of wherry's persistent state, shared by any number of processes and threads.

Layout, version 1 (root 0700, files 0600)::

    version                "1\\n"; a higher number is refused
    CACHEDIR.TAG           tells backup programs to pass by
    blobs/sha256/HEX       bytes by digest; mtime is the time of last use
    unsynced/BOOT/         a mark for each blob that may not have reached the disk yet
    snapshots/N/           a directory tree by key (fs/); mtime is the time of last use
    mounts/N/              a cache mount (fs/), held by locks/mount-N
    gocache/modules/HEX/   a tree of Go modules that travelled here, held by a lock on itself; mtime
                           is the time of last use (`wherry.store.go_modules`)
    gocache/listings/      the files of Go modules with their digests
    work/KEY/              a build's own directory, held by locks/work-KEY
    tmp/NAME/              what one process stages, held by locks/tmp-NAME; without holder: garbage
    locks/                 flock(2) files, all harmless to delete while nothing runs
    locks/session-EPOCH    shared, by every open store, for the hour in which it was opened
    locks/gate             shared to begin a session or touch, exclusive to remove
    state.db               SQLite (WAL): records, the blobs they pin, tags, sources of blobs, the
                           keys of snapshots and cache mounts

N is a number in base 36 that is never used twice. What fs/ holds may belong to other ids of a
mapping: the plain user renames it, and only the namespace worker looks inside or removes it.

A blob that a record pins need not be in blobs/: a *lazy* one has a source instead, a repository
that it can be fetched from.

Every blob is staged in tmp/, fsynced and renamed; records are committed after the blobs they pin.
Large blobs that can be fetched again are marked instead of fsynced; marks of an earlier start of
the machine are seen to before the store is used (`wherry.store.unsynced`).
A snapshot is trusted in the time between two starts of the machine in which it was made, and after
that only where the file system was written out meanwhile (`wherry.store.snapshots`).

**Nothing in use is removed.** Whatever an open store reads or writes carries a time of last use at
or after the beginning of the hour in which that store was opened: `has`, `get`, `put`, `find`,
`hold`, `tag` see to it (and write nothing when it holds already). Removal happens with the gate
held exclusively, when no session can begin, and spares everything used since the beginning of the
oldest hour that has a live session. With no other session alive, everything unpinned may go. Work
directories, cache mounts and trees of Go modules that are held stay in any case. The end of a build
that makes room for itself spares what it made or found, too, as long as that alone is within the
cap.
"""
