"""Correct: the verified area and its outline, the counts, the probability map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.errors import ResunetError
from napari_resunet.plugin.controllers.shared import chosen_image, chosen_labels
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.geometry import matrix_of
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.layers.probability_map import ProbabilityMap
from napari_resunet.plugin.messages import CLASSES, NO_LABELS, counts_text
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.tools import TOOLS
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.types import MaskArray

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.session.segmenter import Proposal

PAUSE = 250
"""Objects are counted after this many milliseconds without a stroke."""

OUTLINE_WIDTH = 1024
"""The outline is at most as thick as for a plane of this many pixels."""

ONE_SLICE = "This image has one slice only."
NO_MAP = "There is no probability map of this slice yet: click Segment."


class ReviewController:
    """Marks areas as verified, and shows the verified area, counts, and the map.

    Parameters
    ----------
    state : AppState
        The chosen image and area.
    layers : Layers
        The labels.
    overlays : Overlays
        Show the outline of the verified area.
    view : DockView
        The dock.
    timers : Timers
        Count when the user pauses.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        overlays: Overlays,
        view: DockView,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self.outline = Overlay(overlays, "verified area", "gold")
        self.map = ProbabilityMap(layers.viewer)
        self._map_wanted = False
        self._outlined: tuple[Any, ...] = ()
        self._pause = timers.once(PAUSE, self.show_counts)
        view.correct.verified_area_changed.connect(self.choose_area)
        view.correct.mark_verified_clicked.connect(self.mark_verified)
        view.correct.unmark_clicked.connect(self.unmark)
        view.correct.map_toggled.connect(self.toggle_map)
        state.changed.connect(self.refresh)
        layers.stroke.connect(self._stroke)
        layers.viewer.dims.events.current_step.connect(self._moved)

    def shut_down(self) -> None:
        """Stop listening to the viewer, and hide the map."""
        self._layers.viewer.dims.events.current_step.disconnect(self._moved)
        self._pause.stop()
        self.map.hide()

    def refresh(self) -> None:
        """Follow the layers, the chosen image, and the verified area."""
        self._show_areas()
        self._enable()
        self._show_outline()
        self._show_map()
        self.show_counts()

    # The verified area --------------------------------------------------------------

    def choose_area(self, key: str) -> None:
        """Choose the area for *Mark as verified*."""
        self._state.area = key

    def mark_verified(self) -> None:
        """Mark the chosen area as verified."""
        if self.verify():
            self._state.area_verified.emit()

    def verify(self) -> bool:
        """Mark the chosen area as verified; return whether any part of it is in view."""
        image, region = chosen_image(self._state, self._layers), self._region()
        if image is None or region is None:
            return False
        index = image_layers.shown_index(image, self._layers.viewer)
        self._layers.make_binding(image).verify(index, region)
        self._state.changed.emit()
        return True

    def unmark(self) -> None:
        """Mark the chosen area as not verified."""
        image = chosen_image(self._state, self._layers)
        binding = chosen_labels(self._state, self._layers)
        region = None if binding is None else self._region()
        if image is not None and binding is not None and region is not None:
            index = image_layers.shown_index(image, self._layers.viewer)
            binding.unverify(index, region)
            self._state.changed.emit()

    def _region(self) -> MaskArray | None:
        """Return a mask of the chosen area; show the reason if it is not in view."""
        image = chosen_image(self._state, self._layers)
        if image is None:
            return None
        sentence = image_layers.unsupported_reason(image, self._layers.viewer)
        try:
            if not sentence:
                return self._layers.region(self._state.area, image)
        except ResunetError as error:
            sentence = str(error)
        self._view.set_message(sentence, "warning")
        return None

    def _show_areas(self) -> None:
        areas = self._layers.regions()
        if self._state.area not in [key for key, _ in areas]:
            self._state.area = areas[0][0]
        self._view.correct.set_choices(areas, self._state.area)

    # Map, outline, and counts -------------------------------------------------------

    def toggle_map(self, wanted: bool) -> None:
        """Show or hide the probability map."""
        self._map_wanted = wanted
        self._show_map()
        if wanted and self.map.layer is None:
            self._view.set_message(NO_MAP, "warning")

    def _show_map(self) -> None:
        if self._map_wanted and self.map.gone:
            self._map_wanted = False  # the user removed the layer
        image = chosen_image(self._state, self._layers)
        if self._map_wanted and image is not None:
            self.map.show(image, self._largest_proposal(image))
        else:
            self.map.hide()
        self._view.correct.set_map_shown(self._map_wanted)

    def _largest_proposal(self, image: Image) -> Proposal | None:
        index = image_layers.shown_index(image, self._layers.viewer)
        here = [p for p in self._state.chosen.proposals(index) if p.index == index]
        return max(here, key=_n_pixels, default=None)

    def _stroke(self, key: str) -> None:
        self._pause.start()

    def _moved(self, event: Any = None) -> None:
        self._show_outline()
        self._show_map()
        self._pause.start()

    def _enable(self) -> None:
        image = chosen_image(self._state, self._layers)
        has_labels = chosen_labels(self._state, self._layers) is not None
        reason = "" if has_labels else NO_LABELS
        reason = reason or (CLASSES if self._state.is_classes else "")
        for tool in TOOLS:
            why = reason
            if tool.name == "copy" and image and len(image_layers.stack_shape(image)) == 0:
                why = why or ONE_SLICE
            self._view.set_enabled(tool.control, not why, why)
        self._view.set_enabled("unmark", has_labels, NO_LABELS)

    def _show_outline(self) -> None:
        image = chosen_image(self._state, self._layers)
        binding = chosen_labels(self._state, self._layers)
        if image is None or binding is None:
            self._outlined = ()
            self.outline.clear()
            return
        index = image_layers.shown_index(image, self._layers.viewer)
        plane = binding.review.planes.get(index)
        n_verified = 0 if plane is None else int(plane.verified.sum())
        now = binding.layer, index, n_verified, matrix_of(image).tobytes()
        if now == self._outlined:
            return
        self._outlined = now
        if plane is None or not plane.verified.any():
            self.outline.clear()
            return
        # Imported late, because it is slow and the dock opens without it.
        from napari_resunet.corrections.outline import outlines

        part = slice(0, min(OUTLINE_WIDTH, *plane.verified.shape))
        self.outline.draw(image, outlines(plane.verified), (part, part))

    def show_counts(self) -> None:
        """Count objects, edits, and verified objects and pixels."""
        image = chosen_image(self._state, self._layers)
        binding = chosen_labels(self._state, self._layers)
        if image is None or binding is None:
            self._view.correct.set_text(counts_text(0, 0, 0, 0))
            return
        index = image_layers.shown_index(image, self._layers.viewer)
        objects = None if self._state.is_classes else count_objects(binding.plane(index))
        verified, pixels = binding.counts()
        text = counts_text(objects, verified, pixels, binding.edits)
        self._view.correct.set_text(text)
        self._state.counted.emit(binding.image_id, verified)


def _n_pixels(proposal: Proposal) -> int:
    return int(proposal.maps.maps[0].size)
