"""One plane of labels on disk: a snapshot, and a journal of what changed since.

A generation is ``labels-N.tif``, ``before-N.tif`` (only where needed), ``marks-N.tif``
and ``journal-N.bin``. The marks are written last: with them the generation counts, and
only then the one before is deleted. Generation 0 is the empty plane and has no snapshot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_resunet.errors import SessionError
from napari_resunet.session.store.journal import Journal
from napari_resunet.session.store.patch import (
    CHANGED,
    CHECKED,
    PROPOSED,
    TOUCHED,
    Patch,
    PlaneState,
    decode,
    encode,
)
from napari_resunet.session.store.safety import inside, read_tiff
from napari_resunet.session.store.tiff import (
    label_dtype,
    make_folder,
    sync_folder,
    write_tiff,
)

BITS = (PROPOSED, TOUCHED, CHECKED, CHANGED)
"""Pages of ``marks-N.tif``, in this order."""

_FILE = re.compile(r"(labels|before|marks|journal)-(\d{1,9})\.(tif|bin)")


class PlaneStore:
    """The files of one plane.

    Parameters
    ----------
    folder : Path
        Of this plane alone.
    shape : tuple of int
        Height and width.
    """

    def __init__(self, folder: Path, shape: tuple[int, int]) -> None:
        self.folder = folder
        self.shape = shape
        self.generation = self._generations()[0]
        self._journal: Journal | None = None

    def load(self) -> PlaneState:
        """Read the plane: its newest good snapshot and all that followed.

        Returns
        -------
        PlaneState

        Raises
        ------
        SessionError
            If the files are damaged or not ours.
        """
        for generation in self._generations():
            try:
                state = self._snapshot(generation)
            except SessionError:
                if generation == self._generations()[-1]:
                    raise
                continue
            self.generation = generation
            self._journal = Journal(self._path("journal", "bin"))
            self._replay(state, self._journal)
            return state
        raise SessionError(f"'{self.folder}' holds no labels.")

    def append(self, patches: Sequence[Patch]) -> None:
        """Write changes, all of them or none.

        Parameters
        ----------
        patches : sequence of Patch
            The later wins where they overlap.

        Raises
        ------
        FileError
            If they cannot be written.
        """
        if self._journal is None:
            self.load()
        assert self._journal is not None
        is_new = not self._journal.end
        make_folder(self.folder)
        self._journal.append(encode(patches))
        if is_new:
            sync_folder(self.folder)

    def compact(self) -> None:
        """Write a new snapshot, so that the journal can start afresh.

        Raises
        ------
        FileError
            If it cannot be written; the old generation is as good as before.
        """
        if self._journal is not None and not self.journal_bytes:
            return
        state = self.load()
        if not self.journal_bytes:
            return
        after = self.generation + 1
        # A compaction that broke off earlier may have left files of this number.
        self._path("journal", "bin", after).unlink(missing_ok=True)
        self._path("before", "tif", after).unlink(missing_ok=True)
        write_tiff(self._path("labels", "tif", after), label_dtype(state.labels))
        if state.before.any():
            write_tiff(self._path("before", "tif", after), label_dtype(state.before))
        pages = np.stack([(state.marks & bit) > 0 for bit in BITS])
        write_tiff(self._path("marks", "tif", after), pages, photometric="minisblack")
        self.generation = after
        self._journal = Journal(self._path("journal", "bin"))
        self._tidy()

    @property
    def journal_bytes(self) -> int:
        """How much follows the snapshot."""
        return self._journal.end if self._journal else 0

    def _snapshot(self, generation: int) -> PlaneState:
        state = PlaneState.empty(self.shape)
        if not generation:
            return state
        labels = read_tiff(self._path("labels", "tif", generation), self.shape)
        state.labels[:] = labels
        before = self._path("before", "tif", generation)
        if before.exists():
            state.before[:] = read_tiff(before, self.shape)
        pages = read_tiff(
            self._path("marks", "tif", generation), (len(BITS), *self.shape), "u"
        )
        for page, bit in zip(pages, BITS, strict=True):
            state.marks[page > 0] |= bit
        return state

    def _replay(self, state: PlaneState, journal: Journal) -> None:
        try:
            for record in journal.records():
                for patch in decode(record, self.shape):
                    state.put(patch)
        except (ValueError, OSError) as error:
            raise SessionError(
                f"'{journal.path}' does not fit its image or cannot be read: the session "
                "is damaged or not from napari-resunet. Choose another one."
            ) from error

    def _generations(self) -> list[int]:
        """List what can be read, the newest first; 0 where no snapshot counts yet."""
        found = [int(m[2]) for m in self._files() if m[1] == "marks"]
        started = any(m[1] == "journal" and int(m[2]) == 0 for m in self._files())
        return sorted({*found, *([0] if started or not found else [])}, reverse=True)

    def _files(self) -> list[re.Match[str]]:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return []
        return [m for p in self.folder.iterdir() if (m := _FILE.fullmatch(p.name))]

    def _path(self, kind: str, suffix: str, generation: int | None = None) -> Path:
        number = self.generation if generation is None else generation
        return inside(self.folder, f"{kind}-{number}.{suffix}")

    def _tidy(self) -> None:
        """Delete what older generations and broken-off snapshots left."""
        for match in self._files():
            if int(match[2]) != self.generation:
                (self.folder / match[0]).unlink(missing_ok=True)
