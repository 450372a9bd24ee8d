# SPDX-License-Identifier: Apache-2.0
"""What a RUN changes: whiteouts, opaque directories, links, renames, modes, attributes, times."""

from differential.model import Case, Meant

_HOME = "FROM %REGISTRY%/homely\n"
_LAYERS = "FROM %REGISTRY%/run-layers\n"
_ACT = "FROM %REGISTRY%/acting\n"
_MKNOD = Meant("no step may make devices (CAP_MKNOD is not given)", ".")
_ALL_ATTRIBUTES = Meant("layers keep all attributes: BuildKit's have capabilities only",
                        "xattrs: |^layer of RUN 1, .*BuildKit none")  # fmt: skip
_MADE_ANEW = Meant("what a step makes anew is in its layer, though it be as it was",
                   "^layer of RUN 1, /srv/.*BuildKit none")  # fmt: skip
_NO_DEVICES = Meant("steps of an ordinary user see no devices of bases, and take none away",
                    r"(^|layer of RUN 1, )/([.]wh[.])?(null|disk)[: ]")  # fmt: skip
_NO_SET_ID = Meant("in user namespaces the kernel takes set-id bits from files that are written",
                   "^/(u|bin/tool) mode: BuildKit 4755, wherry 755$")  # fmt: skip


def _home(name: str, run: str, **more: object) -> Case:
    """One RUN on the base with the files of `tree`."""
    return Case(name, f"{_HOME}RUN {run}\n", **more)  # type: ignore[arg-type]


def _layers(name: str, run: str, **more: object) -> Case:
    return Case(name, f"{_LAYERS}RUN {run}\n", **more)  # type: ignore[arg-type]


def _act(name: str, run: str, **more: object) -> Case:
    return Case(name, f"{_ACT}RUN {run}\n", **more)  # type: ignore[arg-type]


