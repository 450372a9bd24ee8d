# SPDX-License-Identifier: Apache-2.0
"""`wherry.toml`: strict, all errors at once."""

from wherry.settings.load import load_settings
from wherry.settings.model import BuildSettings, ImageSettings, Settings

__all__ = ["BuildSettings", "ImageSettings", "Settings", "load_settings"]
