# SPDX-License-Identifier: Apache-2.0
"""`wherry.toml`, `wherry.lock` and the user's `config.toml`: strict, all errors at once."""
