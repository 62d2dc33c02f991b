"""Model versions, and the checkpoint of a running fine-tuning, in the session folder."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, TypeAdapter, ValidationError

from napari_resunet.engine.changes import Changes
from napari_resunet.errors import FileError, ModelFileError, SessionError
from napari_resunet.session.store.safety import (
    inside,
    read_bytes,
    read_text,
    sealed,
    set_aside,
    unsealed,
)
from napari_resunet.session.store.schema import (
    MODELS,
    TRAINING,
    Fraction,
    Moment,
    Name,
    Record,
)
from napari_resunet.session.store.tiff import make_folder, store_text
from napari_resunet.types import Lineage, ObjectSize, Task, new_id, now

if TYPE_CHECKING:
    from napari_resunet.engine.checkpoint import Checkpoint
    from napari_resunet.engine.finetune_config import FineTuneConfig

MAX_MODEL = 2**32
MAX_HEADER = 2**24
HEADER_KEY = "napari_resunet"
"""Key of a model file's description of itself."""

_STEM = re.compile(r"v\d{3,6}")


class VersionRecord(Record):
    """One version of the model.

    Attributes
    ----------
    number : int
        Counted from 1; 0 is the bundled model, which has no file here.
    name, note : str
        Given by the user.
    created : str
        ISO 8601, UTC.
    model_id, parent_id : str
        As in the model file; without a parent, its id is empty.
    task : str
        "instances" or "classes".
    origin : str
        "learned", "loaded", or "new classes".
    objects, regions, images : int
        Numbers of corrected objects, regions, and images that it learned from.
    before, after : float or None
        Held-out scores of the model that it started from, and of this one.
    right_before, right_after, held_out : int or None
        Number of held-out objects that both found, and of all; None for classes, and in
        sessions of older programs.
    candidate : bool
        Whether the user still has to choose between it and the version in use.
    elsewhere : Changes or None
        What it changed on other images, compared with the model that it started from; None
        if that is not known.
    object_size : ObjectSize or None
        Size of the objects that it learned from, as in the model file.
    sha256 : str
        Hash of the model file.
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
    right_before: int | None = Field(default=None, ge=0)
    right_after: int | None = Field(default=None, ge=0)
    held_out: int | None = Field(default=None, ge=0)
    candidate: bool = False
    elsewhere: Changes | None = None
    object_size: ObjectSize | None = None
    sha256: str = ""


def stem_of(record: VersionRecord) -> str:
    """Return the name of a version's files, without suffix."""
    return f"v{record.number:03d}"


def save_version(
    root: Path, record: VersionRecord, save: Callable[[Path], None], stem: str = ""
) -> VersionRecord:
    """Write a version: the weights, then the record that makes them valid.

    Parameters
    ----------
    root : Path
        The session folder.
    record : VersionRecord
        The record, still without a hash.
    save : callable
        Writes the model file to a path, all or nothing.
    stem : str
        Name of the files, without suffix; by default `stem_of` the record.

    Returns
    -------
    VersionRecord
        With the hash of the model file.

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
        # A number is never given twice; should it happen, nothing is overwritten.
        for path in (record_path, weights):
            if path.exists():
                set_aside(path)
    save(weights)
    record = record.model_copy(update={"sha256": file_hash(weights)})
    save_record(root, record, stem)
    return record


def save_record(root: Path, record: VersionRecord, stem: str = "") -> None:
    """Write the record of a version, because its name or note changed."""
    path = inside(root, MODELS, f"{stem or stem_of(record)}.json")
    if path.exists() and _read_record(path) is None:
        set_aside(path)
    store_text(path, sealed(record))


def delete_version(root: Path, stem: str) -> None:
    """Delete a version: the record first, because it needs the weights."""
    for suffix in ("json", "safetensors"):
        inside(root, MODELS, f"{stem}.{suffix}").unlink(missing_ok=True)


def list_versions(root: Path) -> dict[str, VersionRecord]:
    """List the versions with an intact record, by the stem of their files, in order."""
    found = {stem: _read_record(path) for stem, path in _stems(root, "json").items()}
    weights = _stems(root, "safetensors")
    return {stem: r for stem, r in found.items() if r is not None and stem in weights}


def recovered_versions(root: Path) -> dict[str, VersionRecord]:
    """List the versions that have weights, but no intact record, by stem.

    Their records are made from what the model files say; scores and notes are lost.
    """
    known = list_versions(root)
    found = {}
    for stem, path in _stems(root, "safetensors").items():
        if stem not in known and (record := _record_from_weights(stem, path)):
            found[stem] = record
    return found


def version_files(root: Path) -> list[str]:
    """List the stems of all model files, with a record or without."""
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
    """Make a record from the header of a model file: 8 bytes of length, then JSON."""
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
            object_size=fields.get("object_size"),
            sha256=file_hash(path),
        )
    except (SessionError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def model_path(root: Path, record: VersionRecord, stem: str = "") -> Path:
    """Return the path of a version's model file, after checking its hash.

    Raises
    ------
    SessionError
        If the file is missing, or not the recorded one.
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


