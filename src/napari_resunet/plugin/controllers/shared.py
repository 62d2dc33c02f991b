"""Shared by several controllers: the chosen image, and applying a proposal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.state import AppState
from napari_resunet.session.workers import ImageSnapshot

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.layers.labels import LabelsBinding
    from napari_resunet.session.segmenter import Proposal


def chosen_image(state: AppState, layers: Layers) -> Image | None:
    """Find the chosen image in the viewer."""
    return layers.image(state.image_key)


def chosen_labels(state: AppState, layers: Layers) -> LabelsBinding | None:
    """Find the labels of the chosen image."""
    return layers.binding(state.image_key)


def snapshot_of(state: AppState, layers: Layers, image: Image) -> ImageSnapshot:
    """Collect what a job needs of an image; this fixes its channels."""
    channels = state.image(image_layers.layer_id_of(image)).settle_channels(
        image_layers.n_channels(image), image_layers.shown_channel(image, layers.viewer)
    )
    return image_layers.snapshot(image, channels)


def apply_proposal(
    state: AppState, layers: Layers, image: Image, proposal: Proposal
) -> None:
    """Write a proposal into the image's labels and cache its maps."""
    layers.make_binding(image).write_proposal(proposal)
    state.image(image_layers.layer_id_of(image)).cache(proposal)
