"""The tools for whole objects, by key and mouse, on our Labels layers.

One tool at most is in hand. What an edit does to the pixels is `corrections.objects` and
`corrections.grow`; that it is one undoable step is `LabelsBinding.edit`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from napari_resunet.corrections.object_edits import Edit, free_label
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.guides import Guide, Guides
from napari_resunet.plugin.labels_binding import LabelsBinding
from napari_resunet.plugin.tools import BY_NAME, TOOLS, Tool
from napari_resunet.session.kept import maps_at
from napari_resunet.types import Window

if TYPE_CHECKING:
    from napari_resunet.plugin.work import Work

DIAMETER = 24.0
"""Working pixels: of an object, before a model is loaded."""

UNLIKE = 0.4
"""Distance in RGB, 0 to 1 each, from which two colours are told apart at a glance."""

LEFT_BUTTON = 1
TAKE_BACK = "Ctrl-Z takes it back."
CLASSES = "A model of classes has no objects: use napari's brush and fill."
Index = tuple[int, ...]


@dataclass(frozen=True)
class Gesture:
    """What the user drew.

    Attributes
    ----------
    binding, image, index
        On which plane of which labels.
    path : float array, shape (n, 2)
        In image pixels, as drawn.
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


class ObjectTools:
    """Delete, merge, split, add, smooth, copy.

    Parameters
    ----------
    work : Work
        Knows layers, kept maps and the model in use.
    guides : Guides
        Show the path while the mouse moves.
    on_tool : callable
        Called with the name of the tool in hand, or None.
    """

    def __init__(
        self, work: Work, guides: Guides, on_tool: Callable[[str | None], None]
    ) -> None:
        self._work = work
        self._viewer = work.layers.viewer
        self._on_tool = on_tool
        self._bound: list[Labels] = []
        self._hand: tuple[Tool, Labels, str] | None = None
        self._trace = Guide(guides, "tool", "white")

    @property
    def in_hand(self) -> str | None:
        """Name of the tool in hand."""
        return self._hand[0].name if self._hand else None

    # Layers come and go -------------------------------------------------------------

    def follow(self) -> None:
        """Bind the keys on the labels that came; `unbind` undoes it for all."""
        layers = [binding.layer for binding in self._work.layers.bindings().values()]
        for layer in [x for x in self._bound if x not in layers]:
            self._unbind_keys(layer)
        for layer in [x for x in layers if x not in self._bound]:
            self._bound.append(layer)
            for tool in TOOLS:
                layer.bind_key(tool.key, getattr(self, f"_key_{tool.name}"))
        if self._hand and self._hand[1] not in layers:
            self.put_down()

    def unbind(self) -> None:
        """Leave all labels as they were found."""
        self.put_down()
        for layer in list(self._bound):
            self._unbind_keys(layer)

    def _unbind_keys(self, layer: Labels) -> None:
        self._bound.remove(layer)
        for tool in TOOLS:
            layer.bind_key(tool.key, None)

    # The tool in hand ---------------------------------------------------------------

    def toggle(self, name: str, layer: Labels) -> None:
        """Take a tool in hand, or put it down if it is."""
        again = self._hand is not None and self._hand[:2] == (BY_NAME[name], layer)
        self.put_down()
        if again or not self._may_edit(layer):
            return
        self._viewer.layers.selection.active = layer
        self._hand = BY_NAME[name], layer, str(layer.mode)
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.cursor = "cross"
        layer.mouse_drag_callbacks.append(self._drag)
        layer.bind_key("Escape", self._escape)
        layer.events.mode.connect(self._mode_changed)
        self._viewer.layers.selection.events.active.connect(self._active_changed)
        self._say(f"{BY_NAME[name].title}: {BY_NAME[name].hint}. Esc leaves the tool.")
        self._on_tool(name)

    def put_down(self) -> None:
        """Go back to the tool of napari that was active before."""
        if self._hand is None:
            return
        _, layer, mode = self._hand
        self._hand = None
        self._viewer.layers.selection.events.active.disconnect(self._active_changed)
        layer.events.mode.disconnect(self._mode_changed)
        layer.bind_key("Escape", None)
        layer.mouse_drag_callbacks.remove(self._drag)
        if layer.mode == "pan_zoom":
            layer.mouse_pan = True
            layer.cursor = "standard"
            layer.mode = mode
        self._trace.clear()
        self._say("")
        self._on_tool(None)

    def _escape(self, layer: Labels) -> None:
        self.put_down()

    def _mode_changed(self, event: Any) -> None:
        self.put_down()

    def _active_changed(self, event: Any) -> None:
        # napari passes through None on its way from one layer to the next. What a plugin
        # gets of the viewer are proxies: layers are compared by their keys.
        active = self._viewer.layers.selection.active
        if self._hand is None or active is None or image_layers.is_overlay(active):
            return
        if image_layers.layer_id_of(active) != image_layers.layer_id_of(self._hand[1]):
            self.put_down()

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
        gesture = self._gesture(layer, [place]) if self._may_edit(layer) else None
        if gesture is not None and not gesture.binding.in_stroke:
            self._carry_out(BY_NAME[name], gesture)

    # Mouse --------------------------------------------------------------------------

    def _drag(self, layer: Labels, event: Any) -> Iterator[None]:
        if self._hand is None or event.button != LEFT_BUTTON or not self._may_edit(layer):
            return
        tool, boxed = self._hand[0], "Shift" in event.modifiers
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
        if begun and self._hand:
            whole = Gesture(begun.binding, begun.image, begun.index, np.array(path), boxed)
            self._carry_out(tool, whole)

    def _place(self, layer: Labels, position: Any) -> npt.NDArray[np.float64]:
        return np.asarray(layer.world_to_data(position), float)[-2:]

    def _gesture(
        self, layer: Labels, path: list[npt.NDArray[np.float64]], boxed: bool = False
    ) -> Gesture | None:
        binding = self._binding(layer)
        image = self._work.layers.image(binding.image_id) if binding else None
        if binding is None or image is None:
            return None
        index = image_layers.shown_index(image, self._viewer)
        return Gesture(binding, image, index, np.array(path), boxed)

    # Edits --------------------------------------------------------------------------

    def _carry_out(self, tool: Tool, gesture: Gesture) -> None:
        index, edit = gesture.index, self._edit(tool.name, gesture)
        if tool.name == "copy":
            index = _next_slice(gesture)
        if not len(edit):
            self._say(tool.failed, "warning")
            return
        gesture.binding.edit(index, edit)
        self._say(f"{tool.title}: done. {TAKE_BACK}")

    def _edit(self, name: str, gesture: Gesture) -> Edit:
        # Slow to import, and not needed for the dock to open.
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
            label = _of_other_colour(gesture.binding.layer, free_label(plane), int(old))
            return object_edits.split(plane, gesture.path, label)
        if name == "copy":
            beyond = _next_slice(gesture)
            there = plane if beyond == gesture.index else gesture.binding.plane(beyond)
            return object_edits.copy(plane, gesture.point, there)
        return self._added(plane, gesture)

    def _added(self, plane: npt.NDArray[Any], gesture: Gesture) -> Edit:
        from napari_resunet.corrections import grow

        state = self._work.state(gesture.binding.image_id)
        kept, index = state.kept(gesture.index), gesture.index
        model = self._work.versions.current.model
        diameter = model.info.diameter if model is not None else DIAMETER
        size, label = diameter / (state.scale or 1.0), free_label(plane)

        def read(window: Window) -> Any:
            return maps_at(kept, index, window)

        if gesture.boxed:
            corners = gesture.path[[0, -1]]
            return grow.add_box(plane, corners, size, read, label)
        width = gesture.binding.layer.brush_size
        return grow.add_scribble(plane, gesture.path, width, size, read, label)

    def _may_edit(self, layer: Labels) -> bool:
        """Say why the labels cannot be edited as they are shown, if so."""
        binding = self._binding(layer)
        image = self._work.layers.image(binding.image_id) if binding else None
        model = self._work.versions.current.model
        sentence = "" if image else "Segment the image first."
        if image is not None:
            sentence = image_layers.unsupported_reason(image, self._viewer)
            sentence = sentence or image_layers.not_shown(image, self._viewer)
        if model is not None and model.info.task == "classes":
            sentence = sentence or CLASSES
        if not (layer.visible and layer.editable):
            sentence = sentence or "Show and unlock the labels first."
        if sentence:
            self._say(sentence, "warning")
        return not sentence

    def _binding(self, layer: Labels) -> LabelsBinding | None:
        found = [b for b in self._work.layers.bindings().values() if b.layer is layer]
        return found[0] if found else None

    def _say(self, sentence: str, kind: Any = "info") -> None:
        self._work.show.view.set_message(sentence, kind)


def _of_other_colour(layer: Labels, first: int, old: int) -> int:
    """Choose a free label, from `first` on, that does not look like an old one."""
    colours = [layer.get_color(label) for label in (old, *range(first, first + 8))]
    if any(colour is None for colour in colours):
        return first
    away = np.linalg.norm(np.array(colours[1:]) - np.array(colours[0]), axis=1)
    return first + int(np.argmax(away >= min(UNLIKE, away.max())))


def _outline(path: list[npt.NDArray[np.float64]], boxed: bool) -> npt.NDArray[np.float64]:
    if not boxed:
        return np.array(path)
    (top, left), (bottom, right) = path[0], path[-1]
    return np.array([(top, left), (top, right), (bottom, right), (bottom, left), path[0]])


def _next_slice(gesture: Gesture) -> Index:
    """Find the slice after the shown one along the last stack axis; at its end the same."""
    if not gesture.index:
        return gesture.index
    last = image_layers.stack_shape(gesture.image)[-1] - 1
    return (*gesture.index[:-1], min(gesture.index[-1] + 1, last))
