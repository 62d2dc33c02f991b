"""The object size: the rescale factor, what was found, what was learned, and the minimum.

The rescale factor is found with the network itself: it segments the part of the image that
varies most until the objects it finds have the diameter for the network. What a model
learned, and the smallest size, come from the corrections.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.normalize import normalize
from napari_resunet.engine.patches import TrainingImage, median_diameter
from napari_resunet.engine.postprocess import decode
from napari_resunet.engine.predict import Event, MapPredictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import CancelToken
from napari_resunet.masks import compact
from napari_resunet.types import (
    Decoding,
    Example,
    Index,
    LabelArray,
    ModelInfo,
    ObjectSize,
    Statistics,
    Window,
)

PROBE = 480
"""Side of the part to segment, in pixels at network resolution."""

ROUNDS = 5
PLANES_READ, PLANES_TRIED = 16, 3
"""Evenly spread planes of a stack that are read, and those of them that are segmented until
an object is found: the ones that vary most."""

CLOSE_ENOUGH = 1.1
SCALES = (1 / 16, 8.0)

MIN_FOUND = 10
"""Number of found objects from which they tell how large the objects of an image are."""

MIN_WHOLE_OBJECTS = 10
"""Number of whole verified objects from which they determine the smallest size."""

SMALL = 0.5
"""Objects below this fraction of the 5th percentile of verified ones are too small."""


def estimate_scale(
    predictor: MapPredictor,
    reader: ImageReader,
    indices: Sequence[Index],
    measured: Statistics,
    token: CancelToken | None = None,
) -> Generator[Event, None, float]:
    """Estimate the rescale factor; 1 for classes, or if no object is found.

    Parameters
    ----------
    predictor : MapPredictor
        The model on its device.
    reader : ImageReader
        The image.
    indices : sequence of tuple of int
        The planes to try first; if they are empty, the others follow.
    measured : Statistics
        Of the whole image.
    token : CancelToken or None
        Checked between tiles.
    """
    if predictor.model.info.task == "classes" or 0 in reader.shape:
        return 1.0
    first = set(indices)
    others = [index for index in reader.indices() if index not in first]
    for group in (indices, others):
        for index in _most_varied(predictor, reader, group, measured):
            scale = yield from _scale_of_plane(predictor, reader, index, measured, token)
            if scale is not None:
                return scale
    return 1.0


def _most_varied(
    predictor: MapPredictor,
    reader: ImageReader,
    indices: Sequence[Index],
    measured: Statistics,
) -> list[Index]:
    """Choose a few planes, those whose intensities vary most first."""
    if len(indices) < 2:
        return list(indices)
    places = np.linspace(0, len(indices) - 1, min(len(indices), PLANES_READ)).round()
    read = [indices[int(place)] for place in places]
    spread = [_spread(predictor, reader, index, reader.window, measured) for index in read]
    return [read[place] for place in np.argsort(spread)[::-1][:PLANES_TRIED]]


def _spread(
    predictor: MapPredictor,
    reader: ImageReader,
    index: Index,
    window: Window,
    measured: Statistics,
) -> float:
    """Measure how much the intensities of a thinned window vary."""
    pixels = reader.read(index, *_thinned(window))
    return float(normalize(pixels, measured, predictor.model.info.normalization).std())


def _scale_of_plane(
    predictor: MapPredictor,
    reader: ImageReader,
    index: Index,
    measured: Statistics,
    token: CancelToken | None,
) -> Generator[Event, None, float | None]:
    """Estimate the rescale factor on one plane; None if no object is found."""
    info, scale = predictor.model.info, 1.0
    # Objects may be small at a wrong scale, so the model's own minimum does not apply.
    min_size = ModelInfo.min_size_fraction * info.reference_area
    for _ in range(ROUNDS):
        request = _probe(predictor, reader, index, measured, scale)
        maps = yield from predictor.maps(request, token)
        labels = decode(maps, Decoding(), info.levels, min_size, info.reference_area)
        diameter = median_diameter(labels)
        if diameter is None:
            return None
        factor = info.diameter / diameter
        scale = float(np.clip(scale * factor, *SCALES))
        if 1 / CLOSE_ENOUGH < factor < CLOSE_ENOUGH:
            break
    return scale


def found_diameter(labels: LabelArray, info: ModelInfo) -> float | None:
    """Measure what the model found: the median diameter in pixels.

    None for classes, and if there are too few objects to tell.
    """
    return None if info.task == "classes" else median_diameter(labels, MIN_FOUND)


SAME_SIZE = 1.4
"""Object sizes that differ by a larger factor are not those of one kind of image."""


def learned_size(examples: Sequence[Example], info: ModelInfo) -> ObjectSize | None:
    """Measure the objects of the latest example that has any.

    The latest counts, because proposals for its image are what the user sees next. None if
    no example has objects, or if they are clearly larger in some images than in others:
    then no size is right for all, and that of each image is estimated.
    """
    found = [size for e in examples if (size := _size_of(e, info)) is not None]
    if not found:
        return None
    um = [size.um for size in found]
    sizes = [u for u in um if u is not None]
    if len(sizes) < len(found):
        sizes = [size.pixels for size in found if size.pixels is not None]
    return found[-1] if max(sizes) <= SAME_SIZE * min(sizes) else None


def _size_of(example: Example, info: ModelInfo) -> ObjectSize | None:
    known = example.scale is not None or info.task == "classes"
    diameter = info.diameter / (example.scale or 1.0) if known else None
    if diameter is None:
        diameter = median_diameter(example.labels)
    return None if diameter is None else ObjectSize.measured(diameter, example.pixel_size)


def min_size_fraction(images: Sequence[TrainingImage], info: ModelInfo) -> float:
    """Compute which fraction of the reference area is too small for an object.

    It follows from the objects that are wholly verified; if there are too few of them, the
    model's own is returned.
    """
    areas = np.concatenate([_whole_areas(image) for image in images])
    if info.task == "classes" or areas.size < MIN_WHOLE_OBJECTS:
        return info.min_size_fraction
    return SMALL * float(np.percentile(areas, 5)) / info.reference_area


def _whole_areas(image: TrainingImage) -> npt.NDArray[np.float64]:
    """Measure the wholly verified objects, in pixels at network resolution."""
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
    predictor: MapPredictor,
    reader: ImageReader,
    index: Index,
    measured: Statistics,
    scale: float,
) -> PredictionRequest:
    side = round(PROBE / scale)
    rows = _candidates(reader.height, side)
    columns = _candidates(reader.width, side)
    windows = [(r, c) for r in rows for c in columns]
    request = PredictionRequest(reader, index, windows[0], scale, measured)
    if len(windows) == 1:
        return request
    spread = [_spread(predictor, reader, index, window, measured) for window in windows]
    return replace(request, window=windows[int(np.argmax(spread))])


def _candidates(n: int, side: int) -> list[slice]:
    if n <= side:
        return [slice(0, n)]
    return [slice(s, s + side) for s in np.linspace(0, n - side, 3).round().astype(int)]


def _thinned(window: Window) -> Window:
    rows, columns = (
        slice(w.start, w.stop, max(1, (w.stop - w.start) // 128)) for w in window
    )
    return rows, columns
