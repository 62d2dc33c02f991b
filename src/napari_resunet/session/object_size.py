"""The rescale factor of an image: from the user, the model, or the corrections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from napari_resunet.corrections.training_set import Correction
from napari_resunet.errors import ArgumentError
from napari_resunet.session.settings import OBJECT_SIZE
from napari_resunet.types import ModelInfo, ObjectSize

MIN_OBJECTS_FOR_SIZE = 5
"""Fewer corrected objects do not change the object size."""


def scale_from(
    size: ObjectSize | None, info: ModelInfo, pixel_size: float | None
) -> float | None:
    """Compute the rescale factor of an image.

    Parameters
    ----------
    size : ObjectSize or None
        What the user gave; None takes what the model learned.
    info : ModelInfo
        Of the model.
    pixel_size : float or None
        Side of the image's pixels in micrometres, if known.

    Returns
    -------
    float or None
        None if nothing is known: then the size must be estimated.

    Raises
    ------
    ArgumentError
        If the size that the user gave cannot be converted to pixels.
    """
    wanted = size or info.object_size
    pixels = None if wanted is None else wanted.in_pixels(pixel_size)
    if pixels is not None:
        return info.diameter / pixels
    if size is None or size.um is None:
        return None
    if pixel_size is None:
        raise ArgumentError(
            f"The pixel size of the image is not known, so {size.um:g} um cannot be "
            "converted: give the diameter in pixels."
        )
    least, most = OBJECT_SIZE.minimum, OBJECT_SIZE.maximum
    raise ArgumentError(
        f"{size.um:g} um are {size.um / pixel_size:g} pixels of this image: give a "
        f"diameter from {least:g} to {most:g} pixels."
    )


def corrected_scale(corrections: Sequence[Correction], info: ModelInfo) -> float | None:
    """Compute the scale from the size of verified objects; None if there are too few."""
    from napari_resunet.engine.patches import median_diameter

    if info.task == "classes":
        return None
    diameters = [
        median_diameter(np.where(c.verified, c.labels, 0))
        for c in corrections
        if c.n_objects >= MIN_OBJECTS_FOR_SIZE
    ]
    known = [d for d in diameters if d]
    return info.diameter / float(np.median(known)) if known else None
