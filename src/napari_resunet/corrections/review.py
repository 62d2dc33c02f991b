"""What is predicted, edited, and verified on each plane, and how predictions are merged.

Merging never changes verified or edited pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage, sparse

from napari_resunet.corrections.object_edits import free_label
from napari_resunet.masks import fits_table
from napari_resunet.types import Index, LabelArray, MaskArray, Task, Window
from napari_resunet.windows import bounding_window, relative


@dataclass
class ReviewMask:
    """The review state of one plane of labels.

    Attributes
    ----------
    last_written : int32 array, shape (Y, X)
        The labels as the plugin last wrote them.
    proposed : bool array
        The pixels that were proposed.
    edited : bool array
        The pixels that the user changed, as whole objects.
    verified : bool array
        The area that the user marked as right.
    revision : int
        Increases with each change, so that a copy can be recognized as outdated.
    marked : int
        Increases with each change of `verified`.
    """

    last_written: LabelArray
    proposed: MaskArray
    edited: MaskArray
    verified: MaskArray
    revision: int = 0
    marked: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> ReviewMask:
        """Start with empty labels and masks."""
        proposed, edited, verified = (np.zeros(shape, bool) for _ in range(3))
        return cls(np.zeros(shape, np.int32), proposed, edited, verified)

    def sync(self, current: npt.NDArray[Any]) -> None:
        """Compare the current labels with `last_written` and mark differences as edited."""
        changed = edited_pixels(current, self.last_written)
        if changed.any():
            self.edited |= changed
            self.last_written = current.astype(np.int32)
        self.revision += 1

    def edited_now(self, current: npt.NDArray[Any]) -> MaskArray:
        """Return what the user edited, up to the last stroke; nothing is changed."""
        edited: MaskArray = self.edited | edited_pixels(current, self.last_written)
        return edited

    def verify(self, region: MaskArray) -> None:
        """Mark the proposed or corrected pixels of a region as verified."""
        known = self.proposed | self.edited
        # Without a proposal, the user drew everything, so the whole region counts.
        area = region & known if self.proposed.any() else region
        self._turn(area & ~self.verified)

    def unverify(self, region: MaskArray) -> None:
        """Mark a region as not verified; what the user edited there stays edited."""
        self._turn(region & self.verified)

    def _turn(self, area: MaskArray) -> None:
        """Turn pixels over: from verified to not verified, or back."""
        self.verified ^= area
        self.marked += bool(area.any())
        self.revision += 1

    @property
    def protected(self) -> MaskArray:
        """Pixels that no proposal may change."""
        return self.verified | self.edited

    def merge_prediction(
        self,
        current: npt.NDArray[Any],
        proposal: npt.NDArray[Any],
        window: Window,
        roi: Window,
        task: Task,
    ) -> LabelArray:
        """Merge a proposal into the labels and remember it as written.

        Parameters
        ----------
        current : integer array, shape (Y, X)
            The labels of the plane now.
        proposal : integer array, shape of `window`
            New labels.
        window, roi : tuple of slice
            The area of the proposal, and the part of it to write; the rest is context.
        task : {"instances", "classes"}
            What labels mean.

        Returns
        -------
        int32 array, shape of `window`
            Equal to `current` on every protected pixel.
        """
        self.sync(current)
        part, protected = current[window], self.protected[window]
        inner = relative(roi, window)
        if task == "instances":
            result = merge_objects(part, proposal, protected, inner, free_label(current))
        else:
            result = merge_classes(part, proposal, protected, inner)
        self.last_written[window] = result
        self.proposed[roi] = True
        return result


@dataclass
class ReviewState:
    """The review masks of one Labels layer, created when first needed."""

    shape: tuple[int, int]
    planes: dict[Index, ReviewMask] = field(default_factory=dict)

    def plane(self, index: Index) -> ReviewMask:
        """Return the mask of a plane, new if there is none yet."""
        if index not in self.planes:
            self.planes[index] = ReviewMask.empty(self.shape)
        return self.planes[index]

    def verified_planes(self) -> list[Index]:
        """List the planes with a verified region, in stack order."""
        return sorted(index for index, p in self.planes.items() if p.verified.any())


def surroundings(edited: MaskArray, margin: float) -> MaskArray:
    """Return the edited pixels and those within a square margin around them."""
    around = np.zeros_like(edited)
    if edited.any():
        n = math.ceil(margin)
        window = bounding_window(edited, n)
        around[window] = ndimage.maximum_filter(edited[window], size=2 * n + 1)
    return around


SAME_OBJECT = 0.5
"""IoU above which two objects are the same. No object can exceed it with two others, so
each label is passed on at most once."""


def edited_pixels(current: npt.NDArray[Any], last_written: npt.NDArray[Any]) -> MaskArray:
    """Find what the user changed since the labels were last written.

    Returns
    -------
    bool array
        True on each pixel that differs, and on all of each object of `current` that
        contains one: an edited object is the user's as a whole.
    """
    changed: MaskArray = current != last_written
    # New labels of changed pixels, and old ones whose objects were partly painted over.
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
    roi: Window,
    next_label: int,
) -> LabelArray:
    """Write proposed objects into a window, except on protected pixels.

    Parameters
    ----------
    current : integer array, shape (Y, X)
        The labels of the window now.
    proposal : integer array, shape (Y, X)
        New objects, numbered from 1.
    protected : bool array, shape (Y, X)
        Pixels of `current` that must not change.
    roi : tuple of slice
        The part to write. Objects that do not reach into it stay as they were, because
        the rest of the window is only context.
    next_label : int
        The first free label.

    Returns
    -------
    int32 array, shape (Y, X)
        A proposed object that matches one of `current` takes over its label. One that is
        at least half protected belongs to the user: its other pixels join the protected
        object that it overlaps most, or become background if that is background.
    """
    if not fits_table(current):
        numbers, renumbered = _renumbered(current)
        merged = merge_objects(renumbered, proposal, protected, roi, len(numbers))
        new = np.arange(next_label, next_label + int(proposal.max(initial=0)) + 1)
        return np.concatenate([numbers, new]).astype(np.int32)[merged]
    before = current.astype(np.int32, copy=False)
    names = _names(before, proposal, protected, next_label)
    names[~_present(proposal[roi], len(names))] = 0
    replaced = _present(before[roi], int(before.max(initial=0)) + 1)
    replaced[0] = True
    free = replaced.take(before) & ~protected
    result: LabelArray = np.where(free, names.take(proposal), before)
    return result


def merge_classes(
    current: npt.NDArray[Any],
    proposal: npt.NDArray[Any],
    protected: MaskArray,
    roi: Window,
) -> LabelArray:
    """Write proposed classes into `roi`, except on protected pixels."""
    result: LabelArray = current.astype(np.int32)
    result[roi] = np.where(protected[roi], current[roi], proposal[roi])
    return result


def _renumbered(
    labels: npt.NDArray[Any],
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Return the labels in use, 0 first, and the position among them of each pixel's."""
    numbers = np.unique(labels[labels != 0]).astype(np.int64)
    places = np.where(labels == 0, 0, np.searchsorted(numbers, labels) + 1)
    return np.concatenate([[0], numbers]), places.astype(np.int32)


