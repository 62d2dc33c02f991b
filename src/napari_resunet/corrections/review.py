"""What is predicted, edited and verified on each plane, and how new predictions are merged.

Verified and edited pixels stay exactly as they are.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from napari_resunet.corrections.object_edits import fits_table, free_label
from napari_resunet.types import LabelArray, MaskArray, Task, Window
from napari_resunet.windows import relative

Index = tuple[int, ...]


@dataclass
class ReviewMask:
    """The state of one plane of labels.

    Attributes
    ----------
    last_written : int32 array, shape (Y, X)
        The labels as we last wrote them.
    proposed : bool array
        Where a proposal was ever made.
    edited : bool array
        What the user changed, objects as a whole.
    verified : bool array
        Where the user vouches for every pixel.
    revision : int
        Goes up with each of our own changes, for whoever keeps a copy.
    """

    last_written: LabelArray
    proposed: MaskArray
    edited: MaskArray
    verified: MaskArray
    revision: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> ReviewMask:
        """Start with no labels, nothing proposed, edited or verified."""
        proposed, edited, verified = (np.zeros(shape, bool) for _ in range(3))
        return cls(np.zeros(shape, np.int32), proposed, edited, verified)

    def sync(self, current: npt.NDArray[Any]) -> None:
        """Take note of what the user changed.

        Parameters
        ----------
        current : integer array, shape (Y, X)
            The labels now.
        """
        self.edited |= edited_pixels(current, self.last_written)
        self.last_written = current.astype(np.int32)
        self.revision += 1

    def verify(self, region: MaskArray) -> None:
        """Mark a region as verified, as far as there was a proposal or a correction.

        Parameters
        ----------
        region : bool array, shape (Y, X)
            What the user vouches for.
        """
        known = self.proposed | self.edited
        # Without any proposal the user drew everything: the region is as they say.
        self.verified |= region & known if self.proposed.any() else region
        self.revision += 1

    def unverify(self, region: MaskArray) -> None:
        """Take a region back; what the user changed there stays theirs."""
        self.verified &= ~region
        self.revision += 1

    @property
    def protected(self) -> MaskArray:
        """Where no proposal may write."""
        return self.verified | self.edited

    def merge_prediction(
        self,
        current: npt.NDArray[Any],
        proposal: npt.NDArray[Any],
        window: Window,
        core: Window,
        task: Task,
    ) -> LabelArray:
        """Merge a proposal into the labels and remember it as applied.

        Parameters
        ----------
        current : integer array, shape (Y, X)
            The plane's labels now.
        proposal : integer array, shape of the window
            New labels.
        window, core : tuple of slice
            Where the proposal lies, context included, and the part asked for.
        task : {"instances", "classes"}
            What labels mean.

        Returns
        -------
        int32 array, shape of the window
            Equal to `current` on every protected pixel.
        """
        self.sync(current)
        part, protected = current[window], self.protected[window]
        inner = relative(core, window)
        if task == "instances":
            result = merge_objects(part, proposal, protected, inner, free_label(current))
        else:
            result = merge_classes(part, proposal, protected, inner)
        self.last_written[window] = result
        self.proposed[core] = True
        return result


@dataclass
class ReviewState:
    """The planes of one Labels layer, made when first needed."""

    shape: tuple[int, int]
    planes: dict[Index, ReviewMask] = field(default_factory=dict)

    def plane(self, index: Index) -> ReviewMask:
        """Find or make the state of a plane."""
        if index not in self.planes:
            self.planes[index] = ReviewMask.empty(self.shape)
        return self.planes[index]

    def verified_planes(self) -> list[Index]:
        """List the planes with a verified region, in the order of the stack."""
        return sorted(index for index, p in self.planes.items() if p.verified.any())


SAME_OBJECT = 0.5
"""Two objects with a larger intersection over union are the same. No object has two such
partners, so that a label goes on to one object only."""


def edited_pixels(current: npt.NDArray[Any], last_written: npt.NDArray[Any]) -> MaskArray:
    """Find what the user changed since a proposal was applied.

    Parameters
    ----------
    current, last_written : integer arrays of equal shape
        The labels now, and as the last proposal left them.

    Returns
    -------
    bool array
        True where they differ, and all over each object of `current` that has such a
        pixel: a corrected object is the user's as a whole.
    """
    changed: MaskArray = current != last_written
    # What was painted, and what is left of objects that were erased or painted over.
    objects = np.union1d(current[changed], last_written[changed])
    objects = objects[(objects > 0) & (objects <= current.max(initial=0))]
    if not objects.size:
        return changed
    edited: MaskArray = changed | _members(current, objects)
    return edited


def merge_objects(
    current: npt.NDArray[Any],
    proposal: npt.NDArray[Any],
    protected: MaskArray,
    core: Window,
    next_label: int,
) -> LabelArray:
    """Put newly proposed objects into a window, but not on protected pixels.

    Parameters
    ----------
    current : integer array, shape (Y, X)
        The window's labels now.
    proposal : integer array, shape (Y, X)
        New objects, numbered from 1.
    protected : bool array, shape (Y, X)
        Where `current` stays exactly as it is.
    core : tuple of slice
        The part that was asked for. Objects that do not reach into it stay as they
        were, for the rest of the window is only context.
    next_label : int
        The first free label.

    Returns
    -------
    int32 array, shape (Y, X)
        A new object that is the same as one of `current` keeps its label. One of which
        at least half lies on protected pixels is the user's matter: its rest continues
        the protected object that it covers most, or goes where that is background.
    """
    if not fits_table(current):
        numbers, compact = _compacted(current)
        merged = merge_objects(compact, proposal, protected, core, len(numbers))
        new = np.arange(next_label, next_label + int(proposal.max(initial=0)) + 1)
        return np.concatenate([numbers, new]).astype(np.int32)[merged]
    result: LabelArray = current.astype(np.int32)
    result[_members(result, result[core]) & ~protected] = 0
    names = _names(current, proposal, protected, next_label)
    elsewhere = np.ones(len(names), bool)
    elsewhere[proposal[core]] = False
    names[elsewhere] = 0
    write = (result == 0) & ~protected
    result[write] = names[proposal[write]]
    return result


def merge_classes(
    current: npt.NDArray[Any],
    proposal: npt.NDArray[Any],
    protected: MaskArray,
    core: Window,
) -> LabelArray:
    """Put newly proposed classes into the core of a window, but not on protected pixels.

    Parameters
    ----------
    current, proposal : integer arrays, shape (Y, X)
        Class values.
    protected : bool array, shape (Y, X)
        Where `current` stays.
    core : tuple of slice
        The part that was asked for.

    Returns
    -------
    int32 array, shape (Y, X)
    """
    result: LabelArray = current.astype(np.int32)
    result[core] = np.where(protected[core], current[core], proposal[core])
    return result


def _compacted(
    labels: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Count labels from 0 up; return which number each count stands for, and the counts."""
    numbers = np.unique(labels[labels != 0]).astype(np.int64)
    places = np.where(labels == 0, 0, np.searchsorted(numbers, labels) + 1)
    return np.concatenate([[0], numbers]), places.astype(np.int32)


