"""How long it takes to measure 32,000 objects: ``python benchmarks/measure.py``.

The sample image is repeated 12 x 12 times. The ratio is that of scikit-image's
`regionprops_table` for the same columns, both measured in one run, the best of three.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from skimage.measure import regionprops_table

from napari_resunet.engine.measure import ToMeasure, measure_steps
from napari_resunet.events import drain

SAMPLE_DATA = Path(__file__).parents[1] / "sample_data"
REPEATS = 12
SAME = (
    "label", "area", "centroid", "bbox", "equivalent_diameter_area", "intensity_mean",
    "intensity_max", "intensity_min", "intensity_std",
)  # fmt: skip


def main() -> None:
    """Print one row for each number of channels, and one for the shape."""
    image, labels = sample()
    for n in (1, 3):
        what = ToMeasure(labels, channels={f"ch{i}": lambda index: image for i in range(n)})
        ours = best_of(3, lambda what=what: drain(measure_steps(what)))
        stack = np.stack([image] * n, axis=-1)
        theirs = best_of(3, lambda s=stack: regionprops_table(labels, s, properties=SAME))
        print(f"basic, {n} channels: {ours:.1f} s, regionprops_table {theirs / ours:.1f} x")
    shape = best_of(1, lambda: drain(measure_steps(ToMeasure(labels), "all")))
    n_objects = len(np.unique(labels)) - 1
    print(f"all: {shape:.1f} s, {1000 * shape / n_objects:.2f} ms per object")


def sample() -> tuple[np.ndarray, np.ndarray]:
    """Repeat the sample image, with a number of its own for each object."""
    image = tifffile.imread(SAMPLE_DATA / "nuclei.tif")
    labels = tifffile.imread(SAMPLE_DATA / "nuclei_labels.tif").astype(np.int32)
    numbers = np.arange(REPEATS**2, dtype=np.int32).reshape(REPEATS, REPEATS)
    offset = np.kron(numbers * labels.max(), np.ones_like(labels))
    repeated = np.tile(labels, (REPEATS, REPEATS))
    return np.tile(image, (REPEATS, REPEATS)), np.where(repeated, repeated + offset, 0)


def best_of(times: int, call: Callable[[], Any]) -> float:
    """Return the shortest of several durations in seconds."""
    durations = []
    for _ in range(times):
        begin = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begin)
    return min(durations)


if __name__ == "__main__":
    main()
