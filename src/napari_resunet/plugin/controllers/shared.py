"""Shared by several controllers: the chosen image, its scale, proposals, the candidate."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.state import AppState, Version
from napari_resunet.session.large.surroundings import open_around
from napari_resunet.session.settings import Stack
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


def is_in_file(state: AppState, layers: Layers) -> bool:
    """Return whether the chosen image has its labels in a file, and none in memory."""
    return state.chosen.store is not None and chosen_labels(state, layers) is None


def scale_for(
    state: AppState, image: Image, version: Version | None = None
) -> float | None:
    """Return the rescale factor of an image for a version, by default the one in use.

    It comes from the user, or else from the object size that the version learned, or else
    from the last estimate; None if there is none of these.
    """
    settings = state.image(image_layers.layer_id_of(image))
    learned = learned_size(version or state.versions.current, image)
    if learned is None or not settings.auto:
        return settings.scale
    return state.diameter / learned


def stack_of(state: AppState, image: Image) -> Stack:
    """Return what the slices of an image are: as the user said, or else as guessed."""
    stack = state.image(image_layers.layer_id_of(image)).stack
    return stack or image_layers.guessed_stack(image)


def learned_size(version: Version, image: Image) -> float | None:
    """Return the object size that a version learned, in pixels of an image, if it did."""
    size = version.object_size
    return None if size is None else size.in_pixels(image_layers.pixel_size(image))


def object_size_in(state: AppState, layers: Layers) -> float | None:
    """Return the object size in pixels of the chosen image; None if it is not known."""
    image = chosen_image(state, layers)
    scale = None if image is None else scale_for(state, image)
    return scale and state.diameter / scale


def snapshot_of(state: AppState, layers: Layers, image: Image) -> ImageSnapshot:
    """Collect what a job needs of an image; this fixes its channels."""
    settings = state.image(image_layers.layer_id_of(image))
    found = [layers.image(key) for key in settings.partners]
    partners = [x for x in found if x is not None and image_layers.can_join(image, x)]
    if len(partners) < len(found):
        settings.choose_channels(None)
        partners = []
    n = image_layers.n_channels(image)
    channels = settings.settle_channels(
        max(1, n) + len(partners) if partners else n,
        image_layers.shown_channel(image, layers.viewer),
    )
    snapshot = image_layers.snapshot(image, channels, partners)
    if settings.part is None:
        return snapshot
    known = settings.part.statistics
    # They are those of its own channels, in their order.
    in_order = tuple(range(len(known.low)))
    same = tuple(channels or in_order) == in_order
    around = None if partners else partial(open_around, settings.part)
    return replace(snapshot, statistics=known if same else None, around=around)


def apply_proposal(
    state: AppState, layers: Layers, image: Image, proposal: Proposal
) -> None:
    """Write a proposal into the image's labels and cache its maps."""
    layers.make_binding(image).write_proposals([proposal])
    state.image(image_layers.layer_id_of(image)).cache(proposal)


def drop_candidate(state: AppState) -> None:
    """Delete the version that the user could choose instead of the one in use."""
    candidate = state.versions.candidate
    if candidate is not None:
        state.compare.emit("")
        state.versions.remove(candidate.key)
        state.version_deleted.emit(candidate.record)
