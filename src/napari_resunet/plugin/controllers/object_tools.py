"""Tools for whole objects, by key and mouse, on our Labels layers.

At most one tool is active. `corrections.object_edits` and `corrections.grow` compute the
new pixels, and `LabelsBinding.edit` writes them as one undoable step.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image, Labels

from napari_resunet.corrections.object_edits import Edit
from napari_resunet.errors import CorrectionError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.plugin.controllers.shared import chosen_labels, scale_for, stack_of
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.bound import LEFT_BUTTON
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.layers.overlays import Line, Overlay, Overlays
from napari_resunet.plugin.messages import CLASSES, counted
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.tools import BY_NAME, TOOLS, Tool
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.stacks import linked_axes
from napari_resunet.types import Index, Window

DISTINCT = 0.4
"""Distance in RGB, 0 to 1 each, from which two colours look different."""

REST = 120
"""Milliseconds without a move after which the mouse rests."""

PICKS = ("add", "merge", "smooth")
"""Tools whose object the brush goes on with."""

UNDO_HINT = "Ctrl-Z takes it back."
SEPARATE = (
    "With Alt, a tool works in all slices, but those of this image are separate: say at "
    "'Slices are', in step 1, that they are one volume or a film."
)
COVERED = "The labels are hidden: switch off the map or the comparison first."


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
    through : bool
        Whether to act in all slices of the objects.
    """

    binding: LabelsBinding
    image: Image
    index: Index
    path: npt.NDArray[np.float64]
    boxed: bool = False
    through: bool = False

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
        Show the path during a drag, and what Add would give.
    view : DockView
        The buttons.
    previews : JobRunner
        Computes what Add would give.
    timers : Timers
        Notice that the mouse rests.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        overlays: Overlays,
        view: DockView,
        previews: JobRunner,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._viewer, self._previews = layers.viewer, previews
        self._rested = timers.once(REST, self._show_preview)
        self._bound: list[Labels] = []
        self._active: tuple[Tool, Labels, str] | None = None
        self._through = False
        """Whether the active tool was taken with Alt."""
        self._trace = Overlay(overlays, "tool", "white")
        self.preview = Overlay(overlays, "preview", "springgreen")
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
            for key, method in self._keys():
                layer.bind_key(key, method)
        if self._active and self._active[1] not in layers:
            self.deactivate()

    def unbind(self) -> None:
        """Deactivate the tool and unbind all keys."""
        self.deactivate()
        for layer in list(self._bound):
            self._unbind_keys(layer)

    def _unbind_keys(self, layer: Labels) -> None:
        self._bound.remove(layer)
        for key, _ in self._keys():
            layer.bind_key(key, None)

    def _keys(self) -> Iterator[tuple[str, Callable[[Labels], None]]]:
        for tool in TOOLS:
            yield tool.key, getattr(self, f"_key_{tool.name}")
            if tool.through:
                yield f"Alt-{tool.key}", getattr(self, f"_key_{tool.name}_through")

    # The active tool ----------------------------------------------------------------

    def toggle(self, name: str, layer: Labels, through: bool = False) -> None:
        """Activate a tool, or deactivate it if it is active."""
        again = self._active is not None and self._active[:2] == (BY_NAME[name], layer)
        again = again and self._through == through
        self.deactivate()
        if again or not self._check_editable(layer):
            return
        self._viewer.layers.selection.active = layer
        self._active = BY_NAME[name], layer, str(layer.mode)
        self._through = through
        layer.mode = "pan_zoom"
        layer.mouse_pan = False
        layer.cursor = "cross"
        layer.mouse_drag_callbacks.append(self._drag)
        layer.mouse_move_callbacks.append(self._hover)
        layer.bind_key("Escape", self._escape)
        layer.events.mode.connect(self._mode_changed)
        self._viewer.layers.selection.events.active.connect(self._active_changed)
        title = BY_NAME[name].title + " in all slices" * through
        self._notify(f"{title}: {BY_NAME[name].hint}. Esc leaves the tool.")
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
        layer.mouse_move_callbacks.remove(self._hover)
        if layer.mode == "pan_zoom":
            layer.mouse_pan = True
            layer.cursor = "standard"
            layer.mode = mode
        self._trace.clear()
        self._hide_preview()
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

    def _key_delete_through(self, layer: Labels) -> None:
        self._at_cursor("delete", layer, through=True)

    def _key_merge_through(self, layer: Labels) -> None:
        self.toggle("merge", layer, through=True)

    def _key_split_through(self, layer: Labels) -> None:
        self.toggle("split", layer, through=True)

    def _at_cursor(self, name: str, layer: Labels, through: bool = False) -> None:
        place = self._place(layer, self._viewer.cursor.position)
        gesture = None
        if self._check_editable(layer):
            gesture = self._gesture(layer, [place], through=through)
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
        self._hide_preview()
        tool, boxed = self._active[0], "Shift" in event.modifiers
        path = [self._place(layer, event.position)]
        begun = self._gesture(layer, path, boxed, self._through or "Alt" in event.modifiers)
        yield
        while event.type == "mouse_move":
            path.append(self._place(layer, event.position))
            if begun and not tool.at_cursor:
                seen = image_layers.visible_window(begun.image)
                self._trace.draw(begun.image, [_outline(path, boxed)], seen)
            yield
        self._trace.clear()
        if begun and self._active:
            self._apply(tool, replace(begun, path=np.array(path)))

    def _place(self, layer: Labels, position: Any) -> npt.NDArray[np.float64]:
        return np.asarray(layer.world_to_data(position), float)[-2:]

    def _gesture(
        self,
        layer: Labels,
        path: list[npt.NDArray[np.float64]],
        boxed: bool = False,
        through: bool = False,
    ) -> Gesture | None:
        binding = self._binding(layer)
        image = self._layers.image(binding.image_id) if binding else None
        if binding is None or image is None:
            return None
        index = image_layers.shown_index(image, self._viewer)
        return Gesture(binding, image, index, np.array(path), boxed, through)

    # Edits --------------------------------------------------------------------------

    def _apply(self, tool: Tool, gesture: Gesture) -> None:
        through = gesture.through and tool.through and bool(gesture.index)
        axes = self._linked_axes(gesture) if through else ()
        if through and not axes:
            self._notify(SEPARATE, "warning")
            return
        try:
            edits = self._edits(tool.name, gesture, axes)
        except CorrectionError as error:
            self._notify(str(error), "warning")
            return
        if not any(map(len, edits.values())):
            self._notify(tool.failed, "warning")
            return
        gesture.binding.edit(edits)
        kept = max(int(edit.after.max(initial=0)) for edit in edits.values())
        if tool.name in PICKS and kept:
            gesture.binding.brush.pick(kept)
        elif tool.name == "delete":
            gesture.binding.brush.drop()
        where = f" in {counted(len(edits), 'slice')}" if axes else ""
        self._notify(f"{tool.title}: done{where}. {UNDO_HINT}")

    def _linked_axes(self, gesture: Gesture) -> tuple[int, ...]:
        stack = stack_of(self._state, gesture.image)
        return linked_axes(image_layers.stack_axes_of(gesture.image), stack)

    def _edits(
        self, name: str, gesture: Gesture, axes: tuple[int, ...]
    ) -> dict[Index, Edit]:
        """Compute the edit of each plane; of one plane without axes to go along."""
        if not axes:
            index = gesture.index if name != "copy" else _next_slice(gesture)
            return {index: self._edit(name, gesture)}
        from napari_resunet.corrections import through_slices

        labels, index = gesture.binding.stacked(), gesture.index
        if name == "delete":
            return through_slices.delete(labels, index, gesture.point, axes)
        if name == "merge":
            return through_slices.merge(labels, index, gesture.path, axes)
        label = self._new_label(gesture)
        return through_slices.split(labels, index, gesture.path, label, axes)

    def _new_label(self, gesture: Gesture) -> int:
        """Choose a label for a part of the object under a line."""
        from napari_resunet.corrections.object_edits import line_pixels

        plane = gesture.binding.plane(gesture.index)
        old = plane[line_pixels(gesture.path, plane.shape)].max(initial=0)
        free = gesture.binding.free_label(gesture.index)
        return _distinct_label(gesture.binding.layer, free, int(old))

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
            return object_edits.split(plane, gesture.path, self._new_label(gesture))
        if name == "copy":
            beyond = _next_slice(gesture)
            there = plane if beyond == gesture.index else gesture.binding.plane(beyond)
            review = gesture.binding.review.plane(beyond)
            review.sync(there)
            return object_edits.copy(plane, gesture.point, there, review.protected)
        return self._grower(gesture)(gesture.binding.free_label(gesture.index))

    # Add, and its preview -----------------------------------------------------------

    def _grower(self, gesture: Gesture) -> Callable[[int], Edit]:
        """Return what adds an object with a label; it may run in a thread."""
        settings, index = self._state.image(gesture.binding.image_id), gesture.index
        plane, proposals = gesture.binding.plane(index), settings.proposals(index)
        size = self._state.diameter / (scale_for(self._state, gesture.image) or 1.0)
        width = gesture.binding.layer.brush_size

        def read(window: Window) -> Any:
            if not proposals:
                return None
            from napari_resunet.session.segmenter import maps_at

            return maps_at(proposals, index, window)

        def grow(label: int) -> Edit:
            from napari_resunet.corrections import grow

            if gesture.boxed:
                return grow.add_box(plane, gesture.path[[0, -1]], size, read, label)
            return grow.add_scribble(plane, gesture.path, width, size, read, label)

        return grow

    def _hover(self, layer: Labels, event: Any) -> None:
        if self.active_tool == "add":
            self._rested.start()

    def _show_preview(self) -> None:
        """Compute the outline of what a click would add."""
        if self._active is None or self.active_tool != "add":
            return
        if self._previews.current is not None:
            self._rested.start()
            return
        layer = self._active[1]
        gesture = self._gesture(layer, [self._place(layer, self._viewer.cursor.position)])
        if gesture is None or gesture.binding.in_stroke:
            return
        grow, image = self._grower(gesture), gesture.image

        def steps(token: CancelToken) -> Generator[Progress, None, list[Line]]:
            yield Progress(0, 0, "")
            return _outlines_of(grow)

        def draw(lines: list[Line]) -> None:
            if self.active_tool == "add":
                self.preview.draw(image, lines, image_layers.visible_window(image))

        self._previews.start(Job("preview", steps, draw))

    def _hide_preview(self) -> None:
        self._rested.stop()
        self._previews.abandon()
        self.preview.clear()

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
        if binding is not None and binding.covered:
            sentence = sentence or COVERED
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


def _outlines_of(grow: Callable[[int], Edit]) -> list[Line]:
    """Return the outlines of what would be added; none if that is refused."""
    from napari_resunet.corrections.outline import outlines

    try:
        edit = grow(1)
    except CorrectionError:
        return []
    first = np.array([edit.rows.min(), edit.columns.min()])
    mask = np.zeros((np.ptp(edit.rows) + 1, np.ptp(edit.columns) + 1), bool)
    mask[edit.rows - first[0], edit.columns - first[1]] = True
    return [line + first for line in outlines(mask)]


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
