# SPDX-License-Identifier: Apache-2.0
"""Dockerfiles made at random: by a grammar that knows the language's odd corners, and by mutation.

One `random.Random` decides everything, so that a seed names a file for good.
"""

from __future__ import annotations

from random import Random

_KEYWORDS = (
    "ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL",
    "MAINTAINER", "ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR",
    "RUN", "COPY", "RUN", "COPY", "ENV", "ONBUILD", "FROB",
)  # fmt: skip
_HEREDOC_KEYWORDS = ("RUN", "COPY", "ADD", "ONBUILD RUN", "onbuild copy")
_NAMES = ("EOF", "a", "E_1", "END.", "x-y", "é")
_SPACES = (" ", " ", " ", "  ", "\t", "\v", "\f", "\u00a0", "\u2003", "\x1c", "\u0085", "\r")
_FLAGS = (
    "--from=a", "--chown=1:2", "--link", "--mount=type=cache,target=/x", "--", "--x='a b'",
    '--y="c d"', "--z=a\\ b", "--", "--q='open", "---", "--e=`", "--chmod=<<EOF", "-x", "--n=\\",
)  # fmt: skip
_WORDS = (
    "a", "b=c", "d=", "=e", "/x/y", "$A", "${B}", "${C:-d}", "${C:-d e}", "${D#a}", "${E/a/b}",
    "${F//a /b }", "${G", "${}", "$", "$$", "$1x", "'q r'", '"s t"', '"u\\"v"', "'w", '"x', "\\",
    "\\\\", "\\ ", "`", "``", "` ", "a'b'c", 'a"b"c', "é", "日本", "#", "a#b", "\\n", '"a\\nb"',
    "<", "<<", "<<<", "<<EOF", "<<-EOF", "<< EOF", "3<<EOF", "<<'a'", '<<"E\\nF"', "<<a<<b",
    "${A:- <<EOF }", "${A:-<<\"EOF\"}", "<<${A}", "<<\\EOF", "99999999999999999999999<<EOF",
    "AS", "as", "CMD", "NONE", "\ufeff", "&&", "|", "[", "]", "[ -f x ]", "{}", "a=b\\ c",
)  # fmt: skip
_JSON = (
    "[]", '["a"]', '["a", "b c"]', "['a']", '["a",]', '["a" "b"]', '["a"', "[1]", '["a", null]',
    "[NaN]", '["\\u00e9\\n"]', '["\\ud800"]', '["\\ud83d\\ude00\\udc80"]', '[["a"]]', '[{"a": 1}]',
    '["a"] # c', "[1e999]", '["a", 1e400]', '["\\x"]', '["tab\there"]', "[ ]", '[\t"a"\t]',
    '["<<EOF"]', "[true, false]", '["a"]x', "[-0]", "[01]", '["é"]',
)  # fmt: skip
_HEADS = (
    "# syntax=docker/dockerfile:1", "#syntax = docker/dockerfile:1.7-labs  x", "# escape=`",
    "# escape=\\", "# escape=x", "# check=skip=all", "# check=error=true;skip=A,B", "# check=bad",
    "# check=error=maybe", "# check=skip=A; error=true", " # syntax=indented", "# SYNTAX=upper",
    "# unknown=1", "#", "# text", "", "\ufeff", "#!/usr/bin/env x", "# syntax=", "# syntax= ",
    "# escape=` ", "// syntax=a", "# syn tax=a", "#\u00a0syntax=nbsp", "# escape =\t`",
)  # fmt: skip
_SNIPPETS = (
    "\n", "\\\n", "`\n", " \\ \n", "\r\n", "#", "<<", "'", '"', "$", "${", "}", "\\", " ", "--",
    "[", "]", "=", "EOF", "\t", "\ufeff", "\x00", "\udcff", "\udcc3\udca9", "é", "\u212a", "\u0130",
    "\u017f",
)  # fmt: skip


