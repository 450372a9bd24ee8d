# SPDX-License-Identifier: Apache-2.0
"""Which steps run again after which change: sequences of builds, compared with BuildKit's marks."""

from differential.model import Around, Build, File, Files, Meant, Sequence

_BOX = "FROM %REGISTRY%/acting\n"
# A first step that no other case has, so that nothing below is known to BuildKit from elsewhere.
_OWN = _BOX + "RUN : %CASE%\n"
_A = _OWN + "RUN echo one > /1\nCOPY a /a\nRUN cat /a > /2\nRUN echo three > /3\n"
_ALL = ("COPY a", "RUN : ", "RUN cat", "RUN echo one", "RUN echo three")
_SAME_ROOT = Meant(
    "the root is the same to the byte, however it came to be: BuildKit knows it by its steps",
    "^build 2: only BuildKit runs RUN echo",
)
_DEV_STAYS = Meant(
    "the mount point /dev is in each step's layer; in BuildKit's not if something is below it",
    "^build 2: (/dev: |layer of RUN 1, /dev/: )",
)
_FILES: Files = {"a": "A %CASE%", "b": "B %CASE%"}


def _sequence(name: str, *builds: Build, **more: object) -> Sequence:
    return Sequence(name, builds, **more)  # type: ignore[arg-type]


def _simple(name: str, *then: Build, **more: object) -> Sequence:
    """`_A` is built, then changed."""
    return Sequence(name, (Build(_ALL, _A, _FILES), *then), **more)  # type: ignore[arg-type]


