"""Keeps consolidated metadata true: copies of all metadata at the top of a store.

zarr reads such a copy instead of the groups themselves, and would not see new labels.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from napari_resunet.files import atomic_path
from napari_resunet.ome_zarr.metadata import read_json

V2_COPY = ".zmetadata"
V2_GROUP = ".zgroup"
V2_FILES = (V2_GROUP, ".zattrs", ".zarray")
GROUPS = ("zarr.json", V2_GROUP)
MOST_PARENTS = 4
"""A plate is three folders above its images."""


def update_consolidated(image: Path, labels: Path) -> None:
    """Write new labels into the consolidated metadata of an image and of its plate.

    Parameters
    ----------
    image : Path
        The folder of the image.
    labels : Path
        The folder of the labels in it.

    Raises
    ------
    FileError
        If the consolidated metadata is damaged or cannot be written.
    """
    for store in (image, *list(image.absolute().parents)[:MOST_PARENTS]):
        if not any((store / name).exists() for name in GROUPS):
            break
        _update(store.absolute(), labels.absolute())


def _update(store: Path, labels: Path) -> None:
    path = next(store / n for n in (V2_COPY, *GROUPS) if (store / n).exists())
    if path.name == V2_GROUP:
        return
    document = read_json(path)
    v3 = path.name != V2_COPY
    holder = document.get("consolidated_metadata") if v3 else document
    entries = holder.get("metadata") if isinstance(holder, dict) else None
    if not isinstance(entries, dict):
        return
    below = labels.relative_to(store).as_posix()
    kept = {k: v for k, v in entries.items() if not f"{k}/".startswith(f"{below}/")}
    new = _entries(store, labels.parent, v3, deep=False)
    new |= _entries(store, labels, v3, deep=True)
    holder["metadata"] = {**kept, **new}  # type: ignore[index]
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _entries(store: Path, folder: Path, v3: bool, *, deep: bool) -> dict[str, Any]:
    """Collect the metadata of a group, and of the arrays in it, by their paths."""
    found = {}
    for where in [folder, *(p for p in folder.iterdir() if deep and p.is_dir())]:
        name = where.relative_to(store).as_posix()
        for file in ("zarr.json",) if v3 else V2_FILES:
            if (where / file).exists():
                found[name if v3 else f"{name}/{file}"] = read_json(where / file)
    return found
