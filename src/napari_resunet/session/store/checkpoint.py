"""A fine-tuning on its way, on disk: ``training/`` holds what a crash must not take.

The tensors get a new name each time; the record, written last and in one piece, names
the file that counts, and then the older one is deleted. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, TypeAdapter, ValidationError

from napari_resunet.errors import FileError, ModelFileError, SessionError
from napari_resunet.session.store.layout import TRAINING
from napari_resunet.session.store.models import file_hash
from napari_resunet.session.store.safety import inside, read_text
from napari_resunet.session.store.schema import Moment, Record, Share
from napari_resunet.session.store.sealed import sealed, unsealed
from napari_resunet.session.store.tiff import make_folder, store_text
from napari_resunet.types import new_id, now

if TYPE_CHECKING:
    from napari_resunet.engine.checkpoint import Checkpoint

RECORD = "checkpoint.json"


class CheckpointRecord(Record):
    """What is told of an interrupted fine-tuning.

    Attributes
    ----------
    created : str
        ISO 8601, UTC.
    base : int
        Number of the model version that it began with; 0 is the starter.
    image : str
        Key of the image whose corrections came last; empty if it has none.
    steps : int
        Batches done.
    share : float
        How much of the work is done, 0 to 1.
    score : float or None
        The best on the held-out part so far.
    file : str
        Name of the file with all tensors.
    sha256 : str
        Of that file.
    """

    created: Moment = Field(default_factory=now)
    base: int = Field(ge=0, lt=10**6)
    image: str = ""
    steps: int = Field(default=0, ge=0)
    share: Share = 0.0
    score: float | None = None
    file: str = Field(default="", pattern=r"^([a-z0-9]{12}\.safetensors)?$")
    sha256: str = ""


def save_checkpoint(
    root: Path, record: CheckpointRecord, write: Callable[[Path], None]
) -> CheckpointRecord:
    """Write a checkpoint: the tensors, then the record that makes them count.

    Parameters
    ----------
    root : Path
        The session folder.
    record : CheckpointRecord
        What is known of it.
    write : callable
        Writes the tensors to a path, all or nothing.

    Returns
    -------
    CheckpointRecord
        With name and hash of the file.

    Raises
    ------
    FileError
        If it cannot be written; the checkpoint before is as it was.
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
    """Delete the checkpoint: the record first, so that it never points at nothing."""
    folder = inside(root, TRAINING)
    inside(root, TRAINING, RECORD).unlink(missing_ok=True)
    for path in folder.glob("*.safetensors"):
        path.unlink(missing_ok=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def find_checkpoint(root: Path) -> CheckpointRecord | None:
    """Find the interrupted fine-tuning of a session.

    Returns
    -------
    CheckpointRecord or None
        None if none was interrupted.

    Raises
    ------
    SessionError
        If it is damaged.
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
    """Write tensors and all else of a checkpoint into one file, all or nothing.

    Parameters
    ----------
    checkpoint : Checkpoint
        What to write.
    path : Path
        Ends in ``.safetensors``.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    from napari_resunet.engine.checkpoint import TrainerState
    from napari_resunet.network.model_file import write_tensors

    header = TypeAdapter(TrainerState).dump_json(checkpoint.trainer_state).decode()
    write_tensors(path, checkpoint.tensors, header)


def load_checkpoint(root: Path, record: CheckpointRecord) -> Checkpoint:
    """Read a checkpoint's tensors and all else.

    Parameters
    ----------
    root : Path
        The session folder.
    record : CheckpointRecord
        From `find_checkpoint`.

    Returns
    -------
    Checkpoint

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


def _damaged() -> SessionError:
    return SessionError(
        "A fine-tuning was interrupted, but its checkpoint is damaged: click Fine-tune "
        "to begin anew. Your corrections and the model are as they were."
    )
