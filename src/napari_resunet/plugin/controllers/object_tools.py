"""Tools for whole objects, by key and mouse, on our Labels layers.

At most one tool is active. `corrections.object_edits` and `corrections.grow` compute the
new pixels, and `LabelsBinding.edit` writes them as one undoable step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from napari_resunet.corrections.object_edits import Edit, free_label
from napari_resunet.plugin.controllers.shared import chosen_labels
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.messages import CLASSES
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.tools import BY_NAME, TOOLS, Tool
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.types import Index, Window

DISTINCT = 0.4
"""Distance in RGB, 0 to 1 each, from which two colours look different."""

LEFT_BUTTON = 1
UNDO_HINT = "Ctrl-Z takes it back."


@dataclass(frozen=True)
class Gesture:
    """A path that the user drew on one plane.

    Attributes
    ----------
    binding, image, index
        The labels, their image, and the plane.
    path : float array, shape (n, 2)
        Rows and columns in image pixels.
    boxed : bool
        Whether Shift was held.
    """

    binding: LabelsBinding
    image: Image
    index: Index
    path: npt.NDArray[np.float64]
    boxed: bool = False

    @property
    def point(self) -> tuple[int, int]:
        """The pixel where it began."""
        row, column = np.round(self.path[0]).astype(int).tolist()
        return row, column


class ObjectToolsController:
    """Delete, merge, split, add, smooth, copy.

    Parameters
    ----------
    state : AppState
        Cached prediction maps and the current model.
    layers : Layers
        The labels.
    overlays : Overlays
        Show the path during a drag.
    view : DockView
        The buttons.
    """

    def __init__(
        self, state: AppState, layers: Layers, overlays: Overlays, view: DockView
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._viewer = layers.viewer
        self._bound: list[Labels] = []
        self._active: tuple[Tool, Labels, str] | None = None
        self._trace = Overlay(overlays, "tool", "white")
        view.correct.tools.tool_clicked.connect(self.choose)
        state.changed.connect(self.follow)

    def choose(self, name: str) -> None:
        """Activate a tool, or deactivate it if it is active."""
        binding = chosen_labels(self._state, self._layers)
        if binding is not None:
            self.toggle(name, binding.layer)
        self._view.correct.tools.set_tool(self.active_tool)

    @property
    def active_tool(self) -> str | None:
        """Name of the active tool."""
        return self._active[0].name if self._active else None

    # Layers -------------------------------------------------------------------------

    def follow(self) -> None:
        """Bind the keys on new labels; `unbind` undoes it for all."""
        layers = [binding.layer for binding in self._layers.bindings().values()]
        for layer in [x for x in self._bound if x not in layers]:
            self._unbind_keys(layer)
        for layer in [x for x in layers if x not in self._bound]:
            self._bound.append(layer)
            for tool in TOOLS:
                layer.bind_key(tool.key, getattr(self, f"_key_{tool.name}"))
        if self._active and self._active[1] not in layers:
            self.deactivate()

    def unbind(self) -> None:
        """Deactivate the tool and unbind all keys."""
        self.deactivate()
        for layer in list(self._bound):
            self._unbind_keys(layer)

    def _unbind_keys(self, layer: Labels) -> None:
        self._bound.remove(layer)
        for tool in TOOLS:
            layer.bind_key(tool.key, None)

    # The active tool ----------------------------------------------------------------

    def toggle(self, name: str, layer: Labels) -> None:
        """Activate a tool, or deactivate it if it is active."""
        again = self._active is not None and self._active[:2] == (BY_NAME[name], layer)
        self.deactivate()
        if again or not self._check_editable(layer):
            return
        self._viewer.layers.selection.active = layer
        self._active = BY_NAME[name], layer, str(layer.mode)
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.cursor = "cross"
        layer.mouse_drag_callbacks.append(self._drag)
        layer.bind_key("Escape", self._escape)
        layer.events.mode.connect(self._mode_changed)
        self._viewer.layers.selection.events.active.connect(self._active_changed)
        self._notify(f"{BY_NAME[name].title}: {BY_NAME[name].hint}. Esc leaves the tool.")
        self._view.correct.tools.set_tool(name)

    def deactivate(self) -> None:
        """Return to the napari mode that was active before."""
        if self._active is None:
            return
        _, layer, mode = self._active
        self._active = None
        self._viewer.layers.selection.events.active.disconnect(self._active_changed)
        layer.events.mode.disconnect(self._mode_changed)
        layer.bind_key("Escape", None)
        layer.mouse_drag_callbacks.remove(self._drag)
        if layer.mode == "pan_zoom":
            layer.mouse_pan = True
            layer.cursor = "standard"
            layer.mode = mode
        self._trace.clear()
        self._notify("")
        self._view.correct.tools.set_tool(None)

    def _escape(self, layer: Labels) -> None:
        self.deactivate()

    def _mode_changed(self, event: Any) -> None:
        self.deactivate()

    def _active_changed(self, event: Any) -> None:
        # Between two layers, napari's active layer is None. A plugin gets proxies from the
        # viewer, so layers are compared by their keys.
        active = self._viewer.layers.selection.active
        if self._active is None or active is None or image_layers.is_overlay(active):
            return
        if image_layers.layer_id_of(active) != image_layers.layer_id_of(self._active[1]):
            self.deactivate()

    # Keys ---------------------------------------------------------------------------

    def _key_delete(self, layer: Labels) -> None:
        self._at_cursor("delete", layer)

    def _key_smooth(self, layer: Labels) -> None:
        self._at_cursor("smooth", layer)

    def _key_copy(self, layer: Labels) -> None:
        self._at_cursor("copy", layer)

    def _key_merge(self, layer: Labels) -> None:
        self.toggle("merge", layer)

    def _key_split(self, layer: Labels) -> None:
        self.toggle("split", layer)

    def _key_add(self, layer: Labels) -> None:
        self.toggle("add", layer)

    def _at_cursor(self, name: str, layer: Labels) -> None:
        place = self._place(layer, self._viewer.cursor.position)
        gesture = self._gesture(layer, [place]) if self._check_editable(layer) else None
        if gesture is not None and not gesture.binding.in_stroke:
            self._apply(BY_NAME[name], gesture)

    # Mouse --------------------------------------------------------------------------

    def _drag(self, layer: Labels, event: Any) -> Iterator[None]:
        if (
            self._active is None
            or event.button != LEFT_BUTTON
            or not self._check_editable(layer)
        ):
            return
        tool, boxed = self._active[0], "Shift" in event.modifiers
        path = [self._place(layer, event.position)]
        begun = self._gesture(layer, path, boxed)
        yield
        while event.type == "mouse_move":
            path.append(self._place(layer, event.position))
            if begun and not tool.at_cursor:
                seen = image_layers.visible_window(begun.image)
                self._trace.draw(begun.image, [_outline(path, boxed)], seen)
            yield
        self._trace.clear()
        if begun and self._active:
            whole = Gesture(begun.binding, begun.image, begun.index, np.array(path), boxed)
            self._apply(tool, whole)

    def _place(self, layer: Labels, position: Any) -> npt.NDArray[np.float64]:
        return np.asarray(layer.world_to_data(position), float)[-2:]

    def _gesture(
        self, layer: Labels, path: list[npt.NDArray[np.float64]], boxed: bool = False
    ) -> Gesture | None:
        binding = self._binding(layer)
        image = self._layers.image(binding.image_id) if binding else None
        if binding is None or image is None:
            return None
        index = image_layers.shown_index(image, self._viewer)
        return Gesture(binding, image, index, np.array(path), boxed)

    # Edits --------------------------------------------------------------------------

    def _apply(self, tool: Tool, gesture: Gesture) -> None:
        index, edit = gesture.index, self._edit(tool.name, gesture)
        if tool.name == "copy":
            index = _next_slice(gesture)
        if not len(edit):
            self._notify(tool.failed, "warning")
            return
        gesture.binding.edit(index, edit)
        self._notify(f"{tool.title}: done. {UNDO_HINT}")

    def _edit(self, name: str, gesture: Gesture) -> Edit:
        # Imported late, because it is slow and the dock opens without it.
        from napari_resunet.corrections import object_edits

        plane = gesture.binding.plane(gesture.index)
        if name == "delete":
            return object_edits.delete(plane, gesture.point)
        if name == "smooth":
            return object_edits.smooth(plane, gesture.point)
        if name == "merge":
            return object_edits.merge(plane, gesture.path)
        if name == "split":
            old = plane[object_edits.line_pixels(gesture.path, plane.shape)].max(initial=0)
            label = _distinct_label(gesture.binding.layer, free_label(plane), int(old))
            return object_edits.split(plane, gesture.path, label)
        if name == "copy":
            beyond = _next_slice(gesture)
            there = plane if beyond == gesture.index else gesture.binding.plane(beyond)
            return object_edits.copy(plane, gesture.point, there)
        return self._added(plane, gesture)

    def _added(self, plane: npt.NDArray[Any], gesture: Gesture) -> Edit:
        from napari_resunet.corrections import grow
        from napari_resunet.session.segmenter import maps_at

        settings, index = self._state.image(gesture.binding.image_id), gesture.index
        proposals, label = settings.proposals(index), free_label(plane)
        size = self._state.diameter / (settings.scale or 1.0)

        def read(window: Window) -> Any:
            return maps_at(proposals, index, window)

        if gesture.boxed:
            corners = gesture.path[[0, -1]]
            return grow.add_box(plane, corners, size, read, label)
        width = gesture.binding.layer.brush_size
        return grow.add_scribble(plane, gesture.path, width, size, read, label)

    def _check_editable(self, layer: Labels) -> bool:
        """Return whether the labels can be edited; show the reason if not."""
        binding = self._binding(layer)
        image = self._layers.image(binding.image_id) if binding else None
        sentence = "" if image else "Segment the image first."
        if image is not None:
            sentence = image_layers.unsupported_reason(image, self._viewer)
            sentence = sentence or image_layers.not_shown(image, self._viewer)
        if self._state.is_classes:
            sentence = sentence or CLASSES
        if not (layer.visible and layer.editable):
            sentence = sentence or "Show and unlock the labels first."
        if sentence:
            self._notify(sentence, "warning")
        return not sentence

    def _binding(self, layer: Labels) -> LabelsBinding | None:
        found = [b for b in self._layers.bindings().values() if b.layer is layer]
        return found[0] if found else None

    def _notify(self, sentence: str, kind: Any = "info") -> None:
        self._view.set_message(sentence, kind)


def _distinct_label(layer: Labels, first: int, old: int) -> int:
    """Choose a free label, from `first` on, whose colour differs from an old one."""
    colours = [layer.get_color(label) for label in (old, *range(first, first + 8))]
    if any(colour is None for colour in colours):
        return first
    distances = np.linalg.norm(np.array(colours[1:]) - np.array(colours[0]), axis=1)
    return first + int(np.argmax(distances >= min(DISTINCT, distances.max())))


def _outline(path: list[npt.NDArray[np.float64]], boxed: bool) -> npt.NDArray[np.float64]:
    if not boxed:
        return np.array(path)
    (top, left), (bottom, right) = path[0], path[-1]
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), path[0]])


def _next_slice(gesture: Gesture) -> Index:
    """Return the next slice along the last stack axis, or the same one at its end."""
    if not gesture.index:
        return gesture.index
    last = image_layers.stack_shape(gesture.image)[-1] - 1
    return (*gesture.index[:-1], min(gesture.index[-1] + 1, last))
