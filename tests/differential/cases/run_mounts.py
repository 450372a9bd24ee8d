# SPDX-License-Identifier: Apache-2.0
"""Mounts of RUN that are no cache: bind (of the context, stages, images), tmpfs, secret, ssh."""

from differential.model import Around, Case, Dir, File, Link

_BOX = "FROM %REGISTRY%/acting\n"
_SECRET = Around(secrets={"s": "top secret\n"})
_VAR = Around(secret_env={"VAR": "from env"})
_SSH = Around(ssh=("default",))
_FILES = {"a": "A", "d/b": "B", "d/e/c": File("C", 0o755), "l": Link("d/b")}
_LOOK = "find . | sort > /f; cat d/b >> /f"


def _case(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BOX + lines, **more)  # type: ignore[arg-type]


def _bind(name: str, mount: str, run: str, **more: object) -> Case:
    """One bind mount of the context of `_FILES`."""
    lines = f"RUN --mount={mount} {run}\n"
    return Case(name, _BOX + lines, _FILES, **more)  # type: ignore[arg-type]


def _secret(name: str, mount: str, run: str, around: Around = _SECRET, **more: object) -> Case:
    lines = f"RUN --mount=type=secret{mount} {run}\n"
    return Case(name, _BOX + lines, around=around, **more)  # type: ignore[arg-type]


