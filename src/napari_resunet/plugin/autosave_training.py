"""What was learned goes to the session folder: versions, corrections, history.

`work` and the correction log leave these in lists; here they are taken from there and
handed to the folder's writing threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.session.store import contents
from napari_resunet.session.store.checkpoint import (
    CheckpointRecord,
    delete_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from napari_resunet.session.store.corrections import save_correction
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import append_history
from napari_resunet.session.store.layout import TRAINING
from napari_resunet.session.store.models import (
    VersionRecord,
    delete_version,
    save_record,
    save_version,
    stem_of,
)

if TYPE_CHECKING:
    from napari_resunet.corrections.training_set import Correction
    from napari_resunet.engine.checkpoint import Checkpoint
    from napari_resunet.network.model_file import Model
    from napari_resunet.plugin.work import Work
    from napari_resunet.types import Example


class TrainingAutosave:
    """Keeps what was learned.

    Parameters
    ----------
    work : Work
        Where it comes from.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.on_disk: dict[int, VersionRecord] = {}
        """Versions that are safely written, by number; filled by a writing thread."""
        self._asked: set[int] = set()
        self._entries: list[dict[str, Any]] = []
        self._written: list[dict[str, Any]] = []
        self._guard = threading.Lock()
        self.interrupted: CheckpointRecord | None = None
        """The fine-tuning on disk that can go on where none runs."""
        self._training = 0
        """Counts fine-tunings that ended: what is written late of one is no offer."""

    def something(self) -> bool:
        """Whether there is a version to keep."""
        return any(v.record for v in self.work.versions.all())

    def restore(
        self,
        records: Mapping[int, VersionRecord],
        interrupted: CheckpointRecord | None = None,
    ) -> None:
        """Take note of what is on disk already, from an earlier run."""
        self.on_disk = dict(records)
        self._asked = set(records)
        self.interrupted = interrupted

    def start_anew(self) -> None:
        """Have everything written once more, in another folder."""
        self.restore({})
        self.work.workers.corrections.mark_unsaved()
        self._entries, self._written = self._written + self._entries, []

    def keep(self, folder: SessionFolder, keys: Mapping[str, str]) -> None:
        """Hand over all that is new.

        Parameters
        ----------
        folder : SessionFolder
            Where to.
        keys : mapping of str to str
            The session's name for each image layer.
        """
        self._keep_versions(folder)
        self._keep_corrections(folder, keys)
        self._keep_history(folder)
        self._keep_checkpoint(folder, keys)

    def update(self, folder: SessionFolder | None, record: VersionRecord) -> None:
        """Write a version's new name or note."""
        if folder is None or record.number not in self.on_disk:
            return
        sha256 = self.on_disk[record.number].sha256
        record = record.model_copy(update={"sha256": sha256})
        self.on_disk[record.number] = record
        folder.put_large(f"record {record.number}", lambda root: save_record(root, record))

    def delete(self, folder: SessionFolder | None, record: VersionRecord) -> None:
        """Delete a version from the disk."""
        self.on_disk.pop(record.number, None)
        if folder is not None:
            folder.put_large(f"version {record.number}", _deleting(folder, record))

    def drop_checkpoint(self, folder: SessionFolder) -> None:
        """Delete the checkpoint of a fine-tuning that nobody goes on with."""
        self._training += 1
        self.interrupted = None

        def drop(root: Path) -> None:
            folder.note_first(contents.with_training(interrupted=False))
            delete_checkpoint(root)

        folder.put_large(TRAINING, drop)

    def _keep_versions(self, folder: SessionFolder) -> None:
        for version in self.work.versions.all():
            record, model = version.record, version.model
            if record is None or model is None or record.number in self._asked:
                continue
            self._asked.add(record.number)
            saving = self._saving(folder, record, model)
            folder.put_large(f"version {record.number}", saving)

    def _saving(
        self, folder: SessionFolder, record: VersionRecord, model: Model
    ) -> Callable[[Path], None]:
        def save(root: Path) -> None:
            self.on_disk[record.number] = save_version(root, record, model.save)
            folder.note(contents.with_version(record.number))

        return save

    def _keep_corrections(self, folder: SessionFolder, keys: Mapping[str, str]) -> None:
        log = self.work.workers.corrections
        fresh, log.fresh = log.fresh, []
        for correction, example in fresh:
            # What was restored of an image that is not open carries the session's name.
            key = keys.get(correction.image_id, correction.image_id)
            if folder.file.image(key) is None:
                log.fresh.append((correction, example))
                continue
            name = f"correction {key} {correction.index}"
            folder.put_large(name, _saving_correction(folder, key, correction, example))

    def _keep_history(self, folder: SessionFolder) -> None:
        fresh, self.work.history = self.work.history, []
        if not fresh:
            return
        with self._guard:
            self._entries += fresh
        folder.put_often("history", lambda root: self._write_history(folder, root))

    def _write_history(self, folder: SessionFolder, root: Path) -> None:
        with self._guard:
            entries = list(self._entries)
        append_history(root, entries)
        folder.note(contents.with_history(len(entries)))
        with self._guard:
            del self._entries[: len(entries)]
            self._written += entries

    def _keep_checkpoint(self, folder: SessionFolder, keys: Mapping[str, str]) -> None:
        work = self.work
        found, work.checkpoint = work.checkpoint, None
        if work.training_over:
            work.training_over = False
            self.drop_checkpoint(folder)
        elif found is not None:
            trainer_state, base = found.trainer_state, work.base.record
            record = CheckpointRecord(
                base=0 if base is None else base.number,
                image=keys.get(work.job_image or "", ""),
                steps=trainer_state.steps,
                share=trainer_state.share,
                score=trainer_state.best.value if trainer_state.best else None,
            )
            folder.put_large(TRAINING, self._saving_checkpoint(folder, record, found))

    def _saving_checkpoint(
        self, folder: SessionFolder, record: CheckpointRecord, checkpoint: Checkpoint
    ) -> Callable[[Path], None]:
        training = self._training

        def save(root: Path) -> None:
            saved = save_checkpoint(root, record, lambda p: write_checkpoint(checkpoint, p))
            folder.note(contents.with_training(interrupted=True))
            if training == self._training:
                self.interrupted = saved

        return save


def _deleting(folder: SessionFolder, record: VersionRecord) -> Callable[[Path], None]:
    def delete(root: Path) -> None:
        folder.note_first(contents.without_version(record.number))
        delete_version(root, stem_of(record))

    return delete


def _saving_correction(
    folder: SessionFolder, key: str, correction: Correction, example: Example
) -> Callable[[Path], None]:
    def save(root: Path) -> None:
        name = save_correction(root, key, correction, example)
        folder.note(contents.with_correction(name))

    return save
