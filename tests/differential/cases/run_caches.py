# SPDX-License-Identifier: Apache-2.0
"""Cache mounts: what stays from step to step, whose it is, and how steps share it."""

from differential.model import Case, Meant

# BuildKit's keys do not have the id of a cache: the first step makes those of each case its own.
_BOX = "FROM %REGISTRY%/acting\nRUN : %CASE%\n"
_AS = "FROM %REGISTRY%/acting AS {}\nRUN : %CASE%\n"
_ID = "type=cache,id=%CASE%,target=/c"
_SPECIAL = Meant("set-id and sticky bits of mode= are set: BuildKit loses them", "^/[fg] content: ")
_LS = "ls -lan /c | awk 'NR > 1 {print $1, $3, $4, $9}' | grep -v '[.][.]$'"


def _case(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _then(name: str, mount: str, first: str, second: str, **more: object) -> Case:
    """Two steps with the same cache mount."""
    lines = f"RUN --mount={mount} {first}\nRUN --mount={mount} {second}\n"
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


CASES = [
    _then("kept", _ID, "echo x > /c/x", "cat /c/x > /f", sample=True),
    _then("kept-by-target", "type=cache,target=/%CASE%", "echo x > /%CASE%/x", "cat /%CASE%/x > "
         "/f"),
    _then("not-in-image", _ID, "echo x > /c/x", "rm /c/x; ls / > /f"),
    _then("facts", _ID, f"{_LS} > /f", f"touch /c/x; {_LS} > /g"),
    _then("added-up", _ID, "echo 1 >> /c/x", "echo 2 >> /c/x; cat /c/x > /f"),
    _case("other-id", f"RUN --mount={_ID} echo x > /c/x\n"
          "RUN --mount=type=cache,id=%CASE%2,target=/c ls -A /c > /f\n"),
    _case("other-target-same-id", f"RUN --mount={_ID} echo x > /c/x\n"
          "RUN --mount=type=cache,id=%CASE%,target=/d ls /d > /f\n"),
    _case("target-with-slash-same-id", "RUN --mount=type=cache,target=/%CASE%/ echo > /%CASE%/x\n"
          "RUN --mount=type=cache,target=/%CASE% ls /%CASE% > /f\n"),
    _case("id-is-path", "RUN --mount=type=cache,id=/%CASE%,target=/c echo > /c/x\n"
          "RUN --mount=type=cache,target=/%CASE% ls /%CASE% > /f\n"),
    _case("id-relative-target", "WORKDIR /w\nRUN --mount=type=cache,target=%CASE% echo > %CASE%/x\n"
          "RUN --mount=type=cache,id=%CASE%,target=/c ls /c > /f\n"
          "RUN --mount=type=cache,target=/w/%CASE% ls /w/%CASE% > /g\n"),
    _case("id-empty", "RUN --mount=type=cache,id=,target=/%CASE% echo > /%CASE%/x\n"
          "RUN --mount=type=cache,target=/%CASE% ls /%CASE% > /f\n"),
    _case("id-odd", "RUN --mount=type=cache,id=../%CASE%/a:b,target=/c echo > /c/x\n"
          "RUN --mount=type=cache,id=../%CASE%/a:b,target=/c ls /c > /f\n"),
    _case("id-variable", "ARG N=%CASE%\nRUN --mount=type=cache,id=$N,target=/c echo > /c/x\n"
          f"RUN --mount={_ID} ls /c > /f\n"),
    _case("target-variable", "ARG T=/c\nENV I=%CASE%\nRUN --mount=type=cache,id=$I,target=${T} "
          "echo > /c/x\n" f"RUN --mount={_ID} ls /c > /f\n"),
    _case("over-content", "RUN mkdir /c && echo old > /c/old\n" f"RUN --mount={_ID} ls -A /c > /f; "
          "echo new > /c/new\nRUN ls /c > /g\n"),
    _case("target-made-and-gone", f"RUN --mount={_ID} true\nRUN ls / > /f\n"),
    _case("target-deep-made", "RUN --mount=type=cache,id=%CASE%,target=/a/b/c true\nRUN ls -R /a "
         "> /f "
          "|| echo none > /f\n"),
    _case("target-root", "RUN --mount=type=cache,id=%CASE%,target=/ true\n", refused=True),
    _case("target-missing", "RUN --mount=type=cache,id=%CASE% true\n", refused=True),
    _case("target-of-link", "RUN mkdir /r && ln -s /r /c\n" f"RUN --mount={_ID} echo > /c/x; ls "
         f"/r > /f\n"),
    _case("file-at-target", f"RUN echo > /c\nRUN --mount={_ID} true\n", refused=True),
    # mode, uid, gid
    _then("mode", f"{_ID},mode=0700", f"{_LS} > /f", f"{_LS} > /g"),
    _then("mode-special", f"{_ID},mode=1777", f"{_LS} > /f", f"{_LS} > /g", meant=_SPECIAL),
    _then("mode-set-group", f"{_ID},mode=2770,gid=50", f"{_LS} > /f; touch /c/x; mkdir /c/y",
          f"{_LS} > /g", meant=_SPECIAL),
    _then("uid-and-gid", f"{_ID},uid=1000,gid=50", f"{_LS} > /f", f"{_LS} > /g", sample=True),
    _then("uid-only", f"{_ID},uid=1000", f"{_LS} > /f", f"{_LS} > /g"),
    _then("gid-only", f"{_ID},gid=50", f"{_LS} > /f", f"{_LS} > /g"),
    _case("by-user", f"USER app\nRUN --mount={_ID},uid=1000 echo x > /c/x\n"
          f"RUN --mount={_ID},uid=1000 cat /c/x > /tmp/f; {_LS} >> /tmp/f\n"),
    _case("by-user-of-root", f"USER app\nRUN --mount={_ID} echo x > /c/x\n", refused=True),
    _case("other-uid-other-content", f"RUN --mount={_ID} echo x > /c/x\n"
          f"RUN --mount={_ID},uid=1000 ls -A /c > /f; {_LS} >> /f\n", sample=True),
    _case("other-mode-other-content", f"RUN --mount={_ID},mode=755 echo x > /c/x\n"
          f"RUN --mount={_ID},mode=700 ls -A /c > /f\nRUN --mount={_ID},mode=755 ls -A /c > /g\n"
          f"RUN --mount={_ID} ls -A /c > /h\n"),
    _then("owner-changed-inside", _ID, "chown 7:8 /c; chmod 711 /c", f"{_LS} > /f"),
    _then("owners-kept", _ID, "touch /c/a /c/b; chown 7:8 /c/a; chmod 4755 /c/b; ln -s a /c/l; "
          "ln /c/a /c/h; mkfifo /c/p", f"{_LS} > /f"),
    _case("mode-bad", f"RUN --mount={_ID},mode=9 true\n", refused=True),
    _case("uid-bad", f"RUN --mount={_ID},uid=app true\n", refused=True),
    _case("uid-negative", f"RUN --mount={_ID},uid=-1 true\n", refused=True),
    # ro and rw
    _case("read-only", f"RUN --mount={_ID} echo x > /c/x\nRUN --mount={_ID},ro cat /c/x > /f; "
          "echo y > /c/y || echo no >> /f\n" f"RUN --mount={_ID} ls /c > /g\n"),
    _case("readonly-only", f"RUN --mount={_ID},readonly touch /c/x\n", refused=True),
    _case("read-write-said", f"RUN --mount={_ID},rw echo x > /c/x; ls /c > /f\n"),
    _case("read-only-false", f"RUN --mount={_ID},ro=false echo x > /c/x; ls /c > /f\n"),
    # from and source
    _case("from-image", f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/srv/data {_LS} > /f; "
          "echo > /c/x\n" f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/srv/data {_LS} > /g\n"),
    _case("from-image-whole", f"RUN --mount={_ID},from=%REGISTRY%/layers find /c | sort > /f\n"),
    _case("from-image-links", f"RUN --mount={_ID},from=%REGISTRY%/homely,source=/ ls -la /c | "
          "awk '{print $1, $3, $4, $9, $11}' > /f; rm -r /c/srv\nRUN ls /srv > /g || true\n"),
    Case("from-stage", "FROM %REGISTRY%/busybox AS a\nRUN mkdir /o && echo x > /o/x && chown 5:6 "
         "/o/x\n"
         + _BOX + f"RUN --mount={_ID},from=a,source=/o {_LS} > /f; rm /c/x; touch /c/y\n"
         f"RUN --mount={_ID},from=a,source=/o {_LS} > /g\n"),
    Case("from-stage-no-source", "FROM %REGISTRY%/busybox AS a\nRUN echo x > /x\n" + _BOX
         + f"RUN --mount={_ID},from=a ls /c > /f\n"),
    Case("from-stage-subdirs", "FROM %REGISTRY%/busybox AS a\nRUN mkdir -p /o/1/2 && echo x > "
         "/o/1/2/x\n"
         + _BOX + f"RUN --mount={_ID},from=a,source=o/1 find /c > /f\n"),
    Case("from-other-stages-same-id", "FROM %REGISTRY%/busybox AS a\nRUN mkdir /o && echo a > "
         "/o/a\n"
         "FROM %REGISTRY%/busybox AS b\nRUN mkdir /o && echo b > /o/b\n" + _BOX
         + f"RUN --mount={_ID},from=a,source=/o ls /c > /f\n"
         f"RUN --mount={_ID},from=b,source=/o ls /c > /g\n"),
    _case("from-missing-source", f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/none true\n",
          refused=True),
    _case("from-source-file", f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/file cat /c > /f\n",
          meant=Meant("a cache is a directory: a file as its source is refused")),
    _case("source-no-from", f"RUN --mount={_ID},source=/x true\n",
          refused=True),
    _case("from-context", f"RUN --mount={_ID},from=named,source=d find /c > /f; echo > /c/x\n"
          f"RUN --mount={_ID},from=named,source=d find /c | sort > /g\n",
          contexts={"named": {"d/x": "x"}}),
    _case("from-with-uid", f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/srv/data,uid=9,gid=9,"
          f"mode=700 {_LS} > /f\n"),
    _case("from-with-uid-no-source", f"RUN --mount={_ID},from=%REGISTRY%/tree,uid=9,gid=9,mode=700 "
          f"{_LS} > /f\n"),
    _case("from-ro", f"RUN --mount={_ID},from=%REGISTRY%/tree,source=/srv/data,ro ls /c > /f; "
          "touch /c/x || echo no >> /f\n"),
    # sharing
    _then("shared", f"{_ID},sharing=shared", "echo x > /c/x", "ls /c > /f"),
    _then("private", f"{_ID},sharing=private", "echo x > /c/x", "ls /c > /f"),
    _then("locked", f"{_ID},sharing=locked", "echo x > /c/x", "ls /c > /f"),
    _case("sharing-bad", f"RUN --mount={_ID},sharing=mine true\n", refused=True),
    _case("sharing-upper-case", f"RUN --mount={_ID},sharing=LOCKED ls -A /c > /f\n"),
    _case("sharing-changes", f"RUN --mount={_ID} echo x > /c/x\nRUN --mount={_ID},sharing=locked "
          f"ls /c > /f\nRUN --mount={_ID},sharing=private ls /c > /g\n"),
    Case("locked-beside", f"{_AS.format('a')}RUN --mount={_ID},sharing=locked "
         "test ! -e /c/in && touch /c/in && sleep 0.5 && rm /c/in && echo 1 >> /c/n\n"
         f"{_AS.format('b')}RUN --mount={_ID},sharing=locked : b; test ! -e /c/in && "
         "touch /c/in && sleep 0.5 && rm /c/in && echo 1 >> /c/n\n"
         f"{_BOX}COPY --from=a /etc/group /a\nCOPY --from=b /etc/group /b\n"
         f"RUN --mount={_ID},sharing=locked cp /c/n /f\n"),
    Case("private-beside", f"{_AS.format('a')}RUN --mount={_ID},sharing=private "
         "touch /c/mine && sleep 1 && ls /c > /f\n"
         f"{_AS.format('b')}RUN --mount={_ID},sharing=private : b; "
         "touch /c/mine && sleep 1 && ls /c > /f\n"
         f"{_BOX}COPY --from=a /f /a\nCOPY --from=b /f /b\n"),
    Case("shared-beside", f"{_AS.format('a')}RUN --mount={_ID} "
         "touch /c/a; n=0; while [ ! -e /c/b ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done; "
         "ls /c > /f\n"
         f"{_AS.format('b')}RUN --mount={_ID} touch /c/b; n=0; "
         "while [ ! -e /c/a ] && [ $n -lt 300 ]; do sleep 0.1; n=$((n+1)); done; ls /c > /f\n"
         f"{_BOX}COPY --from=a /f /a\nCOPY --from=b /f /b\n"),
    # several
    _case("two-in-one-step", "RUN --mount=type=cache,id=%CASE%a,target=/a "
          "--mount=type=cache,id=%CASE%b,target=/b echo 1 > /a/x; echo 2 > /b/y\n"
          "RUN --mount=type=cache,id=%CASE%b,target=/a ls /a > /f\n"),
    _case("same-twice-in-one-step", f"RUN --mount={_ID} --mount=type=cache,id=%CASE%,target=/d "
          "echo x > /c/x; ls /d > /f\n"),
    _case("cache-in-bind", "RUN --mount=target=/m,rw --mount=type=cache,id=%CASE%,target=/m/c "
          "ls /m > /f; touch /m/c/x\n", files={"a": "A"}),
    _case("cache-below-cache", f"RUN --mount={_ID} --mount=type=cache,id=%CASE%in,target=/c/in "
          f"touch /c/x /c/in/y\nRUN --mount={_ID} ls /c /c/in > /f\n"),
    _case("failed-step-keeps", f"RUN --mount={_ID} echo x > /c/x; exit 1\n", refused=True),
    _case("exec-and-heredoc", f'RUN --mount={_ID} ["act", "write", "/c/x", "y"]\n'
          f"RUN --mount={_ID} <<EOF\ncp /c/x /f\nEOF\n"),
    _case("large", f"RUN --mount={_ID} dd if=/dev/zero of=/c/x bs=1M count=30 2>/dev/null\n"
          f"RUN --mount={_ID} ls -l /c/x | awk '{{print $5}}' > /f\n"),
    _case("size-refused", f"RUN --mount={_ID},size=5m true\n", refused=True),
    _case("required-refused", f"RUN --mount={_ID},required true\n", refused=True),
    _case("work-in-it", f"WORKDIR /c\nRUN --mount={_ID} pwd > x; ls -A > /f\n"
          f"RUN --mount={_ID} ls -A >> /f\n"),
]  # fmt: skip
