"""The viewer's layers as controllers see them: images, their labels, areas.

Main thread only. The shape and axes of one layer belong in `image_layers`, and writing
labels in `labels`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from psygnal import Signal

from napari_resunet.errors import CorrectionError
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.bound import Bound, Connection, connect, disconnect
from napari_resunet.plugin.layers.geometry import TRANSFORM
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.types import Index, LabelArray, MaskArray

SHAPES, BOX = "shapes:", "box"
Choice = tuple[str, str]

OTHER_AXES = (
    "The shape or the channels of the image changed, so its labels stay as they are and no "
    "longer belong to it: Segment makes new ones."
)


class Layers(Bound):
    """All layers of a viewer.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer to follow.

    Attributes
    ----------
    changed : Signal()
        Layers were added, removed, renamed, or moved, or the view was rotated.
    stroke : Signal(str)
        The user changed labels; carries their image's key.
    picked : Signal(str)
        Another label was selected; carries their image's key.
    data_changed : Signal(str)
        The image with this key got other pixels.
    carried : Signal(str)
        The labels of the image with this key were carried over to other axes.
    notice : Signal(str)
        A warning for the user.
    """

    changed = Signal()
    stroke = Signal(str)
    picked = Signal(str)
    data_changed = Signal(str)
    carried = Signal(str)
    notice = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self._bindings: dict[str, LabelsBinding] = {}
        self._joinable: dict[str, list[Choice]] = {}
        """Cached, because comparing transforms takes a millisecond per image."""
        self.bind()

    def connections(self) -> Iterator[Connection]:
        """Yield the events of the viewer, its layers, and our Labels layers."""
        dims, layers = self.viewer.dims.events, self.viewer.layers
        for emitter in (dims.ndisplay, dims.order, dims.margin_left, dims.margin_right):
            yield emitter, self._changed
        yield layers.selection.events.active, self._changed
        yield layers.events.inserted, self._inserted
        yield layers.events.removed, self._removed
        for layer in layers:
            yield from self._layer_connections(layer)
        for binding in self._bindings.values():
            yield from self._binding_connections(binding)

    def unbind(self) -> None:
        """Stop listening to the viewer; the Labels layers stay in it."""
        super().unbind()
        for binding in self._bindings.values():
            binding.unbind()
        self._bindings.clear()

    def images(self) -> list[Choice]:
        """List the images, each (key, name)."""
        return [(image_layers.layer_id_of(x), x.name) for x in self._of_type(Image)]

    def selected(self) -> tuple[str | None, str | None]:
        """Return the key of the active layer, and that of the image which it shows.

        The image of our labels is the one they belong to. Our overlays count as nothing.
        """
        active = self.viewer.layers.selection.active
        if active is None or image_layers.is_overlay(active):
            return None, None
        key = image_layers.layer_id_of(active)
        if isinstance(active, Image):
            return key, key
        ours = self._bindings.values()
        images = [b.image_id for b in ours if image_layers.layer_id_of(b.layer) == key]
        return key, next(iter(images), None)

    def select(self, key: str) -> None:
        """Make the labels of an image, or else the image, the active layer."""
        binding, image = self.binding(key), self.image(key)
        layer = image if binding is None else binding.layer
        if layer is not None:
            self.viewer.layers.selection.active = layer

    def joinable(self, image: Image) -> list[Choice]:
        """List the images that can be combined with an image, each (key, name)."""
        key = image_layers.layer_id_of(image)
        if key not in self._joinable:
            found = [x for x in self._of_type(Image) if image_layers.can_join(image, x)]
            self._joinable[key] = [(image_layers.layer_id_of(x), x.name) for x in found]
        return self._joinable[key]

    def image(self, key: str | None) -> Image | None:
        """Return the image with this key."""
        return next(
            (x for x in self._of_type(Image) if image_layers.layer_id_of(x) == key), None
        )

    def binding(self, key: str | None) -> LabelsBinding | None:
        """Return the labels of the image with this key."""
        return self._bindings.get(key or "")

    def bindings(self) -> dict[str, LabelsBinding]:
        """Return the labels of all images, by image key."""
        return dict(self._bindings)

    def make_binding(self, image: Image, labels: LabelArray | None = None) -> LabelsBinding:
        """Return the labels of an image; if it has none, add a Labels layer.

        See `LabelsBinding` for the labels that a new layer begins with.
        """
        key = image_layers.layer_id_of(image)
        if key not in self._bindings:
            binding = self._bindings[key] = LabelsBinding(image, labels)
            connect(self._binding_connections(binding))
            self.viewer.add_layer(binding.layer)
        return self._bindings[key]

    def let_go(self, image: Image) -> list[Any]:
        """Hide the layers of an image, and treat them as if they were removed.

        Returns
        -------
        list of Layer
            The layers, to be removed when there is time: napari takes long for that.
        """
        binding = self.binding(image_layers.layer_id_of(image))
        leaving = [image] if binding is None else [binding.layer, image]
        if binding is not None:
            self._release(binding)
        for layer in leaving:
            layer.metadata = {**layer.metadata, image_layers.OURS: True}
            layer.visible = False
        self._changed()
        return leaving

    def remove(self, leaving: list[Any]) -> None:
        """Remove layers that were let go, all at once if napari can do that."""
        layers = self.viewer.layers
        with getattr(layers, "batched_update", nullcontext)():
            for layer in leaving:
                if layer in layers:
                    layers.remove(layer)

    def regions(self) -> list[Choice]:
        """List the areas that can be verified, each (key, title).

        The user draws the `BOX` when it is needed: see `box_tool`.
        """
        shapes = [
            (SHAPES + image_layers.layer_id_of(x), f"Shapes layer: {x.name}")
            for x in self._of_type(Shapes)
        ]
        areas = [("visible", "Visible area"), ("slice", "Slice"), (BOX, "Box")]
        return [*areas, *shapes]

    def region(self, key: str, image: Image) -> MaskArray:
        """Return a mask of an area of `regions` but `BOX` in the shown plane, shape (Y, X).

        Raises
        ------
        CorrectionError
            If no part of it is in view.
        """
        if sentence := image_layers.not_shown(image, self.viewer):
            raise CorrectionError(sentence)
        if key == "visible":
            return targets.seen(image, self.viewer)
        if key == "slice":
            return np.ones(image_layers.plane_shape(image), bool)
        for shapes in self._of_type(Shapes):
            if key == SHAPES + image_layers.layer_id_of(shapes):
                return targets.shapes_region(shapes, image, self.viewer)
        raise CorrectionError("The Shapes layer was removed: choose another area.")

    def user_labels(self) -> list[Labels]:
        """List the Labels layers that are not ours."""
        ours = [binding.layer for binding in self._bindings.values()]
        return [layer for layer in self._of_type(Labels) if layer not in ours]

    def _of_type(self, kind: type) -> list[Any]:
        found = [layer for layer in self.viewer.layers if isinstance(layer, kind)]
        return [layer for layer in found if not image_layers.is_overlay(layer)]

    def _layer_connections(self, layer: Any) -> Iterator[Connection]:
        yield layer.events.name, self._changed
        if isinstance(layer, Image):
            yield layer.events.data, self._data_changed
            yield layer.events.projection_mode, self._changed
            for name in TRANSFORM:
                yield layer.events[name], self._moved

    def _binding_connections(self, binding: LabelsBinding) -> Iterator[Connection]:
        # Methods, not our signals' `emit`: psygnal would call it to guess its arguments.
        yield binding.stroke, self._stroke
        yield binding.picked, self._picked
        yield binding.lost, self._lost
        yield binding.notice, self._notice

    def _stroke(self, key: str) -> None:
        self.stroke.emit(key)

    def _picked(self, key: str) -> None:
        self.picked.emit(key)

    def _notice(self, sentence: str) -> None:
        self.notice.emit(sentence)

    def _changed(self, event: Any = None) -> None:
        self._joinable.clear()
        self.changed.emit()

    def _inserted(self, event: Any) -> None:
        connect(self._layer_connections(event.value))
        self._changed()

    def _removed(self, event: Any) -> None:
        disconnect(self._layer_connections(event.value))
        for binding in list(self._bindings.values()):
            if binding.layer is event.value:
                self._release(binding)
        self._changed()

    def _data_changed(self, event: Any) -> None:
        self._joinable.clear()
        self._release_if_unfit(event.source)
        self.data_changed.emit(image_layers.layer_id_of(event.source))

    def _moved(self, event: Any) -> None:
        image = event.source
        self._joinable.clear()
        self._release_if_unfit(image)
        if binding := self.binding(image_layers.layer_id_of(image)):
            binding.follow(image)
        self.changed.emit()

    def _release_if_unfit(self, image: Image) -> None:
        """Release labels that no longer have their image's shape and channels.

        If they are of one plane only, they are kept on the one in view instead.
        """
        binding = self.binding(image_layers.layer_id_of(image))
        if binding is None or binding.fits(image):
            return
        self._release(binding)
        used = _used_planes(binding)
        other = binding.image_axis != image_layers.channel_axis(image)
        same = binding.shape[-2:] == image_layers.plane_shape(image)
        if not (image.ndim == 3 and other and same and len(used) < 2):
            self.notice.emit(OTHER_AXES)
            return
        self.changed.emit()  # ends what runs on them
        if binding.layer in self.viewer.layers:
            self.viewer.layers.remove(binding.layer)
        fresh = self.make_binding(image)
        shown = image_layers.shown_index(image, self.viewer)
        for index in used:
            fresh.restore(shown, binding.plane(index), binding.review.plane(index))
        fresh.edits = binding.edits
        fresh.show()
        self.carried.emit(fresh.image_id)

    def _lost(self, key: str) -> None:
        binding = self._bindings[key]
        sentence = binding.unusable
        self._release(binding)
        self.notice.emit(sentence)
        self.changed.emit()

    def _release(self, binding: LabelsBinding) -> None:
        """Stop following a Labels layer; it stays in the viewer."""
        binding.unbind()
        disconnect(self._binding_connections(binding))
        del self._bindings[binding.image_id]


def _used_planes(binding: LabelsBinding) -> list[Index]:
    """List the planes with labels, or with anything proposed or verified."""
    planes = binding.review.planes
    marked = {i for i, p in planes.items() if p.proposed.any() or p.verified.any()}
    return [i for i in binding.indices() if i in marked or binding.plane(i).any()]
