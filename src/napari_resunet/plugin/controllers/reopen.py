"""Gives an image its labels and settings back from the session."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.appearance import apply_style
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.session_images import restore_axes, restore_labels
from napari_resunet.plugin.state import AppState
from napari_resunet.session.restore import RestoredImage
from napari_resunet.session.store.schema import ImageRecord

if TYPE_CHECKING:
    from napari.layers import Image


class Reopener:
    """Gives images their labels, settings, and looks back.

    Parameters
    ----------
    state : AppState
        Gets the settings.
    layers : Layers
        Get the labels.
    autosave : Autosave
        Continues to save them.
    """

    def __init__(self, state: AppState, layers: Layers, autosave: Autosave) -> None:
        self._state, self._layers, self._autosave = state, layers, autosave

    def restore(self, layer: Image, image: RestoredImage) -> str:
        """Restore what a session says of an image whose layer is in the viewer.

        Returns
        -------
        str
            Why its labels cannot be shown; empty if they are, or if there are none.
        """
        record = image.record
        restore_axes(layer, record)
        apply_style(layer, record.look)
        key = image_layers.layer_id_of(layer)
        self._restore_choices(key, record)
        if not (record.labels_name or image.states):
            # Only another image is combined with its pixels.
            self._autosave.adopt_pixels(key, record.key, image.fingerprint)
            return ""
        binding = self._layers.make_binding(layer)
        fits = image_layers.stack_shape(layer) == record.stack_shape
        if not fits or binding.review.shape != record.plane_shape:
            return f"The labels of '{record.name}' do not fit the image."
        restore_labels(binding, record, image.states)
        self._autosave.adopt(key, record.key, image.states, image.fingerprint)
        return ""

    def _restore_choices(self, key: str, record: ImageRecord) -> None:
        state = self._state.image(key)
        # What is combined is found when all images are there.
        state.choose_channels(None if record.partners else record.channels)
        state.channel_names = record.channel_names or state.channel_names
        state.auto, state.scale = record.auto, record.object_scale
        state.stack = record.stack
        state.store, state.part = Path(record.store) if record.store else None, record.part