def _members(labels: npt.NDArray[Any], objects: npt.NDArray[Any]) -> MaskArray:
    """Mark the pixels of some objects, never background."""
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
    """Choose the label of each proposed object: a current one, a new one, or 0."""
    n = int(proposal.max(initial=0)) + 1
    names = np.arange(n, dtype=np.int32) + (next_label - 1)
    lengths, new, old, kept = _runs(proposal, current, protected)
    for one, other in _same_objects(lengths, new, old):
        names[one] = other
    names[0] = 0
    areas = np.bincount(new, lengths, n)
    covered = np.bincount(new[kept], lengths[kept], n)
    mine = np.flatnonzero((2 * covered >= areas) & (areas > 0))
    mine = mine[mine > 0]
    if len(mine):
        under = _overlap(lengths[kept], new[kept], old[kept])
        names[mine] = np.asarray(under[mine].argmax(axis=1)).ravel()
    return names


def _runs(*maps: npt.NDArray[Any]) -> list[npt.NDArray[Any]]:
    """List how many pixels in a row are equal in all maps, and their values in each map.

    There are some ten times fewer runs than pixels, so it takes less time to count them.
    """
    flat = [values.ravel() for values in maps]
    ends = np.logical_or.reduce([values[1:] != values[:-1] for values in flat])
    begins = np.flatnonzero(np.append(flat[0].size > 0, ends))
    return [np.diff(begins, append=flat[0].size), *(values[begins] for values in flat)]


def _present(labels: npt.NDArray[Any], n: int) -> MaskArray:
    """Tell which of `n` labels there are."""
    present = np.zeros(n, bool)
    present[_runs(labels)[1]] = True
    return present


def _overlap(
    lengths: npt.NDArray[Any], new: npt.NDArray[Any], old: npt.NDArray[Any]
) -> sparse.csr_matrix:
    """Count the pixels that each proposed label shares with each current one."""
    return sparse.coo_matrix((lengths, (new, old))).tocsr()


def _same_objects(
    lengths: npt.NDArray[Any], new: npt.NDArray[Any], old: npt.NDArray[Any]
) -> list[tuple[int, int]]:
    """List the proposed labels that match an object of `current`, with its label."""
    new_areas, old_areas = np.bincount(new, lengths), np.bincount(old, lengths)
    both = (new > 0) & (old > 0)
    if not both.any():
        return []
    pairs = _overlap(lengths[both], new[both], old[both]).tocoo()
    new_areas, old_areas = new_areas[pairs.row], old_areas[pairs.col]
    same = pairs.data > SAME_OBJECT * (new_areas + old_areas - pairs.data)
    return list(zip(pairs.row[same].tolist(), pairs.col[same].tolist(), strict=True))
