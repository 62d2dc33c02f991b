"""What several commands have: flags, the exit status, the error of a wrong flag."""

from __future__ import annotations

import argparse

from napari_resunet.errors import ResunetError
from napari_resunet.session import flags
from napari_resunet.session.settings import DEVICE, DEVICES, Settings

FAILED = 1
"""Exit status after an error, or if an image failed."""


class UsageError(ResunetError):
    """An argument is missing or wrong."""


def add_diameter(parser: argparse._ActionsContainer, words: str) -> None:
    """Add the object size; the words say what it is for."""
    parser.add_argument("--diameter", type=flags.diameter, metavar="SIZE", help=words)


def add_overwrite(parser: argparse.ArgumentParser) -> None:
    """Add whether files are replaced."""
    parser.add_argument(
        "--overwrite", action="store_true", help="replace files that exist already"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Add where to compute."""
    keys = [device.key for device in DEVICES]
    parser.add_argument(
        "--device", choices=keys, default=Settings().device, help=help_of(DEVICE)
    )


def help_of(description: str) -> str:
    """Write a description of the dock as help texts are written here."""
    return description[0].lower() + description[1:]
