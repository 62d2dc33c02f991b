"""Follows a Labels layer: where its labels may have changed, whoever changed them.

napari's events only say where to look first; a slow round over all blocks finds what no
event told of. Main thread only; each call takes a bounded time.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

import numpy as np
from napari.components import ViewerModel

from napari_resunet.plugin.labels_binding import LabelsBinding
from napari_resunet.session.store.delta import LabelDelta, LabelsSnapshot
from napari_resunet.session.watch import BLOCK, BlockDiff, Corner, corners

Index = tuple[int, ...]
Spans = tuple[slice, ...]
Found = dict[Index, list[LabelDelta]]

TOLD, ROUND = 0.015, 0.004
"""Seconds that one call may take for what events told of, and for the slow round."""


class LabelsWatch:
    """What of one image's labels is not yet captured.

    Parameters
    ----------
    binding : LabelsBinding
        The labels.
    viewer : ViewerModel
        Says which plane is shown.
    states : mapping of tuple of int to LabelsSnapshot
        What is on the disk already.
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
        """Blocks that a stroke edited: looked at first …"""
        self._dirty: dict[tuple[Index, Corner], None] = {}
        """… then those of planes that may have changed anywhere."""
        self._revisions = {i: p.revision for i, p in binding.review.planes.items()}
        self._round = self._all_blocks()
        for index in () if states is not None else binding.review.planes:
            self._look(index, None)
        self.bind()

    def bind(self) -> None:
        """Listen to the layer; `unbind` undoes exactly this."""
        events = self.binding.layer.events
        events.paint.connect(self._painted)
        events.labels_update.connect(self._drawn)
        events.set_data.connect(self._refreshed)

    def unbind(self) -> None:
        """Stop listening to the layer."""
        events = self.binding.layer.events
        events.paint.disconnect(self._painted)
        events.labels_update.disconnect(self._drawn)
        events.set_data.disconnect(self._refreshed)

    def has_work(self, seconds: float) -> bool:
        """Look for anything to keep, labels or something verified, for so long."""
        if self.binding.unusable:
            return False
        marked = self._look_where_marked()
        if any(self.binding.review.plane(index).verified.any() for index in marked):
            return True
        end = time.perf_counter() + seconds
        while (place := self._next_place()) and time.perf_counter() < end:
            window = tuple(slice(start, start + BLOCK) for start in place[1])
            if self.binding.plane(place[0])[window].any():
                self._dirty[place] = None
                return True
        return False

    def _next_place(self) -> tuple[Index, Corner] | None:
        """Take the next block to look at: told of, else of the slow round."""
        for queue in (self._painted_on, self._dirty):
            if queue:
                place = next(iter(queue))
                del queue[place]
                return place
        following = next(self._round, None)
        if following is None:
            self._round = self._all_blocks()
        return following

    def capture(self, told: float = TOLD, around: float = ROUND) -> Found:
        """Copy what changed, as far as that goes in the time.

        Parameters
        ----------
        told : float
            Seconds for the blocks that events told of.
        around : float
            Seconds for going on with the round over all blocks.

        Returns
        -------
        dict
            Changed blocks by plane.
        """
        found: Found = {}
        if self.binding.unusable:
            return found
        self._look_where_marked()
        end = time.perf_counter() + told
        while (self._painted_on or self._dirty) and time.perf_counter() < end:
            self._compare(*next(iter(self._painted_on or self._dirty)), found)
        end = time.perf_counter() + around
        while time.perf_counter() < end and (place := self._next_place()):
            self._compare(*place, found)
        return found

    def capture_all(self, seconds: float) -> Found:
        """Copy all that changed: the last look before the end."""
        for place in self._all_blocks():
            self._dirty[place] = None
        return self.capture(seconds, 0.0)

    def capture_again(self, index: Index) -> None:
        """Have all blocks of a plane captured once more: its files are gone."""
        if index in self._planes:
            self._planes[index].forget()
            self._look(index, None)

    def capture_all_again(self) -> None:
        """Have all planes captured once more."""
        for index in self._planes:
            self.capture_again(index)

    def _compare(self, index: Index, corner: Corner, found: Found) -> None:
        self._painted_on.pop((index, corner), None)
        self._dirty.pop((index, corner), None)
        plane, reviews = self.binding.plane(index), self.binding.review
        if index not in self._planes:
            # A plane that nobody worked on costs no memory.
            window = tuple(slice(start, start + BLOCK) for start in corner)
            if index not in reviews.planes and not plane[window].any():
                return
            self._planes[index] = BlockDiff(reviews.shape)
        delta = self._planes[index].capture(corner, plane, reviews.plane(index))
        if delta is not None:
            found.setdefault(index, []).append(delta)

    def _look(self, index: Index, window: tuple[slice, slice] | None) -> None:
        queue = self._dirty if window is None else self._painted_on
        for corner in corners(self.binding.review.shape, window):
            queue[index, corner] = None

    def _look_where_marked(self) -> list[Index]:
        """Look at the planes whose marks we changed ourselves."""
        planes = self.binding.review.planes
        marked = [i for i, p in planes.items() if self._revisions.get(i, 0) != p.revision]
        for index in marked:
            self._revisions[index] = planes[index].revision
            self._look(index, None)
        return marked

    def _all_blocks(self) -> Iterator[tuple[Index, Corner]]:
        """Go over all blocks, the shown plane first."""
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

    # What napari tells --------------------------------------------------------------

    def _painted(self, event: Any) -> None:
        try:
            for atom in event.value:
                self._look_in(_spans(atom))
        except (TypeError, ValueError, AttributeError, IndexError):
            # The event's content is napari's own affair and changes: look at the plane.
            self._look_at_shown()

    def _drawn(self, event: Any) -> None:
        """Hear of a part that was drawn again, in the middle of a stroke as well."""
        shape = np.asarray(event.data).shape
        offset = getattr(event, "offset", None)
        if self.binding.unusable or len(shape) != 2 or offset is None or len(offset) != 2:
            self._look_at_shown()
            return
        rows, columns = (
            slice(int(start), int(start) + n)
            for start, n in zip(offset, shape, strict=True)
        )
        self._look(self._shown(), (rows, columns))

    def _refreshed(self, event: Any) -> None:
        """Hear of an undo, a redo, new data: anywhere in the shown plane."""
        self._look_at_shown()

    def _look_at_shown(self) -> None:
        """Look at the whole plane, unless the layer holds data that do not fit."""
        if not self.binding.unusable:
            self._look(self._shown(), None)

    def _look_in(self, spans: Spans) -> None:
        leading = [range(s.start, s.stop) for s in spans[:-2]]
        for index in product(*leading):
            self._look(self._without_channel(index), (spans[-2], spans[-1]))


def _spans(atom: Any) -> Spans:
    """Find the box around a change: from its slices, or from its indices."""
    key = getattr(atom, "slice_key", None)
    if key is None:
        return tuple(slice(int(np.min(i)), int(np.max(i)) + 1) for i in atom[0])
    return tuple(k if isinstance(k, slice) else slice(int(k), int(k) + 1) for k in key)
