"""Where in a session folder things lie."""

from __future__ import annotations

import re
from pathlib import Path

from napari_resunet.session.store.safety import inside

DESCRIPTION = "session.json"
BACKUP = "session.backup.json"
LOCK = "session.lock"
OWNER = "session.owner"
HISTORY = "history.jsonl"
THUMBNAIL = "thumbnail.png"
PLANES = "planes"
SOURCES = "sources"
MODELS = "models"
TRAINING = "training"
CORRECTIONS = "corrections"
IMAGES, MASKS = "images", "masks"

FLAT = "plane"
"""Name of the only plane of an image without a stack."""

Index = tuple[int, ...]
_INDEX = re.compile(r"\d{1,8}(-\d{1,8})*")


def plane_name(index: Index) -> str:
    """Name a plane by its position along the stack axes."""
    return "-".join(f"{i:04d}" for i in index) or FLAT


def plane_index(name: str) -> Index | None:
    """Read a name that `plane_name` made; None for any other."""
    if name == FLAT:
        return ()
    return tuple(int(i) for i in name.split("-")) if _INDEX.fullmatch(name) else None


def plane_folder(root: Path, image_key: str, index: Index) -> Path:
    """Find the folder of a plane."""
    return inside(root, PLANES, image_key, plane_name(index))


def source_path(root: Path, image_key: str) -> Path:
    """Find the stored pixels of an image."""
    return inside(root, SOURCES, f"{image_key}.tif")


def saved_planes(root: Path, image_key: str) -> list[Index]:
    """List the planes of an image that have something on disk, in order."""
    folder = inside(root, PLANES, image_key)
    if not folder.is_dir():
        return []
    found = (plane_index(p.name) for p in folder.iterdir() if not p.is_symlink())
    return sorted(index for index in found if index is not None)
