"""Do tiles show? ``python benchmarks/seams.py FOLDER``, with images/ and masks/.

Each image larger than the model's tile is segmented in tiles and in one pass. In both,
true objects where two tiles are blended are scored separately from the others.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np

import napari_resunet as nru
from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.dataset import find_pairs
from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import overlapping_pairs, score
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.engine.predict import Predictor, tile_grid
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.events import drain
from napari_resunet.types import Decoding, Example

WHOLE = 8192


def labels_of(predictor: Predictor, plane: PredictionRequest) -> np.ndarray:
    """Segment a plane with the predictor's tile."""
    kept = PredictionMaps(drain(predictor.maps(plane)), plane.axes, predictor.model.info)
    return decode_labels(kept, Decoding())


def on_seam(plane: PredictionRequest, tile: int) -> np.ndarray:
    """Mark the image pixels where two tiles are blended."""
    lines = []
    for axis in plane.axes:
        tiles = tile_grid(axis.n_network, tile)
        shared = np.zeros(axis.n_network, bool)
        for i, start in enumerate(tiles.starts):
            weight = tiles.weights(i)
            inside = min(len(weight), axis.n_network - start)
            part = shared[start : start + inside]
            part |= (weight[:inside] > 0) & (weight[:inside] < 1)
        lines.append(shared[axis.nearest_network(slice(0, axis.n_image))])
    return lines[0][:, None] | lines[1][None, :]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", default="starter")
    parser.add_argument("--every", type=int, default=1, help="take every n-th image")
    arguments = parser.parse_args()
    model = nru.load_model(arguments.model)
    tiled, whole = (Predictor(model, choose("cpu")) for _ in range(2))
    tile, whole.plan.tile = tiled.plan.tile, WHOLE
    best: dict[tuple[str, str], list[float]] = defaultdict(list)
    scores = []
    for pair in find_pairs(arguments.folder)[:: arguments.every]:
        example = pair.read()
        plane = plane_of(example, model)
        if max(axis.n_network for axis in plane.axes) <= tile:
            continue
        seam = np.unique(example.labels[on_seam(plane, tile)])
        both = {"tiles": labels_of(tiled, plane), "one pass": labels_of(whole, plane)}
        for how, labels in both.items():
            pairs = overlapping_pairs(example.labels, labels)
            highest = np.zeros(len(pairs.true_ids))
            np.maximum.at(highest, pairs.rows, pairs.iou)
            for label, value in zip(pairs.true_ids, highest, strict=True):
                best["on a seam" if label in seam else "elsewhere", how].append(value)
        results = [score(example.labels, labels) for labels in both.values()]
        scores.append([(r.ap50, r.ap75, r.n_found) for r in results])
    print_tables(np.array(scores), best, tile)


def plane_of(example: Example, model: nru.Model) -> PredictionRequest:
    """Read an image at the scale of its true objects."""
    planes = ImageReader([example.image])
    measured = planes.measure(model.info.normalization)
    scale = scale_from_labels(example.labels, model.info)
    return PredictionRequest(planes, (), planes.window, scale, measured)


def print_tables(
    scores: np.ndarray, best: dict[tuple[str, str], list[float]], tile: int
) -> None:
    """Print whole images, then true objects by place."""
    print(f"{len(scores)} images of more than {tile} working pixels")
    for how, (ap50, ap75, n_found) in zip(
        ("tiles", "one pass"), np.moveaxis(scores, 1, 0).mean(1), strict=True
    ):
        print(f"{how:<12}AP@0.5 {ap50:.3f}  AP@0.75 {ap75:.3f}  objects {n_found:.1f}")
    for (where, how), values in sorted(best.items()):
        found = np.array(values)
        shares = f"{np.mean(found >= 0.5):.3f}, at 0.75 {np.mean(found >= 0.75):.3f}"
        print(f"true objects {where}, {how:<9}{len(found):>6}: found at IoU 0.5 {shares}")


if __name__ == "__main__":
    main()
