"""The Labels layer of one image: proposals, edits, and the verified area.

Only this module writes into a Labels layer, on the main thread: never into pixels that the
user verified or edited, never during a stroke, and never while the layer is locked. Other
code may assign any data to the layer, so the data are checked before they are read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from psygnal import Signal

from napari_resunet.corrections.object_edits import (
    MAX_LABEL,
    SPARE_LABELS,
    Edit,
    count_objects,
    free_label,
)
from napari_resunet.corrections.review import ReviewMask, ReviewState
from napari_resunet.corrections.training_set import Correction, correction_of
from napari_resunet.plugin.layers.bound import Bound, Connection, MouseCallbacks
from napari_resunet.plugin.layers.brush import Brush
from napari_resunet.plugin.layers.geometry import is_same
from napari_resunet.plugin.layers.image_layers import (
    channel_axis,
    labels_channel,
    labels_place,
    labels_shape,
    layer_id_of,
    plane_shape,
)
from napari_resunet.plugin.layers.labels_look import FILLED_OPACITY, LabelsLook
from napari_resunet.types import Index, LabelArray, MaskArray, Task, Window

if TYPE_CHECKING:
    from napari_resunet.session.segmenter import Proposal

LOCKED = "The labels are locked (editable=False), so nothing is written: unlock them first."


class LabelsBinding(LabelsLook, Bound):
    """A Labels layer tied to an image.

    Parameters
    ----------
    image : Image
        The image that the labels belong to.
    labels : int32 array, shape (Y, X), or None
        What the layer of a plane holds, not copied; None begins without labels.

    Attributes
    ----------
    image_id : str
        The image's key.
    channel, image_axis : int or None
        The channel axis of the labels, and that of the image.
    shape : tuple of int
        The shape of the labels.
    layer : Labels
        The layer itself.
    review : ReviewState
        What was proposed, edited, and verified.
    brush : Brush
        What napari's brush does on the layer.
    edits : int
        How many edits of the user there are: strokes and tools, without those undone.
    stroke : Signal(str)
        The user changed labels; carries the image's key.
    picked : Signal(str)
        Another label was selected; carries the image's key.
    lost : Signal(str)
        The layer got data that cannot be used; carries the image's key.
    undone : Signal()
        A step of the user was undone or redone, in any slice.
    notice : Signal(str)
        A warning for the user.
    """

    stroke = Signal(str)
    picked = Signal(str)
    lost = Signal(str)
    undone = Signal()
    notice = Signal(str)

    def __init__(self, image: Image, labels: LabelArray | None = None) -> None:
        self.image_id = layer_id_of(image)
        self.channel, self.image_axis = labels_channel(image), channel_axis(image)
        self._in_stroke = False
        self._writing = False
        self.edits = self._undone = 0
        self._assigned = 0
        self._highest = 0 if labels is None else int(labels.max(initial=0))
        """The highest label that we know of."""
        self._pending: list[tuple[Index, Window, Window, LabelArray, Task]] = []
        self.review = ReviewState(plane_shape(image))
        self.shape = labels_shape(image)
        self.layer = Labels(
            np.zeros(self.shape, np.int32) if labels is None else labels,
            name=f"{image.name} labels",
            opacity=FILLED_OPACITY,
            **labels_place(image),
        )
        self.brush = Brush(self.layer, self.image_id)
        LabelsLook.__init__(self, self.layer, self.review.shape)
        self.bind()

    def bind(self) -> None:
        """Start listening to the layer."""
        super().bind()
        self.brush.bind()

    def unbind(self) -> None:
        """Stop listening to the layer."""
        self.brush.unbind()
        super().unbind()

    def connections(self) -> Iterator[Connection]:
        """Yield the events of the layer."""
        yield self.layer.events.paint, self._changed
        yield self.layer.events.set_data, self._changed
        yield self.layer.events.editable, self._locked_or_not
        yield self.layer.events.data, self._replaced
        yield self.layer.events.selected_label, self._picked
        yield MouseCallbacks(self.layer.mouse_drag_callbacks), self._drag

    def fits(self, image: Image) -> bool:
        """Return whether the labels still fit the image's shape and channel axis."""
        return self.shape == labels_shape(image) and self.image_axis == channel_axis(image)

    def follow(self, image: Image) -> None:
        """Place the layer over the image again after the image's transform changed."""
        for name, value in labels_place(image).items():
            if not is_same(getattr(self.layer, name), value):
                setattr(self.layer, name, value)

    @property
    def unusable(self) -> str:
        """Why the labels cannot be read or written; empty if they can be."""
        name, data = self.layer.name, self.layer.data
        if tuple(data.shape) != self.shape:
            return (
                f"'{name}' has another shape than its image now, so it is left alone: "
                "nothing more is learned or saved from it."
            )
        # Writing into a memory map would change its file.
        in_memory = type(data) is np.ndarray and data.flags.writeable
        if not in_memory or data.dtype != np.int32:
            return f"The data of '{name}' ({data.dtype}) cannot be used: it is left alone."
        return ""

    @property
    def revision(self) -> tuple[int, int]:
        """Changes whenever labels are proposed, painted, or undone."""
        return self._assigned, self.edits

    @property
    def locked(self) -> bool:
        """Whether the user locked the labels."""
        return not self.layer.editable

    @property
    def is_empty(self) -> bool:
        """Whether there are no labels and nothing was proposed, edited, or verified."""
        planes = self.review.planes.values()
        known = any(p.proposed.any() or p.edited.any() or p.verified.any() for p in planes)
        return not known and not np.any(self.layer.data)

    def plane(self, index: Index) -> LabelArray:
        """Return a view of one plane of the labels, shape (Y, X)."""
        plane: LabelArray = np.asarray(self.layer.data)[self._data_index(index)]
        return plane

    def stacked(self) -> LabelArray:
        """Return a view of all labels, shape (*stack, Y, X)."""
        labels: LabelArray = np.asarray(self.layer.data)
        return labels if self.channel is None else labels.squeeze(self.channel)

    def verified(self) -> MaskArray | None:
        """Copy what is verified, in the shape of the labels; None if nothing is."""
        planes = {index: p.verified for index, p in self.review.planes.items()}
        if not any(verified.any() for verified in planes.values()):
            return None
        found = np.zeros(self.shape, bool)
        for index, verified in planes.items():
            found[self._data_index(index)] = verified
        return found

    def write_proposals(self, proposals: Sequence[Proposal]) -> None:
        """Write proposals where the user has not edited or verified, and redraw once."""
        self._pending += [
            (p.index, p.padded_roi, p.roi, p.labels, p.maps.info.task) for p in proposals
        ]
        if not self._in_stroke:
            self._write_pending()

    def apply(
        self, index: Index, window: Window, roi: Window, labels: LabelArray, task: Task
    ) -> None:
        """Write proposed labels where the user has not edited or verified.

        During a stroke, they are written once the mouse is released.

        Parameters
        ----------
        index : tuple of int
            The plane.
        window : tuple of slice
            The rows and columns that `labels` cover.
        roi : tuple of slice
            The part of the window that was requested; the rest only completes objects.
        labels : int32 array, shape of the window
            Objects or classes; 0 is background.
        task : {"instances", "classes"}
            What the labels mean.
        """
        self._pending.append((index, window, roi, labels, task))
        if not self._in_stroke:
            self._write_pending()

    def reviewed(self) -> tuple[LabelArray, MaskArray]:
        """Copy all labels, and what no proposal may change; shapes are (*stack, Y, X)."""
        labels = self.stacked()
        protected = np.zeros(labels.shape, bool)
        for index in np.ndindex(labels.shape[:-2]):
            review = self.review.planes.get(index)
            if review is None:  # nothing was proposed there
                protected[index] = labels[index] != 0
                continue
            review.sync(labels[index])
            protected[index] = review.protected
        return labels.copy(), protected

    def renumber(self, labels: LabelArray) -> None:
        """Give objects other numbers, which is no edit of the user.

        Parameters
        ----------
        labels : int32 array, shape (*stack, Y, X)
            The same objects as now, and the same labels where the user edited or verified.
        """
        for index, review in self.review.planes.items():
            self._put(index, labels[index])
            review.last_written = labels[index].copy()
        self.show()
        self.brush.drop()

    def restore(self, index: Index, labels: LabelArray, review: ReviewMask) -> None:
        """Restore a plane from the session; call `show` after the last one."""
        self._put(index, labels)
        self.review.planes[index] = review

    def import_plane(self, index: Index, labels: LabelArray) -> None:
        """Write the user's own labels as edits; call `show` after the last plane."""
        self._put(index, labels)
        self.review.plane(index).sync(labels)

    def verify(self, index: Index, region: MaskArray) -> None:
        """Mark a region of a plane as verified."""
        review = self.review.plane(index)
        review.sync(self.plane(index))
        review.verify(region)

    def unverify(self, index: Index, region: MaskArray) -> None:
        """Mark a region of a plane as not verified."""
        self.review.plane(index).unverify(region)

    def edit(self, edits: Mapping[Index, Edit]) -> None:
        """Write the edits of one or more planes as one step that Ctrl-Z undoes."""
        places, after = [], []
        for index, edit in edits.items():
            where = [np.full(len(edit), i) for i in self._data_index(index)]
            places.append((*where, edit.rows, edit.columns))
            after.append(edit.after)
        pixels = tuple(map(np.concatenate, zip(*places, strict=True)))
        labels = np.concatenate(after)
        self._highest = max(self._highest, int(labels.max(initial=0)))
        self.brush.paused = True
        # With block_history, napari emits its event after the pixels have changed.
        with self.layer.block_history():
            self.layer.data_setitem(pixels, labels)
        self.brush.paused = False

    def free_label(self, index: Index) -> int:
        """Return a label that no object has, without a search through the stack."""
        free, above = free_label(self.plane(index)), self._highest + 1
        return above if free <= above <= MAX_LABEL - SPARE_LABELS else free

    @property
    def in_stroke(self) -> bool:
        """Whether the user is drawing."""
        return self._in_stroke

    def corrections(self) -> list[Correction]:
        """Copy all verified regions with their labels, for training.

        Raises
        ------
        CorrectionError
            If a verified label is negative.
        """
        return [
            correction_of(self.image_id, index, self.plane(index), self.review.plane(index))
            for index in self.review.verified_planes()
        ]

    def counts(self) -> tuple[int, int]:
        """Count verified objects and verified pixels over all planes."""
        objects = pixels = 0
        for index in self.review.verified_planes():
            verified = self.review.plane(index).verified
            objects += count_objects(self.plane(index)[verified])
            pixels += int(verified.sum())
        return objects, pixels

    def indices(self) -> list[Index]:
        """List all planes."""
        leading = enumerate(self.shape[:-2])
        stack = [n for axis, n in leading if axis != self.channel]
        return list(np.ndindex(*stack))

    def n_objects(self) -> int:
        """Count the objects of all planes."""
        return sum(count_objects(self.plane(index)) for index in self.indices())

    def edited(self) -> dict[Index, MaskArray]:
        """Return what the user edited on each plane that has edits."""
        masks = {i: p.edited_now(self.plane(i)) for i, p in self.review.planes.items()}
        return {index: mask for index, mask in masks.items() if mask.any()}

    def _put(self, index: Index, labels: LabelArray) -> None:
        self.plane(index)[:] = labels
        self._highest = max(self._highest, int(labels.max(initial=0)))

    def _data_index(self, index: Index) -> Index:
        where = list(index)
        if self.channel is not None:
            where.insert(self.channel, 0)
        return tuple(where)

    def _write_pending(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        if self.locked:
            self.notice.emit(LOCKED)
            return
        for index, window, roi, labels, task in pending:
            plane = self.plane(index)
            merged = self.review.plane(index).merge_prediction(
                plane, labels, window, roi, task
            )
            plane[window] = merged
            self._highest = max(self._highest, int(merged.max(initial=0)))
        self.show()
        self.brush.drop()

    def show(self) -> None:
        """Redraw, and clear napari's undo history: its steps would write stale pixels."""
        self._assign(self.layer.data)

    def _assign(self, data: Any) -> None:
        mode, editable = self.layer.mode, self.layer.editable
        self._writing = self.brush.paused = True
        try:
            # napari clears history and mode of a layer that becomes read-only.
            self.layer.editable = False
            self.layer.data = data
            self.layer.editable = editable
            self.layer.mode = mode
        finally:
            self._writing = self.brush.paused = False
            self._undone = 0

    def _replaced(self, event: Any) -> None:
        """Check data that other code assigned, before they are read."""
        self._assigned += 1
        if self._writing or not self.unusable:
            return
        converted = self._converted()
        if converted is None:
            self.lost.emit(self.image_id)
            return
        self.notice.emit(
            f"'{self.layer.name}' was given data of type {self.layer.data.dtype}: it is an "
            "int32 array again, with the same labels, so that new ones have room."
        )
        self._assign(converted)

    def _converted(self) -> LabelArray | None:
        """Return the layer's data as int32; None if its shape or its numbers do not fit."""
        if tuple(self.layer.data.shape) != self.shape:
            return None
        data = np.asarray(self.layer.data)
        low, high = int(data.min(initial=0)), int(data.max(initial=0))
        limits = np.iinfo(np.int32)
        if data.dtype.kind not in "bui" or low < limits.min or high > limits.max:
            return None
        return data.astype(np.int32)

    def _picked(self, event: Any) -> None:
        self.picked.emit(self.image_id)

    def _changed(self, event: Any) -> None:
        if self._writing:
            return
        if event.type == "paint":
            self.edits += 1
            self._undone = 0
            self._highest = max(self._highest, int(self.layer.selected_label))
        else:
            self._count_undone()
        self.stroke.emit(self.image_id)

    def _count_undone(self) -> None:
        # napari emits the same event for an undo, a redo, and a redraw.
        undone = len(getattr(self.layer, "_redo_history", ()))
        if undone != self._undone:
            self.edits = max(0, self.edits + self._undone - undone)
            self._undone = undone
            self.undone.emit()

    def _locked_or_not(self, event: Any) -> None:
        # napari clears its history.
        self._undone = 0

    def _drag(self, layer: Labels, event: Any) -> Iterator[None]:
        self._in_stroke = True
        yield
        while event.type == "mouse_move":
            yield
        self._in_stroke = False
        self._write_pending()
