"""The command line: one file for each command, or for two that belong together."""

from napari_resunet.cli.program import main

__all__ = ["main"]
