# SPDX-License-Identifier: Apache-2.0
"""`python -m wherry` is the command `wherry`."""

from wherry.cli.main import main

if __name__ == "__main__":
    main()
