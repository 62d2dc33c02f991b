"""Autosave of training results: versions, corrections, history, checkpoint.

Signals of the state say what is new; `save_changes` hands it to the folder's writing
threads as soon as there is a folder.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.plugin.state import AppState, Interrupted, Version
from napari_resunet.session.store import manifest
from napari_resunet.session.store.corrections import save_correction
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import append_history
from napari_resunet.session.store.models import (
    CheckpointRecord,
    VersionRecord,
    delete_checkpoint,
    delete_version,
    save_checkpoint,
    save_record,
    save_version,
    stem_of,
    write_checkpoint,
)
from napari_resunet.session.store.schema import TRAINING

if TYPE_CHECKING:
    from napari_resunet.corrections.training_set import Correction, CorrectionLog
    from napari_resunet.engine.checkpoint import Checkpoint
    from napari_resunet.network.model_file import Model
    from napari_resunet.types import Example


class TrainingAutosave:
    """Saves versions, corrections, history, and checkpoints.

    Parameters
    ----------
    state : AppState
        Versions, and the signals that announce changes.
    corrections : CorrectionLog
        The corrections that were learned from; worker threads add to it.
    """

    def __init__(self, state: AppState, corrections: CorrectionLog) -> None:
        self._state, self._corrections = state, corrections
        self.on_disk: dict[int, VersionRecord] = {}
        """Versions that are on disk, by number; a writing thread fills it."""
        self._queued: set[int] = set()
        self._entries: list[dict[str, Any]] = []
        self._written: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self._checkpoint: tuple[Checkpoint, Version, str | None] | None = None
        self._has_ended = False
        self._n_ended = 0
        """Number of finished fine-tunings, to recognize a late checkpoint."""
        self._folder: SessionFolder | None = None
        state.history.connect(self._add_entry)
        state.checkpoint.connect(self._take_checkpoint)
        state.training_over.connect(self._training_over)
        state.version_edited.connect(self._update)
        state.version_deleted.connect(self._delete)

    def use(self, folder: SessionFolder | None) -> None:
        """Write to this folder."""
        self._folder = folder

    def has_something(self) -> bool:
        """Return whether there is a version to save."""
        return any(v.record for v in self._state.versions.all())

    def restore(self, records: Mapping[int, VersionRecord]) -> None:
        """Note which versions are already on disk."""
        self.on_disk = dict(records)
        self._queued = set(records)

    def rewrite_all(self) -> None:
        """Write everything again, into another folder."""
        self.restore({})
        self._state.interrupted = None
        self._corrections.mark_unsaved()
        self._entries, self._written = self._written + self._entries, []

    def save_changes(self, keys: Mapping[str, str]) -> None:
        """Hand over everything new; `keys` are the session's keys by those of layers."""
        folder = self._folder
        if folder is None:
            return
        self._save_versions(folder)
        self._save_corrections(folder, keys)
        self._save_history(folder)
        self._save_checkpoint(folder, keys)

    # Signals of the state -----------------------------------------------------------

    def _add_entry(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._entries.append(entry)

    def _take_checkpoint(
        self, checkpoint: Checkpoint, base: Version, image_key: str | None
    ) -> None:
        self._checkpoint = checkpoint, base, image_key

    def _training_over(self) -> None:
        self._n_ended += 1
        self._has_ended, self._checkpoint = True, None

    def _update(self, record: VersionRecord) -> None:
        """Write a version's new name or note."""
        folder = self._folder
        if folder is None or record.number not in self.on_disk:
            return
        sha256 = self.on_disk[record.number].sha256
        record = record.model_copy(update={"sha256": sha256})
        self.on_disk[record.number] = record
        folder.put_large(f"record {record.number}", lambda root: save_record(root, record))

    def _delete(self, record: VersionRecord) -> None:
        """Delete a version from the disk."""
        self.on_disk.pop(record.number, None)
        if self._folder is not None:
            deleting = _deleting(self._folder, record)
            self._folder.put_large(f"version {record.number}", deleting)

    # Handing over -------------------------------------------------------------------

    def _save_versions(self, folder: SessionFolder) -> None:
        for version in self._state.versions.all():
            record, model = version.record, version.model
            if record is None or model is None or record.number in self._queued:
                continue
            self._queued.add(record.number)
            saving = self._saving(folder, record, model)
            folder.put_large(f"version {record.number}", saving)

    def _saving(
        self, folder: SessionFolder, record: VersionRecord, model: Model
    ) -> Callable[[Path], None]:
        def save(root: Path) -> None:
            saved = save_version(root, record, _writing(record, model))
            self.on_disk[record.number] = saved
            folder.note(manifest.with_version(record.number))

        return save

    def _save_corrections(self, folder: SessionFolder, keys: Mapping[str, str]) -> None:
        log = self._corrections
        unsaved, log.unsaved = log.unsaved, []
        for correction, example in unsaved:
            # A restored correction of an image that is not open has the session's key.
            key = keys.get(correction.image_id, correction.image_id)
            if folder.file.image(key) is None:
                log.unsaved.append((correction, example))
                continue
            name = f"correction {key} {correction.index}"
            folder.put_large(name, _saving_correction(folder, key, correction, example))

    def _save_history(self, folder: SessionFolder) -> None:
        if self._entries:
            folder.put_often("history", lambda root: self._write_history(folder, root))

    def _write_history(self, folder: SessionFolder, root: Path) -> None:
        with self._lock:
            entries = list(self._entries)
        if not entries:
            return
        append_history(root, entries)
        folder.note(manifest.with_history(len(entries)))
        with self._lock:
            del self._entries[: len(entries)]
            self._written += entries

    def _save_checkpoint(self, folder: SessionFolder, keys: Mapping[str, str]) -> None:
        found, self._checkpoint = self._checkpoint, None
        if self._has_ended:
            self._has_ended = False
            folder.put_large(TRAINING, _deleting_checkpoint(folder))
        if found is None:
            return
        checkpoint, base, image_key = found
        trainer_state, best = checkpoint.trainer_state, checkpoint.trainer_state.best
        record = CheckpointRecord(
            base=base.number,
            image=keys.get(image_key or "", ""),
            steps=trainer_state.steps,
            share=trainer_state.fraction,
            score=best.value if best else None,
            right=best.n_right if best else None,
            held_out=best.n_objects if best else None,
        )
        saving = self._saving_checkpoint(folder, record, checkpoint, image_key)
        folder.put_large(TRAINING, saving)

    def _saving_checkpoint(
        self,
        folder: SessionFolder,
        record: CheckpointRecord,
        checkpoint: Checkpoint,
        image_key: str | None,
    ) -> Callable[[Path], None]:
        training = self._n_ended

        def save(root: Path) -> None:
            saved = save_checkpoint(root, record, lambda p: write_checkpoint(checkpoint, p))
            folder.note(manifest.with_training(interrupted=True))
            # A writing thread sets this; only the main thread reads it, when a job ends.
            if training == self._n_ended:
                self._state.interrupted = Interrupted(saved, image_key)

        return save


def _writing(record: VersionRecord, model: Model) -> Callable[[Path], None]:
    # What was learned here has weights of half precision (`engine.model_selection`).
    return partial(model.save, half=record.origin == "learned" and model.is_half)


def _deleting_checkpoint(folder: SessionFolder) -> Callable[[Path], None]:
    def drop(root: Path) -> None:
        folder.note_first(manifest.with_training(interrupted=False))
        delete_checkpoint(root)

    return drop


def _deleting(folder: SessionFolder, record: VersionRecord) -> Callable[[Path], None]:
    def delete(root: Path) -> None:
        folder.note_first(manifest.without_version(record.number))
        delete_version(root, stem_of(record))

    return delete


def _saving_correction(
    folder: SessionFolder, key: str, correction: Correction, example: Example
) -> Callable[[Path], None]:
    def save(root: Path) -> None:
        name = save_correction(root, key, correction, example)
        folder.note(manifest.with_correction(name))

    return save
