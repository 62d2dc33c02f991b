"""Exports labels: a TIFF, and next to it a JSON file that says how they were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_resunet._package import library_versions
from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.errors import FileError
from napari_resunet.files import shown, write_labels
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.tiff import write_text
from napari_resunet.types import ModelInfo, now

LABELS_HASH = "labels_sha256"
"""Key of the hash of the TIFF as written: labels that somebody changed have another."""

MAX_NOTE = 2**20
"""Bytes."""


def record_of_model(info: ModelInfo, origin: str) -> VersionRecord:
    """Describe a model that is not a version of a session.

    Parameters
    ----------
    info : ModelInfo
        Of the model.
    origin : str
        "starter" or "loaded".

    Returns
    -------
    VersionRecord
        Without the hash of the model file.
    """
    lineage = info.lineage
    return VersionRecord(
        number=0,
        name=origin,
        origin=origin,
        model_id=lineage.model_id,
        parent_id=lineage.parent_id or "",
        created=lineage.created,
        task=info.task,
        objects=lineage.corrected_objects,
        object_size=info.object_size,
    )


def describe_labels(
    image: ImageRecord,
    version: VersionRecord,
    settings: Settings,
    labels: npt.NDArray[Any],
    n_verified: int | None,
) -> dict[str, Any]:
    """Describe how labels were made.

    Parameters
    ----------
    image : ImageRecord
        The segmented image.
    version : VersionRecord
        The model in use; its number is 0 if it is not a version of a session.
    settings : Settings
        Of the dock, or of the command.
    labels : integer array
        The labels.
    n_verified : int or None
        Number of verified pixels; None if nobody could verify any.

    Returns
    -------
    dict
        Values that JSON can hold.
    """
    fields = ("name", "source", "content_hash", "shape", "axes", "scale", "units",
              "channels", "object_scale")  # fmt: skip
    fraction = 0.0 if not n_verified else round(n_verified / labels.size, 6)
    verified = {} if n_verified is None else {"checked_share": fraction}
    return {
        "created": now(),
        "image": image.model_dump(mode="json", include=set(fields)),
        "model": version.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "n_objects": count_objects(labels),
        **verified,
        "programs": library_versions(),
    }


def export_labels(
    path: Path,
    labels: npt.NDArray[Any],
    about: Mapping[str, Any],
    *,
    overwrite: bool = False,
) -> Path:
    """Write labels as a TIFF, and their description as a JSON file of the same name.

    Parameters
    ----------
    path : Path
        The TIFF.
    labels : integer array
        The labels.
    about : mapping
        From `describe_labels`; the SHA-256 of the TIFF is added.
    overwrite : bool
        Whether to replace a JSON file that is not a description of labels.

    Returns
    -------
    Path
        The JSON file.

    Raises
    ------
    FileError
        If a file cannot be written, or must not be replaced.
    """
    note = note_path(path)
    if not overwrite and note.exists() and _read_note(note) is None:
        raise FileError(
            f"{shown(note)} is there already and does not describe labels: give the "
            "labels another name, or move that file."
        )
    write_labels(path, labels)
    write_text(note, json.dumps({**about, LABELS_HASH: file_hash(path)}, indent=1))
    return note


def note_path(labels: Path) -> Path:
    """Return the path of the description that belongs to labels."""
    return labels.with_suffix(".json")


def written_before(labels: Path, source: str) -> bool:
    """Return whether labels are unchanged since this program wrote them for an image.

    Parameters
    ----------
    labels : Path
        The TIFF.
    source : str
        Path of the image, as the description has it.

    Returns
    -------
    bool
    """
    note = _read_note(note_path(labels))
    if note is None or note["image"].get("source") != source:
        return False
    try:
        return not labels.exists() or note.get(LABELS_HASH) == file_hash(labels)
    except OSError:
        return False


def _read_note(path: Path) -> dict[str, Any] | None:
    """Read a description of labels; None if the file is something else."""
    try:
        if not path.is_file() or path.stat().st_size > MAX_NOTE:
            return None
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(note, dict) and isinstance(note.get("image"), dict)
    return note if ours and {"model", "settings", "programs"} <= note.keys() else None
