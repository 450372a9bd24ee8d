# SPDX-License-Identifier: Apache-2.0
"""A single-stage Dockerfile split in two: the text that comes out, and what is not split."""

from __future__ import annotations

from pathlib import Path

import pytest

from wherry.advice.context import Context
from wherry.advice.rules.large_bases import STATIC
from wherry.advice.split.stage_split import BASE, split
from wherry.advice.subject import Subject
from wherry.advice.texts import apply

HEAD = "FROM golang:1.27\nWORKDIR /src\nCOPY . .\n"


def halves(text: str, context: Context | None = None, base: str = STATIC) -> str:
    subject = Subject("Dockerfile", text, context)
    fix = split(subject, base)
    assert fix is not None
    assert not fix.safe
    new = apply(subject.text, fix.edits)
    after = Subject("Dockerfile", new, context)
    assert after.problems == ()
    assert split(after, base) is None
    return new


def refused(text: str, context: Context | None = None, base: str = STATIC) -> bool:
    return split(Subject("Dockerfile", text, context), base) is None


def test_what_follows_the_build_stands_in_the_second_stage() -> None:
    tail = '\n# The port of the API.\nEXPOSE 8080\n\nCMD ["/server", "-v"]\n'
    assert halves(f"{HEAD}RUN go build -o /server .\n{tail}") == (
        "FROM golang:1.27 AS build\nWORKDIR /src\nCOPY . .\n"
        "RUN CGO_ENABLED=0 go build -o /server .\n"
        f"\nFROM {STATIC}\nCOPY --from=build /server /server\n{tail}"
    )


def test_lines_of_the_image_move_with_their_comments() -> None:
    text = (
        "FROM golang:1.27 AS builder\n"
        "ENV GO111MODULE=on CGO_ENABLED=0\n"
        "\n"
        "# Whom to ask.\n"
        'LABEL maintainer="me@example.org"\n'
        "\n"
        "ENV PORT=8080\n"
        "EXPOSE $PORT\n"
        "WORKDIR /app\n"
        "COPY . .\n"
        "RUN go build -o main .\n"
        "CMD ./main --verbose\n"
    )
    assert halves(text) == (
        "FROM golang:1.27 AS builder\n"
        "ENV GO111MODULE=on CGO_ENABLED=0\n"
        "\n"
        "WORKDIR /app\n"
        "COPY . .\n"
        "RUN go build -o main .\n"
        "\n"
        f"FROM {STATIC}\n"
        "# Whom to ask.\n"
        'LABEL maintainer="me@example.org"\n'
        "ENV PORT=8080\n"
        "WORKDIR /app\n"
        "COPY --from=builder /app/main /app/main\n"
        "EXPOSE $PORT\n"
        'CMD ["./main", "--verbose"]\n'
    )


def test_variables_that_the_build_uses_stay_and_go() -> None:
    text = (
        "FROM golang:1.27\nARG VERSION=dev\nENV GOOS=linux NAME=api\n"
        'LABEL version="$VERSION"\nRUN go build -o /bin/$NAME . && go build -o /api .\n'
        'CMD ["/api"]\n'
    )
    new = halves(text)
    assert f'FROM {STATIC}\nARG VERSION=dev\nENV NAME=api\nLABEL version="$VERSION"\n' in new
    first = "FROM golang:1.27 AS build\nARG VERSION=dev\nENV GOOS=linux NAME=api\nRUN CGO_ENABLED=0"
    assert new.startswith(first)


def test_files_that_the_command_names_are_copied(tmp_path: Path) -> None:
    (tmp_path / "app.yaml").write_text("x")
    text = f'{HEAD}RUN go build -o /server .\nCMD ["/server", "-config", "app.yaml", "x.json"]\n'
    assert halves(text, Context(str(tmp_path))).endswith(
        f"\nFROM {STATIC}\nWORKDIR /src\nCOPY --from=build /server /server\n"
        "COPY --from=build /src/app.yaml /src/app.yaml\n"
        'CMD ["/server", "-config", "app.yaml", "x.json"]\n'
    )


