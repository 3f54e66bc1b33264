"""The command ``w2s``."""

from weakstrong.cli.app import main

__all__ = ["main"]
