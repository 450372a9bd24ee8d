# SPDX-License-Identifier: Apache-2.0
"""Packages and users in a Debian base made on the spot by debootstrap."""

from differential.model import Around, Case

_BASE = "FROM %REGISTRY%/debian\nENV DEBIAN_FRONTEND=noninteractive\n"
# What a package step leaves that is another each time: logs, caches with inode numbers and times.
_CLEAN = (
    " && rm -rf /var/lib/apt/lists/* /var/cache/apt/*.bin /var/log/* "
    "/var/cache/ldconfig/aux-cache /var/cache/debconf/*-old /var/lib/dpkg/*-old"
)
_OWN = (
    'ARG MIRROR\nRUN echo "deb [trusted=yes] $MIRROR ./" > /etc/apt/sources.list'
    " && apt-get -q update"
)
_HTTP = {"MIRROR": "http://%HTTP%/apt"}
_HTTPS = {"MIRROR": "https://%HTTPS%/apt"}
_CA = (
    "RUN --mount=type=secret,id=ca,mode=0444 ca=${SSL_CERT_FILE:-/run/secrets/ca}; "
    "printf 'Acquire::https::CaInfo \"%s\";\\n' $ca > /tmp/apt.conf; "
    "export APT_CONFIG=/tmp/apt.conf; "
)


def _own(name: str, then: str, **more: object) -> Case:
    """One step that installs from our own archive."""
    return Case(name, f"{_BASE}{_OWN} && {then}{_CLEAN}\n", args=_HTTP,
                **more)  # type: ignore[arg-type]  # fmt: skip


def _debian(name: str, lines: str, **more: object) -> Case:
    return Case(name, _BASE + lines, **more)  # type: ignore[arg-type]


