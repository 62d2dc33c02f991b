"""Model versions on disk: each a ``.safetensors`` and a ``.json`` that makes it count."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, ValidationError

from napari_resunet.errors import SessionError
from napari_resunet.session.store.layout import MODELS
from napari_resunet.session.store.safety import inside, read_text
from napari_resunet.session.store.schema import Record
from napari_resunet.session.store.tiff import make_folder, write_text
from napari_resunet.types import now

MAX_MODEL = 2**32
_STEM = re.compile(r"v\d{3,6}")


class VersionRecord(Record):
    """One version of the model.

    Attributes
    ----------
    number : int
        Counted from 1; 0 is the starter, which has no file here.
    name, note : str
        The user's.
    created : str
        ISO 8601, UTC.
    model_id, parent_id : str
        As in the model file; the parent's is empty where there is none.
    task : str
        "instances" or "classes".
    origin : str
        "learned", "loaded" or "new classes".
    objects, regions, images : int
        What it learned from.
    before, after : float or None
        Score on the held-out part.
    sha256 : str
        Of the model file.
    """

    number: int = Field(ge=0, lt=10**6)
    name: str = ""
    note: str = ""
    created: str = Field(default_factory=now)
    model_id: str = ""
    parent_id: str = ""
    task: str = "instances"
    origin: str = "learned"
    objects: int = 0
    regions: int = 0
    images: int = 0
    before: float | None = None
    after: float | None = None
    sha256: str = ""


def stem_of(record: VersionRecord) -> str:
    """Name the files of a version."""
    return f"v{record.number:03d}"


def save_version(
    root: Path, record: VersionRecord, save: Callable[[Path], None], stem: str = ""
) -> VersionRecord:
    """Write a version: the weights, then the record that makes them count.

    Parameters
    ----------
    root : Path
        The session folder.
    record : VersionRecord
        What is known of it.
    save : callable
        Writes the model file to a path, all or nothing.
    stem : str
        Name of the files; empty goes by the number.

    Returns
    -------
    VersionRecord
        With the hash of the file.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    stem = stem or stem_of(record)
    weights = inside(root, MODELS, f"{stem}.safetensors")
    make_folder(weights.parent)
    # Never may an old record stand beside new weights.
    inside(root, MODELS, f"{stem}.json").unlink(missing_ok=True)
    save(weights)
    record = record.model_copy(update={"sha256": file_hash(weights)})
    save_record(root, record, stem)
    return record


def save_record(root: Path, record: VersionRecord, stem: str = "") -> None:
    """Write what is known of a version (its name or note changed)."""
    path = inside(root, MODELS, f"{stem or stem_of(record)}.json")
    write_text(path, record.model_dump_json(indent=1))


def delete_version(root: Path, stem: str) -> None:
    """Delete a version: the record first, so that it never points at nothing."""
    for suffix in ("json", "safetensors"):
        inside(root, MODELS, f"{stem}.{suffix}").unlink(missing_ok=True)


def list_versions(root: Path) -> dict[str, VersionRecord]:
    """List the versions that count, by the stem of their files, in order.

    Returns
    -------
    dict of str to VersionRecord
        A version whose record is damaged is left out.
    """
    folder = inside(root, MODELS)
    if not folder.is_dir():
        return {}
    found = {}
    for path in sorted(folder.glob("*.json")):
        if _STEM.fullmatch(path.stem) and path.with_suffix(".safetensors").is_file():
            try:
                found[path.stem] = VersionRecord.model_validate_json(read_text(path))
            except (SessionError, ValidationError):
                continue
    return found


def model_path(root: Path, record: VersionRecord, stem: str = "") -> Path:
    """Find a version's model file and make sure that it is the one recorded.

    Raises
    ------
    SessionError
        If it is missing or not what was written.
    """
    path = inside(root, MODELS, f"{stem or stem_of(record)}.safetensors")
    if not path.is_file() or path.stat().st_size > MAX_MODEL:
        raise SessionError(f"There is no model file '{path}': choose another version.")
    if file_hash(path) != record.sha256:
        raise SessionError(
            f"'{path}' is not the file that the session wrote: it is damaged or was "
            "exchanged. Choose another version."
        )
    return path


def file_hash(path: Path) -> str:
    """Compute the SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