RECORD = "checkpoint.json"


class CheckpointRecord(Record):
    """The record of an interrupted fine-tuning.

    Attributes
    ----------
    created : str
        ISO 8601, UTC.
    base : int
        Number of the model version that it started from; 0 is the bundled model.
    image : str
        Key of the image with the latest corrections; empty if unknown.
    steps : int
        Training steps done.
    share : float
        Fraction of the work that is done, 0 to 1.
    score : float or None
        Best held-out score so far.
    right, held_out : int or None
        Number of held-out objects that it finds, and of all; None if unknown.
    file : str
        Name of the file with all tensors.
    sha256 : str
        Hash of that file.
    """

    created: Moment = Field(default_factory=now)
    base: int = Field(ge=0, lt=10**6)
    image: str = ""
    steps: int = Field(default=0, ge=0)
    share: Fraction = 0.0
    score: float | None = None
    right: int | None = Field(default=None, ge=0)
    held_out: int | None = Field(default=None, ge=0)
    file: str = Field(default="", pattern=r"^([a-z0-9]{12}\.safetensors)?$")
    sha256: str = ""


def save_checkpoint(
    root: Path, record: CheckpointRecord, write: Callable[[Path], None]
) -> CheckpointRecord:
    """Write a checkpoint: the tensors, then the record that makes them valid.

    Parameters
    ----------
    root : Path
        The session folder.
    record : CheckpointRecord
        The record, still without a file.
    write : callable
        Writes the tensors to a path, all or nothing.

    Returns
    -------
    CheckpointRecord
        With name and hash of the file.

    Raises
    ------
    FileError
        If it cannot be written; then the checkpoint before is as it was.
    """
    name = f"{new_id()}.safetensors"
    path = inside(root, TRAINING, name)
    make_folder(path.parent)
    write(path)
    record = record.model_copy(update={"file": name, "sha256": file_hash(path)})
    store_text(inside(root, TRAINING, RECORD), sealed(record))
    for older in path.parent.glob("*.safetensors"):
        if older.name != name:
            older.unlink(missing_ok=True)
    return record


def delete_checkpoint(root: Path) -> None:
    """Delete the checkpoint: the record first, because it needs the tensors."""
    folder = inside(root, TRAINING)
    inside(root, TRAINING, RECORD).unlink(missing_ok=True)
    for path in folder.glob("*.safetensors"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def find_checkpoint(root: Path) -> CheckpointRecord | None:
    """Read the record of an interrupted fine-tuning; None if there is none.

    Raises
    ------
    SessionError
        If its checkpoint is damaged.
    """
    path = inside(root, TRAINING, RECORD)
    if not path.exists():
        return None
    try:
        fields, intact = unsealed(read_text(path))
        record = CheckpointRecord.model_validate(fields)
        tensors = inside(root, TRAINING, record.file)
        good = intact and tensors.is_file() and file_hash(tensors) == record.sha256
    except (SessionError, ValueError, OSError) as error:
        raise _damaged() from error
    if not good:
        raise _damaged()
    return record


def write_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write a checkpoint into one ``.safetensors`` file, all or nothing.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from napari_resunet.engine.checkpoint import TrainerState
    from napari_resunet.network.model_file import write_tensors

    state = TypeAdapter(TrainerState).dump_json(checkpoint.trainer_state, by_alias=True)
    header = state.decode()
    write_tensors(path, checkpoint.tensors, header)


def load_checkpoint(root: Path, record: CheckpointRecord) -> Checkpoint:
    """Read the checkpoint of a record that `find_checkpoint` returned.

    Raises
    ------
    SessionError
        If it is damaged.
    """
    from napari_resunet.engine.checkpoint import Checkpoint, TrainerState
    from napari_resunet.network.model_file import read_tensors

    try:
        tensors, header = read_tensors(inside(root, TRAINING, record.file))
        return Checkpoint(TypeAdapter(TrainerState).validate_json(header), tensors)
    except (ModelFileError, FileError, ValidationError) as error:
        raise _damaged() from error


def config_of(checkpoint: Checkpoint) -> FineTuneConfig:
    """Read the configuration of an interrupted fine-tuning.

    A session may come from anyone, so values out of range are refused: they could fill the
    memory or never end.

    Raises
    ------
    FileError
        If a value is out of range.
    """
    from napari_resunet.engine.checkpoint import incompatible_checkpoint
    from napari_resunet.engine.finetune_config import FineTuneConfig

    config = checkpoint.trainer_state.config
    try:
        return TypeAdapter(FineTuneConfig).validate_python(config)
    except ValidationError as error:
        raise incompatible_checkpoint() from error


def _damaged() -> SessionError:
    return SessionError(
        "A fine-tuning was interrupted, but its checkpoint is damaged: click Fine-tune "
        "to start a new one. Your corrections and the model are as they were."
    )