def _members(labels: npt.NDArray[Any], objects: npt.NDArray[Any]) -> MaskArray:
    """Mark the pixels of some objects, background never."""
    if not fits_table(labels):
        return np.isin(labels, objects[objects != 0])
    table = np.zeros(int(labels.max(initial=0)) + 1, bool)
    table[objects] = True
    table[0] = False
    marked: MaskArray = table[labels]
    return marked


def _names(
    current: npt.NDArray[Any],
    proposal: npt.NDArray[Any],
    protected: MaskArray,
    next_label: int,
) -> npt.NDArray[np.int32]:
    """Name each label of the proposal: a known one, a new one, or 0."""
    n = int(proposal.max(initial=0)) + 1
    names = np.arange(n, dtype=np.int32) + (next_label - 1)
    for new, old in _same_objects(current, proposal):
        names[new] = old
    names[0] = 0
    areas = np.bincount(proposal.ravel(), minlength=n)
    covered = np.bincount(proposal[protected], minlength=n)
    mine = np.flatnonzero((2 * covered >= areas) & (areas > 0))
    mine = mine[mine > 0]
    if len(mine):
        under = _overlap(proposal, current, protected)[mine]
        names[mine] = np.asarray(under.argmax(axis=1)).ravel()
    return names


def _overlap(
    proposal: npt.NDArray[Any], current: npt.NDArray[Any], where: MaskArray
) -> sparse.csr_matrix:
    """Count the pixels that each label of the proposal shares with each current one."""
    pairs = proposal[where], current[where]
    shape = int(proposal.max(initial=0)) + 1, int(current.max(initial=0)) + 1
    ones = np.ones(len(pairs[0]), np.int32)
    return sparse.coo_matrix((ones, pairs), shape=shape).tocsr()


def _same_objects(
    current: npt.NDArray[Any], proposal: npt.NDArray[Any]
) -> list[tuple[int, int]]:
    """Pair labels of the proposal with those of the same objects in `current`."""
    new_areas, old_areas = np.bincount(proposal.ravel()), np.bincount(current.ravel())
    pairs = _overlap(proposal, current, (current > 0) & (proposal > 0)).tocoo()
    new_areas, old_areas = new_areas[pairs.row], old_areas[pairs.col]
    same = pairs.data > SAME_OBJECT * (new_areas + old_areas - pairs.data)
    return list(zip(pairs.row[same].tolist(), pairs.col[same].tolist(), strict=True))