CASES = [
    # our own packages
    _own("install", "apt-get -qy install wh-hello && wh-hello > /f"),
    _own("install-that-adds-user", "apt-get -qy install wh-daemon && id whd > /f && "
         "ls -ln /etc/whd.conf /usr/sbin/whd | awk '{print $1, $3}' >> /f"),
    _own("install-alternatives", "apt-get -qy install wh-hello wh-alt && ls -l "
         "/etc/alternatives/wh-edit"
         " | awk '{print $9, $11}' > /f"),
    _own("install-broken", "apt-get -qy install wh-broken", refused=True),
    _own("install-unknown", "apt-get -qy install no-such-package", refused=True),
    _own("install-and-purge", "apt-get -qy install wh-daemon && apt-get -qy purge wh-daemon "
         "wh-lib"),
    Case("install-and-remove-later", f"{_BASE}{_OWN} && apt-get -qy install wh-alt{_CLEAN}\n"
         f"RUN apt-get -qy remove wh-alt{_CLEAN}\n", args=_HTTP),
    Case("install-in-two-steps", f"{_BASE}{_OWN} && apt-get -qy install wh-lib{_CLEAN}\n"
         f"RUN apt-get -q update && apt-get -qy install wh-daemon{_CLEAN}\nUSER whd\n"
         "RUN id > /var/lib/whd/who\n", args=_HTTP),
    Case("install-with-caches", f"{_BASE}ARG MIRROR\nRUN rm -f /etc/apt/apt.conf.d/docker-clean && "
         'echo "deb [trusted=yes] $MIRROR ./" > /etc/apt/sources.list\n'
         "RUN --mount=type=cache,id=%CASE%a,target=/var/cache/apt,sharing=locked "
         "--mount=type=cache,id=%CASE%l,target=/var/lib/apt,sharing=locked "
         f"apt-get -q update && apt-get -qy install wh-hello{_CLEAN}; ls /var/cache/apt/archives "
         f"> /f\n",
         args=_HTTP),
    Case("install-by-copied-package", _BASE + "ADD http://%HTTP%/apt/wh-hello.deb /tmp/\n"
         f"RUN dpkg -i /tmp/wh-hello.deb && rm /tmp/wh-hello.deb{_CLEAN}\n"),
    Case("install-by-bind", "FROM scratch AS got\nADD http://%HTTP%/apt/wh-lib.deb /\n" + _BASE
         + f"RUN --mount=from=got,target=/m dpkg -i /m/wh-lib.deb{_CLEAN}\n"),
    Case("install-over-tls", f"{_BASE}ARG MIRROR\n{_CA}"
         'echo "deb [trusted=yes] $MIRROR ./" > /etc/apt/sources.list && apt-get -q update && '
         f"apt-get -qy install wh-hello{_CLEAN} && rm /tmp/apt.conf\n", args=_HTTPS,
         around=Around(ca=True)),
    Case("install-over-tls-untrusted", f"{_BASE}{_OWN} && apt-get -qy install wh-hello\n",
         args=_HTTPS, refused=True),
    # the distribution's
    Case("mirror-install", f"{_BASE}ARG MIRROR\nRUN echo \"deb $MIRROR bookworm main\" > "
         "/etc/apt/sources.list && apt-get -q update && apt-get -qy install "
         "--no-install-recommends "
         f"file libcap2-bin attr{_CLEAN}\nRUN file -b /bin/sh > /f; setcap cap_net_bind_service=ep "
         "/usr/bin/file && getcap /usr/bin/file >> /f\n", args={"MIRROR": "http://%HTTP%/mirror"}),
    Case("mirror-install-over-tls", f"{_BASE}ARG MIRROR\n{_CA}"
         'echo "deb $MIRROR bookworm main" > /etc/apt/sources.list && apt-get -q update && '
         f"apt-get -qy install --no-install-recommends ca-certificates{_CLEAN} && rm "
         f"/tmp/apt.conf\n",
         args={"MIRROR": "https://%HTTPS%/mirror"}, around=Around(ca=True)),
    Case("mirror-install-daemon", f"{_BASE}ARG MIRROR\nRUN echo \"deb $MIRROR bookworm main\" > "
         "/etc/apt/sources.list && apt-get -q update && apt-get -qy install "
         "--no-install-recommends "
         f"cron openssl dbus{_CLEAN} /etc/machine-id /var/lib/dbus/machine-id\nRUN id messagebus "
         f"> /f; "
         "ls -ln /usr/bin/crontab | awk '{print $1}' >> /f\n",
         args={"MIRROR": "http://%HTTP%/mirror"}),
    # users and groups by the distribution's programs
    _debian("useradd", "RUN useradd -m -s /bin/bash neu && sed -i s/:[0-9]*:0:99999/:1:0:99999/ "
            "/etc/shadow\nUSER neu\nWORKDIR /home/neu\nRUN (id; echo $HOME; pwd) > who\n"),
    _debian("useradd-system", "RUN useradd -r -u 499 -d /srv/x -M neu && sed -i "
            "'s/^neu:!:[0-9]*/neu:!:1/' /etc/shadow\nUSER neu:neu\nRUN id > /tmp/who\n"),
    _debian("adduser", "RUN adduser --quiet --system --group --home /var/lib/neu neu && sed -i "
            "'s/^neu:!:[0-9]*/neu:!:1/' /etc/shadow\nUSER neu\nRUN id > ~/who\n"),
    _debian("groupadd-and-usermod", "RUN groupadd -g 900 extra && usermod -aG extra,adm games && "
            "rm -f /etc/*-\nUSER games\nRUN id > /tmp/who\n"),
    _debian("su-and-chpasswd", "RUN su games -s /bin/sh -c 'id > /tmp/who'; su nobody -s /bin/sh "
         "-c "
            "'touch /root/x' || echo no > /f\n"),
    _debian("copy-chown-of-made-user", "RUN useradd -u 1500 neu && rm -f /etc/*- && sed -i "
            "'s/^neu:!:[0-9]*/neu:!:1/' /etc/shadow\nCOPY --chown=neu:neu a /home/neu/a\nUSER neu\n"
            "RUN ls -ln /home/neu/a | awk '{print $1, $3, $4}' > /tmp/f\n", files={"a": "A"}),
    # the base itself
    _debian("nothing-changed", "RUN true\n"),
    _debian("bash", 'SHELL ["/bin/bash", "-o", "pipefail", "-euc"]\nRUN a=(1 2 3); '
            "echo ${#a[@]} > /f; diff <(echo 1) <(echo 2) > /g || true\n"),
    _debian("bash-pipefail", 'SHELL ["/bin/bash", "-o", "pipefail", "-c"]\nRUN false | true\n',
            refused=True),
    _debian("rm-large-trees", "RUN rm -rf /usr/share/doc /usr/share/locale /usr/share/man\n"
            "RUN mkdir -p /usr/share/doc/new && echo x > /usr/share/doc/new/x\n"),
    _debian("recursive-chown", "RUN chown -R games:games /var/lib/dpkg /etc/apt\n"),
    _debian("copy-of-tree", "RUN cp -a /etc /etc-copy && diff -r /etc /etc-copy\n"),
    _debian("tar-round", "RUN tar -C / -cf /tmp/x.tar etc usr/bin && mkdir /y && tar -C /y -xpf "
            "/tmp/x.tar && rm /tmp/x.tar\n"),
    _debian("perl", "RUN perl -e 'open F, q(>), q(/f); print F $<, $>, $( + 0; close F; utime 1, "
            "1234567890, q(/f)'\n"),
    _debian("find-by-links-and-set-id", "RUN find / -xdev -perm /6000 -printf '%m %p\\n' | sort > "
         "/f\n"),
    _debian("ldconfig-and-alternatives", "RUN ldconfig && rm -f /var/cache/ldconfig/aux-cache && "
            "update-alternatives --list pager > /f || true\n"),
    _debian("hostname-and-getent", "RUN getent hosts localhost > /f; getent passwd root >> /f; "
            "hostname >> /f\n"),
    Case("multi-stage", _BASE.replace("debian\n", "debian AS build\n")
         + "RUN mkdir -p /out/bin && cp -L /bin/dash /out/bin/sh && cp -L --parents "
         "$(ldd /bin/dash | grep -o '/[^ ]*') /out\nFROM scratch\nCOPY --from=build /out /\n"
         "ENV PATH=/bin\nRUN echo alone > /f\n"),
]  # fmt: skip
