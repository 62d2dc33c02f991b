"""One image's Labels layer: what was proposed, what the user did, how we write to it.

The only place that writes into a Labels layer, always on the main thread, never into
pixels that the user verified or edited, never in the middle of a stroke, never while the
layer is locked. Other programs may give the layer any other data: it is looked at before
it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_resunet.corrections.object_edits import Edit, count_objects
from napari_resunet.corrections.review import ReviewMask, ReviewState
from napari_resunet.corrections.training_set import Correction
from napari_resunet.errors import CorrectionError
from napari_resunet.plugin.image_layers import (
    channel_axis,
    labels_place,
    labels_shape,
    layer_id_of,
    plane_shape,
)
from napari_resunet.plugin.places import is_same
from napari_resunet.types import LabelArray, MaskArray, Task
from napari_resunet.windows import bounding_window

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal

CONTEXT = 64
"""Image pixels around a verified region that are learned with, as surroundings only."""

LOCKED = "The labels are locked (editable=False), so nothing is written: unlock them first."

Index = tuple[int, ...]
Window = tuple[slice, slice]


class LabelsBinding:
    """A Labels layer tied to an image.

    Parameters
    ----------
    image : Image
        Gives the labels their shape and their place.
    on_stroke : callable
        Called after the user changed labels.
    on_lost : callable
        Called with this when its layer was given data that cannot be used.
    say : callable
        Called with a sentence that warns the user.
    """

    def __init__(
        self,
        image: Image,
        on_stroke: Callable[[], None],
        on_lost: Callable[[LabelsBinding], None],
        say: Callable[[str], None],
    ) -> None:
        self.image_id = layer_id_of(image)
        self.channel = channel_axis(image)
        self._on_stroke, self._on_lost, self._say = on_stroke, on_lost, say
        self._in_stroke = False
        self._writing = False
        self.edits = 0
        self._waiting: list[tuple[Index, Window, Window, LabelArray, Task]] = []
        self.review = ReviewState(plane_shape(image))
        self.shape = labels_shape(image)
        self.layer = Labels(
            np.zeros(self.shape, np.int32),
            name=f"{image.name} labels",
            **labels_place(image),
        )
        self.bind()

    def bind(self) -> None:
        """Listen to the layer; `unbind` undoes exactly this."""
        self.layer.events.paint.connect(self._changed)
        self.layer.events.set_data.connect(self._changed)
        self.layer.events.data.connect(self._replaced)
        self.layer.mouse_drag_callbacks.append(self._drag)

    def unbind(self) -> None:
        """Stop listening to the layer."""
        self.layer.events.paint.disconnect(self._changed)
        self.layer.events.set_data.disconnect(self._changed)
        self.layer.events.data.disconnect(self._replaced)
        self.layer.mouse_drag_callbacks.remove(self._drag)

    def fits(self, image: Image) -> bool:
        """Tell whether the image has the shape and the channels that it had."""
        return self.shape == labels_shape(image) and self.channel == channel_axis(image)

    def follow(self, image: Image) -> None:
        """Lie over the image again, after it was moved, scaled or turned."""
        for name, value in labels_place(image).items():
            if not is_same(getattr(self.layer, name), value):
                setattr(self.layer, name, value)

    @property
    def unusable(self) -> str:
        """Why the labels cannot be read or written as they are; empty if they can."""
        name, data = self.layer.name, self.layer.data
        if tuple(data.shape) != self.shape:
            return (
                f"'{name}' has another shape than its image now, so it is left alone: "
                "nothing more is learned or saved from it."
            )
        # A file mapped into memory would be written to.
        in_memory = type(data) is np.ndarray and data.flags.writeable
        if not in_memory or data.dtype != np.int32:
            return f"The data of '{name}' ({data.dtype}) cannot be used: it is left alone."
        return ""

    @property
    def locked(self) -> bool:
        """Whether the user locked the labels: nothing is written then."""
        return not self.layer.editable

    @property
    def is_empty(self) -> bool:
        """Whether there are no labels, and nothing is known of any."""
        planes = self.review.planes.values()
        known = any(p.proposed.any() or p.edited.any() or p.verified.any() for p in planes)
        return not known and not np.any(self.layer.data)

    def plane(self, index: Index) -> LabelArray:
        """View one plane of the labels, shape (Y, X)."""
        plane: LabelArray = np.asarray(self.layer.data)[self._where(index)]
        return plane

    def take(self, proposal: Proposal) -> None:
        """Apply a proposal."""
        target, task = proposal.target, proposal.kept.info.task
        self.apply(target.index, target.window, proposal.core, proposal.labels, task)

    def apply(
        self, index: Index, window: Window, core: Window, labels: LabelArray, task: Task
    ) -> None:
        """Write a proposal where the user has not been; during a stroke, after it."""
        self._waiting.append((index, window, core, labels, task))
        if not self._in_stroke:
            self._write_waiting()

    def restore(self, index: Index, labels: LabelArray, review: ReviewMask) -> None:
        """Put back a plane from an earlier run of the program; `show` when all are."""
        self.plane(index)[:] = labels
        self.review.planes[index] = review

    def bring(self, index: Index, labels: LabelArray) -> None:
        """Put in what the user brought, as if painted now; `show` when all is in."""
        self.plane(index)[:] = labels
        self.review.plane(index).sync(labels)

    def verify(self, index: Index, region: MaskArray) -> None:
        """Mark a region of a plane as verified."""
        review = self.review.plane(index)
        review.sync(self.plane(index))
        review.verify(region)

    def unverify(self, index: Index, region: MaskArray) -> None:
        """Take a verified region of a plane back."""
        self.review.plane(index).unverify(region)

    def edit(self, index: Index, edit: Edit) -> None:
        """Write an edit of objects as one step that Ctrl-Z takes back."""
        n = len(edit)
        where = [np.full(n, i) for i in self._where(index)]
        # Within the block napari tells of the change after the pixels have changed.
        with self.layer.block_history():
            self.layer.data_setitem((*where, edit.rows, edit.columns), edit.after)

    @property
    def in_stroke(self) -> bool:
        """Whether the user is just drawing."""
        return self._in_stroke

    def corrections(self) -> list[Correction]:
        """Copy all verified regions with their labels, to learn from.

        Raises
        ------
        CorrectionError
            If some of the labels are negative.
        """
        return [self._correction(index) for index in self.review.verified_planes()]

    def counts(self) -> tuple[int, int]:
        """Count verified objects and verified pixels over all planes."""
        objects = pixels = 0
        for index in self.review.verified_planes():
            verified = self.review.plane(index).verified
            objects += count_objects(self.plane(index)[verified])
            pixels += int(verified.sum())
        return objects, pixels

    def _where(self, index: Index) -> Index:
        where = list(index)
        if self.channel is not None:
            where.insert(self.channel, 0)
        return tuple(where)

    def _correction(self, index: Index) -> Correction:
        review, plane = self.review.plane(index), self.plane(index)
        review.sync(plane)
        window = bounding_window(review.verified, CONTEXT)
        if (plane[review.verified] < 0).any():
            where = f" of slice {', '.join(map(str, index))}" if index else ""
            raise CorrectionError(
                f"The labels{where} hold negative numbers, which are neither objects nor "
                "background: erase them, or give them other numbers."
            )
        return Correction(
            image_id=self.image_id,
            index=index,
            window=window,
            labels=plane[window].astype(np.int32),
            verified=review.verified[window].copy(),
            edited=review.edited[window].copy(),
        )

    def _write_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self.locked:
            self._say(LOCKED)
            return
        for index, window, core, labels, task in waiting:
            plane = self.plane(index)
            merged = self.review.plane(index).merge_prediction(
                plane, labels, window, core, task
            )
            plane[window] = merged
        self.show()

    def show(self) -> None:
        """Redraw, and drop the undo history, whose steps would write stale pixels."""
        self._put(self.layer.data)

    def _put(self, data: Any) -> None:
        mode, editable = self.layer.mode, self.layer.editable
        self._writing = True
        try:
            self.layer.editable = False
            self.layer.data = data
            self.layer.editable = editable
            self.layer.mode = mode
        finally:
            self._writing = False

    def _replaced(self, event: Any) -> None:
        """Look at other data before anybody reads it."""
        if self._writing or not self.unusable:
            return
        converted = self._converted()
        if converted is None:
            self._on_lost(self)
            return
        self._say(
            f"'{self.layer.name}' was given data of type {self.layer.data.dtype}: it is an "
            "int32 array again, with the same labels, so that new ones have room."
        )
        self._put(converted)

    def _converted(self) -> LabelArray | None:
        """Read the layer's data as int32, if it has the shape and the numbers fit."""
        if tuple(self.layer.data.shape) != self.shape:
            return None
        data = np.asarray(self.layer.data)
        low, high = int(data.min(initial=0)), int(data.max(initial=0))
        limits = np.iinfo(np.int32)
        if data.dtype.kind not in "bui" or low < limits.min or high > limits.max:
            return None
        return data.astype(np.int32)

    def _changed(self, event: Any) -> None:
        if not self._writing:
            self.edits += event.type == "paint"
            self._on_stroke()

    def _drag(self, layer: Labels, event: Any) -> Iterator[None]:
        self._in_stroke = True
        yield
        while event.type == "mouse_move":
            yield
        self._in_stroke = False
        self._write_waiting()
