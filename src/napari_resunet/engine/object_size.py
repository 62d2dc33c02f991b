"""How large the objects are: the factor from image to working pixels, and what is dust.

The network itself is asked, on the busiest part of the image, until the objects that
it finds have its working diameter; the corrections tell how small an object may be.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.normalize import normalize
from napari_resunet.engine.patches import TrainingImage, median_diameter
from napari_resunet.engine.postprocess import Decoding, decode
from napari_resunet.engine.predict import Event, PredictionRequest, Predictor
from napari_resunet.masks import compact
from napari_resunet.types import CancelToken, ModelInfo, Normalization, Statistics

Index = tuple[int, ...]
"""Which plane of a stack."""

PROBE = 512
"""Side of the probed part in working pixels."""

ROUNDS = 5
PLANES_SEEN, PLANES_ASKED = 16, 3
"""Of a stack so many planes, evenly spread, are looked at; the network is asked about those
of them that hold most, until it finds something."""

CLOSE_ENOUGH = 1.05
SCALES = (1 / 16, 8.0)

FEWEST_WHOLE = 10
"""From so many whole corrected objects on, their sizes say what is dust."""

DUST = 0.5
"""Dust is smaller than this times the 5th percentile of the corrected objects."""


def estimate_scale(
    predictor: Predictor,
    planes: ImageReader,
    indices: Sequence[Index],
    of: Statistics,
    token: CancelToken | None = None,
) -> Generator[Event, None, float]:
    """Estimate the factor that brings the objects to the working diameter.

    Parameters
    ----------
    predictor : Predictor
        The model on its device.
    planes : ImageReader
        The image.
    indices : sequence of tuple of int
        Of which planes; where these hold nothing, the others are looked at.
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
    chosen = set(indices)
    others = [index for index in planes.indices() if index not in chosen]
    for group in (indices, others):
        for index in _fullest(planes, group, of, predictor.model.info.normalization):
            scale = yield from _scale_of_plane(predictor, planes, index, of, token)
            if scale is not None:
                return scale
    return 1.0


def _fullest(
    planes: ImageReader, indices: Sequence[Index], of: Statistics, contract: Normalization
) -> list[Index]:
    """List a few planes, those whose intensities vary most first."""
    if len(indices) < 2:
        return list(indices)
    places = np.linspace(0, len(indices) - 1, min(len(indices), PLANES_SEEN)).round()
    seen = [indices[int(place)] for place in places]
    whole = _thinned(planes.window)
    spread = [float(normalize(planes.read(i, *whole), of, contract).std()) for i in seen]
    return [seen[place] for place in np.argsort(spread)[::-1][:PLANES_ASKED]]


def _scale_of_plane(
    predictor: Predictor,
    planes: ImageReader,
    index: Index,
    of: Statistics,
    token: CancelToken | None,
) -> Generator[Event, None, float | None]:
    """Estimate the factor on one plane; None where nothing is found."""
    scale = 1.0
    for _ in range(ROUNDS):
        plane = _probe(predictor, planes, index, of, scale)
        maps = yield from predictor.maps(plane, token)
        # At a wrong scale objects may be small: the model's own limit is not for here.
        info = predictor.model.info
        labels = decode(
            maps, Decoding(), info.levels, ModelInfo.smallest * info.disc, info.disc
        )
        diameter = median_diameter(labels)
        if diameter is None:
            return None
        factor = predictor.model.info.diameter / diameter
        scale = float(np.clip(scale * factor, *SCALES))
        if 1 / CLOSE_ENOUGH < factor < CLOSE_ENOUGH:
            break
    return scale


def min_size_fraction(images: Sequence[TrainingImage], info: ModelInfo) -> float:
    """Tell from the corrections which objects are too small to be one.

    Parameters
    ----------
    images : sequence of TrainingImage
        All corrections.
    info : ModelInfo
        The model's.

    Returns
    -------
    float
        Share of a disc of the working diameter; the model's own where too few objects
        are wholly inside the verified area.
    """
    areas = np.concatenate([_whole_areas(image) for image in images])
    if info.task == "classes" or areas.size < FEWEST_WHOLE:
        return info.smallest
    return DUST * float(np.percentile(areas, 5)) / info.disc


def _whole_areas(image: TrainingImage) -> npt.NDArray[np.float64]:
    """Measure the objects that the verified area does not cut, in working pixels."""
    known = image.weight > 0
    rim = np.ones_like(known)
    rim[1:-1, 1:-1] = False
    objects = compact(image.labels)
    areas = np.bincount(objects.ravel()).astype(np.float64)
    areas[np.unique(objects[rim | ~known])] = 0
    areas[0] = 0
    scaled: npt.NDArray[np.float64] = areas[areas > 0] * image.scale**2
    return scaled


def _probe(
    predictor: Predictor,
    planes: ImageReader,
    index: tuple[int, ...],
    of: Statistics,
    scale: float,
) -> PredictionRequest:
    side = round(PROBE / scale)
    rows = _candidates(planes.height, side)
    columns = _candidates(planes.width, side)
    windows = [(r, c) for r in rows for c in columns]
    plane = PredictionRequest(planes, index, windows[0], scale, of)
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
