"""Where sessions lie unless the user says otherwise, and how a new one is called."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import platformdirs

VARIABLE = "NAPARI_RESUNET_SESSIONS"
"""Names another folder for sessions (and for the list of them)."""

LONGEST = 60


def sessions_folder() -> Path:
    """Find the folder for new sessions: in the user's documents."""
    other = os.environ.get(VARIABLE)
    return Path(other) if other else platformdirs.user_documents_path() / "napari-resunet"


def list_path() -> Path:
    """Find the file that lists where sessions lie."""
    if os.environ.get(VARIABLE):
        return sessions_folder() / "recent.json"
    return platformdirs.user_data_path("napari-resunet", appauthor=False) / "recent.json"


def new_folder(image_name: str, parent: Path) -> Path:
    """Name a folder that does not exist yet: the date and the image.

    Parameters
    ----------
    image_name : str
        Of the first image.
    parent : Path
        Where it shall lie.

    Returns
    -------
    Path
    """
    safe = "".join(c if c.isalnum() or c in "-_" else " " for c in image_name)
    # A local date: it is for the user's eyes.
    day = f"{datetime.now().astimezone():%Y-%m-%d}"
    name = " ".join([day, *safe.split()])[:LONGEST].strip()
    return free_name(parent / name)


def free_name(path: Path) -> Path:
    """Find a name that is not taken, by a number behind it."""
    number, candidate = 2, path
    while candidate.exists():
        candidate = path.with_name(f"{path.name} {number}")
        number += 1
    return candidate
