"""Where the pixels of a layer lie in the world: ``affine(translate + linear @ pixel)``.

The linear part is ``rotate @ shear @ scale``. Rows and columns are the last two
dimensions; what is about them alone trusts that `is_across_slices` is false.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image

TRANSFORM = ("shear", "rotate", "scale", "translate", "affine", "units", "axis_labels")
"""All that places a layer, in an order in which each can be set after the others."""

Places = npt.NDArray[np.float64]
"""Rows and columns, shape (n, 2)."""


def place_of(
    layer: Image, offset: npt.ArrayLike | None = None, zoom: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Find where a layer lies whose pixel p is the image's pixel ``offset + zoom * p``.

    Parameters
    ----------
    layer : Image
        The image.
    offset, zoom : float arrays, shape (ndim,), or None
        None is no offset, and pixels as large as the image's.

    Returns
    -------
    dict
        Arguments for a new layer of as many dimensions.
    """
    place = {name: getattr(layer, name) for name in TRANSFORM}
    place["affine"] = np.array(layer.affine)  # napari would share its own object
    if zoom is not None:
        place["scale"] = np.asarray(layer.scale) * np.asarray(zoom)
    if offset is not None:
        from_affine = np.linalg.inv(_linear(place["affine"]))
        moved = from_affine @ _linear(matrix_of(layer)) @ np.asarray(offset, float)
        place["translate"] = np.asarray(layer.translate) + moved
    return place


def is_same(one: Any, other: Any) -> bool:
    """Tell whether two values of one part of a transform are the same, but for rounding."""
    if isinstance(one, tuple):  # units or axis labels
        return bool(one == tuple(other))
    a, b = np.asarray(one), np.asarray(other)
    return a.shape == b.shape and np.allclose(a, b, rtol=1e-12, atol=0.0)


def matrix_of(layer: Any) -> Places:
    """Compute the whole transform from pixels to the world, shape (ndim + 1, ndim + 1)."""
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
    steps = [np.asarray(layer.data_to_world(step)) for step in np.eye(layer.ndim)]
    matrix = np.eye(layer.ndim + 1)
    matrix[:-1, :-1] = np.stack(steps, axis=1) - origin[:, None]
    matrix[:-1, -1] = origin
    return matrix


def is_across_slices(layer: Any) -> bool:
    """Tell whether the transform mixes rows or columns with the other dimensions."""
    linear = _linear(matrix_of(layer))
    mixed = max(
        np.abs(linear[:-2, -2:]).max(initial=0), np.abs(linear[-2:, :-2]).max(initial=0)
    )
    return bool(mixed > 1e-6 * np.abs(linear).max(initial=0))


def to_world(layer: Any, pixels: npt.ArrayLike) -> Places:
    """Find rows and columns of a layer in the world.

    Parameters
    ----------
    layer : Layer
        Whose.
    pixels : float array, shape (n, 2)
        Rows and columns.

    Returns
    -------
    float array, shape (n, 2)
        The last two coordinates of the world.
    """
    linear, origin = plane_transform(layer)
    world: Places = np.asarray(pixels, float) @ linear.T + origin
    return world


def to_pixels(layer: Any, world: npt.ArrayLike) -> Places:
    """Undo `to_world`."""
    linear, origin = plane_transform(layer)
    pixels: Places = (np.asarray(world, float) - origin) @ np.linalg.inv(linear).T
    return pixels


def _linear(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return matrix[:-1, :-1]


def plane_transform(layer: Any) -> tuple[Places, npt.NDArray[np.float64]]:
    """Return the linear part for rows and columns, shape (2, 2), and where (0, 0) lies."""
    matrix = matrix_of(layer)
    return matrix[-3:-1, -3:-1], matrix[-3:-1, -1]
