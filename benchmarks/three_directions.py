"""Three directions beside linked slices: volumes of nuclei, with ground truth.

    python benchmarks/three_directions.py                          # all: half an hour
    python benchmarks/three_directions.py --quick                  # touching only
    python benchmarks/three_directions.py --pair IMAGE LABELS 2.5  # a volume of your own
    python benchmarks/three_directions.py --linking                # how slices are linked

Prints the tables of docs/research/three-directions.md. The number after a pair is the
distance of its slices in pixels. MB is the peak of memory above what there was before, on
Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import tifffile
from linking import Labels, ellipsoids, ours
from scipy import ndimage

import napari_resunet as nru
from napari_resunet.engine import linking
from napari_resunet.engine.linking import number_apart
from napari_resunet.engine.metrics import score
from napari_resunet.engine.patches import median_diameter

SIDE = 96
"""Rows and columns of a volume, and twice its depth, in pixels."""

FINE = 0.5
"""Distance of the slices that are drawn; those of the image are some of them."""

LATERAL = 1.3
"""Blur within a slice: deviation in pixels, as in the samples."""

DISTANCES = {"apart": 1.3, "touching": 0.95, "crowded": 0.8}
STEPS = (1.0, 2.5, 4.0)
PHOTONS = {"low": 110.0, "high": 12.0}
"""Noise: photons of the brightest nuclei."""

AXIAL = (1.3, 3.5)
"""Blur along Z: that of a slice, as in a light sheet, or of a confocal microscope."""

PARAMETERS = {
    "as it is": {"GAP": linking.GAP},
    "IoU 0.1": {"MIN_IOU": 0.1},
    "IoU 0.4": {"MIN_IOU": 0.4},
    "IoU 0.5": {"MIN_IOU": 0.5},
    "no gap": {"GAP": 0},
    "gap of 2": {"GAP": 2},
    "share 0.9": {"MIN_SHARE": 0.9},
    "no share": {"MIN_SHARE": 2.0},
}


@dataclass(frozen=True)
class Volume:
    """An image with ground truth, and the distance of its slices in pixels."""

    name: str
    image: npt.NDArray[np.generic]
    truth: Labels
    step: float

    @property
    def diameter(self) -> float:
        """Median diameter of the objects of all slices in pixels, as a user measures it."""
        return median_diameter(number_apart(self.truth)) or 1.0


def drawn(distance: float, seed: int) -> Labels:
    """Draw up to 200 nuclei of 18 to 26 pixels; `distance` is 1 where two just touch."""
    shape = (round(SIDE / 2 / FINE), SIDE, SIDE)
    return ellipsoids(FINE, distance, seed, shape, (9, 13), 200)


def photographed(fine: Labels, step: float, photons: float, axial: float) -> np.ndarray:
    """Image nuclei as in the samples, with a blur of `axial` pixels along Z."""
    rng = np.random.default_rng(0)
    brightness = np.append(0, rng.uniform(0.35, 1.0, fine.max()))[fine]
    texture = ndimage.gaussian_filter(rng.normal(size=fine.shape), (2.5 / FINE, 2.5, 2.5))
    signal = brightness * (1 + 0.18 * texture / texture.std())
    blurred = ndimage.gaussian_filter(signal, (axial / FINE, LATERAL, LATERAL))
    light = np.clip(blurred[every(step)] + 0.06, 0, None)
    noisy = rng.poisson(light * photons) / photons + rng.normal(0, 0.008, light.shape)
    return np.clip(210 * noisy, 0, 255).astype(np.uint8)


def every(step: float) -> slice:
    """Choose the slices of an image from those drawn."""
    return slice(None, None, round(step / FINE))


def volumes(quick: bool) -> Iterator[Volume]:
    """Draw and image volumes of all kinds."""
    for (kind, distance), axial in product(DISTANCES.items(), AXIAL):
        fine = drawn(distance, 1)
        for step, (noise, photons) in product(STEPS, PHOTONS.items()):
            if kind != "touching" and (quick or noise == "low"):
                continue
            image = photographed(fine, step, photons, axial)
            name = f"{kind:9} blur {axial:3} step {step:3} noise {noise:4}"
            yield Volume(name, image, fine[every(step)], step)


def pair(image: str, labels: str, step: str) -> Volume:
    """Read a volume, (Z, Y, X)."""
    truth = tifffile.imread(labels).astype(np.int32)
    return Volume(Path(image).name, tifffile.imread(image), truth, float(step))


def segmented(model: nru.Model, volume: Volume, **how: object) -> Labels:
    """Segment a volume."""
    return nru.segment(
        volume.image, model, axes="ZYX", device="cpu", diameter=volume.diameter, **how
    )


def beside(model: nru.Model, volume: Volume) -> None:
    """Print both ways beside each other."""
    ways = {
        "linked": {"directions": 1},
        "three": {"directions": 3, "slice_step": volume.step},
    }
    words = []
    for name, how in ways.items():
        labels, seconds, megabytes = costs(lambda how=how: segmented(model, volume, **how))
        result = score(volume.truth, labels)
        words.append(
            f"{name} {result.ap50:.2f} / {result.ap75:.2f} ({result.n_found:3}) "
            f"{seconds:5.1f} s {megabytes:4.0f} MB"
        )
    print(f"{volume.name}: {result.n_true} nuclei; {'; '.join(words)}", flush=True)


def costs(work: Callable[[], Labels]) -> tuple[Labels, float, float]:
    """Return the result, the seconds, and the peak of memory above what there was in MB."""
    ctypes.CDLL(None).malloc_trim(0)  # what earlier work has freed would hide a peak
    Path("/proc/self/clear_refs").write_text("5")  # forgets earlier peaks
    before, began = kilobytes("VmRSS"), time.perf_counter()
    labels = work()
    seconds = time.perf_counter() - began
    return labels, seconds, (kilobytes("VmHWM") - before) / 1000


def kilobytes(name: str) -> int:
    """Read a number of the process from Linux."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))


def parameters(model: nru.Model, some: Iterator[Volume]) -> None:
    """Print the scores of slices that were segmented once, and linked in other ways."""
    for volume in some:
        slices = segmented(model, volume, stack="separate")
        words = []
        for name, changed in PARAMETERS.items():
            with mock.patch.multiple(linking, **changed):
                result = score(volume.truth, ours(slices))
            words.append(f"{name} {result.ap50:.2f} / {result.ap75:.2f}")
        print(f"{volume.name}: {'; '.join(words)}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--linking", action="store_true")
    parser.add_argument("--pair", nargs=3, metavar=("IMAGE", "LABELS", "STEP"))
    given = parser.parse_args()
    starter = nru.load_model()
    some = iter([pair(*given.pair)]) if given.pair else volumes(given.quick)
    if given.linking:
        parameters(starter, some)
    else:
        for volume in some:
            beside(starter, volume)
