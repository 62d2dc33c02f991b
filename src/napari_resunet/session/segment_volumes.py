"""Segments an image's volumes in three directions, for the API and the command line."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import numpy as np

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.object_size import estimate_scale
from napari_resunet.engine.three_directions import VolumeRequest, segment_volume
from napari_resunet.errors import ArgumentError, ImageError
from napari_resunet.events import Notice, Progress
from napari_resunet.session.arguments.values import real_number
from napari_resunet.session.segmenter import Segmenter, without_count
from napari_resunet.session.settings import DIRECTIONS, SLICE_STEP, Stack
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import Decoding, LabelArray


def slice_step_for(directions: Any, slice_step: Any, stack: Stack | None) -> float | None:
    """Return the distance of slices for three directions; None if they are not asked for.

    Parameters
    ----------
    directions : {1, 3}
        Of the planes that the network sees.
    slice_step : float or None
        From slice to slice, in pixels of the image.
    stack : {"separate", "volume", "film"} or None
        What the slices are; None for one plane, and for classes.

    Raises
    ------
    ArgumentError
        If one of them is out of range, or the distance is missing.
    ImageError
        If the slices are not a volume.
    """
    if not isinstance(directions, int) or directions not in DIRECTIONS:
        raise ArgumentError(f"directions must be 1 or 3, not {str(directions)[:40]!r}.")
    step = None
    if slice_step is not None:
        step = real_number("slice_step", slice_step, *SLICE_STEP)
    if directions == 1:
        return None
    if stack != "volume":
        raise ImageError(
            "Three directions are there for objects of a volume, and this image is not "
            "taken as one: say that it is a volume, or take one direction."
        )
    if step is None:
        raise ArgumentError(
            "Three directions need the distance of the slices: give slice_step, in pixels "
            "of the image."
        )
    return step


def stated_slice_step(stored: StoredImage) -> float | None:
    """Return the distance of slices in pixels as a file states it; None if it does not."""
    depth = stored.steps.get("Z")
    if depth is None or stored.pixel_size is None:
        return None
    step = depth / stored.pixel_size
    return step if SLICE_STEP[0] <= step <= SLICE_STEP[1] else None


def segment_volumes(
    segmenter: Segmenter,
    reader: ImageReader,
    *,
    scale: float | None,
    slice_step: float,
    decoding: Decoding,
) -> Generator[Progress | Notice, None, tuple[LabelArray, float | None]]:
    """Find the objects of each volume of an image in three directions.

    Parameters
    ----------
    segmenter : Segmenter
        A model of objects on its device.
    reader : ImageReader
        An image with an axis Z, or with one axis of slices whatever its letter.
    scale : float or None
        Rescale factor from image pixels to network resolution; None estimates it.
    slice_step : float
        From slice to slice, in pixels of the image.
    decoding : Decoding
        How maps become labels.

    Yields
    ------
    Progress or Notice
        After each plane, and when memory is short.

    Returns
    -------
    labels : int32 array, shape of `reader`
        Numbered from 1 without gaps over all volumes.
    scale : float or None
        The rescale factor; None for an image without pixels.
    """
    labels = np.zeros(reader.shape, np.int32)
    if not labels.size:
        return labels, scale
    predictor = segmenter.predictor
    measured = reader.measure(segmenter.model.info.normalization)
    if scale is None:
        estimate = estimate_scale(predictor, reader, list(reader.indices()), measured)
        scale = yield from without_count(estimate, "estimating the object size")
    axes = reader.stack_axes
    place = axes.index("Z") if "Z" in axes else 0
    volumes = np.moveaxis(labels, place, -3)
    n_objects = 0
    for outer in np.ndindex(volumes.shape[:-3]):
        slices = [(*outer[:place], z, *outer[place:]) for z in range(volumes.shape[-3])]
        request = VolumeRequest(reader, slices, scale, slice_step, measured)
        found = yield from segment_volume(predictor, request, decoding)
        volumes[outer] = np.where(found > 0, found + n_objects, 0)
        n_objects += int(found.max())
    return labels, scale
