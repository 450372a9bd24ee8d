# SPDX-License-Identifier: Apache-2.0
"""RUN's forms: shell, exec and heredoc, SHELL, what ENV and ARG show it, how it may end."""

from differential.model import Case, File, Meant

_BOX = "FROM %REGISTRY%/busybox\n"
_DEV_STAYS = Meant(
    "the mount point /dev is in each step's layer; in BuildKit's not if something is below it",
    "^/dev: |^layer of RUN 1, /dev/: ",
)
_ACT = "FROM %REGISTRY%/acting\n"
_FULL = "FROM %REGISTRY%/run-full\n"
# BuildKit's tracing shows itself to each step.
_ENV = "env | grep -v -E '^(SHLVL|OTEL_[A-Z_]*|TRACEPARENT)=' | sort > /env"
_SEEN = f"RUN {_ENV}\n"


def _box(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _act(name: str, lines: str, **more: object) -> Case:
    return Case(name, _ACT + lines, **more)  # type: ignore[arg-type]


def _fails(name: str, lines: str, **more: object) -> Case:
    return Case(name, _ACT + lines, refused=True, **more)  # type: ignore[arg-type]


CASES = [
    # shell
    _box("shell", "RUN echo hi > /f\n", sample=True),
    _box("shell-nothing-changed", "RUN true\n"),
    _box("shell-only-read", "RUN cat /etc/passwd /bin/busybox > /dev/null\n"),
    _box("shell-pipes", "RUN echo a b c | tr ' ' '\\n' | sort -r > /f && wc -l < /f >> /f\n"),
    _box("shell-continued", "RUN echo one > /f && \\\n    # a comment\n    echo two >> /f \\\n\n"
         "    && echo three >> /f\n", sample=True),
    _box("shell-escape-directive", "RUN echo 'a\\\\b' > /f\n"),
    Case("shell-other-escape", "# escape=`\n" + _BOX + "RUN echo a `\n  b > /f; echo \\n >> /f\n"),
    _box("shell-quotes", """RUN echo "a  'b'  $HOME" '$HOME "x"' \\$HOME > /f\n"""),
    _box("shell-backticks", "RUN echo `echo in` $(echo out) > /f\n"),
    _box("shell-unicode", "RUN echo 'h\u00e9llo \u4e16\u754c' > /f\n"),
    _box("shell-tabs-and-spaces", "RUN   \t echo \t 'a \t b'   > /f   \n"),
    _box("shell-lower-case", "run echo hi > /f\n"),
    _box("shell-long", "RUN echo " + "x" * 5000 + " | wc -c > /f\n"),
    _box("shell-json-like", "RUN [ -d /etc ] && echo yes > /f\n"),
    _box("shell-bad-json", "RUN ['echo', 'x'] || echo no > /f\n"),
    _box("shell-json-then-more", 'RUN ["echo", "x"] && true; echo done > /f\n'),
    _box("shell-background", "RUN (sleep 1; echo late > /late) & echo soon > /f\n"),
    _box("shell-exec-replaced", "RUN exec echo hi > /f\n"),
    _box("shell-several-layers", "RUN echo 1 > /1\nRUN echo 2 > /2\nRUN rm /1; echo 3 >> /2\n"),
    _box("shell-umask", "RUN umask > /f; mkdir /d; umask 077; mkdir /e; echo > /e/f\n"),
    _box("shell-stdin", "RUN cat > /f; echo $? >> /f\n"),
    _box("shell-output-kept-out", "RUN echo out; echo err >&2; echo hi > /f\n"),
    _box("shell-name-and-pid", "RUN echo $$ > /pid; hostname > /name; cat /etc/hostname >> /name "
         "2>/dev/null || true\n"),
    _box("shell-cwd", "WORKDIR /a/b\nRUN pwd > f; echo $PWD >> f; echo x > ../g\n"),
    _box("shell-cwd-missing", "WORKDIR /a\nRUN rm -r /a\nRUN pwd > /f\n"),
    _box("shell-cd-does-not-last", "RUN cd /tmp && pwd > /f\nRUN pwd >> /f\n"),
    _box("shell-colon", "RUN : > /f\n"),
    _box("shell-comment-only", "RUN # nothing\nRUN echo > /f\n"),
    _box("shell-empty", "RUN\n"),
    _box("shell-dollar-not-expanded", "ARG A=build\nRUN A=shell; echo $A ${A} $$ | cut -c1-11 "
         "> /f\n"),
    # exec
    _act("exec", 'RUN ["act", "write", "/f", "a b", "$HOME", "*"]\n', sample=True),
    _act("exec-absolute", 'RUN ["/bin/act", "write", "/f", "x"]\n'),
    _act("exec-relative", 'WORKDIR /bin\nRUN ["./act", "write", "/f", "x"]\n'),
    _act("exec-by-path-of-env", 'ENV PATH=/own\nCOPY --chmod=755 tool /own/tool\nRUN ["tool"]\n',
         files={"tool": "#!/bin/sh\n/bin/echo $0 > /f\n"}),
    _act("exec-script", "COPY s /s\nRUN [\"/s\", \"one\"]\n",
         files={"s": File("#!/bin/sh\necho $# $1 > /f\n", 0o755)}),
    _act("exec-empty-argument", 'RUN ["act", "write", "/f", "", "x", ""]\n'),
    _act("exec-quotes", 'RUN ["act", "write", "/f", "\\"q\\" \\\\ \\u00e9\\n\\t"]\n'),
    _act("exec-continued", 'RUN ["act", \\\n  "write", \\\n  "/f", "x"]\n'),
    Case("exec-from-scratch", "FROM %REGISTRY%/acting AS a\nFROM scratch\n"
         'COPY --from=a /bin/act /act\nRUN ["/act", "write", "/f", "alone"]\n', sample=True),
    Case("exec-from-scratch-no-path", "FROM %REGISTRY%/acting AS a\nFROM scratch\n"
         'COPY --from=a /bin/act /bin/act\nRUN ["act", "write", "/f", "alone"]\n'),
    Case("shell-from-scratch", "FROM scratch\nRUN echo hi > /f\n", refused=True),
    _fails("exec-missing", 'RUN ["nothing"]\n'),
    _fails("exec-missing-absolute", 'RUN ["/no/thing"]\n'),
    _fails("exec-directory", 'RUN ["/etc"]\n'),
    _fails("exec-not-executable", 'RUN ["/etc/passwd"]\n'),
    _fails("exec-no-interpreter", 'COPY s /s\nRUN ["/s"]\n',
           files={"s": File("#!/no/such/sh\n", 0o755)}),
    _fails("exec-no-format", 'COPY s /s\nRUN ["/s"]\n', files={"s": File("echo hi\n", 0o755)}),
    _act("exec-no-format-by-shell", "COPY s /s\nRUN /s\n",
         files={"s": File("echo hi > /f\n", 0o755)}),
    _fails("exec-empty-list", "RUN []\n"),
    _fails("exec-other-architecture", 'COPY s /s\nRUN ["/s"]\n',
           files={"s": File(b"\x7fELF\x02\x01\x01" + bytes(9) + b"\x02\0\xf3\0\x01\0\0\0"
                            + bytes(40), 0o755)}),
    # heredocs
    _box("heredoc", "RUN <<EOF\necho one > /f\necho two >> /f\nEOF\n"),
    _box("heredoc-no-expansion-by-builder", "ENV A=env\nRUN <<EOF\nA=own\necho $A ${A} > "
         "/f\nEOF\n"),
    _box("heredoc-quoted", "RUN <<'EOF'\necho '$HOME' $((1+1)) > /f\nEOF\n"),
    _box("heredoc-tabs", "RUN <<-EOF\n\techo one > /f\n\t\techo two >> /f\n\tEOF\n"),
    _box("heredoc-several", "RUN <<A <<B\necho 1 > /1\nA\necho 2 > /2\nB\n", sample=True),
    _box("heredoc-shebang", "RUN <<EOF\n#!/bin/cat\nno shell at all\nEOF\n",
         meant=_DEV_STAYS),
    _act("heredoc-shebang-other", "RUN <<EOF\n#!/bin/awk -f\nBEGIN { print \"awk\" > \"/f\" "
         "}\nEOF\n",
         meant=_DEV_STAYS),
    _box("heredoc-shebang-name", "RUN <<EOF\n#!/bin/sh\necho $0 > /f\nls -l $0 | cut -c1-10 >> /f\n"
         "ls -a /dev/pipes >> /f\nEOF\n",
         meant=_DEV_STAYS),
    _box("heredoc-shebang-several", "RUN <<one <<two\n#!/bin/sh\necho 1 > /1\none\n#!/bin/sh\n"
         "echo 2 > /2\ntwo\n"),
    _fails("heredoc-shebang-fails", "RUN <<EOF\n#!/bin/sh\nexit 4\nEOF\n"),
    _fails("heredoc-shebang-missing", "RUN <<EOF\n#!/no/sh\nx\nEOF\n"),
    _box("heredoc-to-command", "RUN cat <<EOF > /f\none $HOME\ntwo\nEOF\n", sample=True),
    _box("heredoc-to-command-quoted", "RUN cat > /f <<'EOF'\none $HOME\nEOF\n"),
    _box("heredoc-to-two-commands", "RUN cat <<A > /a && cat <<B > /b\nin a\nA\nin b\nB\n"),
    _box("heredoc-to-shell", "RUN sh -s x <<EOF\necho $1 in > /f\nEOF\n"),
    _box("heredoc-fd", "RUN cat 0<<EOF > /f; cat 3<<OTHER <&3 >> /f\nzero\nEOF\nthree\nOTHER\n"),
    _box("heredoc-in-exec-form", 'RUN ["cat", "<<EOF"]\n', refused=True),
    _box("heredoc-open", "RUN <<EOF\necho\n", refused=True),
    _box("heredoc-failing-line-in-middle", "RUN <<EOF\nfalse\necho after > /f\nEOF\n"),
    _fails("heredoc-failing-last-line", "RUN <<EOF\necho x > /f\nfalse\nEOF\n"),
    _fails("heredoc-set-e", "RUN <<EOF\nset -e\nfalse\necho after > /f\nEOF\n"),
    _box("heredoc-instructions-inside", "RUN <<EOF\n# FROM x\necho RUN y > /f\nEOF\n"),
    _box("heredoc-back-slashes", "RUN <<EOF\necho 'a\\\\b' \\\n  c > /f\nEOF\n"),
    _box("heredoc-with-shell-of-its-own", 'SHELL ["/bin/sh", "-e", "-c"]\nRUN <<EOF\n'
         "echo $- > /f\nEOF\n"),
    _box("heredoc-crlf", "RUN <<EOF\r\necho hi > /f\r\nEOF\r\n"),
    _box("heredoc-empty", "RUN <<EOF\nEOF\n"),
    # SHELL
    _box("shell-instruction", 'SHELL ["/bin/sh", "-x", "-c"]\nRUN echo $- > /f\n'),
    _act("shell-instruction-other", 'SHELL ["/bin/awk"]\nRUN BEGIN { print "awk" > "/f" }\n'),
    _act("shell-instruction-program", 'SHELL ["act", "write", "/f"]\nRUN a  b "c"\n'),
    Case("shell-instruction-per-stage", "FROM %REGISTRY%/busybox AS a\n"
         'SHELL ["/bin/sh", "-e", "-c"]\nRUN echo $- > /f\nFROM %REGISTRY%/busybox\n'
         "RUN echo $- > /g\nCOPY --from=a /f /\n"),
    Case("shell-of-base", _FULL + "USER root\nRUN echo $- > /f\n"),
    Case("shell-of-stage-above", "FROM %REGISTRY%/busybox AS a\n"
         'SHELL ["/bin/sh", "-e", "-c"]\nFROM a\nRUN echo $- > /f\n'),
    _fails("shell-instruction-missing", 'SHELL ["/bin/bash", "-c"]\nRUN echo\n'),
    # ENV and ARG
    _box("env", "ENV A=1 B='two words' C=\nRUN env | grep '^[ABC]=' | sort > /f\n"),
    _box("env-all", _SEEN, sample=True),
    _act("env-all-exec", 'SHELL ["/bin/sh", "-c"]\nRUN ["/bin/sh", "-c", "' + _ENV + '"]\n'),
    _box("env-path-changed", "ENV PATH=/x:$PATH\nRUN echo $PATH > /f\n"),
    _box("env-path-emptied", "ENV PATH=\nRUN echo \"-$PATH-\" > /f\n"),
    Case("env-no-path-in-base", "FROM %REGISTRY%/bare\nCOPY --from=%REGISTRY%/busybox /bin /bin\n"
         "RUN echo $PATH > /f\n"),
    _box("env-home-set", "ENV HOME=/own\nRUN echo $HOME > /f; cd; pwd >> /f\n"),
    _box("env-home-set-there", "WORKDIR /own\nENV HOME=/own\nRUN cd; echo $HOME $PWD > /f\n"),
    _box("env-later-not-seen", "RUN echo \"-$A-\" > /f\nENV A=1\n"),
    _box("env-newline", 'ENV A="one\\\ntwo"\nRUN echo "$A" > /f\n'),
    _box("env-odd-name", "ENV a.b-c=1\nRUN [\"/bin/busybox\", \"env\"]\n"),
    Case("env-of-base", _FULL + "USER root\n" + _SEEN),
    _box("env-hostname-and-term", "RUN echo \"${HOSTNAME-none} ${TERM-none} ${LANG-none}\" > /f\n"),
    _box("arg", "ARG A=default\nRUN echo $A > /f\n"),
    _box("arg-given", "ARG A=default\nRUN echo $A > /f\n", args={"A": "given"}),
    _box("arg-no-default", "ARG A\nRUN echo \"-${A-unset}-\" > /f; env | grep ^A= >> /f || true\n"),
    _box("arg-empty", "ARG A\nRUN echo \"-${A-unset}-\" > /f\n", args={"A": ""}),
    _box("arg-quotes-in-history", "ARG A\nRUN echo \"$A\" > /f\n", args={"A": "a 'b' \"c\" $d"}),
    _box("arg-several-in-history", "ARG A=1\nARG B=2\nRUN echo $A$B > /f\nARG C\nRUN echo $C > "
         "/g\n",
         args={"C": "3"}, sample=True),
    _box("arg-and-env", "ARG A=arg\nENV A=env\nRUN echo $A > /f\n"),
    _box("env-and-arg", "ENV A=env\nARG A=arg\nRUN echo $A > /f\n", args={"A": "given"}),
    _box("arg-twice", "ARG A=1\nRUN echo $A > /f\nARG A=2\nRUN echo $A >> /f\n"),
    _box("arg-not-in-image", "ARG A=1\nRUN echo $A > /f\nRUN echo $A >> /f\n"),
    Case("arg-before-from", "ARG A=global\n" + _BOX + "RUN echo \"-$A-\" > /f\nARG A\n"
         "RUN echo \"-$A-\" >> /f\n"),
    Case("arg-of-stage-above", _BOX.rstrip() + " AS a\nARG A=1\nFROM a\nRUN echo \"-$A-\" > /f\n"),
    Case("arg-not-of-other-stage", _BOX.rstrip() + " AS a\nARG A=1\nRUN echo $A > /f\n" + _BOX
         + "RUN echo \"-$A-\" > /g\nCOPY --from=a /f /\n"),
    _box("arg-platforms", "ARG TARGETPLATFORM\nARG TARGETARCH TARGETOS BUILDPLATFORM "
         "TARGETVARIANT\n"
         "RUN echo $TARGETPLATFORM $TARGETARCH $TARGETOS $BUILDPLATFORM \"-$TARGETVARIANT-\" > "
         "/f\n"),
    _box("arg-stage", "ARG TARGETSTAGE\nRUN echo \"-$TARGETSTAGE-\" > /f\n"),
    _box("arg-path", "ARG PATH=/only\nRUN echo $PATH > /f\n"),
    _box("proxy-arguments", "RUN env | grep -i proxy | sort > /f\n", sample=True, args={
        "http_proxy": "http://p.example:1", "HTTPS_PROXY": "http://q.example:2", "no_proxy": "x",
        "ALL_PROXY": "socks5://s.example", "FTP_PROXY": "ftp://f.example"}),
    _box("proxy-declared", "ARG http_proxy\nRUN echo $http_proxy > /f\n",
         args={"http_proxy": "http://p.example:1"}),
    _box("proxy-declared-default", "ARG http_proxy=http://d.example\nRUN env | grep -i proxy > "
         "/f\n"),
    _box("proxy-in-env", "ENV http_proxy=http://e.example\nRUN env | grep -i proxy | sort > /f\n",
         args={"http_proxy": "http://p.example:1"}),
    _box("proxy-mixed-case", "RUN env | grep -i proxy | sort > /f || echo none > /f\n",
         args={"Http_Proxy": "http://p.example:1"}),
    _box("epoch-argument", "ARG SOURCE_DATE_EPOCH\nRUN echo \"-$SOURCE_DATE_EPOCH-\" > /f\n"),
    # ends
    _fails("exit-1", "RUN exit 1\n", sample=True),
    _fails("exit-255", "RUN exit 255\n"),
    _fails("exit-42-exec", 'RUN ["act", "exit", "42"]\n'),
    _fails("exit-of-last", "RUN true; false\n"),
    _box("exit-of-pipe", "RUN false | true\n"),
    _fails("exit-after-writing", "RUN echo x > /f; exit 3\n"),
    _fails("exit-unknown-command", "RUN nothing-of-this-name\n"),
    _fails("exit-syntax", "RUN if true; then\n"),
    _fails("killed-by-signal", "RUN sh -c 'kill -9 $$'; exit $?\n"),
    _act("killed-inside", "RUN act kill 9; echo $? > /f\n"),
    _fails("killed-by-term", 'RUN ["act", "kill", "15"]\n'),
    _fails("failing-second", "RUN echo > /f\nRUN false\nRUN echo > /g\n", sample=True),
    _fails("failing-in-other-stage", "RUN exit 3\nFROM scratch\nCOPY --from=0 /f /\n"),
    _box("failing-in-unneeded-stage", "RUN exit 3\nFROM scratch\nCOPY f /\n", files={"f": "f"}),
    _fails("failing-beside-others", "RUN sleep 2\nFROM %REGISTRY%/busybox AS b\nRUN exit 9\n"
           "FROM scratch\nCOPY --from=0 /etc /e\nCOPY --from=b /etc /f\n"),
    _fails("words-after-failing", "RUN echo to out; echo to err >&2; exit 7\n"),
]  # fmt: skip
