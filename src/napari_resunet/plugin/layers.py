"""The viewer's layers as the controller sees them: chosen image, its labels, regions.

Main thread only. Names and shapes of single layers are `image_layers`; writing labels
is `labels_binding`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_resunet.errors import CorrectionError
from napari_resunet.plugin import image_layers, in_view
from napari_resunet.plugin.labels_binding import LabelsBinding
from napari_resunet.plugin.places import TRANSFORM
from napari_resunet.types import MaskArray

SHAPES = "shapes:"
Choice = tuple[str, str]

OTHER_AXES = (
    "The shape or the channels of the image changed, so its labels stay as they are and "
    "belong to it no more: Segment makes new ones."
)


class Layers:
    """All layers of a viewer.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers.
    on_change : callable
        Called after layers came, went, were renamed, or the view turned.
    on_stroke : callable
        Called after the user changed labels that we proposed.
    on_data : callable
        Called with the key of an image that got other pixels.
    say : callable
        Called with a sentence that warns the user.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        on_change: Callable[[], None],
        on_stroke: Callable[[], None],
        on_data: Callable[[str], None],
        say: Callable[[str], None],
    ) -> None:
        self.viewer = viewer
        self._on_change = on_change
        self._on_stroke = on_stroke
        self._on_data = on_data
        self._say = say
        self._bindings: dict[str, LabelsBinding] = {}
        self.bind()

    def bind(self) -> None:
        """Listen to the viewer; `unbind` undoes exactly this."""
        for emitter in self._emitters():
            emitter.connect(self._changed)
        for layer in self.viewer.layers:
            self._follow(layer)
        self.viewer.layers.events.inserted.connect(self._inserted)
        self.viewer.layers.events.removed.connect(self._removed)

    def unbind(self) -> None:
        """Stop listening to the viewer and to our Labels layers."""
        for emitter in self._emitters():
            emitter.disconnect(self._changed)
        for layer in self.viewer.layers:
            self._unfollow(layer)
        self.viewer.layers.events.inserted.disconnect(self._inserted)
        self.viewer.layers.events.removed.disconnect(self._removed)
        for binding in self._bindings.values():
            binding.unbind()
        self._bindings.clear()

    def images(self) -> list[Choice]:
        """List the images, each (key, name)."""
        return [(image_layers.layer_id_of(x), x.name) for x in self._of_type(Image)]

    def chosen_by_user(self) -> str | None:
        """Find the key of the image that the user selected in the layer list."""
        active = self.viewer.layers.selection.active
        mine = isinstance(active, Image) and not image_layers.is_overlay(active)
        return image_layers.layer_id_of(active) if mine else None

    def image(self, key: str | None) -> Image | None:
        """Find an image by its key."""
        return next(
            (x for x in self._of_type(Image) if image_layers.layer_id_of(x) == key), None
        )

    def binding(self, key: str | None) -> LabelsBinding | None:
        """Find the labels of an image."""
        return self._bindings.get(key or "")

    def bindings(self) -> dict[str, LabelsBinding]:
        """List the labels of all images, by the image's key."""
        return dict(self._bindings)

    def make_binding(self, image: Image) -> LabelsBinding:
        """Find the labels of an image, or add an empty Labels layer for it."""
        key = image_layers.layer_id_of(image)
        if key not in self._bindings:
            binding = LabelsBinding(image, self._on_stroke, self._lost, self._say)
            self._bindings[key] = binding
            self.viewer.add_layer(binding.layer)
        return self._bindings[key]

    def regions(self) -> list[Choice]:
        """List what can be verified, each (key, title)."""
        shapes = [
            (SHAPES + image_layers.layer_id_of(x), f"Shapes layer: {x.name}")
            for x in self._of_type(Shapes)
        ]
        return [("visible", "Visible area"), ("slice", "Slice"), *shapes]

    def region(self, key: str, image: Image) -> MaskArray:
        """Draw a region, as far as the user sees it, over the image's rows and columns.

        Raises
        ------
        CorrectionError
            If nothing of it is seen.
        """
        if sentence := image_layers.not_shown(image, self.viewer):
            raise CorrectionError(sentence)
        if key == "visible":
            return in_view.seen(image, self.viewer)
        if key == "slice":
            return np.ones(image_layers.plane_shape(image), bool)
        for shapes in self._of_type(Shapes):
            if key == SHAPES + image_layers.layer_id_of(shapes):
                return in_view.shapes_region(shapes, image, self.viewer)
        raise CorrectionError("The Shapes layer was removed: choose another area.")

    def labels_of_the_user(self) -> list[Labels]:
        """List the Labels layers that are not ours."""
        ours = [binding.layer for binding in self._bindings.values()]
        return [layer for layer in self._of_type(Labels) if layer not in ours]

    def _of_type(self, kind: type) -> list[Any]:
        found = [layer for layer in self.viewer.layers if isinstance(layer, kind)]
        return [layer for layer in found if not image_layers.is_overlay(layer)]

    def _emitters(self) -> tuple[Any, ...]:
        dims, active = self.viewer.dims.events, self.viewer.layers.selection.events.active
        return dims.ndisplay, dims.order, dims.margin_left, dims.margin_right, active

    def _changed(self, event: Any = None) -> None:
        self._on_change()

    def _inserted(self, event: Any) -> None:
        self._follow(event.value)
        self._on_change()

    def _follow(self, layer: Any) -> None:
        layer.events.name.connect(self._changed)
        if isinstance(layer, Image):
            layer.events.data.connect(self._data_changed)
            layer.events.projection_mode.connect(self._changed)
            for name in TRANSFORM:
                layer.events[name].connect(self._moved)

    def _unfollow(self, layer: Any) -> None:
        layer.events.name.disconnect(self._changed)
        if isinstance(layer, Image):
            layer.events.data.disconnect(self._data_changed)
            layer.events.projection_mode.disconnect(self._changed)
            for name in TRANSFORM:
                layer.events[name].disconnect(self._moved)

    def _data_changed(self, event: Any) -> None:
        self._let_go_if_unlike(event.source)
        self._on_data(image_layers.layer_id_of(event.source))

    def _moved(self, event: Any) -> None:
        image = event.source
        self._let_go_if_unlike(image)
        if binding := self.binding(image_layers.layer_id_of(image)):
            binding.follow(image)
        self._on_change()

    def _let_go_if_unlike(self, image: Image) -> None:
        """Let go of labels that no longer have their image's shape and channels."""
        binding = self.binding(image_layers.layer_id_of(image))
        if binding is not None and not binding.fits(image):
            self._let_go(binding)
            self._say(OTHER_AXES)

    def _lost(self, binding: LabelsBinding) -> None:
        sentence = binding.unusable
        self._let_go(binding)
        self._say(sentence)
        self._on_change()

    def _let_go(self, binding: LabelsBinding) -> None:
        """Leave a Labels layer to the user; it stays in the viewer."""
        binding.unbind()
        del self._bindings[binding.image_id]

    def _removed(self, event: Any) -> None:
        self._unfollow(event.value)
        for binding in list(self._bindings.values()):
            if binding.layer is event.value:
                self._let_go(binding)
        self._on_change()
