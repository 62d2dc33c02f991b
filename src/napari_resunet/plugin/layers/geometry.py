"""Transforms between the pixels of a layer and world coordinates.

The dock works on planes, whose rows and columns are the last two dimensions. Functions for
rows and columns alone are only right for layers that are not `is_across_slices`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from napari.layers import Image

TRANSFORM = ("shear", "rotate", "scale", "translate", "affine", "units", "axis_labels")
"""Attributes that place a layer, in an order in which they can be set."""

Places = npt.NDArray[np.float64]
"""Rows and columns, shape (n, 2)."""


def place_of(
    layer: Image, offset: npt.ArrayLike | None = None, zoom: npt.ArrayLike | None = None
) -> dict[str, Any]:
    """Place a new layer whose pixel p is the image's pixel ``offset + zoom * p``.

    Parameters
    ----------
    layer : Image
        The image.
    offset, zoom : float arrays, shape (ndim,), or None
        None means no offset, and pixels of the image's size.

    Returns
    -------
    dict
        Arguments for a new layer with as many dimensions.
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


def place_of_last(layer: Image) -> dict[str, Any]:
    """Place a new layer on the pixels of an image without its first dimension."""
    n, affine = layer.ndim - 1, np.array(layer.affine)
    place = {
        "shear": np.zeros(n * (n - 1) // 2),
        "rotate": np.eye(n),
        "scale": np.asarray(layer.scale)[1:],
        "translate": np.asarray(layer.translate)[1:],
        "affine": affine[1:, 1:],
        "units": layer.units[1:],
        "axis_labels": layer.axis_labels[1:],
    }
    if np.asarray(layer.shear).any() or not np.array_equal(layer.rotate, np.eye(n + 1)):
        whole = {"affine": matrix_of(layer)[1:, 1:]}
        place |= whole | {"scale": np.ones(n), "translate": np.zeros(n)}
    return place


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values of one part of a transform are equal up to rounding."""
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
    """Return whether the transform mixes rows or columns with the other dimensions."""
    linear = _linear(matrix_of(layer))
    mixed = max(
        np.abs(linear[:-2, -2:]).max(initial=0), np.abs(linear[-2:, :-2]).max(initial=0)
    )
    return bool(mixed > 1e-6 * np.abs(linear).max(initial=0))


def to_world(layer: Any, pixels: npt.ArrayLike) -> Places:
    """Convert rows and columns of a layer to the last two coordinates of the world.

    Parameters
    ----------
    layer : Layer
        Any layer.
    pixels : float array, shape (n, 2)
        Rows and columns.

    Returns
    -------
    float array, shape (n, 2)
    """
    linear, origin = plane_transform(layer)
    world: Places = np.asarray(pixels, float) @ linear.T + origin
    return world


def to_pixels(layer: Any, world: npt.ArrayLike) -> Places:
    """Invert `to_world`."""
    linear, origin = plane_transform(layer)
    pixels: Places = (np.asarray(world, float) - origin) @ np.linalg.inv(linear).T
    return pixels


def plane_transform(layer: Any) -> tuple[Places, npt.NDArray[np.float64]]:
    """Return the linear part for rows and columns, shape (2, 2), and the origin."""
    matrix = matrix_of(layer)
    return matrix[-3:-1, -3:-1], matrix[-3:-1, -1]


def is_upright(layer: Any) -> bool:
    """Return whether rows and columns run along the canvas, in either order."""
    linear = np.abs(plane_transform(layer)[0])
    small = linear < 1e-6 * linear.max()
    return bool((small.sum(axis=0) == 1).all())


def ring(one: npt.ArrayLike, other: npt.ArrayLike) -> Places:
    """Return the closed outline of the box between two corners, shape (5, 2)."""
    (top, left), (bottom, right) = np.asarray(one), np.asarray(other)
    corners = (top, left), (top, right), (bottom, right), (bottom, left), (top, left)
    return np.array(corners, float)


def _linear(matrix: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return matrix[:-1, :-1]
