"""Finds the blocks of a Labels layer that changed since they were last saved.

napari's events say which blocks to compare first. A slow scan over all blocks finds the
changes that no event reported. Main thread only; each call takes a bounded time.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_resunet.plugin.layers.bound import Bound, Connection
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.session.store.delta import (
    BLOCK,
    BlockDiff,
    Corner,
    LabelDelta,
    LabelsSnapshot,
    corners,
)
from napari_resunet.types import Index

Spans = tuple[slice, ...]
Found = dict[Index, list[LabelDelta]]

UNDO_STEPS = 100
"""napari remembers as many."""

REPORTED_SECONDS, SCAN_SECONDS = 0.015, 0.004
"""Seconds per call for blocks that events reported, and for the scan of all blocks."""


class LabelsWatch(Bound):
    """Finds the changes of one image's labels that are not captured yet.

    Parameters
    ----------
    binding : LabelsBinding
        The labels to watch.
    viewer : ViewerModel
        The viewer, which knows the shown plane.
    states : mapping of tuple of int to LabelsSnapshot, or None
        The planes that are already on disk; None if the labels are new.
    """

    def __init__(
        self,
        binding: LabelsBinding,
        viewer: ViewerModel,
        states: Mapping[Index, LabelsSnapshot] | None = None,
    ) -> None:
        self.binding = binding
        self._viewer = viewer
        self._planes = {
            index: BlockDiff(binding.review.shape, state)
            for index, state in (states or {}).items()
        }
        self._painted_on: dict[tuple[Index, Corner], None] = {}
        """Blocks that a stroke edited, compared first, in this order."""
        self._through: deque[Spans] = deque(maxlen=UNDO_STEPS)
        """Edits of several slices, all of which an undo or a redo may change."""
        self._dirty: dict[tuple[Index, Corner], None] = {}
        """Blocks of planes that may have changed anywhere, compared second."""
        self._revisions = {i: p.revision for i, p in binding.review.planes.items()}
        self._scan = self._all_blocks()
        for index in () if states is not None else binding.review.planes:
            self._mark_dirty(index, None)
        self.bind()

    def connections(self) -> Iterator[Connection]:
        """Yield the layer's events that report changed labels."""
        events = self.binding.layer.events
        yield events.paint, self._painted
        yield events.labels_update, self._drawn
        yield events.set_data, self._refreshed
        yield self.binding.undone, self._undone

    def has_work(self, seconds: float) -> bool:
        """Return whether there is something to save; search at most `seconds` per call."""
        if self.binding.unusable:
            return False
        marked = self._mark_changed_reviews()
        if any(self.binding.review.plane(index).verified.any() for index in marked):
            return True
        end = time.perf_counter() + seconds
        while (block := self._next_block()) and time.perf_counter() < end:
            window = tuple(slice(start, start + BLOCK) for start in block[1])
            if self.binding.plane(block[0])[window].any():
                self._dirty[block] = None
                return True
        return False

    def _next_block(self) -> tuple[Index, Corner] | None:
        """Return the next block to compare; None at the end of a scan."""
        for queue in (self._painted_on, self._dirty):
            if queue:
                block = next(iter(queue))
                del queue[block]
                return block
        following = next(self._scan, None)
        if following is None:
            self._scan = self._all_blocks()
        return following

    def capture(
        self, reported: float = REPORTED_SECONDS, scan: float = SCAN_SECONDS
    ) -> Found:
        """Copy changed blocks, by plane, until the time is up.

        Parameters
        ----------
        reported : float
            Seconds for the blocks that events reported.
        scan : float
            Seconds for the scan, which resumes where it stopped.
        """
        found: Found = {}
        if self.binding.unusable:
            return found
        self._mark_changed_reviews()
        end = time.perf_counter() + reported
        while (self._painted_on or self._dirty) and time.perf_counter() < end:
            self._compare(*next(iter(self._painted_on or self._dirty)), found)
        end = time.perf_counter() + scan
        while time.perf_counter() < end and (block := self._next_block()):
            self._compare(*block, found)
        return found

    def capture_all(self, seconds: float) -> Found:
        """Compare all blocks and copy the changed ones, within `seconds`."""
        for block in self._all_blocks():
            self._dirty[block] = None
        return self.capture(seconds, 0.0)

    def recapture(self, index: Index) -> None:
        """Capture all blocks of a plane again, because its files vanished."""
        if index in self._planes:
            self._planes[index].forget()
            self._mark_dirty(index, None)

    def recapture_all(self) -> None:
        """Capture all planes again."""
        for index in self._planes:
            self.recapture(index)

    def _compare(self, index: Index, corner: Corner, found: Found) -> None:
        self._painted_on.pop((index, corner), None)
        self._dirty.pop((index, corner), None)
        plane, reviews = self.binding.plane(index), self.binding.review
        if index not in self._planes:
            # An untouched plane costs no memory.
            window = tuple(slice(start, start + BLOCK) for start in corner)
            if index not in reviews.planes and not plane[window].any():
                return
            self._planes[index] = BlockDiff(reviews.shape)
        delta = self._planes[index].capture(corner, plane, reviews.plane(index))
        if delta is not None:
            found.setdefault(index, []).append(delta)

    def _mark_dirty(self, index: Index, window: tuple[slice, slice] | None) -> None:
        queue = self._dirty if window is None else self._painted_on
        for corner in corners(self.binding.review.shape, window):
            queue[index, corner] = None

    def _mark_changed_reviews(self) -> list[Index]:
        """Mark the planes whose review changed, and list them."""
        planes = self.binding.review.planes
        marked = [i for i, p in planes.items() if self._revisions.get(i, 0) != p.revision]
        for index in marked:
            self._revisions[index] = planes[index].revision
            self._mark_dirty(index, None)
        return marked

    def _all_blocks(self) -> Iterator[tuple[Index, Corner]]:
        """Iterate over all blocks, the shown plane first."""
        shown = self._shown()
        stack = self._without_channel(self.binding.shape[:-2])
        others = (i for i in product(*(range(n) for n in stack)) if i != shown)
        for index in (shown, *others):
            for corner in corners(self.binding.review.shape):
                yield index, corner

    def _shown(self) -> Index:
        layer = self.binding.layer
        point = np.asarray(self._viewer.dims.point)[-layer.ndim :]
        position = np.round(layer.world_to_data(point)).astype(int)
        inside = np.clip(position, 0, np.array(self.binding.shape) - 1)
        return self._without_channel(tuple(int(i) for i in inside[:-2]))

    def _without_channel(self, leading: tuple[int, ...]) -> tuple[int, ...]:
        channel = self.binding.channel
        return tuple(n for axis, n in enumerate(leading) if axis != channel)

    # napari's events ----------------------------------------------------------------

    def _painted(self, event: Any) -> None:
        try:
            for spans in map(_spans, event.value):
                self._mark_spans(spans)
                if any(s.stop - s.start > 1 for s in spans[:-2]):
                    self._through.append(spans)
        except (TypeError, ValueError, AttributeError, IndexError):
            # The event's content differs between versions of napari.
            self._mark_shown()

    def _drawn(self, event: Any) -> None:
        """Mark a part that was redrawn, which also happens during a stroke."""
        shape = np.asarray(event.data).shape
        offset = getattr(event, "offset", None)
        if self.binding.unusable or len(shape) != 2 or offset is None or len(offset) != 2:
            self._mark_shown()
            return
        rows, columns = (
            slice(int(start), int(start) + n)
            for start, n in zip(offset, shape, strict=True)
        )
        self._mark_dirty(self._shown(), (rows, columns))

    def _refreshed(self, event: Any) -> None:
        """Mark the shown plane after an undo, a redo, or new data."""
        self._mark_shown()

    def _undone(self) -> None:
        """Mark all slices of edits that went through several."""
        if not self.binding.unusable:
            for spans in self._through:
                self._mark_spans(spans)

    def _mark_shown(self) -> None:
        """Mark the whole shown plane, unless the layer's data do not fit."""
        if not self.binding.unusable:
            self._mark_dirty(self._shown(), None)

    def _mark_spans(self, spans: Spans) -> None:
        leading = [range(s.start, s.stop) for s in spans[:-2]]
        for index in product(*leading):
            self._mark_dirty(self._without_channel(index), (spans[-2], spans[-1]))


def _spans(atom: Any) -> Spans:
    """Return the box around a change from its slices, or else from its indices."""
    key = getattr(atom, "slice_key", None)
    if key is None:
        return tuple(slice(int(np.min(i)), int(np.max(i)) + 1) for i in atom[0])
    return tuple(k if isinstance(k, slice) else slice(int(k), int(k) + 1) for k in key)