CASES = [
    # removals
    _home("rm-file", "rm /file"),
    _home("rm-tree", "rm -r /srv/data"),
    _home("rm-inside", "rm /srv/data/sub/deep"),
    _home("rm-link", "rm /link /dangling /loop"),
    _home("rm-link-not-target", "rm /to-file && cat /file > /copy"),
    _home("rm-one-hard-link", "rm /hard1"),
    _home("rm-both-hard-links", "rm /hard1 /hard2"),
    _home("rm-fifo", "rm /pipe"),
    _home("rm-and-make-again", "rm /file && echo new > /file"),
    _home("rm-and-make-same", "cp -p /file /x && rm /file && cp -p /x /file && rm /x"),
    _home("rm-dir-and-make-again", "rm -r /srv/data && mkdir /srv/data && echo 1 > /srv/data/new",
          sample=True),
    _home("rm-dir-and-make-empty", "rm -r /srv/data && mkdir -m 700 /srv/data"),
    _home("rm-dir-make-file", "rm -r /srv/data && echo file > /srv/data"),
    _home("rm-file-make-dir", "rm /file && mkdir /file && echo in > /file/in"),
    _home("rm-file-make-link", "rm /file && ln -s /etc/passwd /file"),
    _home("rm-link-make-dir", "rm /link && mkdir /link && echo in > /link/in"),
    _home("rm-empty-dir", "rmdir /empty"),
    _home("rm-content-keep-dir", "rm -r /srv/data/*"),
    _home("rm-what-was-made", "echo x > /x && rm /x && mkdir /y && rmdir /y"),
    _home("rm-all-of-etc", "rm -r /etc", refused=True),
    _home("rm-odd-names", "rm '/with space' /h\u00e9llo"),
    Case("rm-of-earlier-run", _HOME + "RUN mkdir -p /a/b && echo 1 > /a/b/c\nRUN rm -r /a/b\n"
         "RUN echo 2 > /a/d\n", sample=True),
    Case("rm-and-back-in-next", _HOME + "RUN rm -r /srv\nRUN mkdir -p /srv/data && "
         "echo > /srv/data/x\n"),
    Case("rm-all-in-root-below", _HOME + "WORKDIR /w\nRUN echo 1 > a; echo 2 > b\nRUN rm *\n"
         "RUN echo 3 > a\n"),
    _layers("rm-what-a-layer-brought-back", "rm -r /c && ls -R /a /b > /f"),
    _layers("rm-below-opaque", "rm /b/z && ls /b > /f"),
    _layers("add-below-opaque", "echo y > /b/y && mkdir /b/sub && ls -R /b > /f"),
    _layers("make-what-was-whited-out", "echo 1 > /a/one && echo h > /hard && cat /hard-too > /f"),
    _layers("see-the-merged", "find /a /b /c /d /hard-too | sort > /f; cat /c/inside /d >> /f"),
    Case("deep-stack", "FROM %REGISTRY%/deep\nRUN ls /deep | wc -l > /f; rm /deep/3 /deep/69; "
         "cat /deep/0 /deep/68 >> /f\n"),
    Case("deep-stack-of-runs", _HOME + "".join(f"RUN echo {n} >> /n; rm -f /m{n - 1}; echo > "
         f"/m{n}\n"
         for n in range(40))),
    # directories
    _home("mkdir", "mkdir /new && mkdir -p /srv/data/a/b"),
    _home("mkdir-modes", "mkdir -m 1777 /t && mkdir -m 2750 /g && mkdir -m 0 /z"),
    _home("dir-mode-changed", "chmod 711 /srv/data"),
    _home("dir-owner-changed", "chown 5:6 /srv/data"),
    _home("dir-mode-set-to-the-same", "chmod 2775 /srv/data"),
    _home("dir-touched", "touch -d @1400000000 /srv/data"),
    _home("dir-listed-only", "ls -laR /srv /home > /dev/null"),
    _home("dir-renamed", "mv /srv/data /srv/moved"),
    _home("dir-renamed-to-other", "mv /srv/data /home/app/"),
    _home("dir-renamed-and-back", "mv /srv/data /d && mv /d /srv/data", meant=_MADE_ANEW),
    _home("dir-copied", "cp -a /srv/data /copy"),
    _home("dir-copied-plain", "cp -r /srv /copy"),
    _home("dir-over-dir", "mkdir /new && touch /new/x && rm -r /empty && mv /new /empty"),
    _home("dir-closed", "ls /srv/closed; echo x > /srv/closed/x"),
    _home("dir-set-group", "echo x > /srv/data/x && mkdir /srv/data/y && ls -ln /srv/data "
          "| awk '{print $1, $3, $4, $9}' > /f"),
    _home("dir-through-link", "echo x > /link/x && mkdir /abs/y && echo z > "
         "/to-etc/z", sample=True),
    _home("dir-made-of-link-kept", "mkdir -p /link/new/deep"),
    # files
    _home("append", "echo more >> /file"),
    _home("overwrite", "echo other > /file"),
    _home("truncate", ": > /srv/data/one"),
    _home("overwrite-with-same", "echo -n file > /file"),
    _home("open-to-write-only", ": >> /file"),
    _home("replace-by-rename", "echo new > /x && mv /x /file"),
    _home("rename", "mv /file /renamed && mv /srv/data/one /two-and"),
    _home("rename-and-back", "mv /file /x && mv /x /file"),
    _home("rename-over", "mv /srv/data/one /srv/data/two"),
    _home("chmod", "chmod 600 /file && chmod u+s /srv/data/two && chmod 000 /to-file"),
    _home("chmod-same", "chmod 644 /file"),
    _home("chown", "chown app:staff /file && chown -R 7:8 /srv/data"),
    _home("chown-same", "chown 0:0 /file"),
    _home("chown-link", "chown -h 3:4 /link && chown 5:6 /to-file"),
    _home("chown-drops-set-id", "chown 5:6 /bin/tool && chown 0:7 /bin/group-tool"),
    _home("chown-high", "chown 60000:65534 /file && echo x > /x && chown 65535 /x"),
    _home("set-id-kept", "chmod 6755 /bin/cat; cp -p /bin/tool /t; cp /bin/tool /u",
          as_user=_NO_SET_ID),
    _home("write-drops-set-id", "echo more >> /bin/tool", as_user=_NO_SET_ID),
    _home("set-id-works", "chmod 4755 /bin/busybox && echo ok > /f"),
    _home("sticky", "chmod 1644 /file; chmod 1755 /srv/data"),
    _home("times-kept", "touch -d '2001-02-03 04:05:06' /file /srv/data/sub/deep && "
          "touch -d @0 /x && touch -d @1 /", sample=True),
    _act("times-nanoseconds", "echo > /x; act mtime /x 1400000000 999999999"),
    _act("times-before-1970", "echo > /x; act mtime /x -1000 0"),
    _act("times-after-2038", "echo > /x; act mtime /x 1600000000 1; act mtime /tmp 1234567890 5"),
    _act("times-of-link", "ln -s /x /l && act mtime /l 1300000000 0 && act mtime /bin/sh "
         "1300000001 0"),
    _home("touch-only", "touch /file"),
    _home("touch-to-same", "touch -r /file /srv/data/one; touch -d @1500000000 /file"),
    _home("read-only", "cat /file /srv/data/one > /dev/null; find / -xdev -type f > /dev/null"),
    _home("large", "dd if=/dev/zero of=/zero bs=1M count=20 2>/dev/null && seq 300000 > /seq"),
    _act("sparse", "act sparse /s 30000000", sample=True),
    _act("sparse-all-hole", "truncate -s 50M /s; echo end >> /s"),
    _act("sparse-hole-at-start", "dd if=/etc/passwd of=/s bs=1 seek=9000000 count=5 2>/dev/null"),
    _act("sparse-copied", "act sparse /s 5000000; cp /s /t; rm /s"),
    _home("many-files", "mkdir /m; cd /m; i=0; while [ $i -lt 1500 ]; do echo $i > f$i; "
          "i=$((i+1)); done"),
    _home("long-names", "n=$(printf '%0200d' 0); mkdir -p /$n/$n/$n && echo x > /$n/$n/$n/$n && "
          "ln -s /$n/$n/$n/$n /l"),
    _home("odd-names", "touch '/a b' '/c\td' '/e\u00e9' '/-f' '/*' '/\"q\"' '/back\\slash' '/%41'"),
    _home("odd-names-bytes", "touch \"$(printf '/new\\nline')\" \"$(printf '/\\377\\376')\"; true"),
    _home("names-like-whiteouts", "touch /.wh /wh. /.w; mkdir /.whx; touch /.whx/y"),
    _home("device-null-made-as-fifo", "mkfifo -m 600 /p /srv/data/p"),
    _act("socket", "act socket /s; echo x > /f", sample=True),
    _act("socket-in-dir", "mkdir /d && act socket /d/s"),
    _act("device-made", "mknod /d c 1 3", meant=_MKNOD),
    _act("device-whiteout-made", "mkdir /d; mknod /d/x c 0 0 && ls /d > /f", refused=True),
    # hard links
    _home("link", "ln /file /second && ln /file /srv/third"),
    _home("link-in-change", "echo x > /x && ln /x /y && mkdir /z && ln /x /z/x", sample=True),
    _home("link-of-link", "ln -s file /s && ln /s /t; ls -l /t | cut -c1 > /f",
          meant=Meant("hard links of symbolic links are two links in a layer", "")),
    _home("linked-written", "echo more >> /hard1; cat /hard2 > /f"),
    _home("linked-chmod", "chmod 777 /hard2"),
    _home("linked-in-change-written", "ln /file /x && echo more >> /x && cat /file > /f"),
    _home("linked-renamed", "mv /hard1 /moved"),
    _home("link-replaced", "rm /hard2 && echo other > /hard2"),
    _home("link-and-remove-first", "echo a > /a && ln /a /b && rm /a"),
    _home("link-many", "echo a > /a; for n in 1 2 3 4 5 6 7 8 9; do ln /a /l$n; done"),
    _home("link-names-sorted", "mkdir /a /z; echo > /z/first; ln /z/first /a/second; chmod 600 "
          "/a/second"),
    Case("link-to-earlier-run", _HOME + "RUN echo x > /x\nRUN ln /x /y\nRUN rm /x\nRUN chmod 600 "
         "/y\n"),
    # symbolic links
    _home("symlink", "ln -s /etc/passwd /p && ln -s nowhere /n && ln -s .. /srv/up"),
    _home("symlink-replaced", "ln -sfn /home /link"),
    _home("symlink-to-dir-then-content", "ln -s srv/data /d && echo x > /d/x"),
    _home("symlink-same-again", "rm /link && ln -s srv/data /link"),
    _home("dir-to-symlink", "mv /srv/data /srv/real && ln -s real /srv/data && cat /srv/data/one "
         "> /f"),
    _home("usr-merge", "mkdir /usr && mv /bin /usr/bin && /usr/bin/busybox ln -s usr/bin /bin && "
          "echo x > /bin/x", sample=True),
    # exchanges and attributes
    _act("exchange-new", "echo 1 > /x; echo 2 > /y; act exchange /x /y"),
    _act("exchange-with-base", "echo 1 > /x; act exchange /x /etc/passwd"),
    _act("exchange-dirs", "mkdir /d; echo 1 > /d/x; act exchange /d /tmp", refused=True),
    _act("exchange-made-dirs", "mkdir /d /e; echo 1 > /d/x; act exchange /d /e"),
    Case("xattr", _HOME + "RUN act xattr /file user.note 'hi there'; act xattr /srv/data user.d "
         "d\n", meant=_ALL_ATTRIBUTES),
    _home("xattr-copied-up", "echo more >> /noted; chmod 700 /noted-dir",
          meant=_ALL_ATTRIBUTES),
    _home("xattr-removed", "act unxattr /noted user.note; act unxattr /noted-dir user.dir",
          meant=_ALL_ATTRIBUTES),
    _home("xattr-of-new-dir", "mkdir /d && act xattr /d user.a 1 && act xattr /d user.b 2",
          meant=_ALL_ATTRIBUTES),
    _home("xattr-read", "act getxattr /noted user.note > /f; act getxattr /capable "
          "security.capability >> /f"),
    _home("capability-set", "act cap /bin/tool; cp /bin/busybox /t && act cap /t", sample=True),
    _home("capability-lost-by-write", "echo more >> /capable"),
    _home("capability-lost-by-chown", "chown 5:6 /capable"),
    _home("capability-kept-by-chmod", "chmod 700 /capable"),
    _home("capability-renamed", "mv /capable /moved; ln /noted /n2",
          meant=_ALL_ATTRIBUTES),
    _act("xattr-overlay-of-its-own", "echo > /f; act xattr /f user.overlay.x 1 || echo no > /f"),
    _act("xattr-trusted", "echo x > /f; act xattr /f trusted.x 1 || echo no > /f"),
    # devices of the base
    Case("devices-of-base", "FROM %REGISTRY%/devices\nRUN ls / > /dev/null; echo x > /f\n"),
    Case("devices-of-base-removed", "FROM %REGISTRY%/devices\nRUN rm -f /disk; chmod 600 /null "
         "|| true; echo x > /f\n", as_user=_NO_DEVICES),
    # what the runtime puts there
    _act("mount-points-not-kept", "ls -a / > /f; ls /proc/self > /dev/null; ls /sys > /dev/null"),
    _act("etc-hosts-and-resolv", "cat /etc/hosts > /dev/null; cat /etc/resolv.conf > /dev/null; "
         "ls /etc > /f"),
    _act("etc-hosts-written", "echo 1.2.3.4 x >> /etc/hosts && grep -c 1.2.3.4 /etc/hosts > "
         "/f", refused=True),
    Case("etc-resolv-of-base", "FROM %REGISTRY%/acting\nCOPY r /etc/resolv.conf\n"
         "RUN grep -c own /etc/resolv.conf > /f || true\n", {"r": "# own\nnameserver 9.9.9.9\n"}),
    Case("etc-hosts-of-base", "FROM %REGISTRY%/acting\nCOPY h /etc/hosts\n"
         "RUN grep own /etc/hosts > /f || true\n", {"h": "# own\n9.9.9.9 own\n"}, sample=True),
    Case("etc-resolv-is-link", "FROM %REGISTRY%/acting\nRUN mkdir -p /run/x\n"
         "COPY --from=%REGISTRY%/tree /link /l\nRUN echo > /f\n"),
    _act("etc-removed", "rm -r /tmp; rm -f /etc/group; ls /etc > /f"),
    _act("dev-written", "echo x > /dev/mine; mkdir /dev/shm/d; echo y > /dev/shm/d/y; ls /dev | "
         "grep mine > /f"),
    _act("proc-and-sys-mounted", "test -d /proc/1 && ls /sys/class > /dev/null && "
         "(echo 1 > /sys/x || echo 1 > /proc/sys/kernel/hostname || echo no > /f)"),
    Case("dev-in-base-has-files", "FROM %REGISTRY%/acting\nCOPY d /dev/own\nRUN ls /dev/own > /f "
         "|| "
         "echo hidden > /f\n", {"d": "d"}),
    Case("run-dir", "FROM %REGISTRY%/acting\nRUN mkdir /run && echo 1 > /run/x\nRUN ls /run > "
         "/f\n"),
    Case("tmp-kept", "FROM %REGISTRY%/acting\nRUN echo 1 > /tmp/x\nRUN ls /tmp > /f\n"),
]  # fmt: skip