def dockerfile(random: Random) -> str:
    """A Dockerfile, sane or not."""
    escape = "\\"
    lines: list[str] = []
    for _ in range(random.choice((0, 0, 1, 1, 2, 3))):
        head = random.choice(_HEADS)
        escape = "`" if "`" in head else escape
        lines.append(head)
    if random.random() < 0.9:
        lines.append("FROM scratch")
    for _ in range(random.randint(0, 6)):
        lines.extend(_part(random, escape))
    newline = "\r\n" if random.random() < 0.15 else "\n"
    return newline.join(lines) + random.choice((newline, newline, "", newline * 2))


def mutated(random: Random, text: str) -> str:
    """The same with a few characters gone, moved or added."""
    for _ in range(random.randint(1, 4)):
        at, length = random.randint(0, len(text)), random.choice((0, 1, 1, 2, 5))
        end = min(len(text), at + length)
        match random.randrange(4):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + random.choice(_SNIPPETS) + text[at:]
            case 2:
                text = text[:at] + random.choice(_SNIPPETS) + text[end:]
            case _:
                to = random.randint(0, len(text))
                text = text[:to] + text[at : end + 5] + text[to:]
    return text


def _part(random: Random, escape: str) -> list[str]:
    chance = random.random()
    if chance < 0.1:
        return [random.choice(("", "  ", "# comment", "  # indented", "#", "#\u00a0", "\t"))]
    if chance < 0.35:
        return _with_heredoc(random, escape)
    return _folded(random, _instruction(random), escape)


def _instruction(random: Random) -> str:
    keyword = random.choice(_KEYWORDS)
    keyword = random.choice((keyword, keyword, keyword.lower(), keyword.title()))
    if keyword.upper() == "ONBUILD" and random.random() < 0.8:
        keyword += " " + _instruction(random)
        return keyword
    return random.choice(("", "", "", "  ")) + keyword + _arguments(random)


def _arguments(random: Random) -> str:
    parts = [random.choice(_FLAGS) for _ in range(random.choice((0, 0, 0, 1, 2)))]
    if random.random() < 0.25:
        parts.append(random.choice(_JSON))
    if random.random() < 0.9:
        parts.extend(random.choice(_WORDS) for _ in range(random.randint(0, 4)))
    return "".join(random.choice(_SPACES) + part for part in parts) + random.choice(("", "", " "))


def _with_heredoc(random: Random, escape: str) -> list[str]:
    names = [random.choice(_NAMES) for _ in range(random.choice((1, 1, 1, 2, 3)))]
    marks = [(name, random.choice(("<<", "<<", "<<-", "<< ", "2<<"))) for name in names]
    quote = random.choice(("", "", "'", '"'))
    line = random.choice(_HEREDOC_KEYWORDS)
    for name, mark in marks:
        line += f" {mark}{quote}{name}{quote}"
        if random.random() < 0.4:
            line += " " + random.choice(_WORDS)
    lines = _folded(random, line, escape) if random.random() < 0.3 else [line]
    for name, mark in marks:
        lines.extend(_body_line(random) for _ in range(random.randint(0, 3)))
        lines.append(("\t" if mark == "<<-" and random.random() < 0.5 else "") + name)
    return lines[:-1] if random.random() < 0.1 else lines


def _body_line(random: Random) -> str:
    return random.choice(
        ("", "text", "\ttabbed", "# comment", "FROM x", "EOF ", "  EOF", "\tEOF", "a\\", "$X", "\r")
    )


def _folded(random: Random, line: str, escape: str) -> list[str]:
    """The line with continuations between some of its words."""
    lines = [""]
    for char in line:
        if char == " " and random.random() < 0.12:
            lines[-1] += random.choice((" ", "")) + escape + random.choice(("", "", "", " ", "\t "))
            while random.random() < 0.25:
                lines.append(
                    random.choice(("# comment", "", "  # comment", " \t", "\u00a0", "\v#"))
                )
            lines.append(random.choice(("", " ", "\t")))
        else:
            lines[-1] += char
    return lines
