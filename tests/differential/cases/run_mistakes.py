# SPDX-License-Identifier: Apache-2.0
"""Mistakes in RUN's flags, refused: names that are near, doubled, or of another type of mount."""

from differential.model import Case, Meant

_BOX = "FROM %REGISTRY%/busybox\n"


def _bad(name: str, words: str, **more: object) -> Case:
    """A RUN that BuildKit refuses; it has a flag at least."""
    return Case(name, f"{_BOX}RUN {words}\n", refused=True, **more)  # type: ignore[arg-type]


CASES = [
    _bad("flag-unknown", "--mounts=target=/m true"),
    _bad("flag-without-value", "--mount true"),
    _bad("flag-empty-mount", "--mount= true"),
    _bad("flag-network-twice", "--network=none --network=default true"),
    _bad("flag-security-twice", "--security=sandbox --security=sandbox true"),
    _bad("flag-after-word", "true --mount=target=/m && false"),
    _bad("type-unknown", "--mount=type=volume,target=/m true"),
    _bad("type-near", "--mount=type=secrets,id=x true"),
    _bad("type-empty", "--mount=type=,target=/m true"),
    _bad("key-unknown", "--mount=type=bind,targett=/m true"),
    _bad("key-without-value", "--mount=type=bind,target true"),
    _bad("key-source-without-value", "--mount=target=/m,source true"),
    _bad("key-empty", "--mount==x,target=/m true"),
    _bad("csv-open-quote", "--mount='type=bind,\"target=/m' true"),
    _bad("ro-bad-value", "--mount=target=/m,ro=maybe true"),
    _bad("rw-bad-value", "--mount=target=/m,rw=2 true"),
    _bad("required-on-bind", "--mount=target=/m,required true"),
    _bad("required-on-tmpfs", "--mount=type=tmpfs,target=/m,required=true true"),
    _bad("required-bad-value", "--mount=type=secret,id=x,required=maybe true"),
    _bad("size-on-bind", "--mount=target=/m,size=1m true"),
    _bad("size-on-ssh", "--mount=type=ssh,size=1m true"),
    _bad("mode-on-bind", "--mount=target=/m,mode=755 true"),
    _bad("uid-on-bind", "--mount=target=/m,uid=1 true"),
    _bad("gid-on-tmpfs", "--mount=type=tmpfs,target=/m,gid=1 true"),
    _bad("mode-on-tmpfs", "--mount=type=tmpfs,target=/m,mode=700 true", sample=True),
    _bad("mode-not-octal", "--mount=type=cache,target=/m,mode=8 true"),
    _bad("sharing-on-bind", "--mount=target=/m,sharing=locked true"),
    _bad("sharing-on-ssh", "--mount=type=ssh,sharing=shared true"),
    _bad("sharing-unknown", "--mount=type=cache,target=/m,sharing=public true"),
    _bad("secret-from", "--mount=type=secret,id=x,from=y true"),
    _bad("secret-source-and-id", "--mount=type=secret,id=x,source=y true"),
    _bad("secret-empty", "--mount=type=secret true"),
    _bad("bind-no-target", "--mount=type=bind true"),
    _bad("cache-no-target", "--mount=type=cache true"),
    _bad("tmpfs-no-target", "--mount=type=tmpfs true"),
    _bad("target-root", "--mount=type=tmpfs,target=/ true"),
    _bad("target-root-by-dots", "--mount=type=tmpfs,target=/a/.. true"),
    _bad("target-root-relative", "--mount=type=cache,target=. true"),
    _bad("from-variable", "--mount=from=$X,target=/m true"),
    _bad("from-self", "--mount=from=0,target=/m true"),
    _bad("variable-bad", "--mount=target=${X:?no such} true"),
    _bad("variable-open", "--mount=target=${X true"),
    _bad("variable-type-unknown", "--mount=type=$T,target=/m true"),
    _bad("network-unknown", "--network=bridge true"),
    _bad("security-unknown", "--security=none true"),
    _bad("several-mistakes", "--mount=type=nope,target=/m --network=nope true"),
    Case("mistake-in-unneeded-stage", f"{_BOX}RUN --mount=type=nope true\nFROM scratch\nCOPY f /\n",
         {"f": "f"}, meant=Meant("errors of stages that are not needed are told, too")),
    Case("mistake-after-failing", f"{_BOX}RUN false\nRUN --mount=typo=x true\n", refused=True),
    Case("run-before-from", "RUN true\nFROM %REGISTRY%/busybox\n", refused=True),
    Case("run-in-onbuild-onbuild", f"{_BOX}ONBUILD ONBUILD RUN true\n", refused=True),
    Case("run-missing-base", "FROM %REGISTRY%/no-such-base\nRUN true\n", refused=True),
]  # fmt: skip
