"""The keys on the viewer, which do what the buttons do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.tools import KEYS, Action, Key
from napari_resunet.plugin.views.protocol import ControlName, DockView

CONTROLS: Mapping[Action, ControlName] = {
    "segment": "segment",
    "mark_verified": "mark_verified",
    "done": "mark_verified",
    "next": "next",
    "done_next": "done_next",
    "fine_tune": "fine_tune",
}
"""The button whose reasons also hold for the key."""


class KeysController:
    """Binds the keys on the viewer, except those that the user has bound.

    Parameters
    ----------
    layers : Layers
        Knows the viewer.
    view : DockView
        Says why a key does nothing.
    start : mapping of str to callable
        What each key starts.
    reasons : callable
        Returns why each control is disabled; empty if it is not.
    """

    def __init__(
        self,
        layers: Layers,
        view: DockView,
        start: Mapping[Action, Callable[[], object]],
        reasons: Callable[[], Mapping[ControlName, str]],
    ) -> None:
        self._layers, self._view = layers, view
        self._start, self._reasons = start, reasons
        self._bound = [key for key in KEYS if self._bind(key)]

    def shut_down(self) -> None:
        """Unbind the keys."""
        for key in self._bound:
            self._layers.viewer.bind_key(key.key, None)

    def press(self, action: Action) -> None:
        """Do what a key stands for, or say why that cannot be done."""
        control = CONTROLS.get(action)
        reason = "" if control is None else self._reasons().get(control, "")
        if reason:
            self._view.set_message(reason, "warning")
        else:
            self._start[action]()

    def _bind(self, key: Key) -> bool:
        def pressed(viewer: Any) -> None:
            self.press(key.action)

        try:
            self._layers.viewer.bind_key(key.key, pressed)
        except ValueError:
            return False
        return True