def _two(name: str, first: str, ran: tuple[str, ...], second: str, again: tuple[str, ...],
         files: Files = _FILES, **more: object) -> Sequence:  # fmt: skip
    """Two Dockerfiles below the same unique beginning, the context being the same."""
    return Sequence(
        name, (Build(("RUN : ", *ran), _OWN + first, files), Build(again, _OWN + second)),
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


_STAGES = (
    _OWN.replace("acting\n", "acting AS base\n")
    + "FROM base AS one\nCOPY a /a\nRUN cut -c1 /a > /one\n"
    "FROM base AS two\nCOPY b /b\nRUN cut -c1 /b > /two\n"
    "FROM base\nCOPY --from=one /one /\nCOPY --from=two /two /\nRUN cat /one /two > /both\n"
)
_STAGES_ALL = ("COPY --from=one", "COPY --from=two", "COPY a", "COPY b", "RUN : ", "RUN cat /one",
               "RUN cut -c1 /a", "RUN cut -c1 /b")  # fmt: skip
_MOUNT = _OWN + "RUN --mount=target=/m{} cat /m/a > /1\nRUN echo after > /2\n"
_SECRET = _OWN + "RUN --mount=type=secret,id=s{} echo x > /1\nRUN echo after > /2\n"
_CACHE = _OWN + "RUN --mount=type=cache,id=%CASE%{} echo {} > /1\nRUN echo after > /2\n"
_THREE = ("RUN --mount", "RUN : ", "RUN echo after")

CASES = [
    # nothing, and what is none
    _simple("nothing", Build(()), sample=True),
    _simple("times-only", Build((), later=True)),
    _simple("same-content-again", Build((), files={"a": "A %CASE%"})),
    _simple("other-file-in-context", Build((), files={"c": "C"})),
    _simple("unused-file-changed", Build((), files={"b": "other"})),
    _simple("unused-file-gone", Build((), gone=("b",))),
    _simple("comment-added", Build((), _A.replace("COPY", "# comment\n\nCOPY"))),
    _simple("spaces-in-instruction", Build((), _A.replace("COPY a /a", "COPY   a    /a"))),
    _simple("case-of-keyword", Build((), _A.replace("RUN echo", "run echo"))),
    _simple("line-continued", Build(("COPY", "RUN cat", "RUN echo", "RUN echo"),
            _A.replace("echo one", "echo \\\n  one"))),
    _simple("metadata-added", Build((), _A + "LABEL a=b\nCMD x\n")),
    _simple("metadata-first", Build((), _A.replace("RUN : ", "LABEL a=b\nEXPOSE 1\nCMD x\nRUN : "
         ""))),
    _simple("unused-argument", Build((), args={"UNUSED": "1"})),
    _simple("unused-label", Build((), _A.replace("COPY", "LABEL x=y\nCOPY"))),
    # content
    _simple("copied-file-changed", Build(("COPY a", "RUN cat", "RUN echo three"),
            files={"a": "new %CASE%"}), sample=True),
    _simple("copied-file-changed-and-back", Build(("COPY a", "RUN cat", "RUN echo three"),
            files={"a": "new %CASE%"}), Build((), files={"a": "A %CASE%"})),
    _simple("copied-file-mode", Build(("COPY a", "RUN cat", "RUN echo three"),
            files={"a": File("A %CASE%", 0o755)})),
    _simple("copied-file-replaced-by-link", Build(("COPY a", "RUN cat", "RUN echo three"),
            gone=("a",), files={"a": "other %CASE%"})),
    # instructions
    _simple("run-changed-first", Build(("COPY a", "RUN cat", "RUN echo 1", "RUN echo three"),
            _A.replace("echo one", "echo 1"))),
    _simple("run-changed-last", Build(("RUN echo 3",), _A.replace("echo three", "echo 3"))),
    _simple("run-added-last", Build(("RUN echo four",), _A + "RUN echo four > /4\n")),
    _simple("run-removed-last", Build((), _A.replace("RUN echo three > /3\n", ""))),
    _simple("run-removed-middle", Build(("RUN cat", "RUN echo three", "COPY"),
            _A.replace("RUN echo one > /1\n", ""))),
    _simple("run-order", Build(("COPY a", "RUN cat", "RUN echo one", "RUN echo three"),
            _OWN + "RUN echo three > /3\nCOPY a /a\nRUN cat /a > /2\nRUN echo one > /1\n")),
    _two("run-form", "RUN echo x > /1\n", ("RUN echo",),
         'RUN ["/bin/sh", "-c", "echo x > /1"]\n', ()),
    _two("run-heredoc-same-text", "RUN echo x > /1\n", ("RUN echo",),
         "RUN <<EOF\necho x > /1\nEOF\n", ("RUN <<EOF",)),
    _two("env-before", "RUN echo x > /1\n", ("RUN echo",), "ENV A=1\nRUN echo x > "
         "/1\n", ("RUN echo",)),
    _two("env-after", "RUN echo x > /1\n", ("RUN echo",), "RUN echo x > /1\nENV A=1\n", ()),
    _two("env-order", "ENV A=1 B=2\nRUN echo x > /1\n", ("RUN echo",),
         "ENV B=2 A=1\nRUN echo x > /1\n", ("RUN echo",)),
    _two("env-before-copy", "COPY a /a\n", ("COPY",), "ENV A=1\nCOPY a /a\n", ()),
    _two("user-before", "RUN echo x > /tmp/1\n", ("RUN echo",), "USER app\nRUN echo x > /tmp/1\n",
         ("RUN echo",)),
    _two("user-root", "RUN echo x > /tmp/1\n", ("RUN echo",), "USER root\nRUN echo x > /tmp/1\n",
         ("RUN echo",)),
    _two("user-before-copy", "COPY a /a\n", ("COPY",), "USER app\nCOPY a /a\n", ()),
    _two("workdir-existing-before", "RUN echo x > /1\n", ("RUN echo",),
         "WORKDIR /tmp\nRUN echo x > /1\n", ("RUN echo", "WORKDIR")),
    _two("workdir-same", "WORKDIR /w\nRUN echo x > 1\n", ("RUN echo", "WORKDIR"),
         "WORKDIR /w/\nRUN echo x > 1\n", ("RUN echo",)),
    _two("shell-same", "RUN echo x > /1\n", ("RUN echo",),
         'SHELL ["/bin/sh", "-c"]\nRUN echo x > /1\n', ()),
    _two("shell-other", "RUN echo x > /1\n", ("RUN echo",),
         'SHELL ["/bin/sh", "-e", "-c"]\nRUN echo x > /1\n', ("RUN echo",)),
    _two("network-none", "RUN echo x > /1\n", ("RUN echo",), "RUN --network=none echo x > /1\n",
         ("RUN --network",)),
    _two("network-default", "RUN echo x > /1\n", ("RUN echo",), "RUN --network=default echo x > "
         "/1\n",
         ()),
    _two("security-sandbox", "RUN echo x > /1\n", ("RUN echo",),
         "RUN --security=sandbox echo x > /1\n", ()),
    _two("expose-and-volume", "RUN echo x > /1\n", ("RUN echo",),
         "EXPOSE 80\nVOLUME /v\nSTOPSIGNAL 9\nRUN echo x > /1\n", ()),
    _two("copy-chown-added", "COPY a /a\nRUN echo x > /1\n", ("COPY", "RUN echo"),
         "COPY --chown=5 a /a\nRUN echo x > /1\n", ("COPY", "RUN echo")),
    _two("copy-link-added", "COPY a /a\nRUN echo x > /1\n", ("COPY", "RUN echo"),
         "COPY --link a /a\nRUN echo x > /1\n", ("COPY", "RUN echo"), meant=_SAME_ROOT),
    _two("copy-other-name-same-content", "COPY a /x\nRUN echo x > /1\n", ("COPY", "RUN echo"),
         "COPY c /x\nRUN echo x > /1\n", ("COPY", "RUN echo"),
         files={"a": "same %CASE%", "c": "same %CASE%"}, meant=_SAME_ROOT),
    # arguments
    _sequence("argument-used", Build(("RUN : ", "RUN echo"), _OWN + "ARG A=1\nRUN echo $A > /1\n"),
              Build(("RUN echo",), args={"A": "2"}), Build((), args={"A": "1"}), sample=True),
    _sequence("argument-declared-not-used", Build(("RUN : ", "RUN echo x"),
              _OWN + "ARG A\nRUN echo x > /1\n"), Build(("RUN echo x",), args={"A": "2"})),
    _sequence("argument-declared-later", Build(("RUN : ", "RUN echo x"),
              _OWN + "RUN echo x > /1\nARG A\n"), Build((), args={"A": "2"})),
    _sequence("argument-in-copy-only", Build(("COPY", "RUN : ", "RUN echo x"),
              _OWN + "RUN echo x > /1\nARG A=/a\nCOPY a $A\n", _FILES),
              Build(("COPY",), args={"A": "/b"})),
    _sequence("argument-in-env", Build(("RUN : ", "RUN echo x"),
              _OWN + "ARG A=1\nENV B=$A\nRUN echo x > /1\n"), Build(("RUN echo "
              "x",), args={"A": "2"})),
    _sequence("argument-in-label", Build(("RUN : ", "RUN echo x"),
              _OWN + "RUN echo x > /1\nARG A=1\nLABEL b=$A\n"), Build((), args={"A": "2"})),
    _sequence("argument-default-given", Build(("RUN : ", "RUN echo x"),
              _OWN + "ARG A=1\nRUN echo x > /1\n"), Build((), args={"A": "1"})),
    _sequence("proxy-arguments", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build((), args={"http_proxy": "http://p.example:1", "NO_PROXY": "y"}),
              Build((), args={"http_proxy": "http://q.example:1"})),
    _sequence("proxy-declared", Build(("RUN : ", "RUN echo x"),
              _OWN + "ARG http_proxy\nRUN echo x > "
              "/1\n", args={"http_proxy": "http://p.example:1"}),
              Build(("RUN echo x",), args={"http_proxy": "http://q.example:1"})),
    # stages
    _sequence("stages-nothing", Build(_STAGES_ALL, _STAGES, _FILES), Build(())),
    _sequence("stages-one-changed", Build(_STAGES_ALL, _STAGES, _FILES),
              Build(("COPY --from=one", "COPY a", "RUN cat /one", "RUN cut -c1 /a", "COPY "
              "--from=two"),
                    files={"a": "X %CASE%"})),
    _sequence("stages-same-result", Build(_STAGES_ALL, _STAGES, _FILES),
              Build(("COPY a", "RUN cut -c1 /a"), files={"a": "A but longer %CASE%"}), sample=True),
    _sequence("stages-target", Build(("COPY a", "RUN : ", "RUN cut -c1 /a"), _STAGES, _FILES,
              target="one"), Build(tuple(set(_STAGES_ALL) - {"COPY a", "RUN : ", "RUN cut -c1 "
              "/a"}))),
    _sequence("stages-unneeded-changed", Build(("RUN : ",), _OWN.replace("acting\n", "acting AS "
         "base\n")
                    + "FROM base AS no\nCOPY a /a\nFROM base\n", _FILES),
              Build((), files={"a": "changed"})),
    _sequence("stage-renamed", Build(_STAGES_ALL, _STAGES, _FILES),
              Build((), _STAGES.replace("AS one", "AS uno").replace("from=one", "from=uno"))),
    _sequence("stage-read-in-part", Build(("COPY --from", "COPY a", "RUN : ", "RUN echo x"),
              _OWN.replace("acting\n", "acting AS s\n") + "RUN echo x > /x\nCOPY a /a\n"
              + _BOX + "COPY --from=s /x /x\n", _FILES),
              Build(("COPY a",), files={"a": "new %CASE%"}), sample=True),
    _sequence("stage-from-stage-changed", Build(("COPY", "RUN : ", "RUN cat"),
              _OWN.replace("acting\n", "acting AS s\n") + "COPY a /a\nFROM s\nRUN cat /a > /2\n",
              _FILES), Build(("COPY", "RUN cat"), files={"a": "new %CASE%"})),
    _sequence("run-gives-the-same-again", Build(("COPY a", "COPY --from", "RUN : "
         "", "RUN wc", "RUN cat"),
              _OWN.replace("acting\n", "acting AS s\n") + "COPY a /a\nRUN wc -c < /a > /n\n"
              + _BOX + "COPY --from=s /n /n\nRUN cat /n > /m\n", _FILES),
              Build(("COPY a", "RUN wc"), files={"a": "Z %CASE%"})),
    # --link
    _sequence("copy-link-base-changes", Build(("COPY --link", "RUN : ", "RUN echo x"),
              _OWN + "RUN echo x > /x\nCOPY --link a /a\n", _FILES),
              Build(("RUN echo y",), _OWN + "RUN echo y > /x\nCOPY --link a /a\n")),
    _sequence("copy-link-file-changes", Build(("COPY --link", "RUN : ", "RUN echo x"),
              _OWN + "COPY --link a /a\nRUN echo x > /x\n", _FILES),
              Build(("COPY --link", "RUN echo x"), files={"a": "new %CASE%"})),
    # mounts
    _sequence("mount-file-read-changed", Build(_THREE, _MOUNT.format(""), _FILES),
              Build(("RUN --mount", "RUN echo after"), files={"a": "new %CASE%"}), sample=True),
    _sequence("mount-file-not-read-changed", Build(_THREE, _MOUNT.format(""), _FILES),
              Build(("RUN --mount", "RUN echo after"), files={"b": "new %CASE%"})),
    _sequence("mount-time-only", Build(_THREE, _MOUNT.format(""), _FILES), Build((), later=True)),
    _sequence("mount-source-other-changed", Build(_THREE, _OWN + "RUN --mount=source=a,target=/m "
              "cat /m > /1\nRUN echo after > /2\n", _FILES), Build((), files={"b": "new %CASE%"})),
    _sequence("mount-source-changed", Build(_THREE, _OWN + "RUN --mount=source=a,target=/m "
              "cat /m > /1\nRUN echo after > /2\n", _FILES),
              Build(("RUN --mount", "RUN echo after"), files={"a": "new %CASE%"})),
    _sequence("mount-rw-added", Build(_THREE, _MOUNT.format(""), _FILES),
              Build(("RUN --mount", "RUN echo after"), _MOUNT.format(",rw"))),
    _sequence("mount-target-changed", Build(_THREE, _MOUNT.format(""), _FILES),
              Build(("RUN --mount", "RUN echo after"), _MOUNT.format(",target=/m"). replace(
                  "target=/m,target=/m", "target=/m/../n").replace("cat /m/a", "cat /n/a"))),
    _sequence("mount-ro-said", Build(_THREE, _MOUNT.format(""),
              {**_FILES, ".dockerignore": "Dockerfile\n"}),
              Build((), _MOUNT.format(",ro"))),
    _sequence("mount-stage-in-part", Build(("COPY", "RUN --mount", "RUN : ", "RUN echo x"),
              _OWN.replace("acting\n", "acting AS s\n") + "RUN echo x > /x\nCOPY a /a\n"
              + _BOX + "RUN --mount=from=s,source=/x,target=/m cat /m > /1\n", _FILES),
              Build(("COPY a",), files={"a": "new %CASE%"})),
    _sequence("mount-stage-rebuilt-same", Build(("COPY", "RUN --mount", "RUN : ", "RUN mkdir"),
              _OWN.replace("acting\n", "acting AS s\n") + "COPY a /a\nRUN mkdir /o && cut -c1 /a "
              "> /o/x\n"
              + _BOX + "RUN --mount=from=s,source=/o,target=/m cat /m/x > /1\n", _FILES),
              Build(("COPY a", "RUN mkdir"), files={"a": "A longer %CASE%"})),
    _sequence("cache-content-does-not-count", Build(_THREE, _CACHE.format(",target=/c", "$(ls /c)"
              " >> /c/x; echo")), Build(())),
    _sequence("cache-id-changed", Build(_THREE, _CACHE.format(",target=/c", "x")),
              Build((), _CACHE.format("2,target=/c", "x"))),
    _sequence("cache-sharing-changed", Build(_THREE, _CACHE.format(",target=/c", "x")),
              Build((), _CACHE.format(",target=/c,sharing=locked", "x"))),
    _sequence("cache-target-changed", Build(_THREE, _CACHE.format(",target=/c", "x")),
              Build(("RUN --mount", "RUN echo after"), _CACHE.format(",target=/d", "x"))),
    _sequence("cache-mode-changed", Build(_THREE, _CACHE.format(",target=/c", "x")),
              Build(("RUN --mount", "RUN echo after"), _CACHE.format(",target=/c,mode=700", "x"))),
    _sequence("cache-kept-over-builds", Build(_THREE, _CACHE.format(",target=/c", "1 >> /c/x; "
         "echo")),
              Build(("RUN --mount", "RUN echo after"),
                    _CACHE.format(",target=/c", "2 >> /c/x; cat /c/x; wc -l < /c/x"))),
    _sequence("tmpfs-size-changed", Build(_THREE, _OWN + "RUN --mount=type=tmpfs,target=/t true\n"
              "RUN echo after > /2\n"), Build(("RUN --mount", "RUN echo after"),
              _OWN + "RUN --mount=type=tmpfs,target=/t,size=5m true\nRUN echo after > /2\n"),
              meant=_SAME_ROOT),
    _sequence("secret-content-does-not-count", Build(_THREE, _SECRET.format(""),
              around=Around(secrets={"s": "one"})),
              Build((), around=Around(secrets={"s": "other"})), Build(())),
    _sequence("secret-target-changed", Build(_THREE, _SECRET.format(""),
              around=Around(secrets={"s": "one"})),
              Build(("RUN --mount", "RUN echo after"), _SECRET.format(",target=/own"),
                    around=Around(secrets={"s": "one"}))),
    _sequence("secret-env-changed", Build(_THREE, _SECRET.format(",env=A"),
              around=Around(secrets={"s": "one"})),
              Build(("RUN --mount", "RUN echo after"), _SECRET.format(",env=B"),
                    around=Around(secrets={"s": "one"}))),
    _sequence("secret-required-changed", Build(_THREE, _SECRET.format(""),
              around=Around(secrets={"s": "one"})),
              Build(("RUN --mount", "RUN echo after"), _SECRET.format(",required"),
                    around=Around(secrets={"s": "one"}))),
    _sequence("ssh-does-not-count", Build(_THREE, _OWN + "RUN --mount=type=ssh echo x > /1\n"
              "RUN echo after > /2\n", around=Around(ssh=("default",))), Build(())),
    # options of the build
    _sequence("hosts-added", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build(("RUN : ", "RUN echo x"), around=Around(hosts={"a.example": "10.0.0.1"}))),
    _sequence("shm-changed", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build(("RUN : ", "RUN echo x"), around=Around(shm=8 << 20)), meant=_DEV_STAYS),
    _sequence("ulimit-changed", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build(("RUN : ", "RUN echo x"), around=Around(ulimits=("nofile=100:100",)))),
    _sequence("network-for-all", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build(("RUN : ", "RUN echo x"), around=Around(network="none"))),
    _sequence("no-cache", Build(("RUN : ", "RUN echo x"), _OWN + "RUN echo x > /1\n"),
              Build(("RUN : ", "RUN echo x"), around=Around(no_cache="")), Build(())),
    _sequence("no-cache-stage", Build(_STAGES_ALL, _STAGES, _FILES),
              Build(("COPY a", "RUN cut -c1 /a"), around=Around(no_cache="one")), Build(())),
    # failures
    _sequence("failed-then-mended", Build(("RUN : ", "RUN echo x", "RUN false"),
              _OWN + "RUN echo x > /1\nRUN false\nRUN echo y > /2\n"),
              Build(("RUN true", "RUN echo y"), _OWN + "RUN echo x > /1\nRUN true\nRUN echo y > "
              "/2\n"),
              sample=True),
    _sequence("failed-twice", Build(("RUN : ", "RUN false"), _OWN + "RUN false\n"),
              Build(("RUN false",))),
    _sequence("failed-by-context-then-mended", Build(("COPY", "RUN : ", "RUN test"),
              _OWN + "COPY a /a\nRUN test -x /a\n", _FILES),
              Build(("COPY", "RUN test"), files={"a": File("A %CASE%", 0o755)})),
    # what is kept of a step
    _sequence("random-result-kept", Build(("RUN : ", "RUN head", "RUN wc"),
              _OWN + "RUN head -c 9 /dev/urandom | od > /r\nRUN wc -c < /r > /n\n"),
              Build(()), Build(("RUN echo",), _OWN + "RUN head -c 9 /dev/urandom | od > /r\n"
              "RUN wc -c < /r > /n\nRUN echo > /x\n"), same_images=False),
    _sequence("only-times-of-result", Build(("COPY --from", "RUN : ", "RUN date", "RUN cat"),
              _OWN.replace("acting\n", "acting AS s\n") + "RUN date > /d; echo %CASE% > /x\n"
              + _BOX + "COPY --from=s /x /x\nRUN cat /x > /y\n"),
              Build(("RUN : ", "RUN date"), around=Around(no_cache="s"))),
    _sequence("onbuild-run", Build(("COPY", "RUN cat", "RUN echo", 'RUN ["/bin/cat', "RUN echo"),
              "FROM %REGISTRY%/onbuild-run\nRUN cat /who > /%CASE%\n", {"trigger.txt": "t %CASE%"},
              args={"WHO": "%CASE%"}), Build((), args={"WHO": "%CASE%"}),
              Build(("COPY", "RUN cat", "RUN echo", 'RUN ["/bin/cat', "RUN echo"),
                    args={"WHO": "2%CASE%"})),
]  # fmt: skip
