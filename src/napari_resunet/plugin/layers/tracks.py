"""The Tracks layer over the labels of a film: where each object was, and who divided."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.components import ViewerModel
from napari.layers import Image
from napari.layers import Tracks as TracksLayer

from napari_resunet.plugin.layers.geometry import is_same, matrix_of
from napari_resunet.plugin.layers.image_layers import (
    OURS,
    stack_axes_of,
)
from napari_resunet.plugin.layers.labels import LabelsBinding
from napari_resunet.plugin.layers.overlays import add_unselected
from napari_resunet.session.tracks import Tracks

DIMENSIONS = 3, 4
"""Of the labels that napari can draw tracks over, the frames first."""

TAIL_FRAMES = 10
"""Frames of a track that are drawn before the one in view."""


def frames_of(image: Image, binding: LabelsBinding) -> npt.NDArray[Any] | None:
    """Return a view of the labels from the axis of time on; None if it cannot be drawn.

    napari takes the first axis of tracks as time.
    """
    axes = stack_axes_of(image)
    labels = np.asarray(binding.layer.data)
    is_time = len(axes) == 1 or axes[:1] == ("T",)
    return labels if is_time and labels.ndim in DIMENSIONS else None


def show_tracks(
    viewer: ViewerModel, layer: TracksLayer | None, binding: LabelsBinding, tracks: Tracks
) -> TracksLayer:
    """Draw tracks over labels, in a layer that is there or in a new one."""
    graph = {daughter: [parent] for daughter, parent in tracks.parents.items()}
    if layer is None:
        layer = TracksLayer(
            tracks.points,
            graph=graph,
            name=f"{binding.layer.name} tracks",
            tail_length=TAIL_FRAMES,
            metadata={OURS: "tracks"},
        )
        place_tracks(layer, binding)
        add_unselected(viewer, layer)
        return layer
    layer.data = tracks.points
    layer.graph = graph
    return layer


def place_tracks(layer: TracksLayer, binding: LabelsBinding) -> None:
    """Place tracks over the last dimensions of labels."""
    ndim = layer.ndim
    kept = [*range(binding.layer.ndim - ndim, binding.layer.ndim), binding.layer.ndim]
    place = {
        "affine": matrix_of(binding.layer)[np.ix_(kept, kept)],
        "units": binding.layer.units[-ndim:],
        "axis_labels": binding.layer.axis_labels[-ndim:],
    }
    for name, value in place.items():
        if not is_same(getattr(layer, name), value):
            setattr(layer, name, value)
