# SPDX-License-Identifier: Apache-2.0
"""Write the pages of `docs/reference/` about settings, and the JSON schema, from the declarations.

    .venv/bin/python tools/reference.py

A test compares them, so that none is forgotten.
"""

from __future__ import annotations

from pathlib import Path

from wherry.settings import reference
from wherry.settings.json_schema import SCHEMA_NAME, render_schema

ROOT = Path(__file__).resolve().parent.parent
PAGES = ROOT / "docs" / "reference"
WRITTEN = {
    PAGES / "wherry-toml.md": reference.render_reference,
    PAGES / "config-toml.md": reference.render_user_reference,
    PAGES / "wherry-lock.md": reference.render_lock_reference,
    ROOT / "src" / "wherry" / "settings" / SCHEMA_NAME: render_schema,
}


def main() -> None:
    """Write all of them anew."""
    for path, render in WRITTEN.items():
        path.write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
