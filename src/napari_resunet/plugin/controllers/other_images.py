"""Which images a fine-tuning looks at besides those that were corrected."""

from __future__ import annotations

from collections import defaultdict
from functools import partial

from napari_resunet.corrections.training_set import CorrectionLog
from napari_resunet.engine.changes import MAX_IMAGES, evenly
from napari_resunet.plugin.controllers.queue_layers import QueueLayers
from napari_resunet.plugin.controllers.shared import chosen_image, scale_for, snapshot_of
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.state import AppState
from napari_resunet.session.beside import ReadOthers
from napari_resunet.session.other_images import Slices, read_others
from napari_resunet.session.queue import item_key
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.types import Index


class OtherImages:
    """Chooses images of the list that were not corrected, and slices of the open one.

    Parameters
    ----------
    state : AppState
        The queue.
    layers : Layers
        The images in the viewer.
    items : QueueLayers
        Knows how an item is read.
    corrections : CorrectionLog
        What was learned from before.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        items: QueueLayers,
        corrections: CorrectionLog,
    ) -> None:
        self._state, self._layers, self._items = state, layers, items
        self._corrections = corrections

    def choose(self) -> ReadOthers | None:
        """Choose up to `MAX_IMAGES` of them, and say how they are read; None without any.

        Nothing is read here.
        """
        corrected = self._corrected()
        waiting = [i for i in self._state.queue.items if self._is_other(i, corrected)]
        items = tuple(map(self._items.to_propose, evenly(waiting, MAX_IMAGES)))
        slices = self._slices(corrected)
        return partial(read_others, items, slices) if items or slices else None

    def _corrected(self) -> dict[str, set[Index]]:
        """List the corrected planes of each image, by the id of its layer."""
        planes: dict[str, set[Index]] = defaultdict(set)
        for correction in self._corrections.other_than(()):
            planes[correction.image_id].add(correction.index)
        for key, binding in self._layers.bindings().items():
            if verified := binding.review.verified_planes():
                planes[key].update(verified)
        for key in self._state.unlearned:
            planes.setdefault(key, set())
        return planes

    def _is_other(self, item: QueueItem, corrected: dict[str, set[Index]]) -> bool:
        left_out = item.edits or item.state in ("skipped", "failed")
        return not left_out and self._items.layer_id(item) not in corrected

    def _slices(self, corrected: dict[str, set[Index]]) -> Slices | None:
        """Return the slices of the open image, if it is a stack with a corrected one."""
        image, key = chosen_image(self._state, self._layers), self._state.image_key or ""
        if image is None or not corrected.get(key) or image_layers.n_unclear(image):
            return None
        if not image_layers.stack_axes_of(image):
            return None
        return Slices(
            str(image.name),
            item_key(key),
            snapshot_of(self._state, self._layers, image),
            scale_for(self._state, image),
            corrected[key],
        )
