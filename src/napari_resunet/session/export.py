"""Labels for the world outside: a TIFF, and beside it how it was made."""

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
"""In the note: of the TIFF as it was written. Labels that somebody changed have another."""

LARGEST_NOTE = 2**20


def record_of_model(info: ModelInfo, origin: str) -> VersionRecord:
    """Tell of a model that is no version of a session.

    Parameters
    ----------
    info : ModelInfo
        Of the model.
    origin : str
        "starter" or "loaded".

    Returns
    -------
    VersionRecord
        Without the hash of its file.
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
    )


def describe_labels(
    image: ImageRecord,
    version: VersionRecord,
    settings: Settings,
    labels: npt.NDArray[Any],
    n_verified: int | None,
) -> dict[str, Any]:
    """Tell how labels were made.

    Parameters
    ----------
    image : ImageRecord
        Of which image.
    version : VersionRecord
        The model in use; number 0 is none of a session.
    settings : Settings
        Of the dock, or of the command.
    labels : integer array
        The labels.
    n_verified : int or None
        Verified pixels; None where nobody was there to check.

    Returns
    -------
    dict
        What JSON can hold.
    """
    shown = ("name", "source", "content_hash", "shape", "axes", "scale", "units",
             "channels", "object_scale")  # fmt: skip
    share = 0.0 if not n_verified else round(n_verified / labels.size, 6)
    verified = {} if n_verified is None else {"checked_share": share}
    return {
        "created": now(),
        "image": image.model_dump(mode="json", include=set(shown)),
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
    """Write labels as a TIFF and, with the ending ``.json``, how they were made.

    Parameters
    ----------
    path : Path
        Of the TIFF.
    labels : integer array
        The labels.
    about : mapping
        See `describe_labels`; the SHA-256 of the TIFF is added.
    overwrite : bool
        Whether a file of the description's name that is no description may be replaced.

    Returns
    -------
    Path
        Of the description.

    Raises
    ------
    FileError
        If they cannot be written, or something else has the description's name.
    """
    note = note_path(path)
    if not overwrite and note.exists() and _read_note(note) is None:
        raise FileError(
            f"{shown(note)} is there already and tells nothing about labels: give the "
            "labels another name, or move that file."
        )
    write_labels(path, labels)
    write_text(note, json.dumps({**about, LABELS_HASH: file_hash(path)}, indent=1))
    return note


def note_path(labels: Path) -> Path:
    """Name the description of labels: it stands next to them."""
    return labels.with_suffix(".json")


def written_before(labels: Path, source: str) -> bool:
    """Tell whether labels are as this program wrote them, for the same image.

    Parameters
    ----------
    labels : Path
        Of the TIFF.
    source : str
        The image's path, as the description has it.

    Returns
    -------
    bool
        False for labels that were changed since, and for those of others.
    """
    note = _read_note(note_path(labels))
    if note is None or note["image"].get("source") != source:
        return False
    try:
        return not labels.exists() or note.get(LABELS_HASH) == file_hash(labels)
    except OSError:
        return False


def _read_note(path: Path) -> dict[str, Any] | None:
    """Read a description; None if the file is none of ours."""
    try:
        if not path.is_file() or path.stat().st_size > LARGEST_NOTE:
            return None
        note = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(note, dict) and isinstance(note.get("image"), dict)
    return note if ours and {"model", "settings", "programs"} <= note.keys() else None
