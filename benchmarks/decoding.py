"""How long decoding takes, in seconds per megapixel: ``python benchmarks/decoding.py``.

The bundled model's maps of the sample images are repeated to 1024², and decoded on one
core. Beside the total are its parts, and scikit-image's `watershed` alone, from the same
seeds before they are split. The ratio is how much longer it takes than all of decoding.
All take turns in one run; the median of seven counts.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tifffile
from scipy import ndimage
from skimage.segmentation import watershed

import napari_resunet as nru
from napari_resunet.engine import postprocess
from napari_resunet.engine.basins import find_basins
from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.object_size import estimate_scale
from napari_resunet.engine.predict import Maps, Predictor
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import drain
from napari_resunet.types import Decoding, ModelInfo

SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
SIDE = 1024
REPEATS = 7


def main() -> None:
    """Print one row for each sample, and one for a plane with objects in one corner."""
    predictor = Predictor(nru.load_model(), choose("cpu"))
    info = predictor.model.info
    names = ("nuclei", "cells_phase", "histology")
    maps = {name: predicted(predictor, SAMPLE_DATA / f"{name}.tif") for name in names}
    planes = {name: repeated(part) for name, part in maps.items()}
    planes["nearly empty"] = np.zeros_like(planes["nuclei"])
    planes["nearly empty"][:, :100, :100] = planes["nuclei"][:, :100, :100]
    columns = ["total", "smoothing", "basins", "seeds", "flooding", "watershed", "ratio"]
    print(f"{'s / megapixel':>14} {'foreground':>10}", *(f"{c:>9}" for c in columns))
    for name, plane in planes.items():
        share = (plane[0] >= info.levels.foreground).mean()
        print(f"{name:>14} {share:10.2f}", *(f"{s:9.3f}" for s in measured(plane, info)))


def predicted(predictor: Predictor, path: Path) -> Maps:
    """Predict the maps of an image at the object size that is found in it."""
    pixels = tifffile.imread(path)
    channels = range(3) if pixels.ndim > 2 else None
    reader = ImageReader([pixels], "YXC"[: pixels.ndim], channels)
    statistics_ = reader.measure(predictor.model.info.normalization)
    scale = drain(estimate_scale(predictor, reader, [()], statistics_))
    request = PredictionRequest(reader, (), reader.window, scale, statistics_)
    return drain(predictor.maps(request))


def repeated(maps: Maps) -> Maps:
    """Repeat maps, mirrored so that no object is cut."""
    margins = [(0, 0), *((0, max(0, SIDE - n)) for n in maps.shape[1:])]
    return np.pad(maps, margins, mode="symmetric")[:, :SIDE, :SIDE]


def measured(maps: Maps, info: ModelInfo) -> list[float]:
    """Measure the columns of the table: seconds per megapixel, and the ratio."""
    levels, area = info.levels, info.reference_area
    min_part = postprocess.MIN_PART_FRACTION * area
    ridge = postprocess._smoothed(maps[1], levels)
    foreground = maps[0] >= levels.foreground
    basins = find_basins(ridge, foreground, (0, 0))
    seeds = postprocess._seeds(basins, levels.seed, min_part)
    markers = ndimage.label((ridge > levels.seed) & foreground)[0]
    calls: list[Callable[[], object]] = [
        lambda: postprocess.decode(maps, Decoding(), levels, 0.05 * area, area),
        lambda: postprocess._smoothed(maps[1], levels),
        lambda: find_basins(ridge, foreground, (0, 0)),
        lambda: postprocess._seeds(basins, levels.seed, min_part),
        lambda: basins.flooded(seeds),
        lambda: watershed(-ridge, markers, mask=foreground),
    ]
    times = [[seconds(call) for call in calls] for _ in range(REPEATS + 1)][1:]
    columns = zip(*times, strict=True)
    medians = [1e6 / SIDE**2 * statistics.median(column) for column in columns]
    return [*medians, medians[-1] / medians[0]]


def seconds(call: Callable[[], object]) -> float:
    """Measure the time on the processor, which others do not prolong."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


if __name__ == "__main__":
    main()
