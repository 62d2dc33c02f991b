"""napari's brush on our labels, and how the labels look.

A brush that is taken with no object picked begins a new object. An object that a stroke
left in two far pieces is pointed out.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

from napari_resunet.corrections.object_edits import far_pieces
from napari_resunet.plugin.controllers.shared import chosen_labels
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.bound import Connection, connect, disconnect
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.types import Index

PAUSE = 400
"""Milliseconds after a stroke until its objects are looked at."""

MAX_LABELS = 4
"""A stroke over more objects is not looked at further."""

MAX_PIXELS = 2048 * 2048
"""In larger planes, only the visible part is searched: these take 15 ms for each label."""

PIECES = (
    "Object {} lies in {} pieces: drag J across them to join them, K to make them objects "
    "of their own, or press Ctrl-Z."
)


class PaintingController:
    """Follows the brush on all our Labels layers.

    Parameters
    ----------
    state : AppState
        The model in use, which says whether labels are objects or classes.
    layers : Layers
        The labels.
    view : DockView
        The button for contours, and the message.
    timers : Timers
        Look at a stroke after it ended.
    """

    def __init__(
        self, state: AppState, layers: Layers, view: DockView, timers: Timers
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._followed: list[LabelsBinding] = []
        self._contours: bool | None = None
        """The user's choice; None as long as there is none."""
        self._touched: dict[tuple[str, Index, int], None] = {}
        self._pause = timers.once(PAUSE, self.check_pieces)
        view.correct.contours_toggled.connect(self.show_contours)
        state.changed.connect(self.follow)
        layers.viewer.dims.events.ndisplay.connect(self._ndisplay)
        # napari draws before it calls us, and warns of what we are about to change.
        warnings.filterwarnings("ignore", "Contours are not displayed during 3D")

    def shut_down(self) -> None:
        """Stop following the labels."""
        self._pause.stop()
        self._layers.viewer.dims.events.ndisplay.disconnect(self._ndisplay)
        for binding in self._followed:
            disconnect(self._connections(binding))
        self._followed.clear()

    def follow(self) -> None:
        """Follow new labels, and show how the chosen ones look."""
        bindings = list(self._layers.bindings().values())
        for binding in [x for x in self._followed if x not in bindings]:
            self._followed.remove(binding)
            disconnect(self._connections(binding))
        for binding in [x for x in bindings if x not in self._followed]:
            self._followed.append(binding)
            connect(self._connections(binding))
            if self._contours is not None:
                binding.show_contours(self._contours)
        for binding in bindings:
            binding.brush.spare_neighbours(not self._state.is_classes)
            binding.show_as_classes(self._state.is_classes)
        self._show()

    # Contours -----------------------------------------------------------------------

    def show_contours(self, wanted: bool) -> None:
        """Show all labels by their contours, or filled."""
        self._contours = wanted
        for binding in self._followed:
            binding.show_contours(wanted)
        self._show()

    def _show(self, event: Any = None) -> None:
        binding = chosen_labels(self._state, self._layers)
        chosen = self._contours is not False
        shown = chosen if binding is None else binding.contours
        self._view.correct.set_contours_shown(shown)

    def _ndisplay(self, event: Any) -> None:
        for binding in self._followed:
            binding.show_in_3d(self._layers.viewer.dims.ndisplay == 3)

    def toggle_contours(self) -> None:
        """Switch between contours and filled labels, if the chosen image has labels."""
        binding = chosen_labels(self._state, self._layers)
        if binding is not None:
            self.show_contours(not binding.contours)

    # The brush ----------------------------------------------------------------------

    def _connections(self, binding: LabelsBinding) -> Iterator[Connection]:
        yield binding.layer.events.contour, self._show
        yield binding.brush.taken, self._taken
        yield binding.brush.painted, self._painted

    def _taken(self, key: str) -> None:
        """Select a new label: no object was picked."""
        found = self._place(key)
        if found is not None:
            binding, index = found
            binding.brush.begin(binding.free_label(index))

    def _painted(self, key: str, labels: list[int]) -> None:
        found = self._place(key)
        if found is not None:
            index = found[1]
            self._touched |= {(key, index, x): None for x in labels[:MAX_LABELS]}
            self._pause.start()

    def check_pieces(self) -> None:
        """Point out an object that the last strokes left in far pieces."""
        touched, self._touched = list(self._touched), {}
        for key, index, label in touched[-MAX_LABELS:]:
            n_pieces = self._count_pieces(key, index, label)
            if n_pieces > 1:
                self._view.set_message(PIECES.format(label, n_pieces), "warning")
                return

    def _count_pieces(self, key: str, index: Index, label: int) -> int:
        binding, image = self._layers.binding(key), self._layers.image(key)
        if binding is None or image is None or binding.unusable:
            return 0
        plane = binding.plane(index)
        if plane.size > MAX_PIXELS:
            plane = plane[image_layers.visible_window(image)]
        return far_pieces(plane, label)

    def _place(self, key: str) -> tuple[LabelsBinding, Index] | None:
        """Return labels of objects and the shown plane; None if there are none."""
        binding, image = self._layers.binding(key), self._layers.image(key)
        if binding is None or image is None or self._state.is_classes or binding.unusable:
            return None
        return binding, image_layers.shown_index(image, self._layers.viewer)
