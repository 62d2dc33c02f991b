"""What napari's brush, fill, polygon, and eraser do on our Labels layer.

A brush that is taken while no object is picked begins a new one, and what it paints spares
the other objects. napari's *preserve labels* is only on while painting: the eraser and the
fill bucket would otherwise refuse the objects that they are pointed at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_resunet.plugin.layers.bound import Bound, Connection, MouseCallbacks

PAINTING = ("paint", "fill", "polygon")
"""Modes of napari that write the selected label."""

SPARING = ("paint", "polygon")
"""Those that spare other objects."""

SAMPLE = 10_000
"""Pixels of a stroke that are looked at for the labels under it."""


class Brush(Bound):
    """Watches the modes and the selected label of a Labels layer.

    Parameters
    ----------
    layer : Labels
        The layer.
    key : str
        The key of its image, which the signals carry.

    Attributes
    ----------
    picked : bool
        Whether the user chose the object to paint, or paints one already.
    paused : bool
        Whether changes of the mode are not the user's.
    taken : Signal(str)
        The brush is in use without a picked object.
    painted : Signal(str, object)
        Also the labels that a stroke wrote or changed, the written one first.
    """

    taken = Signal(str)
    painted = Signal(str, object)

    def __init__(self, layer: Labels, key: str) -> None:
        self._layer, self._key = layer, key
        self._ours = False
        self._selected = int(layer.selected_label)
        self._spares: bool | None = None
        """The user's own choice of *preserve labels*."""
        self._spares_by_default = True
        self.picked = self.paused = False
        self._protect()

    def connections(self) -> Iterator[Connection]:
        """Yield the events of the layer."""
        events = self._layer.events
        yield events.mode, self._mode_changed
        yield events.selected_label, self._label_chosen
        yield events.preserve_labels, self._protection_chosen
        yield events.paint, self._stroke_ended
        yield MouseCallbacks(self._layer.mouse_drag_callbacks), self._pressed

    @property
    def in_hand(self) -> bool:
        """Whether the user can paint."""
        return str(self._layer.mode) in PAINTING

    def begin(self, label: int) -> None:
        """Select a label that is not the user's choice."""
        self._ours = True
        self._layer.selected_label = label
        self._ours = False

    def pick(self, label: int) -> None:
        """Select the object that a tool of ours worked on."""
        self.begin(label)
        self.picked = True

    def drop(self) -> None:
        """Forget which object is picked, unless the user is painting it."""
        if self.in_hand and self.picked:
            return
        self.picked = False
        if self.in_hand:
            self.taken.emit(self._key)

    def spare_neighbours(self, wanted: bool) -> None:
        """Protect other objects while painting, unless the user chose otherwise."""
        self._spares_by_default = wanted
        self._protect()

    @property
    def _is_picking(self) -> bool:
        return str(self._layer.mode) == "pick"

    def _protect(self) -> None:
        wanted = self._spares_by_default if self._spares is None else self._spares
        paints = str(self._layer.mode) in SPARING and self._layer.selected_label != 0
        wanted = wanted and paints
        if self._layer.preserve_labels != wanted:
            self._ours = True
            self._layer.preserve_labels = wanted
            self._ours = False

    def _mode_changed(self, event: Any) -> None:
        if self.paused:
            return
        self._protect()
        if self.in_hand and not self.picked:
            self.taken.emit(self._key)

    def _label_chosen(self, event: Any) -> None:
        label = int(self._layer.selected_label)
        # napari also emits this for new colours.
        if label != self._selected and not self._ours:
            self.picked = label != 0 or not self._is_picking
        self._selected = label
        self._protect()

    def _protection_chosen(self, event: Any) -> None:
        if not self._ours:
            self._spares = bool(self._layer.preserve_labels)

    def _pressed(self, layer: Labels, event: Any) -> None:
        # Picking the label that is selected already emits nothing.
        if self._is_picking:
            self.picked = layer.selected_label != 0

    def _stroke_ended(self, event: Any) -> None:
        if self.paused:
            return
        self.picked = self.picked or self.in_hand
        self.painted.emit(self._key, _labels_of(event, self._layer))


def _labels_of(event: Any, layer: Labels) -> list[int]:
    """Return the labels that a stroke wrote and those that it wrote over."""
    try:
        atoms = [_atom(atom) for atom in event.value]
    except (TypeError, AttributeError, IndexError):
        # The event's content differs between versions of napari.
        return [int(layer.selected_label)]
    written = {int(label) for new, _ in atoms for label in np.unique(new)}
    under = {int(label) for _, old in atoms for label in np.unique(old)}
    return [x for x in (*sorted(written), *sorted(under - written)) if x > 0]


def _atom(atom: Any) -> tuple[Any, Any]:
    """Return the labels that were written, and a sample of those written over."""
    if hasattr(atom, "old_values"):
        old, new = atom.old_values, atom.new_value
    else:
        _, old, new = atom
    step = max(1, np.size(old) // SAMPLE)
    return np.ravel(new)[::step], np.ravel(old)[::step]
