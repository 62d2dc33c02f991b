"""Reads a session back, in a background thread: images, labels, versions, corrections.

Showing it in a viewer is up to the plugin.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_resunet.errors import SessionError
from napari_resunet.events import Progress
from napari_resunet.files import shown
from napari_resunet.session.large.label_store import StoreReady
from napari_resunet.session.large.reopen import reopen_levels, reopen_store
from napari_resunet.session.pixels import local_image, read_pixels
from napari_resunet.session.store.corrections import SavedCorrection, load_corrections
from napari_resunet.session.store.delta import LabelsSnapshot
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import Entry, read_history
from napari_resunet.session.store.images import is_as_stored, load_image
from napari_resunet.session.store.manifest import shortened
from napari_resunet.session.store.models import (
    CheckpointRecord,
    VersionRecord,
    find_checkpoint,
    list_versions,
    model_path,
    recovered_versions,
    version_files,
)
from napari_resunet.session.store.schema import (
    ImageRecord,
    SessionFile,
    plane_name,
    source_path,
)

States = dict[tuple[int, ...], LabelsSnapshot]


@dataclass(frozen=True, eq=False)
class RestoredImage:
    """An image of the session.

    Attributes
    ----------
    record : ImageRecord
        What the session says about it.
    levels : tuple of arrays
        Its pixels, the finest level first; empty if we cannot find them, or should not read
        them ourselves.
    states : dict of tuple of int to LabelsSnapshot
        Labels of each plane.
    fingerprint : str
        `content_hash` of the pixels; empty if they are not the saved ones.
    store : StoreReady or None
        The labels of a large image, which are in no session.
    """

    record: ImageRecord
    levels: tuple[Any, ...]
    states: States
    fingerprint: str = ""
    store: StoreReady | None = None


@dataclass(frozen=True, eq=False)
class Restored:
    """Everything in a session but its images.

    Attributes
    ----------
    versions : list of (VersionRecord, Path)
        Records and model files, in the order of their numbers.
    corrections : list of SavedCorrection
        The oldest first.
    history : list of dict
        Losses and scores.
    interrupted : CheckpointRecord or None
        An interrupted fine-tuning that can be resumed.
    notices : list of str
        What is missing or damaged, in sentences.
    last_version : int
        Highest number ever given to a version.
    """

    versions: list[tuple[VersionRecord, Path]]
    corrections: list[SavedCorrection]
    history: list[Entry]
    interrupted: CheckpointRecord | None = None
    notices: list[str] = field(default_factory=list)
    last_version: int = 0


def restore_steps(
    folder: SessionFolder,
) -> Generator[Progress | RestoredImage, None, Restored]:
    """Read a session; damaged parts are left out and named in `Restored.notices`."""
    images, notices = images_in_viewer(folder.file), list(folder.notices)
    for number, record in enumerate(images):
        yield Progress(number, len(images), f"opening '{record.name}'")
        states = _states(folder, record, notices)
        store = _store(folder.root, record, notices)
        levels, fingerprint = _pixels(folder.root, record, notices)
        if not levels and store is not None:
            levels = tuple(reopen_levels(record, store) or ())
            fingerprint = record.content_hash if levels else ""
        yield RestoredImage(record, levels, states, fingerprint, store)
    yield Progress(0, 0, "opening models and corrections")
    versions = _versions(folder.root, notices)
    corrections, damage = load_corrections(folder.root)
    notices += shortened(damage)
    interrupted = _interrupted(folder.root, notices)
    history = _history(folder.root, notices)
    last = folder.last_version
    return Restored(versions, corrections, history, interrupted, notices, last)


def images_in_viewer(file: SessionFile) -> list[ImageRecord]:
    """List the images to show: of those that were added to the queue, the open one only."""
    items = {item.key: item for item in file.queue}
    current = items.get(file.current_item)
    shown = file.current_image if current is None else current.image
    away = {item.image for item in file.queue if not item.is_layer} - {shown}
    return [image for image in file.images if image.key not in away]


def _states(folder: SessionFolder, record: ImageRecord, notices: list[str]) -> States:
    """Read as much as possible of the labels of an image."""
    states, found = States(), list[str]()
    for index in folder.planes(record.key):
        where = f" (slice {plane_name(index)})" if index else ""
        try:
            state = folder.load_plane(record.key, index)
        except SessionError:
            found.append(f"There are labels of '{record.name}'{where}, which it has not.")
            continue
        if damage := folder.plane_damage(record.key, index):
            found.append(
                f"Labels of '{record.name}'{where}: {'; '.join(damage)}. What can be read "
                "is shown, and the damaged files are kept."
            )
        if state.labels.any() or state.marks.any():
            states[index] = state
    notices += shortened(found)
    return states


def _pixels(
    root: Path, record: ImageRecord, notices: list[str]
) -> tuple[tuple[Any, ...], str]:
    """Read the pixels of an image, and their fingerprint."""
    # After a crash, the pixels may be there although the record does not say so yet.
    if record.stored or source_path(root, record.key).exists():
        try:
            data, fingerprint = _stored_pixels(root, record, notices)
            return (data,), fingerprint
        except SessionError:
            notices.append(f"The stored pixels of '{record.name}' cannot be read.")
    path = local_image(record.source)
    # Without a hash to compare, the user has to say which file it is.
    if path is None or not record.content_hash:
        return (), ""
    levels = read_pixels(path, record)
    return levels, record.content_hash if levels else ""


def _store(root: Path, record: ImageRecord, notices: list[str]) -> StoreReady | None:
    """Open the labels of a large image."""
    if not record.store:
        return None
    found = reopen_store(root, record)
    if found is None:
        notices.append(
            f"The labels of '{record.name}' in {shown(record.store)} are not there, or are "
            "damaged."
        )
    return found


def _stored_pixels(root: Path, record: ImageRecord, notices: list[str]) -> tuple[Any, str]:
    data, lost = load_image(root, record)
    fingerprint = None if lost else is_as_stored(root, record, data)
    if lost:
        notices.append(f"{lost} rows of the stored image '{record.name}' are damaged.")
    elif fingerprint is None:
        notices.append(
            f"The stored pixels of '{record.name}' are not the ones that were saved: look "
            "whether they fit the labels."
        )
    return data, fingerprint or ""


def _versions(root: Path, notices: list[str]) -> list[tuple[VersionRecord, Path]]:
    """List the versions whose model files are intact."""
    found = []
    recovered = recovered_versions(root)
    for record in recovered.values():
        notices.append(
            f"The record of model version {record.number} is damaged or missing: the model "
            "can be used, but its name and scores are lost."
        )
    known = list_versions(root) | recovered
    notices += [
        f"The model in 'models/{stem}.safetensors' cannot be used: its record and its "
        "description are damaged. The file is kept."
        for stem in version_files(root)
        if stem not in known
    ]
    for stem, record in known.items():
        try:
            found.append((record, model_path(root, record, stem)))
        except SessionError as error:
            notices.append(str(error))
    return sorted(found, key=lambda version: version[0].number)


def _history(root: Path, notices: list[str]) -> list[Entry]:
    try:
        entries, lost = read_history(root)
    except SessionError as error:
        notices.append(str(error))
        return []
    if lost:
        notices.append(f"{lost} entries of the history of scores are damaged.")
    return entries


def _interrupted(root: Path, notices: list[str]) -> CheckpointRecord | None:
    try:
        return find_checkpoint(root)
    except SessionError as error:
        notices.append(str(error))
        return None
