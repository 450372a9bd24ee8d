# SPDX-License-Identifier: Apache-2.0
"""RUN among other instructions and stages: COPY before and after, --link, ONBUILD, volumes."""

from differential.model import Case, File, Link, Meant, Tar, regular

_BOX = "FROM %REGISTRY%/acting\n"
_AS = "FROM %REGISTRY%/acting AS {}\n"
_MADE = (
    _AS.format("a")
    + "RUN mkdir -p /o/d && echo 1 > /o/f && ln /o/f /o/h && ln -s f /o/l && chown -R 5:6 /o && "
    "chmod 4750 /o/f && chmod 2711 /o/d && touch -d @1400000000 /o/f && mkfifo /o/p && "
    "act xattr /o/d user.x y\n"
)

_ALL_ATTRIBUTES = Meant("layers keep all attributes: BuildKit's have capabilities only", "xattrs: ")


def _box(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _made(name: str, lines: str, **more: object) -> Case:
    """A second stage after one that made files of all kinds."""
    return Case(name, f"{_MADE}{lines}", **more)  # type: ignore[arg-type]


CASES = [
    # COPY and ADD around RUN
    _box("copy-run", "COPY a /a\nRUN cat /a > /f; echo more >> "
         "/a\n", files={"a": "A"}),
    _box("run-copy", "RUN mkdir /d && echo 1 > /d/x && chmod 700 /d\nCOPY a "
         "/d/\n", files={"a": "A"}),
    _box("run-copy-run", "RUN mkdir /d && echo 1 > /d/x\nCOPY d /d\nRUN cat /d/* > /f; rm /d/x\n",
         files={"d/y": "y"}),
    _box("run-copy-over", "RUN echo long text > /f && chmod 4755 /f && ln /f /g\nCOPY f /f\n"
         "RUN cat /f /g > /h\n", files={"f": "new"}),
    _box("run-removes-copied", "COPY d /d\nRUN rm -r /d/e && ls /d > /f\nCOPY d/e/x /d/e/x\n",
         files={"d/a": "a", "d/e/x": "x", "d/e/y": "y"}, sample=True),
    _box("run-makes-link-copy-through", "RUN mkdir /real && ln -s /real /l\nCOPY a /l/\n"
         "RUN ls /real > /f\n", files={"a": "A"}),
    _box("run-makes-link-copy-dir-onto", "RUN mkdir /real && ln -s /real /l\nCOPY d /l\n"
         "RUN ls /real > /f; readlink /l >> /f || echo replaced >> /f\n", files={"d/x": "x"}),
    _box("run-replaces-dir-by-link-copy", "COPY d /d\nRUN mv /d /e && ln -s e /d\nCOPY b /d/\n",
         files={"d/x": "x", "b": "B"}),
    _box("run-makes-file-copy-dir-onto", "RUN echo > /d\nCOPY d /d\n", files={"d/x": "x"},
         refused=True),
    _box("copied-times-and-modes", "COPY d /d\nRUN ls -ln --full-time /d | awk '{print $1, $3, "
         "$6}' "
         "| tail -2 > /f\n", files={"d/x": File("x", 0o750), "d/l": Link("x")}),
    _box("copied-touched-only", "COPY a /a\nRUN touch -r /etc/passwd /a\n", files={"a": "A"}),
    _box("copy-link", "COPY --link a /d/a\nRUN ls -ln /d | tail -1 | awk '{print $1, $3, $4}' > "
         "/f; "
         "echo more >> /d/a\n", files={"a": "A"}),
    _box("copy-link-between", "RUN mkdir -m 700 /d && chown 5 /d && echo 1 > /d/x\n"
         "COPY --link a /d/a\nRUN ls -lan /d | awk '{print $1, $3, $9}' > /f\n", files={"a": "A"},
         sample=True),
    _box("copy-link-over-symlink", "RUN mkdir /real && ln -s real /l\nCOPY --link a /l/a\n"
         "RUN ls -l /l /real > /dev/null; test -L /l || echo dir > /f\n", files={"a": "A"}),
    _box("copy-link-over-removed", "RUN rm -r /tmp\nCOPY --link a /tmp/a\nRUN ls -ld /tmp | "
         "cut -c1-10 > /f\n", files={"a": "A"}),
    _box("add-archive-run", "ADD a.tar /d\nRUN chmod 600 /d/x && rm /d/y\n",
         files={"a.tar": Tar((("x", regular("x", 0o640, 7, 8)), ("y", regular("y"))))}),
    _box("add-url-run", "ADD http://%HTTP%/plain.txt /p\nRUN cat /p > /f\n"),
    _box("heredoc-copy-run", "COPY --chmod=755 <<EOF /s\n#!/bin/sh\necho ran > /f\nEOF\nRUN /s\n"),
    _box("copy-chmod-run", "COPY --chmod=4711 --chown=5:6 a /a\nRUN ls -ln /a | awk '{print $1, "
         "$3}' "
         "> /f\n", files={"a": "A"}),
    _box("copy-empty-dir-run", "COPY d/ /d/\nRUN rmdir /d || ls /d > /f\n", files={"d/.keep": ""}),
    # COPY --from a stage that ran
    _made("from-all", _BOX + "COPY --from=a /o /o\n", sample=True),
    _made("from-scratch", "FROM scratch\nCOPY --from=a /o /o\n"),
    _made("from-file", _BOX + "COPY --from=a /o/f /f\n"),
    _made("from-hard-links", "FROM scratch\nCOPY --from=a /o/f /o/h /x/\n"),
    _made("from-link", "FROM scratch\nCOPY --from=a /o/l /x\n"),
    _made("from-chown", "FROM scratch\nCOPY --from=a --chown=1:2 /o /o\n"),
    _made("from-link-flag", _BOX + "COPY --from=a --link /o /o\nRUN ls -ln /o | wc -l > /f\n"),
    _made("from-whole-root", "FROM scratch\nCOPY --from=a / /\n"),
    _made("from-then-run", _BOX + "COPY --from=a /o /o\nRUN chmod 600 /o/f; ls -ln /o | "
          "awk '{print $1, $2, $3, $9}' > /f\n"),
    _made("from-missing", _BOX + "COPY --from=a /none /o\n", refused=True),
    _made("from-removed-in-stage", "RUN rm -r /o/d\nFROM scratch\nCOPY --from=a /o/d /o\n",
          refused=True),
    _made("from-wild", "FROM scratch\nCOPY --from=a /o/[fh] /x/\n"),
    _made("from-base-of-stage", "FROM scratch\nCOPY --from=a /etc/passwd /p\n"),
    _made("from-mount-points", "FROM scratch\nCOPY --from=a /dev /dev\nCOPY --from=a /proc "
         "/proc\n"),
    _made("stage-of-stage", "FROM a\nRUN echo 2 > /o/n && rm /o/h\n",
          meant=_ALL_ATTRIBUTES),
    _made("two-stages-of-stage", "FROM a AS b\nRUN echo b > /o/b\nFROM a AS c\nRUN echo c > /o/c\n"
          "FROM scratch\nCOPY --from=b /o /b\nCOPY --from=c /o /c\n"),
    Case("beside", "".join(_AS.format(f"s{n}") + f"RUN echo {n} > /f && sleep "
         f"0.1\n" for n in range(8))
         + "FROM scratch\n" + "".join(f"COPY --from=s{n} /f "
         f"/{n}\n" for n in range(8))),
    Case("chain", "".join(_AS.format(f"s{n}") + (f"COPY --from=s{n - 1} /f /f\n" if n else "")
         + f"RUN echo {n} >> /f\n" for n in range(6)) + "FROM scratch\nCOPY --from=s5 /f /f\n"),
    Case("target", _MADE + _AS.format("b") + "RUN exit 1\n", target="a",
         meant=_ALL_ATTRIBUTES),
    Case("scratch-with-program", _AS.format("a") + "FROM scratch\nCOPY --from=a /bin/busybox /sh\n"
         'SHELL ["/sh", "-c"]\nRUN echo x > /f; ls / >> /f\n'),
    Case("empty-root-dirs", _AS.format("a") + "FROM scratch\nCOPY --from=a /bin/act /act\n"
         'RUN ["/act", "open", "/etc/hosts"]\nRUN ["/act", "open", "/etc/resolv.conf"]\n'),
    Case("whole-root-copied-then-run", _MADE + "FROM scratch\nCOPY --from=a / /\n"
         'ENV PATH=/bin\nRUN ls / > /f\n'),
    # ONBUILD
    Case("onbuild-of-base", "FROM %REGISTRY%/onbuild-run\nRUN ls / > /f\n", {"trigger.txt": "go"},
         args={"WHO": "me"}, sample=True),
    Case("onbuild-in-stage", _AS.format("a") + "ONBUILD RUN echo triggered > /t\nRUN echo 1 > /1\n"
         "FROM a\nRUN cat /t /1 > /f\n"),
    Case("onbuild-heredoc", _AS.format("a") + "ONBUILD RUN <<EOF\necho 1 > /1\necho 2 > /2\nEOF\n"
         "FROM a\n"),
    Case("onbuild-mount", _AS.format("a") + "ONBUILD RUN --mount=target=/m cp /m/a /got\nFROM a\n",
         {"a": "A"}),
    Case("onbuild-exec-and-shell", _AS.format("a") + 'ONBUILD RUN ["act", "write", "/f", "x"]\n'
         'SHELL ["/bin/sh", "-e", "-c"]\nONBUILD RUN echo $- > /g\nFROM a\n'),
    Case("onbuild-user-and-workdir", _AS.format("a") + "USER app\nWORKDIR /w\n"
         "ONBUILD RUN (id; pwd) > /tmp/f\nFROM a\n"),
    Case("onbuild-fails", _AS.format("a") + "ONBUILD RUN exit 5\nFROM a\n", refused=True),
    Case("onbuild-not-for-itself", _BOX + "ONBUILD RUN exit 5\nRUN echo x > /f\n"),
    # volumes, WORKDIR, the rest
    _box("volume-written-after", "RUN mkdir /v\nVOLUME /v\nRUN echo x > /v/f\n"),
    _box("volume-missing", "VOLUME /v\nRUN ls /v > /f || echo none > /f\n"),
    Case("volume-of-base", "FROM %REGISTRY%/volumes\nRUN echo x > /data/x; ls -lan /data | "
         "awk '{print $1, $3, $9}' > /f; ls /not || echo none >> /f\n", sample=True),
    _box("volume-below-workdir", "WORKDIR /v\nVOLUME /v\nRUN echo x > f\nWORKDIR /v/w\n"),
    _box("workdir-run-workdir", "WORKDIR /w\nRUN rmdir /w\nWORKDIR x\nRUN pwd > f\n"),
    _box("workdir-existing", "RUN mkdir -m 711 /w && chown 5:6 /w\nWORKDIR /w\nRUN echo > f\n"),
    _box("workdir-of-link", "RUN ln -s /tmp /w\nWORKDIR /w\nRUN pwd -P > f\n"),
    Case("workdir-of-base", "FROM %REGISTRY%/run-full\nUSER root\nRUN pwd > /f; echo x > made\n"),
    _box("metadata-between", "RUN echo 1 > /1\nLABEL a=b\nEXPOSE 80\nRUN echo 2 > /2\nCMD x\n"
         "STOPSIGNAL 9\nRUN echo 3 > /3\n"),
    _box("entrypoint-not-used", 'ENTRYPOINT ["/no/such"]\nRUN echo x > /f\n'),
    _box("healthcheck-and-run", "HEALTHCHECK CMD true\nRUN echo x > /f\n"),
    _box("comment-in-history", "RUN echo 'a # b' > /f # c\n"),
    _box("history-of-mounts", "RUN --mount=target=/m --mount=type=tmpfs,target=/t --network=none "
         "echo x > /f\n"),
    _box("many-steps", "".join(f"RUN echo {n} > /{n}\n" for n in range(60))),
    Case("platform-of-this-machine", "FROM --platform=linux/amd64 %REGISTRY%/acting\nRUN uname -m "
         "> /f\n",
         platform="linux/amd64"),
    Case("platform-other-not-run", "FROM %REGISTRY%/two\nCOPY f /\n", {"f": "f"},
         platform="linux/arm64"),
    Case("base-of-layers-with-whiteouts", "FROM %REGISTRY%/run-layers AS l\nRUN echo > /b/y\n"
         "FROM scratch\nCOPY --from=l /a /a\nCOPY --from=l /b /b\nCOPY --from=l /c /c\n"),
    Case("two-runs-same-in-two-stages", _AS.format("a") + "RUN echo same > /f\n" + _AS.format("b")
         + "RUN echo same > /f\nFROM scratch\nCOPY --from=a /f /a\nCOPY --from=b /f /b\n"),
    Case("context-layout-run", "FROM base\nRUN echo x > /f\n",
         contexts={"base": "oci-layout://acting"}),
    Case("copy-from-context-image-run", _BOX + "COPY --from=i /file /got\nRUN cat /got > /f\n",
         contexts={"i": "docker-image://%REGISTRY%/tree"}),
]  # fmt: skip
