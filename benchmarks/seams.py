"""Do tiles show? ``python benchmarks/seams.py FOLDER``, with images/ and masks/.

Each image goes once in small tiles and once in one pass; true objects that a tile's border
crosses are scored apart from the others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import napari_resunet as nru
from napari_resunet.engine.dataset import find_pairs
from napari_resunet.engine.decode import KeptMaps, decode_labels
from napari_resunet.engine.device import choose
from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.metrics import iou_matrix, score
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.engine.planes import Planes
from napari_resunet.engine.predict import Plane, Predictor
from napari_resunet.engine.tiling import strip
from napari_resunet.events import drain

TILE = 160


def labels_of(predictor: Predictor, plane: Plane) -> np.ndarray:
    """Segment a plane with the predictor's tile."""
    kept = KeptMaps(drain(predictor.maps(plane)), plane.axes, predictor.model.info)
    return decode_labels(kept, Decoding())


def on_seam(plane: Plane) -> np.ndarray:
    """Mark the image pixels where the weight goes over from one tile to the next."""
    lines = []
    for axis in plane.axes:
        tiles = strip(axis.n_working, TILE)
        shared = np.zeros(axis.n_working, bool)
        for i, start in enumerate(tiles.starts):
            weight = tiles.weights(i)
            inside = min(len(weight), axis.n_working - start)
            part = shared[start : start + inside]
            part |= (weight[:inside] > 0) & (weight[:inside] < 1)
        lines.append(shared[axis.nearest_working(slice(0, axis.n_image))])
    return lines[0][:, None] | lines[1][None, :]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    arguments = parser.parse_args()
    model = nru.load_model()
    tiled, whole = (Predictor(model, choose("cpu")) for _ in range(2))
    tiled.plan.tile, whole.plan.tile = TILE, 4096
    found: dict[str, list[float]] = {"seam": [], "others": []}
    scores = []
    for pair in find_pairs(arguments.folder)[:: arguments.every]:
        example = pair.read()
        planes = Planes([example.image])
        of = planes.measure(model.info.normalization)
        scale = scale_from_labels(example.labels, model.info)
        plane = Plane(planes, (), planes.window, scale, of)
        labels = labels_of(tiled, plane)
        one = labels_of(whole, plane)
        scores.append([getattr(score(example.labels, x), n)
                       for x in (labels, one) for n in ("ap50", "ap75")])  # fmt: skip
        iou, true_ids, _ = iou_matrix(example.labels, labels)
        seam = np.unique(example.labels[on_seam(plane)])
        best = iou.max(1, initial=0)
        for label, value in zip(true_ids, best, strict=True):
            found["seam" if label in seam else "others"].append(value)
    a, b, c, d = np.mean(scores, axis=0)
    print(f"tiles of {TILE}: AP@0.5 {a:.3f}, AP@0.75 {b:.3f}; one pass: {c:.3f}, {d:.3f}")
    for name, values in found.items():
        v = np.array(values)
        shares = f"at IoU 0.5 {np.mean(v >= 0.5):.3f}, at 0.75 {np.mean(v >= 0.75):.3f}"
        print(f"true objects, {name:<7}{len(v):>6}: found {shares}")


if __name__ == "__main__":
    main()
