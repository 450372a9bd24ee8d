# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles made at random, in which the flags and arguments of instructions are odd.

One `random.Random` decides everything, so that a seed names a file for good. The odd corners of
the lines themselves are in `dockerfile_grammar`.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

_WORDS = (
    "a", "/b/c", ".", "$X", "${Y:-z}", "'q r'", '"s t"', "x=y", "=y", "z=", "''", '""', "a,b", "-x",
    "é", "<<", "<<A", "<<-A", "<<'A'", "<<A<<B", "a<<A", "1", "NONE", "as", "\\ ", "#", "--late",
)  # fmt: skip
_JSON = ("[]", '["a"]', '["a", "/b c"]', '[""]', '["<<A", "/x"]', '[" ", "a"]', "['a']", '["a",',
         '["a", "<<A"]', '["\\u00a0"]')  # fmt: skip
_TRUTHS = ("", "=", "=true", "=false", "=TRUE", "=False", "=1", "=t", "=yes", "=$X", "='true'")
_TEXTS = ("", "=", "=x", "=$X", "=a=b", "=1:2", "='a b'", '="c"')
_DURATIONS = (
    "", "=", "=0", "=5", "=5s", "=1m30s", "=1h2m3.5s", "=-1s", "=+1s", "=999us", "=1000us", "=1ms",
    "=0.5ms", "=1\u00b5s", "=1000\u03bcs", "=1d", "=.5s", "=5.s", "=.s", "=1e3s", "=9223372036s",
    "=9223372037s", "=2562047h47m16.854775807s", "=2562047h47m16.854775808s", "=s", "=1s ", "=$D",
    "=0.0009999999999999999999s", "=0.001s", "=-0", "=1m1m", "=00001s", "=99999999999999999999s",
)  # fmt: skip
_RETRIES = ("", "=", "=0", "=3", "=+3", "=-1", "=-0", "=2147483647", "=2147483648", "=1_0", "=0x1",
            "=1.0", "=x", "=00000000000000000000000001")  # fmt: skip
_NETWORKS = ("", "=", "=default", "=none", "=host", "=HOST", "=hots", "=$N")
_SECURITY = ("", "=", "=sandbox", "=insecure", "=Sandbox", "=none", "=$S")
_DEVICES = (
    "", "=", "=a/b=c", "=name=x", "=x,required", "=x,required=true", "=x,required=no", "=x,y",
    "=x,name=y", "=name=x,name=y", "=required", "=Name=x", "=x,Required=F", "=x,y=z", "=,x",
    "=$D", '=\\"a,b\\"', '=a\\"b', "=x,", "=required=",
)  # fmt: skip
_MOUNTS = (
    "", "=", "=target=/x", "=type=cache,target=/x,sharing=locked", "=type=secret,id=x,required",
    "=type=ssh", "=type=tmpfs,target=/x,size=1m", "=from=$X,target=/x", "=from=x$,target=/x",
    "=from=${X},target=/$Y", "=target=$X", '=\\"target=/a,b\\"', '=target=\\"a', "=type=$T,$U",
    "=target=/x,from", "=FROM=$x", "=type=volume", "=target=/x,size=1", "=nonsense", "=a=b",
    "=type=secret", "=target=/x,mode=1", "=type=cache,sharing=no",
)  # fmt: skip
_HEALTH = ("interval", "timeout", "start-period", "start-interval")
_FLAGS: dict[str, dict[str, Sequence[str]]] = {
    "FROM": {"platform": _TEXTS},
    "RUN": {"mount": _MOUNTS, "network": _NETWORKS, "security": _SECURITY, "device": _DEVICES},
    "COPY": {"from": _TEXTS, "chown": _TEXTS, "chmod": _TEXTS, "link": _TRUTHS,
             "parents": _TRUTHS, "exclude": _TEXTS},
    "ADD": {"chown": _TEXTS, "chmod": _TEXTS, "link": _TRUTHS, "checksum": _TEXTS,
            "keep-git-dir": _TRUTHS, "unpack": _TRUTHS, "exclude": _TEXTS},
    "HEALTHCHECK": {**dict.fromkeys(_HEALTH, _DURATIONS), "retries": _RETRIES},
}  # fmt: skip
# What is right, to be taken more often than not.
_GOOD_FLAGS: dict[str, Sequence[str]] = {
    **dict.fromkeys(("link", "parents", "keep-git-dir", "unpack"), ("", "=true", "=False")),
    **dict.fromkeys(_HEALTH, ("=5s", "=1m30s", "=0", "=1.5h2m", "=")),
    "retries": ("=3", "=0", "="),
    "mount": ("=target=/x", "=type=cache,target=/$X", "=type=secret,id=x,required", "=type=$T"),
    "network": ("=none", "=host", "=default"),
    "security": ("=sandbox", "=insecure"),
    "device": ("=a/b=c,required", "=x"),
}
_GOOD_ARGUMENTS: dict[str, Sequence[str]] = {
    "FROM": ("x", "x AS b", "$B"),
    "ARG": ("A", "A=1", 'A="b c" D'),
    "ENV": ("A=1", "A b c", "A=1 B=$X"),
    "LABEL": ("a.b=c d=e", "a b"),
    "HEALTHCHECK": ("NONE", "CMD x y", 'CMD ["a", "b"]', "cmd x"),
    "SHELL": ('["/bin/sh", "-c"]',),
    "VOLUME": ("/a /b", '["/a b"]'),
    "COPY": ("a /b", '["a", "/b c"]', "<<A x <<-'A' /d/", "a <<A b"),
    "ADD": ("a /b", "https://x/y.git#z /b", "<<A /d"),
}
_KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    "RUN", "RUN", "COPY", "COPY", "ADD", "HEALTHCHECK", "HEALTHCHECK", "FROM",
)  # fmt: skip
_ODD_KEYWORDS = ("FORM", "COPPY", "apt-get", "&&", "WOR\u212aDIR", "RUN\u00a0x")
_AS = ("AS", "as", "aS", "a\u017f")
_STAGE_NAMES = ("b", "B-1", "1b", "x.y_z", "-b", "b/c", "é", "\u0130x", "\u212a", "scratch", "")
_ARGUMENTS: dict[str, Sequence[str]] = {
    "FROM": ("", "x", "$B", "x y", "x AS", "x IS y", "x as y z", '""', "x:1@sha256:y"),
    "ARG": ("", "A", "A=1", "=1", "A= B", 'A="b c" D', "A =b", "--x A", "A=b=c", '"A B"=c', "''"),
    "ENV": ("", "A=1", "A b c", "=x", "A=1 =x", "A=1 B", "A", 'A="b c" D=\'e f\'', "A= B=",
            '""=x', "a\\ b=c", "= x"),
    "LABEL": ("", "a.b=c", "a b", "=x", '"a b"="c d"', "a=b c=d", "$X=$Y"),
    "HEALTHCHECK": ("", "NONE", "none", "NONE x", "CMD", "CMD x y", "cmd x", 'CMD ["a", "b"]',
                    "CMD []", "curl x", "CMD [1]", "NONE []", "[]", '["CMD", "x"]', "Cmd\tx"),
    "SHELL": ("", '["/bin/sh", "-c"]', "[]", "/bin/sh -c", '["a"', "['a']"),
    "VOLUME": ("", "/a", "/a /b", '["/a"]', "[]", '[""]', '[" "]', '["/a", "\\u00a0"]', '""'),
    "EXPOSE": ("", "80", "80/udp 7", "1-2", "$P", "9 10 8 é \u00a0"),
    "USER": ("", "a", "a:b", "a b", "$U"),
    "WORKDIR": ("", "/a", "a b", "$W", "--x", "-- --x"),
    "STOPSIGNAL": ("", "SIGTERM", "9", "$S", "a b", "--x 9", "--x"),
    "MAINTAINER": ("", "Me <m@x>", "a", "--x me"),
}  # fmt: skip


