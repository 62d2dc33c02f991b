"""The legend of classes: which there are, their colours, and which one is painted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.plugin.controllers.shared import chosen_labels
from napari_resunet.plugin.layers.bound import Connection, connect, disconnect
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import ClassButtonsView

if TYPE_CHECKING:
    from napari.layers import Labels


class ClassButtonsController:
    """Fills the legend for a model of classes, and picks the class for the brush.

    Parameters
    ----------
    state : AppState
        The model in use, and the chosen image.
    layers : Layers
        The labels.
    view : ClassButtonsView
        The buttons.
    """

    def __init__(self, state: AppState, layers: Layers, view: ClassButtonsView) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._followed: Labels | None = None
        view.class_clicked.connect(self.pick)
        state.changed.connect(self.refresh)

    def shut_down(self) -> None:
        """Stop listening to the labels."""
        self._follow(None)

    def refresh(self) -> None:
        """Follow the model and the labels of the chosen image."""
        binding, model = chosen_labels(self._state, self._layers), self._state.model
        if binding is None or model is None or not self._state.is_classes:
            self._follow(None)
            self._view.set_classes([])
            return
        self._follow(binding.layer)
        names = model.info.class_names
        layer = binding.layer
        self._view.set_classes(
            [(i, name, _colour(layer, i)) for i, name in enumerate(names)]
        )
        self._view.set_class(int(layer.selected_label))

    def pick(self, label: int) -> None:
        """Paint this class from now on; the background erases."""
        binding = chosen_labels(self._state, self._layers)
        if binding is None:
            return
        layer = binding.layer
        self._layers.select(binding.image_id)
        layer.selected_label = label
        if not binding.brush.in_hand:
            layer.mode = "paint"

    def _follow(self, layer: Labels | None) -> None:
        if layer is self._followed:
            return
        disconnect(self._connections())
        self._followed = layer
        connect(self._connections())

    def _connections(self) -> Iterator[Connection]:
        if self._followed is not None:
            yield self._followed.events.selected_label, self._changed
            yield self._followed.events.colormap, self._changed

    def _changed(self, event: Any = None) -> None:
        self.refresh()


def _colour(layer: Labels, label: int) -> str:
    """Return the colour of a label as "#rrggbb"; empty for the transparent background."""
    colour = layer.get_color(label) if label else None
    if colour is None:
        return ""
    red, green, blue = np.round(255 * np.asarray(colour[:3])).astype(int).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}"
