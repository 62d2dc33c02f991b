"""Learn: what Fine-tune will learn from, in words, before it is clicked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_resunet.corrections.object_edits import count_objects
from napari_resunet.corrections.training_set import Correction, CorrectionLog, count_areas
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import learns_from_text
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.types import Index

if TYPE_CHECKING:
    from napari_resunet.plugin.layers.labels import LabelsBinding

PAUSE = 250
"""It is counted after this many milliseconds without a stroke."""


@dataclass(frozen=True)
class Counts:
    """What is verified on a plane, or on several."""

    objects: int = 0
    edited: int = 0
    areas: int = 0

    @classmethod
    def of(cls, correction: Correction) -> Counts:
        """Count what was learned from before."""
        return cls(correction.n_objects, correction.n_edited, correction.n_areas)

    @classmethod
    def total(cls, parts: Iterable[Counts]) -> Counts:
        """Add up."""
        known = list(parts)
        return cls(
            sum(c.objects for c in known),
            sum(c.edited for c in known),
            sum(c.areas for c in known),
        )


class TrainingDataController:
    """Counts what is verified on all images, and what was learned from elsewhere.

    Parameters
    ----------
    state : AppState
        Whether the model is one of classes.
    layers : Layers
        The labels.
    view : DockView
        The dock.
    timers : Timers
        Count when the user pauses.
    corrections : CorrectionLog
        The corrections that were learned from before.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        timers: Timers,
        corrections: CorrectionLog,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._corrections = corrections
        self._known: dict[tuple[str, Index], tuple[int, Counts]] = {}
        self._pause = timers.once(PAUSE, self.show)
        state.changed.connect(self.refresh)
        layers.stroke.connect(self._stroke)

    def shut_down(self) -> None:
        """Count no more."""
        self._pause.stop()

    def refresh(self) -> None:
        """Count soon."""
        self._pause.start()

    def show(self) -> None:
        """Show what Fine-tune will learn from."""
        here: dict[tuple[str, Index], Counts] = {}
        for binding in self._layers.bindings().values():
            here |= self._count(binding)
        left = [c for image in filter(None, self._state.unlearned.values())
                for c in image.corrections]  # fmt: skip
        others = self._corrections.other_than({*here, *(c.key for c in left)})
        elsewhere = [*left, *others]
        total = Counts.total([*here.values(), *map(Counts.of, elsewhere)])
        images = {image_id for image_id, _ in here} | {c.image_id for c in elsewhere}
        objects = None if self._state.is_classes else total.objects
        text = learns_from_text(objects, total.areas, len(images), total.edited)
        self._view.fine_tune.set_data_text(text)

    def _stroke(self, key: str) -> None:
        self._pause.start()

    def _count(self, binding: LabelsBinding) -> dict[tuple[str, Index], Counts]:
        """Count each verified plane; again only the shown one, and what changed."""
        image = self._layers.image(binding.image_id)
        shown = image and image_layers.shown_index(image, self._layers.viewer)
        found = {}
        for index in binding.review.verified_planes():
            key, review = (binding.image_id, index), binding.review.plane(index)
            revision, counts = self._known.get(key, (-1, Counts()))
            if revision != review.revision or index == shown:
                labels, verified = binding.plane(index), review.verified
                edited = verified & review.edited_now(labels)
                counts = Counts(
                    count_objects(labels[verified]),
                    count_objects(labels[edited]),
                    count_areas(verified),
                )
            self._known[key] = review.revision, counts
            found[key] = counts
        return found
