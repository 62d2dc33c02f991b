"""The tracks of a film as points and parents, for a viewer to draw.

They are made from the labels alone, so that they are those of the corrected labels.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress

MAX_POINTS = 300_000
"""Of the tracks that are drawn: a viewer takes seconds for more."""


@dataclass(frozen=True, eq=False)
class Tracks:
    """The tracks of a film.

    Attributes
    ----------
    points : float array, shape (n, 1 + d)
        The number of the track, then the centroid in pixels, with the frame first; d is
        the number of dimensions of the labels.
    parents : mapping of int to int
        The parent of each daughter.
    """

    points: npt.NDArray[np.float64]
    parents: Mapping[int, int]


def tracks_of(
    labels: npt.NDArray[Any], token: CancelToken
) -> Generator[Progress, None, Tracks | None]:
    """Find the centroids of all objects, and who divided.

    Parameters
    ----------
    labels : integer array, shape (n_frames, …, Y, X)
        An object has the number of its track; 0 and below is background.
    token : CancelToken
        Checked between frames.

    Yields
    ------
    Progress
        After each frame.

    Returns
    -------
    Tracks or None
        None if there are more than `MAX_POINTS` points.

    Raises
    ------
    Cancelled
        If the token says so.
    """
    from napari_resunet.engine.divisions import parents_of

    found: list[npt.NDArray[np.float64]] = [np.zeros((0, 1 + labels.ndim))]
    for time, frame in enumerate(labels):
        if token.cancelled:
            raise Cancelled("Drawing the tracks was cancelled.")
        found.append(_points(time, frame))
        if sum(map(len, found)) > MAX_POINTS:
            return None
        yield Progress(time + 1, len(labels), "drawing the tracks")
    points = np.concatenate(found)
    return Tracks(points[np.lexsort((points[:, 1], points[:, 0]))], parents_of(labels))


def _points(time: int, frame: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return number, frame, and centroid of each object, ascending by number."""
    from napari_resunet.engine.metrics import objects_of

    objects = objects_of(frame)
    inside = np.flatnonzero(objects.places >= 0)
    owners = objects.places[inside]
    sums = [
        np.bincount(owners, place, len(objects.ids))
        for place in np.unravel_index(inside, frame.shape)
    ]
    centroids = [total / objects.areas for total in sums]
    times = np.full(len(objects.ids), time)
    return np.stack([objects.ids, times, *centroids], axis=1).astype(np.float64)
