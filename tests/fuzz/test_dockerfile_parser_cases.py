# SPDX-License-Identifier: Apache-2.0
"""Odd Dockerfiles made by hand, through wherry's parser and BuildKit's."""

from __future__ import annotations

import pytest

from dockerfile_comparison import compare
from oracle_program import Oracle

LONGEST = 65535
CASES = {
    "empty": "",
    "comments": "# a\n\n#b\n",
    "directive value continued": "# syntax=a \\\nFROM b\n",
    "escape of a space": "# escape= \nFROM a",
    "escape twice": "# escape=`\n#escape=\\\nFROM a",
    "directive after an indented one": " # check=skip=a\n# syntax=b\nFROM a",
    "check with a space": "# check=skip=a; error=true\nFROM a",
    "check of all kinds": "# check=skip=all;experimental=a,b;error=T\nFROM a",
    "check with four parts": "# check=skip=a;skip=b;skip=c;skip=d\nFROM a",
    "check with a bad boolean": "# check=error=yes\nFROM a",
    "byte order mark in front": "\ufeff# escape=`\nFROM a `\nb",
    "byte order mark in front of an instruction": "\ufeffFROM a",
    "byte order mark later": "FROM a\n\ufeffRUN b",
    "byte order mark in a marker": "RUN <<\ufeffEOF\nEOF\n\ufeffEOF\n",
    "carriage returns": "FROM a\r\nRUN b \\\r\n\r\n# c\r\n d\r\nRUN <<E\r\nx\r\nE\r\n",
    "lone carriage returns": "FROM a\rRUN b\r\r\nRUN c\\\r\r\nd",
    "form feeds": "FROM\fa\v b\nRUN\f--x\vy \f",
    "spaces of Unicode": "\u2003FROM\u2003a\nFROM a\u2003b\nENV a=b\u00a0c=d\nRUN a \u2003\n",
    "separators that Python strips": "RUN a\x1c\nENV a=b\x1fc=d\n\x1dUSER x\n",
    "escape before a space at the end": "RUN a \\ \t \nb",
    "two escapes": "RUN a\\\\\nRUN b\\\\\\\nRUN c",
    "escape alone": "\\\nFROM a\n  \\\n  \\\n\nRUN b",
    "escape alone at the end": "FROM a\n\\\n\n",
    "comment that ends a continuation": "RUN a \\\n# b \\\nc\nRUN d",
    "empty lines at the end": "FROM a\nRUN b \\\n\n\n\n",
    "heredoc over continuation": "RUN <<A \\\n# no\n\n <<B\n1\nA\n2\nB\nUSER c",
    "heredoc of the name of another": "RUN <<A <<A\n1\nA\n2\nA\nUSER b",
    "heredoc name in quotes with spaces": "COPY <<'A B' /x\n1\nA B\nUSER b",
    "heredoc name with an escaped newline": 'RUN <<"E\\nF"\nE\\nF\nUSER a',
    "heredoc with tabs": "RUN <<-A\n\t1\n\t\tA\nUSER b",
    "heredoc without tabs": "RUN <<A\n\tA\nA\nUSER b",
    "heredoc with spaces": "RUN << \t A\nA\nUSER b",
    "heredoc with a dash and a space": "RUN <<- A\nUSER b",
    "heredoc with an unclosed quote": "RUN echo \"it's\" don't <<A\nUSER b",
    "heredoc in an operand": "RUN a${x:- <<A }b\n1\nA\nUSER c",
    "heredoc after an operand": "RUN <<A${x:-y}\nUSER c",
    "heredoc before a modifier of none": "RUN ${x:!y} <<A\n1\nA\n",
    "heredoc with a replaced variable": "RUN ${x//a/b} ${y/'/'/c} <<A\n1\nA\n",
    "heredoc with bad substitution": "RUN ${} <<A\nUSER b",
    "heredoc with half a name": 'RUN ${x:- <<"a b"}\n',
    "heredoc in an exec form": 'RUN ["<<A"]\nCOPY ["<<A", "/b"]\nUSER c',
    "heredoc in what is no exec form": 'RUN ["<<A"] <<B\n1\nB\nUSER c',
    "heredoc of an ONBUILD": "ONBUILD RUN <<A <<B\n1\nA\n2\nB\nONBUILD ONBUILD RUN <<C\nUSER d",
    "heredoc of an ONBUILD with an exec form": 'ONBUILD RUN ["a", "<<A"]\nUSER b',
    "heredoc of another escape": "# escape=`\nRUN <<\\A <<`B`\n1\nA\n2\n`B`\n",
    "heredoc with a large descriptor": "RUN 18446744073709551616<<A\nA\n",
    "unterminated": "FROM a\nRUN <<A\nUSER b\n",
    "flags": "COPY --a='b c' --d=\"e'f\" --g\\ h --i\\\nj -- --k l\nRUN -- a\nRUN --\nRUN --a",
    "flags that are not closed": "RUN --a='b c\nRUN --b=\\",
    "flags of quotes alone": 'RUN --"" a\nRUN "--" a\nRUN --\'\' --b c',
    "exec forms": 'RUN ["a"]\nRUN [ ]\nRUN ["a",]\nRUN [\'a\']\nRUN ["\\ud800"]\nRUN ["a"] #b',
    "exec forms after other spaces": 'RUN \u00a0["a"]\nHEALTHCHECK CMD \u2003["a"]',
    "numbers that are too large": 'RUN ["a", 1e400]\nRUN [1' + "0" * 400 + "]",
    "numbers": "RUN [-1.5e3]",
    "deep arrays": "RUN " + "[" * 500 + "]" * 500,
    "nested objects": 'CMD [{"a": ["b"]}]',
    "ENV with an escape at the end": 'ENV a=b\\ \\\f\nENV c="d\\\f',
    "ENV with quotes": "ENV a='b\\' c=d\nENV 'e f'=g\nENV h=\"i\\\"j\" k\nENV =l",
    "ENV that is not closed": 'ENV a=\'b c=d\nENV e="f\\" g',
    "ENV of the old form": "ENV a b=c\nENV d\t e \nENV 'f g' h=i",
    "ENV without equals": "FROM a\nENV a=b c",
    "HEALTHCHECK": 'HEALTHCHECK\nHEALTHCHECK --a=b NONE\nHEALTHCHECK CMD\t["a"]\nHEALTHCHECK CMD a',
    "ONBUILD": "ONBUILD\nONBUILD --a RUN b\nONBUILD ENV a=b\nonbuild from c\nONBUILD FROB d",
    "keywords of other letters": "wor\u212adir a\nMA\u0130NTA\u0130NER b\n\u017fHELL c",
    "unknown keywords": "FROB a\n// b\n-\n<<A\n",
    "comments above": "# a\n\n # b\n#\n#c\nFROM x\n# d\nRUN y \\\n# e\nz\n# f\nUSER g",
    "longest line": "FROM a\n#" + "x" * (LONGEST - 1) + "\nRUN " + "x" * (LONGEST - 4),
    "too long a line": "FROM a\n#" + "x" * LONGEST,
    "too long a line with newline": "FROM a\n#" + "x" * LONGEST + "\nRUN b\n",
    "longest line of two bytes each": "FROM a\n#" + "é" * 32767 + "\n",
    "too long a line of two bytes each": "FROM a\n##" + "é" * 32767 + "\n",
    "too long a line in a heredoc": "RUN <<A\n" + "x" * LONGEST + "x\nA\n",
}


@pytest.mark.parametrize("name", CASES)
def test_read_as_by_buildkit(oracle: Oracle, name: str) -> None:
    text = CASES[name]
    answers = (oracle.ask("parse", text=text), oracle.ask("syntax", text=text))
    assert compare(text, *answers) is None
