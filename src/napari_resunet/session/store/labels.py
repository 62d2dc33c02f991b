"""One plane of labels on disk: a snapshot, and a journal of the changes since.

A generation consists of ``labels-N.tif``, ``before-N.tif`` (if needed), ``marks-N.tif``,
and ``journal-N.bin``. The marks are written last: they make the generation valid, and only
then the one before is deleted. Generation 0 is the empty plane and has no snapshot. Damaged
files are read as far as possible, and set aside before anything new is written.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import SessionError
from napari_resunet.session.store.delta import (
    CHANGED,
    EDITED,
    PROPOSED,
    VERIFIED,
    LabelDelta,
    LabelsSnapshot,
    decode,
    encode,
)
from napari_resunet.session.store.journal import Journal
from napari_resunet.session.store.safety import free_for_damaged, inside
from napari_resunet.session.store.schema import PlaneContents
from napari_resunet.session.store.tiff import (
    label_dtype,
    make_folder,
    read_note,
    read_rows,
    sync_folder,
    write_tiff,
)

BITS = (PROPOSED, EDITED, VERIFIED, CHANGED)
"""Pages of ``marks-N.tif``, in this order."""

CHECKSUM = "checksum"
Rows = npt.NDArray[np.bool_]
"""Which rows could be read."""

_FILE = re.compile(r"(labels|before|marks|journal)-(\d{1,9})\.(tif|bin)")


class LabelsStore:
    """The files of one plane.

    Parameters
    ----------
    folder : Path
        The folder of this plane.
    shape : tuple of int
        Height and width.
    expected : PlaneContents or None
        What must be there; None if unknown.
    """

    def __init__(
        self, folder: Path, shape: tuple[int, int], expected: PlaneContents | None = None
    ) -> None:
        self.folder = folder
        self.shape = shape
        self.expected = expected or PlaneContents()
        self.generation = 0
        self.damage: list[str] = []
        """What `load` found to be lost, in words."""
        self.vanished = False
        """Whether files vanished while the plane was open: it must be written again."""
        self._keep_older = False
        self._journal: Journal | None = None

    def load(self) -> LabelsSnapshot:
        """Read the newest snapshot and later changes; `damage` lists what is lost."""
        self.damage, self._journal = [], None
        state = self._base()
        for number in sorted(n for n in self._numbers("journal") if n >= self.generation):
            # A damaged later generation repeats these changes, and adds to them.
            self._journal = Journal(self._path("journal", "bin", number))
            self._replay(state, self._journal)
        if self._journal is None or self._journal.path != self._path("journal", "bin"):
            self._keep_older |= self._journal is not None
            self._journal = Journal(self._path("journal", "bin"))
        awaited = self.expected.journal and self.generation == self.expected.generation
        if awaited and not self._journal.good and not self.damage:
            self.damage.append("the latest changes are missing")
        self._keep_older |= bool(self.damage)
        return state

    def append(self, deltas: Sequence[LabelDelta]) -> None:
        """Write changes, all of them or none; later ones win if they overlap.

        Raises
        ------
        FileError
            If they cannot be written.
        """
        if self._journal is None:
            self.load()
        assert self._journal is not None
        gone = not self.is_whole()
        self.vanished |= gone
        if gone or self._keep_older or self._journal.is_old:
            self._begin_generation(self.load())
        is_new = not self._journal.end
        make_folder(self.folder)
        self._journal.append(encode(deltas))
        if is_new:
            sync_folder(self.folder)
        self.expected = self.contents

    def compact(self) -> None:
        """Write a new snapshot, and start a new journal.

        Raises
        ------
        FileError
            If it cannot be written; then the old generation is as good as before.
        """
        if self._journal is None or not self.journal_bytes:
            return
        if not self.is_whole():
            self.vanished = True
            return
        state = self.load()
        if not self.damage:
            self._begin_generation(state)

    def is_whole(self) -> bool:
        """Return whether the files that were read or written are still there."""
        files = ("labels", "marks") if self.generation else ()
        there = all(self._path(kind, "tif").is_file() for kind in files)
        return there and (self._journal is None or self._journal.is_whole())

    @property
    def contents(self) -> PlaneContents:
        """What is on the disk."""
        journal = self._journal is not None and self._journal.good > 0
        return PlaneContents(generation=self.generation, journal=journal)

    @property
    def journal_bytes(self) -> int:
        """Size of the journal."""
        return self._journal.end if self._journal else 0

    # Reading ------------------------------------------------------------------------

    def _base(self) -> LabelsSnapshot:
        """Read the newest intact snapshot, or else what is left of the newest."""
        counted = self._numbers("marks")
        started = 0 in self._numbers("journal")
        for number in sorted({*counted, *([0] if started else [])}, reverse=True):
            if number < self.expected.generation:
                break
            state, damage = self._snapshot(number)
            if not damage:
                self.generation = number
                return state
        return self._remains()

    def _remains(self) -> LabelsSnapshot:
        """Read what is left of the newest snapshot, because none is intact."""
        newest = max(self._numbers(), default=0)
        self.generation = newest
        if newest < self.expected.generation:
            self.damage.append("the labels saved last are missing")
        state, damage = self._snapshot(newest)
        self.damage += damage
        return state

    def _snapshot(self, number: int) -> tuple[LabelsSnapshot, list[str]]:
        """Read a snapshot, and list what is damaged."""
        state, damage = LabelsSnapshot.empty(self.shape), list[str]()
        if not number:
            return state, damage
        good = self._read_into(state.labels[None], "labels", number, damage)[0]
        pages = np.zeros((len(BITS), *self.shape), np.uint8)
        marked = np.all(self._read_into(pages, "marks", number, damage), axis=0)
        for page, bit in zip(pages, BITS, strict=True):
            state.marks[page > 0] |= bit
        noted = good
        if self._path("before", "tif", number).exists():
            noted = self._read_into(state.before[None], "before", number, damage)[0]
        _leave_out(state, good, marked, noted)
        path = self._path("marks", "tif", number)
        known = None if damage else read_note(path, CHECKSUM)
        if known not in (None, state.checksum(self._place)):
            damage.append("the labels are not the ones that were saved: look them over")
            _leave_out(state, good, ~good, good)
        return state, damage

    def _read_into(
        self, pages: npt.NDArray[Any], kind: str, number: int, damage: list[str]
    ) -> Rows:
        """Read a TIFF of a snapshot into an array; return which rows could be read."""
        path = self._path(kind, "tif", number)
        try:
            found, good = read_rows(path, pages.shape)
        except SessionError:
            found, good = pages, np.zeros(0, bool)
        if good.shape != pages.shape[:2]:
            damage.append(f"'{path.name}' is missing or cannot be read")
            return np.zeros(pages.shape[:2], bool)
        pages[:] = found
        if not good.all():
            lost = len(good[0]) - int(good.all(0).sum())
            damage.append(f"{lost} of {len(good[0])} rows in '{path.name}' are damaged")
        return good

    def _replay(self, state: LabelsSnapshot, journal: Journal) -> None:
        bad = 0
        try:
            for record in journal.records():
                try:
                    for delta in decode(record, self.shape):
                        state.put(delta)
                except ValueError:
                    bad += 1
        except OSError:
            self.damage.append(f"'{journal.path.name}' cannot be read")
        if lost := journal.lost + bad:
            changes = f"{lost} of {max(lost, journal.count)} changes"
            self.damage.append(f"{changes} in '{journal.path.name}' are damaged or cut off")

    # Writing ------------------------------------------------------------------------

    def _begin_generation(self, state: LabelsSnapshot) -> None:
        """Write a snapshot with a new number, and clear the older files."""
        after = 1 + max(*self._numbers(), self.expected.generation, 0)
        write_tiff(self._path("labels", "tif", after), label_dtype(state.labels))
        if state.before.any():
            write_tiff(self._path("before", "tif", after), label_dtype(state.before))
        pages = np.stack([(state.marks & bit) > 0 for bit in BITS])
        note = {CHECKSUM: state.checksum(self._place)}
        path = self._path("marks", "tif", after)
        write_tiff(path, pages, note=note, photometric="minisblack")
        self.generation = after
        self._journal = Journal(self._path("journal", "bin"))
        self.damage = []
        self.expected = self.contents
        self._clear_older()

    def _clear_older(self) -> None:
        """Delete the files of older generations; set them aside if some are damaged."""
        older = [m[0] for m in self._files() if int(m[2]) != self.generation]
        if self._keep_older and older:
            aside = free_for_damaged(self.folder / "files")
            make_folder(aside)
            for name in older:
                (self.folder / name).rename(aside / name)
        for name in () if self._keep_older else older:
            (self.folder / name).unlink(missing_ok=True)
        self._keep_older = False

    # Names --------------------------------------------------------------------------

    @property
    def _place(self) -> str:
        return f"{self.folder.parent.name}/{self.folder.name}"

    def _numbers(self, kind: str = "") -> set[int]:
        """List the generations that have files, of one kind or of any."""
        return {int(m[2]) for m in self._files() if not kind or m[1] == kind}

    def _files(self) -> list[re.Match[str]]:
        if self.folder.is_symlink() or not self.folder.is_dir():
            return []
        return [m for p in self.folder.iterdir() if (m := _FILE.fullmatch(p.name))]

    def _path(self, kind: str, suffix: str, generation: int | None = None) -> Path:
        number = self.generation if generation is None else generation
        return inside(self.folder, f"{kind}-{number}.{suffix}")


def _leave_out(state: LabelsSnapshot, labels: Rows, marks: Rows, before: Rows) -> None:
    """Clear the rows that could not be read, so that nothing wrong counts as verified.

    Labels whose marks are lost count as edited, so that no proposal overwrites them.
    """
    state.marks[~marks] = np.where(state.labels[~marks] != 0, EDITED, 0)
    state.marks[~before] &= np.uint8(255 - CHANGED)
    for array in (state.labels, state.before, state.marks):
        array[~labels] = 0


def find_contents(folder: Path) -> PlaneContents | None:
    """Return what the folder of a plane holds; None if it holds no labels."""
    store = LabelsStore(folder, (1, 1))
    marks, journals = store._numbers("marks"), store._numbers("journal")
    if not marks and not journals:
        return None
    generation = max(marks, default=0)
    return PlaneContents(generation=generation, journal=generation in journals)