def test_a_program_on_the_path_is_copied_to_a_place_on_the_path() -> None:
    assert halves(f'{HEAD}RUN go install ./cmd/api\nENTRYPOINT ["api"]\nCMD ["serve"]\n').endswith(
        f"RUN CGO_ENABLED=0 go install ./cmd/api\n\nFROM {STATIC}\n"
        'COPY --from=build /go/bin/api /usr/local/bin/api\nENTRYPOINT ["api"]\nCMD ["serve"]\n'
    )


def test_users_that_the_base_lacks_are_left_out() -> None:
    text = f"{HEAD}RUN go build -o /server .\nRUN useradd app\nUSER app\nCMD /server\n"
    assert halves(text).endswith(
        f'RUN useradd app\n\nFROM {STATIC}\nCOPY --from=build /server /server\nCMD ["/server"]\n'
    )
    known = f"{HEAD}USER 1000:1000\nRUN go build -o /server .\nCMD /server\n"
    assert "/server /server\nUSER 1000:1000\nCMD" in halves(known)


def test_programs_with_c_get_a_base_with_glibc() -> None:
    text = f"{HEAD}RUN CGO_ENABLED=1 go build -o /server .\nCMD /server\n"
    assert f"RUN CGO_ENABLED=1 go build -o /server .\n\nFROM {BASE}\n" in halves(text)
    compiler = f"{HEAD}RUN apt-get install -y gcc\nRUN go build -o /server .\nCMD /server\n"
    assert f"RUN go build -o /server .\n\nFROM {BASE}\n" in halves(compiler)
    assert refused(text.replace("golang:1.27", "golang:1.27-alpine"))
    assert refused(text, base="alpine:3.23")


def test_modules_with_c_get_a_base_with_glibc(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module x\nrequire github.com/mattn/go-sqlite3 v1.14.0\n")
    text = f"{HEAD}RUN go build -o /server .\nCMD /server\n"
    assert f"\nFROM {BASE}\n" in halves(text, Context(str(tmp_path)))


def test_another_base_may_be_asked_for() -> None:
    text = f"{HEAD}RUN go build -o /server .\nCMD /server\n"
    assert "\nFROM scratch\n" in halves(text, base="scratch")


def test_a_build_in_exec_form_and_windows_lines() -> None:
    text = f'{HEAD}RUN ["go", "build", "-o", "/server", "."]\nCMD /server\n'
    assert 'ENV CGO_ENABLED=0\nRUN ["go"' in halves(text)
    new = halves(text.replace("\n", "\r\n"))
    assert new == halves(text).replace("\n", "\r\n")


@pytest.mark.parametrize(
    "rest",
    [
        "RUN go build -o /server .\n",
        'RUN go build -o /server .\nCMD ["go", "run", "."]\n',
        "RUN go build -o /server .\nCMD migrate up && /server\n",
        "RUN go build -o /server .\nCMD /server -port $PORT\n",
        'RUN go build -o /server .\nENTRYPOINT ["/entry.sh"]\nCMD ["/server"]\n',
        "RUN go build -o /server .\nHEALTHCHECK CMD curl -f http://localhost/\nCMD /server\n",
        "RUN apt-get update && apt-get install -y ffmpeg\nRUN go build -o /server .\nCMD /server\n",
        "RUN go build -o /server .\nRUN mkdir /data\nCMD /server\n",
        "RUN go build -o /server .\nRUN ./generate\nCMD /server\n",
        "RUN go build -o /server .\nCOPY --chown=app conf /conf\nCMD /server\n",
        "ONBUILD COPY . .\nRUN go build -o /server .\nCMD /server\n",
        "RUN make\nCMD ./server\n",
        "RUN go build -race -o /server .\nCMD /server\n",
        f"RUN go build -o /server .\nFROM {STATIC}\nCOPY --from=0 /server /server\nCMD /server\n",
    ],
)
def test_what_is_not_plain_is_not_split(rest: str) -> None:
    assert refused(HEAD + rest)


def test_a_file_that_is_wrong_is_not_split() -> None:
    assert refused(f"{HEAD}RUN go build -o /server .\nNONSENSE\nCMD /server\n")
    assert refused("")
