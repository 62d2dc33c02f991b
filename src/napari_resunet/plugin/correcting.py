"""Correcting, as the dock shows it: the tools, the verified area, the counts.

A part of the controller; which pixels an edit changes is `object_tools`' matter.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.guides import Guide, Guides
from napari_resunet.plugin.next_view import NO_MAP, NextView, ProbabilityMap
from napari_resunet.plugin.object_tools import CLASSES, ObjectTools
from napari_resunet.plugin.places import matrix_of
from napari_resunet.plugin.presenter import NO_LABELS
from napari_resunet.plugin.tools import TOOLS

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.labels_binding import LabelsBinding
    from napari_resunet.plugin.work import Work

PATIENCE = 250
"""Milliseconds without a stroke before objects are counted again."""

LARGE = 1024
"""Image pixels: the outline is drawn for a look at no more."""

ONE_SLICE = "This image has one slice only."


class Correcting:
    """Tools, verified area and counts of the chosen image.

    Parameters
    ----------
    work : Work
        Knows layers and the model in use.
    guides : Guides
        Show outline, frame and path.
    image : callable
        Returns the chosen image.
    choose : callable
        Called with the key of an image to work on.
    on_counted : callable
        Called with the number of verified objects of the chosen image.
    """

    def __init__(
        self,
        work: Work,
        guides: Guides,
        image: Callable[[], Image | None],
        choose: Callable[[str], None],
        on_counted: Callable[[int], None],
    ) -> None:
        self._work, self._image, self._on_counted = work, image, on_counted
        self._view, self._viewer = work.show.view, work.layers.viewer
        self.tools = ObjectTools(work, guides, self._tool_changed)
        self.outline = Guide(guides, "verified area", "gold")
        self.next = NextView(work, guides, image, choose)
        self.map = ProbabilityMap(work)
        self._map_wanted = False
        self._outlined: tuple[Any, ...] = ()
        self._timer = QTimer(self._view)  # goes with it
        self._timer.setSingleShot(True)
        self._timer.setInterval(PATIENCE)
        self._timer.timeout.connect(self._show_counts)
        self._viewer.dims.events.current_step.connect(self._moved)
        self._view.tool_clicked.connect(self.choose_tool)
        self._view.next_clicked.connect(self.next.start)
        self._view.map_toggled.connect(self.toggle_map)

    def shut_down(self) -> None:
        """Stop listening; take our keys away."""
        self._viewer.dims.events.current_step.disconnect(self._moved)
        self.tools.unbind()
        self.next.shut_down()
        self.map.hide()

    def refresh(self) -> None:
        """Follow the layers, the choice of image, and what is verified."""
        self.tools.follow()
        self._enable()
        self._show_outline()
        self._show_map()
        self._show_counts()

    def count_soon(self) -> None:
        """Count again when the user pauses."""
        self._timer.start()

    def choose_tool(self, name: str) -> None:
        """Take a tool in hand, or put it down."""
        binding = self._binding()
        if binding is not None:
            self.tools.toggle(name, binding.layer)
        self._view.set_tool(self.tools.in_hand)

    def toggle_map(self, wanted: bool) -> None:
        """Show the probability map, or take it away."""
        self._map_wanted = wanted
        self._show_map()
        if wanted and self.map.layer is None:
            self._view.set_message(NO_MAP, "warning")

    def _show_map(self) -> None:
        if self._map_wanted and self.map.gone:
            self._map_wanted = False  # the user removed the layer
        if self._map_wanted:
            self.map.show(self._image())
        else:
            self.map.hide()
        self._view.set_map_shown(self._map_wanted)

    def _binding(self) -> LabelsBinding | None:
        image = self._image()
        key = None if image is None else image_layers.layer_id_of(image)
        return self._work.layers.binding(key)

    def _tool_changed(self, name: str | None) -> None:
        self._view.set_tool(name)

    def _moved(self, event: Any = None) -> None:
        self._show_outline()
        self._show_map()
        self.count_soon()

    @property
    def _classes(self) -> bool:
        model = self._work.versions.current.model
        return model is not None and model.info.task == "classes"

    def _enable(self) -> None:
        image, binding = self._image(), self._binding()
        reason = "" if binding else NO_LABELS
        reason = reason or (CLASSES if self._classes else "")
        for tool in TOOLS:
            why = reason
            if tool.name == "copy" and image and len(image_layers.stack_shape(image)) == 0:
                why = why or ONE_SLICE
            self._view.set_enabled(tool.control, not why, why)
        self._view.set_enabled("unmark", binding is not None, NO_LABELS)

    def _show_outline(self) -> None:
        image, binding = self._image(), self._binding()
        if image is None or binding is None:
            self._outlined = ()
            self.outline.clear()
            return
        index = image_layers.shown_index(image, self._viewer)
        plane = binding.review.planes.get(index)
        n_verified = 0 if plane is None else int(plane.verified.sum())
        now = binding.layer, index, n_verified, matrix_of(image).tobytes()
        if now == self._outlined:
            return
        self._outlined = now
        self.next.frame.clear()
        if plane is None or not plane.verified.any():
            self.outline.clear()
            return
        # Slow to import, and not needed for the dock to open.
        from napari_resunet.corrections.outline import outlines

        # In a large plane one looks at a part, where a line for the whole were a bar.
        part = slice(0, min(LARGE, *plane.verified.shape))
        self.outline.draw(image, outlines(plane.verified), (part, part))

    def _show_counts(self) -> None:
        image, binding = self._image(), self._binding()
        if image is None or binding is None:
            self._work.show.counts(0, 0, 0, 0)
            return
        index = image_layers.shown_index(image, self._viewer)
        objects = None if self._classes else count_objects(binding.plane(index))
        checked_objects, verified_pixels = binding.counts()
        self._work.show.counts(objects, checked_objects, verified_pixels, binding.edits)
        self._on_counted(checked_objects)
