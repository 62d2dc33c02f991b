"""Model versions on disk: each a ``.safetensors`` and a ``.json`` that makes it count."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path

from pydantic import Field, TypeAdapter

from napari_resunet.errors import SessionError
from napari_resunet.session.store.layout import MODELS
from napari_resunet.session.store.safety import inside, read_bytes, read_text, set_aside
from napari_resunet.session.store.schema import Name, Record
from napari_resunet.session.store.sealed import sealed, unsealed
from napari_resunet.session.store.tiff import make_folder, store_text
from napari_resunet.types import Lineage, Task, now

MAX_MODEL = 2**32
MAX_HEADER = 2**24
HEADER_KEY = "napari_resunet"
"""Where a model file describes itself."""

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
    name: Name = ""
    note: str = Field(default="", max_length=100_000)
    created: str = Field(default_factory=now, max_length=100)
    model_id: str = Field(default="", max_length=100)
    parent_id: str = Field(default="", max_length=100)
    task: Task = "instances"
    origin: str = Field(default="learned", max_length=100)
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
    record_path = inside(root, MODELS, f"{stem}.json")
    if record_path.exists() or weights.is_dir():
        # A number is never given twice; if it was all the same, nothing is lost.
        for path in (record_path, weights):
            if path.exists():
                set_aside(path)
    save(weights)
    record = record.model_copy(update={"sha256": file_hash(weights)})
    save_record(root, record, stem)
    return record


def save_record(root: Path, record: VersionRecord, stem: str = "") -> None:
    """Write what is known of a version (its name or note changed)."""
    path = inside(root, MODELS, f"{stem or stem_of(record)}.json")
    if path.exists() and _read_record(path) is None:
        set_aside(path)
    store_text(path, sealed(record))


def delete_version(root: Path, stem: str) -> None:
    """Delete a version: the record first, so that it never points at nothing."""
    for suffix in ("json", "safetensors"):
        inside(root, MODELS, f"{stem}.{suffix}").unlink(missing_ok=True)


def list_versions(root: Path) -> dict[str, VersionRecord]:
    """List the versions that count, by the stem of their files, in order.

    Returns
    -------
    dict of str to VersionRecord
        A version whose record is damaged is left out: see `recovered_versions`.
    """
    found = {stem: _read_record(path) for stem, path in _stems(root, "json").items()}
    weights = _stems(root, "safetensors")
    return {stem: r for stem, r in found.items() if r is not None and stem in weights}


def recovered_versions(root: Path) -> dict[str, VersionRecord]:
    """Find the versions whose record is damaged or gone, but whose weights are there.

    Returns
    -------
    dict of str to VersionRecord
        What the model files tell of themselves; scores and notes are lost.
    """
    known = list_versions(root)
    found = {}
    for stem, path in _stems(root, "safetensors").items():
        if stem not in known and (record := _record_from_weights(stem, path)):
            found[stem] = record
    return found


def version_files(root: Path) -> list[str]:
    """List the stems of all files of weights, whether a record counts them or not."""
    return sorted(_stems(root, "safetensors"))


def _stems(root: Path, suffix: str) -> dict[str, Path]:
    folder = inside(root, MODELS)
    paths = sorted(folder.glob(f"*.{suffix}")) if folder.is_dir() else []
    return {p.stem: p for p in paths if _STEM.fullmatch(p.stem) and p.is_file()}


def _read_record(path: Path) -> VersionRecord | None:
    try:
        fields, intact = unsealed(read_text(path))
        record = VersionRecord.model_validate(fields)
    except (SessionError, ValueError):
        return None
    return record if intact else None


def _record_from_weights(stem: str, path: Path) -> VersionRecord | None:
    """Read the header of a model file: eight bytes of length, then JSON."""
    try:
        size = int.from_bytes(read_bytes(path, MAX_MODEL, 8), "little")
        if size > MAX_HEADER or path.stat().st_size > MAX_MODEL:
            return None
        header = json.loads(read_bytes(path, MAX_MODEL, 8 + size)[8:])
        fields = json.loads(header["__metadata__"][HEADER_KEY])
        lineage = TypeAdapter(Lineage).validate_python(fields["lineage"])
        return VersionRecord(
            number=int(stem[1:]),
            name="recovered",
            created=lineage.created,
            model_id=lineage.model_id,
            parent_id=lineage.parent_id or "",
            task=fields["task"],
            objects=lineage.corrected_objects,
            sha256=file_hash(path),
        )
    except (SessionError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


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
