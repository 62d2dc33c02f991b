"""Reading a session back, in a worker's thread: images, labels, versions, corrections.

What becomes of it in a viewer is the plugin's matter.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_resunet.errors import FileError, SessionError
from napari_resunet.files import IMAGE_SUFFIXES, read_image
from napari_resunet.session.store.checkpoint import CheckpointRecord, find_checkpoint
from napari_resunet.session.store.content_hash import content_hash
from napari_resunet.session.store.corrections import SavedCorrection, load_corrections
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import Entry, read_history
from napari_resunet.session.store.layout import source_path
from napari_resunet.session.store.models import VersionRecord, list_versions, model_path
from napari_resunet.session.store.patch import PlaneState
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.sources import load_image
from napari_resunet.types import Progress

States = dict[tuple[int, ...], PlaneState]


@dataclass(frozen=True, eq=False)
class RestoredImage:
    """An image of the session.

    Attributes
    ----------
    record : ImageRecord
        What is known of it.
    data : array or None
        Its pixels; None where we cannot find or read them ourselves.
    states : dict
        Its labels by plane.
    """

    record: ImageRecord
    data: Any
    states: States


@dataclass(frozen=True, eq=False)
class Restored:
    """All of a session but its images.

    Attributes
    ----------
    versions : list of (VersionRecord, Path)
        In order, with their model files.
    corrections : list of SavedCorrection
        The oldest first.
    history : list of dict
        Scores and losses.
    interrupted : CheckpointRecord or None
        A fine-tuning that was cut off and can go on.
    notices : list of str
        What could not be had, in sentences.
    """

    versions: list[tuple[VersionRecord, Path]]
    corrections: list[SavedCorrection]
    history: list[Entry]
    interrupted: CheckpointRecord | None = None
    notices: list[str] = field(default_factory=list)


def restore_steps(
    folder: SessionFolder,
) -> Generator[Progress | RestoredImage, None, Restored]:
    """Read a session.

    Parameters
    ----------
    folder : SessionFolder
        Open.

    Yields
    ------
    Progress or RestoredImage

    Returns
    -------
    Restored

    Raises
    ------
    SessionError
        If it is damaged or not ours.
    """
    images = folder.file.images
    for number, record in enumerate(images):
        yield Progress(number, len(images), f"opening '{record.name}'")
        states = {
            index: folder.load_plane(record.key, index)
            for index in folder.planes(record.key)
        }
        yield RestoredImage(record, _pixels(folder.root, record), states)
    yield Progress(0, 0, "opening models and corrections")
    notices: list[str] = []
    versions = _versions(folder.root, notices)
    corrections = load_corrections(folder.root)
    interrupted = _interrupted(folder.root, notices)
    history = read_history(folder.root)
    return Restored(versions, corrections, history, interrupted, notices)


def is_image(record: ImageRecord, array: Any) -> bool:
    """Tell whether an array holds the pixels of a record."""
    if tuple(array.shape) != record.shape or str(array.dtype) != record.dtype:
        return False
    return not record.content_hash or content_hash(array) == record.content_hash


def read_pixels(path: Path, record: ImageRecord) -> Any:
    """Read a file if it holds the pixels of a record; None if it does not."""
    if not path.is_file() or path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    try:
        array = read_image(path)
    except FileError:
        return None
    return array if is_image(record, array) else None


def _pixels(root: Path, record: ImageRecord) -> Any:
    # A crash may have come between the pixels and the word that they are there.
    if record.stored or source_path(root, record.key).exists():
        return load_image(root, record)
    return None if record.source is None else read_pixels(Path(record.source), record)


def _versions(root: Path, notices: list[str]) -> list[tuple[VersionRecord, Path]]:
    """List the versions with good files."""
    found = []
    for stem, record in list_versions(root).items():
        try:
            found.append((record, model_path(root, record, stem)))
        except SessionError as error:
            notices.append(str(error))
    return sorted(found, key=lambda version: version[0].number)


def _interrupted(root: Path, notices: list[str]) -> CheckpointRecord | None:
    try:
        return find_checkpoint(root)
    except SessionError as error:
        notices.append(str(error))
        return None
