"""Labels for the world outside: a TIFF, and beside it how it was made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy.typing as npt

from napari_resunet.corrections.edit import count_objects
from napari_resunet.files import write_labels
from napari_resunet.programs import library_versions
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.models import VersionRecord
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.tiff import write_text
from napari_resunet.types import ModelInfo, now


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
    n_checked: int | None,
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
    n_checked : int or None
        Checked pixels; None where nobody was there to check.

    Returns
    -------
    dict
        What JSON can hold.
    """
    shown = ("name", "source", "content_hash", "shape", "axes", "scale", "units",
             "channels", "object_scale")  # fmt: skip
    share = 0.0 if not n_checked else round(n_checked / labels.size, 6)
    checked = {} if n_checked is None else {"checked_share": share}
    return {
        "created": now(),
        "image": image.model_dump(mode="json", include=set(shown)),
        "model": version.model_dump(mode="json"),
        "settings": settings.model_dump(mode="json"),
        "n_objects": count_objects(labels),
        **checked,
        "programs": library_versions(),
    }


def export_labels(path: Path, labels: npt.NDArray[Any], about: Mapping[str, Any]) -> Path:
    """Write labels as a TIFF and, with the ending ``.json``, how they were made.

    Parameters
    ----------
    path : Path
        Of the TIFF.
    labels : integer array
        The labels.
    about : mapping
        See `describe_labels`.

    Returns
    -------
    Path
        Of the description.

    Raises
    ------
    FileError
        If they cannot be written.
    """
    beside = path.with_suffix(".json")
    write_labels(path, labels)
    write_text(beside, json.dumps(dict(about), indent=1))
    return beside
