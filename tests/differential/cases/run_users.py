# SPDX-License-Identifier: Apache-2.0
"""Who runs a step: USER by name, number and group, users made by earlier steps, homes, owners."""

from differential.model import Case, File

_BOX = "FROM %REGISTRY%/acting\n"
_HOME = "FROM %REGISTRY%/homely\n"
_ADD = (
    "RUN echo 'neu:x:1234:2345::/home/neu:/bin/sh' >> /etc/passwd && "
    "echo 'neu:x:2345:' >> /etc/group && echo 'more:x:700:neu' >> /etc/group && "
    "mkdir -p /home/neu && chown 1234:2345 /home/neu\n"
)
_WHO = "RUN (id; echo $HOME; pwd) > /tmp/who\n"


def _box(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _user(name: str, user: str, **more: object) -> Case:
    """A USER line, and what a step is then."""
    return Case(name, f"{_HOME}USER {user}\n{_WHO}", **more)  # type: ignore[arg-type]


CASES = [
    _user("name", "app"),
    _user("number", "1000"),
    _user("number-unknown", "4711"),
    _user("number-and-group", "4711:815"),
    _user("name-and-group", "app:staff", sample=True),
    _user("name-and-number", "app:50"),
    _user("number-and-group-name", "200:wheel"),
    _user("with-more-groups", "svc"),
    _user("root", "root"),
    _user("zero", "0"),
    _user("zero-group", "0:0"),
    _user("odd-home", "odd"),
    _user("number-as-name", "1234"),
    _user("group-only", ":staff"),
    _user("empty-group", "'app:'"),
    _user("name-unknown", "nobody-here", refused=True),
    _user("group-unknown", "app:nothing-here", refused=True),
    _user("high-number", "65534:65534"),
    _user("too-high", "4294967296", refused=True),
    _user("variable", "${NONE:-app}"),
    Case("name-of-argument", f"{_HOME}ARG U=app\nUSER $U\n{_WHO}", args={"U": "svc"}),
    _box("user-made-before", _ADD + "USER neu\n" + _WHO, sample=True),
    _box("user-made-before-exec", _ADD + 'USER neu:more\nRUN ["id"]\n' + _WHO),
    _box("user-made-and-used-in-one", _ADD + "RUN echo $(id -u neu) > /f\n"),
    _box("user-removed-before", _ADD + "RUN sed -i /neu/d /etc/passwd\nUSER neu\n" + _WHO,
         refused=True),
    _box("user-changed-between", _ADD + "USER neu\nRUN id > /tmp/1\nUSER root\n"
         "RUN sed -i s/1234/1235/ /etc/passwd\nUSER neu\nRUN id > /tmp/2\n"),
    _box("user-back-to-root", "USER app\nRUN id > /tmp/1\nUSER root\nRUN id > /tmp/2\n"),
    _box("user-copied-with-passwd", "COPY passwd /etc/passwd\nUSER mine\n" + _WHO,
         files={"passwd": "mine:x:31:32::/h:/bin/sh\n"}),
    _box("no-passwd", "RUN rm /etc/passwd\nRUN id > /f\nUSER 5\nRUN id > /tmp/f\n"),
    _box("no-passwd-name", "RUN rm /etc/passwd\nUSER app\nRUN id\n", refused=True),
    _box("no-passwd-root", "RUN rm /etc/passwd\nUSER root\nRUN id > /f; echo $HOME >> /f\n",
         refused=True),
    _box("no-group", "RUN rm /etc/group\nUSER app\nRUN id > /tmp/f\n"),
    _box("passwd-is-link", "RUN mkdir /real && mv /etc/passwd /real/ && ln -s /real/passwd "
         "/etc/passwd\nUSER app\n" + _WHO),
    _box("passwd-is-relative-link", "RUN mv /etc/passwd /etc/real && ln -s real /etc/passwd\n"
         "USER app\n" + _WHO),
    _box("passwd-link-out", "RUN ln -sf ../../../../etc/group /etc/passwd\nUSER root\n" + _WHO),
    _box("home-missing", "USER app\nRUN echo $HOME > /tmp/f; ls $HOME >> /tmp/f 2>&1 || true\n"),
    _box("home-of-root", "RUN echo $HOME > /f; ls -ld $HOME | cut -c1-10 >> /f\n"),
    _box("home-in-env", "ENV HOME=/x\nUSER app\nRUN echo $HOME > /tmp/f\n"),
    _box("home-empty-in-passwd", "RUN echo 'h:x:9:9:::' >> /etc/passwd\nUSER h\n"
         "RUN echo \"-$HOME-\" > /tmp/f\n"),
    Case("user-of-base", "FROM %REGISTRY%/run-full\nRUN (id; pwd; echo $HOME) > /tmp/f\n"),
    Case("user-of-stage", _HOME.rstrip() + " AS a\nUSER svc\nFROM a\nRUN id > /tmp/f\n"),
    # what a user may
    _box("may-not-write-root", "USER app\nRUN echo x > /f\n", refused=True, sample=True),
    _box("may-not-read", "RUN echo x > /s && chmod 600 /s\nUSER app\nRUN cat /s\n", refused=True),
    _box("may-write-own", "RUN mkdir -m 755 /own && chown app /own\nUSER app\n"
         "RUN echo x > /own/f; chmod 600 /own/f; mkdir /own/d\n"),
    _box("may-write-tmp", "USER app:staff\nRUN echo x > /tmp/f; umask 0; touch /tmp/g\n"),
    _box("may-use-devices", "USER app\nRUN echo x > /dev/null && head -c 3 /dev/zero | od -c > "
         "/tmp/f "
         "&& echo out > /dev/stdout && echo err > /dev/stderr\n"),
    _box("may-read-group-files", "RUN echo x > /s && chown 0:50 /s && chmod 640 /s\nUSER app\n"
         "RUN cat /s > /tmp/f\n"),
    _box("set-id-works", "RUN cp /bin/busybox /bin/who && chmod 4755 /bin/who && "
         "cp /bin/busybox /su-touch && chown svc /su-touch && chmod 4755 /su-touch\nUSER app\n"
         "RUN /bin/who touch /tmp/f; ls -ln /tmp/f | awk '{print $3, $4}' > /tmp/g\n"),
    _box("su-inside", "RUN su app -c 'id > /tmp/f' || setpriv --reuid=app id > /tmp/f || true\n"),
    _box("capabilities-none", "USER app\nRUN grep ^Cap /proc/self/status | grep -v Bnd > /tmp/f\n"),
    _box("exec-of-capable", "RUN cp /bin/act /nc && act cap /nc\nUSER app\n"
         "RUN /nc write /tmp/f x\n"),
    # owners that others see
    _box("workdir-of-user", "USER app\nWORKDIR /made/here\nRUN ls -ldn . .. | awk '{print $1, $3, "
         "$4}'"
         " > /tmp/f; echo x > f || echo no >> /tmp/f\n", sample=True),
    _box("workdir-then-write", "RUN mkdir /w && chown app /w\nUSER app\nWORKDIR /w\n"
         "RUN echo x > f\n"),
    _box("workdir-relative", "WORKDIR /a\nWORKDIR b\nUSER 5\nWORKDIR c\nRUN pwd > /tmp/f\n"),
    _box("workdir-through-link", "RUN mkdir /r && ln -s /r /l\nWORKDIR /l/x\nRUN pwd > /r/f; "
         "pwd -P >> /r/f; ls /r >> /r/f\n"),
    _box("workdir-onto-file", "RUN echo > /w\nWORKDIR /w\nRUN true\n", refused=True),
    _box("workdir-closed", "RUN mkdir -m 700 /w\nUSER app\nWORKDIR /w\nRUN pwd > /tmp/f\n"),
    _box("copy-chown-name", _ADD + "COPY --chown=neu f /f\nCOPY --chown=neu:more f /g\n",
         files={"f": "f"}, sample=True),
    _box("copy-chown-name-unknown", "COPY --chown=neu f /f\n" + _ADD, files={"f": "f"}),
    _box("copy-of-user", "USER app\nCOPY f /f\nRUN cat /f > "
         "/tmp/g\n", files={"f": File("f", 0o600)},
         refused=True),
    _box("copy-then-chown", "COPY d /d\nRUN chown -R app:staff /d && chmod -R o= /d\n",
         files={"d/a": "a", "d/b/c": "c"}),
    _box("group-of-name-kept", "RUN touch /f && chgrp staff /f && chown svc /f\n"),
    _box("volume-of-user", "RUN mkdir /v && chown app /v\nVOLUME /v\nUSER app\nRUN echo x > "
         "/v/f\n"),
]  # fmt: skip
