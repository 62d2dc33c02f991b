"""How large the objects are: the factor from image to working pixels.

The network itself is asked, on the busiest part of the image, until the objects that
it finds have its working diameter.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace

import numpy as np

from napari_resunet.engine.instances import Decoding, decode
from napari_resunet.engine.normalize import normalize
from napari_resunet.engine.planes import Planes
from napari_resunet.engine.predict import Event, Plane, Predictor
from napari_resunet.engine.targets import median_diameter
from napari_resunet.types import CancelToken, Statistics

PROBE = 512
"""Side of the probed part in working pixels."""

ROUNDS = 4
CLOSE_ENOUGH = 1.15
SCALES = (1 / 16, 8.0)


def estimate_scale(
    predictor: Predictor,
    planes: Planes,
    index: tuple[int, ...],
    of: Statistics,
    token: CancelToken | None = None,
) -> Generator[Event, None, float]:
    """Estimate the factor that brings the objects to the working diameter.

    Parameters
    ----------
    predictor : Predictor
        The model on its device.
    planes : Planes
        The image.
    index : tuple of int
        Which plane.
    of : Statistics
        Of the whole image.
    token : CancelToken or None
        Looked at between tiles.

    Yields
    ------
    Progress or Notice

    Returns
    -------
    float
        1 for a model of classes, and where nothing is found.
    """
    if predictor.model.info.task == "classes" or 0 in planes.shape:
        return 1.0
    scale = 1.0
    for _ in range(ROUNDS):
        plane = _probe(predictor, planes, index, of, scale)
        maps = yield from predictor.maps(plane, token)
        labels = decode(maps, Decoding(), predictor.model.info.diameter)
        diameter = median_diameter(labels)
        if diameter is None:
            return 1.0
        factor = predictor.model.info.diameter / diameter
        scale = float(np.clip(scale * factor, *SCALES))
        if 1 / CLOSE_ENOUGH < factor < CLOSE_ENOUGH:
            break
    return scale


def _probe(
    predictor: Predictor,
    planes: Planes,
    index: tuple[int, ...],
    of: Statistics,
    scale: float,
) -> Plane:
    side = round(PROBE / scale)
    rows = _candidates(planes.height, side)
    columns = _candidates(planes.width, side)
    windows = [(r, c) for r in rows for c in columns]
    plane = Plane(planes, index, windows[0], scale, of)
    if len(windows) == 1:
        return plane
    contract = predictor.model.info.normalization
    busy = [
        float(normalize(planes.read(index, *_thinned(w)), of, contract).std())
        for w in windows
    ]
    return replace(plane, window=windows[int(np.argmax(busy))])


def _candidates(n: int, side: int) -> list[slice]:
    if n <= side:
        return [slice(0, n)]
    return [slice(s, s + side) for s in np.linspace(0, n - side, 3).round().astype(int)]


def _thinned(window: tuple[slice, slice]) -> tuple[slice, slice]:
    rows, columns = (
        slice(w.start, w.stop, max(1, (w.stop - w.start) // 128)) for w in window
    )
    return rows, columns