CASES = [
    # bind of the context
    _bind("bind", "type=bind,target=/m", f"cd /m; {_LOOK}", sample=True),
    _bind("bind-is-default-type", "target=/m", f"cd /m; {_LOOK}"),
    _bind("bind-relative-target", "target=m", f"cd m; {_LOOK}"),
    Case("bind-target-below-workdir", _BOX + "WORKDIR /w\nRUN --mount=target=m ls /w/m > f\n",
         _FILES),
    Case("bind-target-is-workdir", _BOX + f"WORKDIR /w\nRUN --mount=target=. {_LOOK}; cp a /copy\n",
         _FILES),
    _bind("bind-dst-and-src", "type=bind,src=d,dst=/m", "find /m | sort > /f"),
    _bind("bind-destination", "source=d,destination=/m", "ls /m > /f"),
    _bind("bind-source-absolute", "source=/d/e,target=/m", "ls /m > /f"),
    _bind("bind-source-up", "source=../../d,target=/m", "ls /m > /f"),
    _bind("bind-file", "source=a,target=/file.txt", "cat /file.txt > /f"),
    _bind("bind-file-onto-file", "source=a,target=/etc/passwd", "cat /etc/passwd > /f"),
    _bind("bind-file-deep-target", "source=d/e/c,target=/x/y/z", "cat /x/y/z > /f; ls -l /x/y/z "
          "| cut -c1-10 >> /f"),
    _bind("bind-link-source", "source=l,target=/m", "cat /m > /f"),
    _bind("bind-missing-source", "source=none,target=/m", "ls /m", refused=True),
    _bind("bind-target-over-content", "target=/etc", "ls /etc > /f"),
    _bind("bind-target-inside-made", "target=/new/place", "ls /new/place > /f"),
    _bind("bind-target-made-stays-if-used", "target=/new/place", "touch /new/mine"),
    _bind("bind-target-root", "target=/", "true", refused=True),
    _bind("bind-no-target", "source=d", "true", refused=True),
    _bind("bind-read-only", "target=/m", "echo x > /m/x", refused=True),
    _bind("bind-ro-said", "target=/m,ro", "touch /m/x || echo no > /f"),
    _bind("bind-readonly-true", "target=/m,readonly=true", "touch /m/x || echo no > /f"),
    _bind("bind-readonly-false", "target=/m,readonly=false", "touch /m/x && ls /m > /f"),
    _bind("bind-rw", "target=/m,rw", "echo x > /m/x && rm /m/a && echo more >> /m/d/b && "
          "find /m | sort > /f; cat /m/d/b >> /f", sample=True),
    _bind("bind-rw-false", "target=/m,rw=false", "touch /m/x || echo no > /f"),
    _bind("bind-rw-file", "source=a,target=/m,rw", "echo more >> /m; cat /m > /f"),
    Case("bind-rw-lost", _BOX + "RUN --mount=target=/m,rw echo x > /m/x\n"
         "RUN --mount=target=/m,rw ls /m > /f\n", _FILES),
    Case("bind-twice", _BOX + "RUN --mount=target=/m --mount=source=d,target=/n ls /m /n > /f\n",
         _FILES),
    Case("bind-in-bind", _BOX + "RUN --mount=target=/m,rw --mount=source=d/e,target=/m/in "
         "ls /m /m/in > /f\n", _FILES),
    Case("bind-in-bind-ro", _BOX + "RUN --mount=target=/m --mount=source=d/e,target=/m/d "
         "find /m | sort > /f\n", _FILES),
    Case("bind-same-target", _BOX + "RUN --mount=source=d,target=/m --mount=source=d/e,target=/m "
         "ls /m > /f\n", _FILES),
    Case("bind-ignored-files", _BOX + "RUN --mount=target=/m find /m | sort > /f\n",
         {**_FILES, ".dockerignore": "d/e\n"}),
    Case("bind-owners-and-modes", _BOX + "RUN --mount=target=/m ls -lnR /m | awk '{print $1, $3, "
         "$4}'"
         " > /f\n", {"a": File("x", 0o600), "d": Dir(0o700), "d/f": File("", 0o777)}),
    Case("bind-with-user", _BOX + "USER app\nRUN --mount=target=/m cat /m/a > /tmp/f\n", _FILES),
    Case("bind-through-link-target", _BOX + "RUN mkdir /r && ln -s /r /l\n"
         "RUN --mount=target=/l/x ls /l/x > /f; ls /r >> /f\n", _FILES),
    Case("bind-target-is-link", _BOX + "RUN mkdir /r && ln -s /r /l\n"
         "RUN --mount=target=/l ls /r > /f\n", _FILES),
    Case("bind-variable", _BOX + "ARG S=d\nARG T=/m\nENV E=bind\n"
         "RUN --mount=type=${E},source=$S,target=${T} ls /m > /f\n", _FILES),
    Case("bind-quotes", _BOX + 'RUN --mount="type=bind,source=d,target=/m" ls /m > /f\n', _FILES),
    Case("bind-csv-quotes", _BOX + "RUN --mount='type=bind,\"source=d\",target=/m' ls /m > /f\n",
         _FILES),
    Case("bind-upper-case", _BOX + "RUN --mount=TYPE=BIND,Source=d,TARGET=/m ls /m > /f\n", _FILES),
    Case("bind-exec-form", _BOX + 'RUN --mount=target=/m ["cp", "/m/a", "/f"]\n', _FILES),
    Case("bind-heredoc", _BOX + "RUN --mount=target=/m <<EOF\ncp /m/a /f\nEOF\n", _FILES),
    # bind of stages and images
    Case("bind-from-stage", _BOX.rstrip() + " AS a\nRUN mkdir /o && echo x > /o/x\n" + _BOX
         + "RUN --mount=from=a,target=/m ls /m > /f; cat /m/o/x >> /f\n", sample=True),
    Case("bind-from-stage-source", _BOX.rstrip() + " AS a\nRUN mkdir /o && echo x > /o/x\n" + _BOX
         + "RUN --mount=from=a,source=/o,target=/m cp -r /m /got\n"),
    Case("bind-from-stage-file", _BOX.rstrip() + " AS a\nRUN echo x > /x\n" + _BOX
         + "RUN --mount=from=a,source=x,target=/m cat /m > /got\n"),
    Case("bind-from-stage-rw", _BOX.rstrip() + " AS a\nRUN mkdir /o && echo x > /o/x\n" + _BOX
         + "RUN --mount=from=a,source=/o,target=/m,rw echo y > /m/y; rm /m/x; ls /m > /f\n"
         "RUN --mount=from=a,source=/o,target=/m ls /m > /g\n"),
    Case("bind-from-index", _BOX + "RUN echo x > /x\n" + _BOX
         + "RUN --mount=from=0,source=x,target=/m cat /m > /got\n", refused=True),
    Case("bind-from-image", _BOX + "RUN --mount=from=%REGISTRY%/tree,target=/t,source=/srv "
         "ls -lnR /t | awk '{print $1, $3, $4}' > /f\n"),
    Case("bind-from-image-whiteouts", _BOX + "RUN --mount=from=%REGISTRY%/layers,target=/t "
         "find /t | sort > /f\n"),
    Case("bind-from-scratch-stage", "FROM scratch AS s\nCOPY a /a\n" + _BOX
         + "RUN --mount=from=s,target=/m ls /m > /f\n", _FILES),
    Case("bind-from-empty", "FROM scratch AS s\n" + _BOX + "RUN --mount=from=s,target=/m ls /m > "
         "/f\n"),
    Case("bind-from-context", _BOX + "RUN --mount=from=c,target=/m ls /m > /f\n",
         contexts={"c": {"one": "1"}}),
    Case("bind-from-itself", _BOX.rstrip() + " AS a\nRUN --mount=from=a,target=/m true\n",
         refused=True),
    Case("bind-from-later", _BOX.rstrip() + " AS a\nRUN --mount=from=b,target=/m true\n"
         + _BOX.rstrip() + " AS b\n", target="a", refused=True),
    Case("bind-from-unknown-image", _BOX + "RUN --mount=from=%REGISTRY%/none,target=/m true\n",
         refused=True),
    Case("bind-from-variable", "ARG I=tree\n" + _BOX + "ARG I\n"
         "RUN --mount=from=%REGISTRY%/$I,target=/m true\n", refused=True),
    Case("bind-from-alias-of-variable", "ARG I=layers\nFROM %REGISTRY%/$I AS t\n" + _BOX
         + "RUN --mount=from=t,target=/m ls /m > /f\n"),
    Case("bind-from-missing-source", "FROM %REGISTRY%/tree AS t\n" + _BOX
         + "RUN --mount=from=t,source=/none,target=/m true\n", refused=True),
    Case("bind-from-source-through-link", "FROM %REGISTRY%/tree AS t\n" + _BOX
         + "RUN --mount=from=t,source=/link,target=/m ls /m > /f\n"),
    Case("bind-from-source-link-out", _BOX.rstrip() + " AS a\nRUN ln -s ../../../etc /up\n" + _BOX
         + "RUN --mount=from=a,source=/up,target=/m ls /m > /f\n"),
    # tmpfs
    _case("tmpfs", "RUN --mount=type=tmpfs,target=/t echo x > /t/x && act free /t > /dev/null; "
          "ls /t > /f\nRUN ls /t > /g 2>&1 || echo gone > /g\n"),
    _case("tmpfs-over-content", "RUN --mount=type=tmpfs,target=/etc ls /etc > /f; echo x > "
         "/etc/y\n"),
    _case("tmpfs-mode", "RUN --mount=type=tmpfs,target=/t ls -ldn /t | awk '{print $1, $3, $4}' > "
         "/f\n"),
    _case("tmpfs-size", "RUN --mount=type=tmpfs,target=/t,size=4m act free /t > /f\n", sample=True),
    _case("tmpfs-size-bytes", "RUN --mount=type=tmpfs,target=/t,size=2097152 act free /t > /f\n"),
    _case("tmpfs-size-units", "RUN --mount=type=tmpfs,target=/t,size=1gb act free /t > /f\n"),
    _case("tmpfs-size-full", "RUN --mount=type=tmpfs,target=/t,size=1m dd if=/dev/zero of=/t/x "
          "bs=1M count=3\n", refused=True),
    _case("tmpfs-size-bad", "RUN --mount=type=tmpfs,target=/t,size=large true\n", refused=True),
    _case("tmpfs-size-negative", "RUN --mount=type=tmpfs,target=/t,size=-1 true\n", refused=True),
    _case("tmpfs-read-only", "RUN --mount=type=tmpfs,target=/t,ro touch /t/x || echo no > /f\n"),
    _case("tmpfs-on-tmp", "RUN --mount=type=tmpfs,target=/tmp echo x > /tmp/x; ls -ld /tmp | "
          "cut -c1-10 > /f\n"),
    _case("tmpfs-relative", "WORKDIR /w\nRUN --mount=type=tmpfs,target=t touch t/x; ls > f\n"),
    _case("tmpfs-with-source", "RUN --mount=type=tmpfs,target=/t,source=/x ls /t > /f\n",
          refused=True),
    _case("tmpfs-from", "RUN --mount=type=tmpfs,target=/t,from=%REGISTRY%/tree ls /t > /f\n"),
    _case("tmpfs-as-user", "USER app\nRUN --mount=type=tmpfs,target=/t touch /t/x || echo no > "
         "/tmp/f\n"),
    _case("tmpfs-two-and-bind", "RUN --mount=type=tmpfs,target=/t --mount=target=/t/in "
          "--mount=type=tmpfs,target=/u ls /t /t/in /u > /f\n", files={"a": "A"}),
    _case("tmpfs-no-target", "RUN --mount=type=tmpfs true\n", refused=True),
    _case("tmpfs-exec-there", "RUN --mount=type=tmpfs,target=/t cp /bin/act /t/a && /t/a write /f "
         "x\n"),
    # secrets
    _secret("secret", ",id=s", "cat /run/secrets/s > /f"),
    _secret("secret-not-kept", ",id=s", "test -s /run/secrets/s"),
    _secret("secret-target", ",id=s,target=/own", "cat /own > /f; ls -ln /own | "
            "awk '{print $1, $3, $4, $5}' >> /f", sample=True),
    _secret("secret-target-relative", ",id=s,target=own/x", "cat own/x > /f"),
    _secret("secret-target-in-workdir", ",id=s,target=x", "cat /x > /f || cat x > /f"),
    _secret("secret-target-over-file", ",id=s,target=/etc/passwd", "cat /etc/passwd > /f"),
    _secret("secret-target-no-id", ",target=/own/s", "cat /own/s > /f"),
    _secret("secret-src", ",src=s", "cat /run/secrets/s > /f"),
    _secret("secret-source-path", ",source=/a/b/s,target=/x", "test -e /x && cat /x > /f "
            "|| echo none > /f"),
    _secret("secret-id-and-src", ",id=s,src=s", "true", refused=True),
    _secret("secret-nothing", "", "true", refused=True),
    _secret("secret-mode-and-owner", ",id=s,mode=0444,uid=1000,gid=50", "ls -ln /run/secrets/s "
            "| awk '{print $1, $3, $4}' > /f"),
    _secret("secret-mode-only", ",id=s,mode=600", "ls -ln /run/secrets/s | "
            "awk '{print $1, $3, $4}' > /f"),
    _secret("secret-uid-only", ",id=s,uid=77", "ls -ln /run/secrets/s | "
            "awk '{print $1, $3, $4}' > /f"),
    Case("secret-by-user", _BOX + "USER app\nRUN --mount=type=secret,id=s cat /run/secrets/s\n",
         around=_SECRET, refused=True),
    Case("secret-by-its-user", _BOX + "USER app\nRUN --mount=type=secret,id=s,uid=1000 "
         "cat /run/secrets/s > /tmp/f\n", around=_SECRET),
    _secret("secret-missing", ",id=none", "ls -A /run > /f 2>&1 || echo nothing > /f"),
    _secret("secret-missing-required", ",id=none,required", "true", refused=True, sample=True),
    _secret("secret-missing-required-true", ",id=none,required=true", "true", refused=True),
    _secret("secret-required-there", ",id=s,required=true", "cat /run/secrets/s > /f"),
    _secret("secret-required-false", ",id=none,required=false", "test ! -e /run/secrets/none"),
    _secret("secret-written", ",id=s", "echo x > /run/secrets/s", refused=True),
    _secret("secret-env", ",id=s,env=TOKEN", 'echo "$TOKEN" > /f; ls /run >> /f 2>&1 || true',
            sample=True),
    _secret("secret-env-and-target", ",id=s,env=TOKEN,target=/x", 'cat /x > /f; echo "$TOKEN" >> '
         '/f'),
    _secret("secret-env-missing", ",id=none,env=TOKEN", 'echo "-${TOKEN-unset}-" > /f'),
    _secret("secret-env-missing-required", ",id=none,env=TOKEN,required", "true", refused=True),
    Case("secret-env-over-env", _BOX + "ENV TOKEN=public\nRUN --mount=type=secret,id=s,env=TOKEN "
         'echo "$TOKEN" > /f\nRUN echo "$TOKEN" > /g\n', around=_SECRET),
    Case("secret-env-over-arg", _BOX + "ARG TOKEN=public\nRUN --mount=type=secret,id=s,env=TOKEN "
         'echo "$TOKEN" > /f\n', around=_SECRET),
    _secret("secret-env-empty-name", ",id=s,env=", "true", refused=True),
    _secret("secret-of-variable", ",id=VAR", "cat /run/secrets/VAR > /f", _VAR),
    _secret("secret-of-variable-env", ",id=VAR,env=OTHER", 'echo "$OTHER" > /f', _VAR),
    _secret("secret-binary", ",id=b", "wc -c < /run/secrets/b > /f; md5sum /run/secrets/b >> /f",
            Around(secrets={"b": bytes(range(256)) * 20})),
    _secret("secret-empty", ",id=e", "wc -c < /run/secrets/e > /f", Around(secrets={"e": ""})),
    _secret("secret-too-large", ",id=b", "true", Around(secrets={"b": "x" * 600_000}),
            refused=True),
    _secret("secret-large", ",id=b", "wc -c < /run/secrets/b > /f",
            Around(secrets={"b": "x" * 400_000})),
    _secret("secret-two", ",id=a --mount=type=secret,id=b", "cat /run/secrets/a /run/secrets/b > "
         "/f",
            Around(secrets={"a": "1", "b": "2"})),
    _secret("secret-same-twice", ",id=s --mount=type=secret,id=s,target=/x",
            "cat /run/secrets/s /x > /f"),
    _secret("secret-in-made-dir", ",id=s,target=/made/for/it", "cat /made/for/it > /dev/null; "
            "ls /made > /f"),
    _secret("secret-in-used-dir", ",id=s,target=/made/for/it", "touch /made/own"),
    _secret("secret-from", ",id=s,from=x", "true", refused=True),
    _secret("secret-sharing", ",id=s,sharing=locked", "true", refused=True),
    _secret("secret-size", ",id=s,size=5", "true", refused=True),
    Case("secret-id-of-variable", _BOX + "ARG I=s\nRUN --mount=type=secret,id=$I,target=/x "
         "cat /x > /f\n", around=_SECRET),
    Case("secret-only-in-its-step", _BOX + "RUN --mount=type=secret,id=s true\n"
         "RUN ls -R /run > /f 2>&1 || true\n", around=_SECRET),
    # ssh
    _case("ssh", "RUN --mount=type=ssh act agent > /f\n", around=_SSH, sample=True),
    _case("ssh-socket-name", "RUN --mount=type=ssh echo $SSH_AUTH_SOCK > /f; ls -ln "
         "$SSH_AUTH_SOCK | "
          "awk '{print $1, $3, $4}' >> /f\n", around=_SSH),
    _case("ssh-target", "RUN --mount=type=ssh,target=/own/sock echo $SSH_AUTH_SOCK > /f; "
          "act agent >> /f\n", around=_SSH),
    _case("ssh-mode-and-owner", "RUN --mount=type=ssh,mode=0666,uid=1000,gid=50 ls -ln "
         "$SSH_AUTH_SOCK "
          "| awk '{print $1, $3, $4}' > /f\n", around=_SSH),
    _case("ssh-by-user", "USER app\nRUN --mount=type=ssh,uid=1000 act agent > "
         "/tmp/f\n", around=_SSH),
    _case("ssh-by-other-user", "USER app\nRUN --mount=type=ssh act agent\n", around=_SSH,
          refused=True),
    _case("ssh-id", "RUN --mount=type=ssh,id=other act agent > /f\n",
          around=Around(ssh=("default", "other"))),
    _case("ssh-missing", "RUN --mount=type=ssh echo \"-${SSH_AUTH_SOCK-unset}-\" > "
         "/f\n"),
    _case("ssh-missing-required", "RUN --mount=type=ssh,required true\n", refused=True),
    _case("ssh-missing-id-required", "RUN --mount=type=ssh,id=none,required=true true\n",
          around=_SSH, refused=True),
    _case("ssh-two", "RUN --mount=type=ssh --mount=type=ssh,id=other echo $SSH_AUTH_SOCK > /f; "
          "act agent >> /f\n", around=Around(ssh=("default", "other"))),
    _case("ssh-env-set", "ENV SSH_AUTH_SOCK=/own\nRUN --mount=type=ssh echo $SSH_AUTH_SOCK > /f\n",
          around=_SSH),
    _case("ssh-only-in-its-step", "RUN --mount=type=ssh act agent > /f\n"
          "RUN echo \"-${SSH_AUTH_SOCK-unset}-\" > /g; ls /run > /g 2>&1 || true\n", around=_SSH),
]  # fmt: skip
