"""Correct: the verified area and its outline, the counts, the probability map.

Also marks what the user says is right when Fine-tune asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.corrections.review import surroundings
from napari_resunet.errors import ResunetError
from napari_resunet.plugin.controllers.shared import chosen_image, chosen_labels
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.box_tool import Box, BoxTool
from napari_resunet.plugin.layers.collection import BOX, Layers
from napari_resunet.plugin.layers.geometry import matrix_of
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.layers.probability_map import ProbabilityMap
from napari_resunet.plugin.messages import (
    CLASSES,
    NO_IMAGE,
    NO_LABELS,
    NOTHING_VERIFIED,
    counts_text,
)
from napari_resunet.plugin.state import AppState, Counts
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.tools import TOOLS
from napari_resunet.plugin.views.protocol import DockView, Right
from napari_resunet.types import Index, LabelArray, MaskArray

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.layers import Image

    from napari_resunet.plugin.layers.labels import LabelsBinding
    from napari_resunet.session.segmenter import Proposal

PAUSE = 250
"""Objects are counted after this many milliseconds without a stroke."""

OUTLINE_WIDTH = 1024
"""The outline is at most as thick as for a plane of this many pixels."""

ONE_SLICE = "This image has one slice only."
DRAW = "Drag a box on the image around what is right; Esc leaves."
DRAW_TO_UNMARK = (
    "Drag a box on the image around what is not verified after all; Esc leaves."
)
BOX_VERIFIED = "The box is verified; Fine-tune learns from it."
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
        self.box = BoxTool(layers.viewer, overlays)
        self.map = ProbabilityMap(layers.viewer)
        self._map_wanted = False
        self._outlined: tuple[Any, ...] = ()
        self._counted: tuple[Any, ...] = ()
        self._counts: Counts | None = None
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
        self.box.stop()
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
        """Mark the chosen area as verified; a box is drawn first."""
        if self._state.area == BOX:
            self._draw_box(DRAW, self._box_verified)
        elif self._verify(self._state.area):
            self._state.area_verified.emit()

    def unmark(self) -> None:
        """Mark the chosen area as not verified; a box is drawn first."""
        if chosen_labels(self._state, self._layers) is None:
            return
        if self._state.area == BOX:
            self._draw_box(DRAW_TO_UNMARK, self._box_unmarked)
            return
        image, region = self._image(), self._region(self._state.area)
        if image is not None and region is not None:
            index = image_layers.shown_index(image, self._layers.viewer)
            self._unmark(image, index, region)

    def mark_right(self, right: Right) -> bool:
        """Mark what the user says is right; return whether something is verified now."""
        if right == "draw":
            self._draw_box(DRAW, self._box_verified)
            return False
        if right == "view":
            return self._verify("visible")
        binding = chosen_labels(self._state, self._layers)
        return binding is not None and self._verify_edited(binding)

    def _verify(self, area: str) -> bool:
        """Mark an area as verified; return whether any part of it is in view."""
        image, region = self._image(), self._region(area)
        if image is None or region is None:
            return False
        index = image_layers.shown_index(image, self._layers.viewer)
        self._layers.make_binding(image).verify(index, region)
        self._state.changed.emit()
        return True

    def _verify_edited(self, binding: LabelsBinding) -> bool:
        """Mark the edited objects and a margin around them as verified, on all planes.

        The margin is the diameter of an object: the user saw the neighbours while editing,
        the model learns where they touch, and there is enough around one object to hold a
        part out.
        """
        margin = self._state.diameter / (self._state.chosen.scale or 1.0)
        edited = binding.edited()
        for index, mask in edited.items():
            binding.verify(index, surroundings(mask, margin))
        self._state.changed.emit()
        return bool(edited)

    def _unmark(self, image: Image, index: Index, region: MaskArray) -> None:
        binding = self._layers.binding(image_layers.layer_id_of(image))
        if binding is not None:
            binding.unverify(index, region)
            self._state.changed.emit()

    def _image(self) -> Image | None:
        return chosen_image(self._state, self._layers)

    # The box ------------------------------------------------------------------------

    def _draw_box(
        self, sentence: str, use: Callable[[Image, Index, MaskArray], None]
    ) -> None:
        """Let the user drag a box on the image, and use it."""
        image = self._image()
        why = NO_IMAGE if image is None else self._not_in_view(image)
        if image is None or why:
            self._view.set_message(why, "warning")
            return

        def drawn(box: Box | None) -> None:
            self._view.set_message("")
            if box is not None:
                region = np.zeros(image_layers.plane_shape(image), bool)
                region[box.window] = True
                use(image, box.index, region)

        self.box.start(image, drawn)
        self._view.set_message(sentence)

    def _box_verified(self, image: Image, index: Index, region: MaskArray) -> None:
        binding = self._layers.make_binding(image)
        binding.verify(index, region)
        self._state.changed.emit()
        if not (binding.review.plane(index).verified & region).any():
            self._view.set_message(NOTHING_VERIFIED, "warning")
            return
        self._view.set_message(BOX_VERIFIED)
        self._state.area_verified.emit()

    def _box_unmarked(self, image: Image, index: Index, region: MaskArray) -> None:
        self._unmark(image, index, region)

    def _not_in_view(self, image: Image) -> str:
        viewer = self._layers.viewer
        return image_layers.unsupported_reason(image, viewer) or image_layers.not_shown(
            image, viewer
        )

    def _region(self, area: str) -> MaskArray | None:
        """Return a mask of an area; show the reason if it is not in view."""
        image = chosen_image(self._state, self._layers)
        if image is None:
            return None
        sentence = image_layers.unsupported_reason(image, self._layers.viewer)
        try:
            if not sentence:
                return self._layers.region(area, image)
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
            labels = chosen_labels(self._state, self._layers)
            self.map.show(image, self._largest_proposal(image), labels)
        else:
            self.map.hide()
        self._view.correct.set_map_shown(self._map_wanted, self.map.layer is not None)

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
        """Count objects or pixels of classes, edits, and what is verified."""
        image = chosen_image(self._state, self._layers)
        binding = chosen_labels(self._state, self._layers)
        if image is None or binding is None:
            self._state.counts = None
            self._view.correct.set_text("")
            return
        index = image_layers.shown_index(image, self._layers.viewer)
        counts = self._state.counts = self._count(binding, index)
        self._view.correct.set_text(counts_text(counts))
        self._state.counted.emit(binding.image_id, counts.verified)

    def _count(self, binding: LabelsBinding, index: Index) -> Counts:
        """Count, unless nothing changed: labels of large images take long."""
        marked = tuple((i, p.marked) for i, p in binding.review.planes.items())
        now = binding, index, binding.revision, marked, self._class_names()
        if self._counts is not None and now == self._counted:
            return self._counts
        verified, pixels = binding.counts()
        self._counted = now
        self._counts = Counts(
            classes=self._class_names(),
            found=self._found(binding.plane(index)),
            verified=verified,
            pixels=pixels,
            edits=binding.edits,
            stack=bool(index),
        )
        return self._counts

    def _class_names(self) -> tuple[str, ...]:
        model = self._state.model
        return model.info.class_names if self._state.is_classes and model else ()

    def _found(self, plane: LabelArray) -> tuple[int, ...]:
        """Count the objects of a plane, or the pixels of each of its classes."""
        names = self._class_names()
        if not names:
            return (count_objects(plane),)
        return tuple(int((plane == label).sum()) for label in range(len(names)))


def _n_pixels(proposal: Proposal) -> int:
    return int(proposal.maps.maps[0].size)