def dockerfile(random: Random) -> str:
    """A file with mostly one instruction of interest, so that errors do not hide each other."""
    lines = ["# escape=`"] if random.random() < 0.05 else []
    lines += ["ARG B=1"] if random.random() < 0.1 else []
    lines += ["FROM base"] if random.random() < 0.97 else []
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        if random.random() < 0.1:
            lines.append(random.choice(("# A text", "# b builds it", "#", "")))
        lines += _instruction(random)
    return "\n".join(lines) + random.choice(("\n", "\n", ""))


def _instruction(random: Random) -> list[str]:
    keyword = random.choice(_ODD_KEYWORDS if random.random() < 0.03 else _KEYWORDS)
    line = random.choice((keyword, keyword, keyword, keyword.lower(), keyword.title()))
    if keyword == "ONBUILD" and random.random() < 0.9:
        first, *rest = _instruction(random)
        return [f"{line} {first}", *rest]
    for flag in _flags(random, keyword):
        line += f" {flag}"
    arguments = _arguments(random, keyword)
    return [f"{line} {arguments}".rstrip() if random.random() < 0.9 else f"{line} {arguments} ",
            *_bodies(random, keyword, arguments)]  # fmt: skip


def _flags(random: Random, keyword: str) -> list[str]:
    known = _FLAGS.get(keyword, {})
    count = random.choice((0, 1, 1, 2)) if known else random.choice((0,) * 9 + (1,))
    flags = []
    for _ in range(count):
        if not known or random.random() < 0.05:
            flags.append(random.choice(("--x", "--link", "--form=x", "--From=x", "--=", "--mount-x",
                                        "--é=1", "--x='--'", '"--"', "--'y'=z", "--")))  # fmt: skip
            continue
        name = random.choice(tuple(known))
        good = _GOOD_FLAGS.get(name, ("=x", "=$X", "=1:2", "="))
        flags.append(f"--{name}{random.choice(good if random.random() < 0.7 else known[name])}")
    return flags


def _arguments(random: Random, keyword: str) -> str:
    if random.random() < 0.6:
        return random.choice(_GOOD_ARGUMENTS.get(keyword, ("a",)))
    if keyword == "FROM" and random.random() < 0.5:
        return f"x {random.choice(_AS)} {random.choice(_STAGE_NAMES)}"
    if keyword in _ARGUMENTS and random.random() < 0.85:
        return random.choice(_ARGUMENTS[keyword])
    if random.random() < 0.2:
        return random.choice(_JSON)
    return " ".join(random.choice(_WORDS) for _ in range(random.choice((0, 1, 2, 2, 2, 3))))


def _bodies(random: Random, keyword: str, arguments: str) -> list[str]:
    """Lines that end the heredocs which `arguments` may begin; some too few or too many."""
    lines = []
    for _ in range(arguments.count("<<") - (random.random() < 0.05)):
        lines += [random.choice(("text", "\ttabs", "$X", "")) for _ in range(random.randint(0, 2))]
        lines.append(random.choice(("A", "A", "A", "\tA", "A<<B")))
    return lines
