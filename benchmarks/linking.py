"""How well and how fast objects of slices are linked: the film of the samples, volumes.

    python benchmarks/linking.py            # ours
    python benchmarks/linking.py --peers    # and laptrack's, if it is installed: minutes

Prints the tables of docs/research/stacks.md. Objects are numbered at random in each slice
before they are linked.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import numpy.typing as npt
import tifffile
from scipy.spatial import cKDTree

import napari_resunet as nru
from napari_resunet.engine import linking
from napari_resunet.engine.metrics import links_kept, score
from napari_resunet.events import drain

FILM = Path(__file__).parents[1] / "sample_data" / "timeseries_labels.tif"
Labels = npt.NDArray[np.int32]
Link = Callable[[Labels], Labels]


def shuffled(labels: Labels) -> Labels:
    """Give the objects of each slice numbers at random."""
    rng, result = np.random.default_rng(0), np.zeros_like(labels)
    for old, new in zip(labels, result, strict=True):
        ids = np.unique(old[old > 0])
        table = np.zeros(labels.max() + 1, labels.dtype)
        table[ids] = rng.permutation(len(ids)) + 1
        new[:] = table[old]
    return result


def with_gaps(labels: Labels, share: float) -> Labels:
    """Leave out a share of the objects of each slice."""
    rng, result = np.random.default_rng(1), labels.copy()
    for plane in result:
        ids = np.unique(plane[plane > 0])
        plane[np.isin(plane, ids[rng.random(len(ids)) < share])] = 0
    return result


def ellipsoids(z_step: float, distance: float, seed: int) -> Labels:
    """Draw up to 70 ellipsoids; `distance` is 1 where two neighbours just touch."""
    rng, shape = np.random.default_rng(seed), np.array([24, 96, 96])
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * [z_step, 1, 1]
    nearest, labels, found = np.ones(shape), np.zeros(shape, np.int32), []
    for _ in range(20000):
        centre, radius = rng.uniform(0, shape * [z_step, 1, 1]), rng.uniform(7, 11, 3)
        apart = [np.linalg.norm((centre - c) / (radius + r)) for c, r in found]
        if len(found) == 70 or min(apart, default=2) < distance:
            continue
        found.append((centre, radius))
        inside = (((at - centre) / radius) ** 2).sum(-1)
        labels[inside < nearest] = len(found)
        nearest = np.minimum(nearest, inside)
    return np.where(np.bincount(labels.ravel())[labels] < 30, 0, labels).astype(np.int32)


def crowd() -> Labels:
    """2,025 discs that move at random through 20 frames."""
    rng, side = np.random.default_rng(1), 45
    centres = np.argwhere(np.ones((side, side))) * 22.5 + 11
    pixels = np.argwhere(np.ones((1024, 1024), bool))
    frames = []
    for _ in range(20):
        _, nearest = cKDTree(centres).query(pixels, distance_upper_bound=9)
        frames.append(np.where(nearest == side**2, 0, nearest + 1).reshape(1024, 1024))
        centres = centres + rng.normal(0, 1.5, centres.shape)
    return np.array(frames, np.int32)


def ours(labels: Labels) -> Labels:
    """Link as `segment` does."""
    return drain(linking.link_slices(labels))


def by_iou_only(labels: Labels) -> Labels:
    """Link without the second criterion."""
    with mock.patch.object(linking, "MIN_SHARE", 2.0):
        return ours(labels)


def laptrack(labels: Labels) -> Labels:
    """Link with laptrack, one to one, by IoU."""
    from laptrack import OverLapTrack

    iou = (1, -1, 0, 0, 0)
    tracker = OverLapTrack(
        cutoff=0.75, splitting_cutoff=False, merging_cutoff=False, metric_coefs=iou
    )
    tracks = tracker.predict_overlap_dataframe(list(labels))[0].reset_index()
    linked = np.zeros_like(labels)
    for frame, rows in tracks.groupby("frame"):
        table = np.zeros(labels[frame].max() + 1, np.int32)
        table[rows["label"]] = rows["track_id"] + 1
        linked[frame] = table[labels[frame]]
    return linked


def films(linkers: list[Link]) -> None:
    """Print the links kept, and the time."""
    film = tifffile.imread(FILM).astype(np.int32)
    kinds = {"film": film, "10 % missing": with_gaps(film, 0.1), "crowd": crowd()}
    for name, truth in kinds.items():
        for link in linkers:
            start = shuffled(truth)
            began = time.perf_counter()
            right, total = links_kept(truth, link(start))
            seconds = time.perf_counter() - began
            print(f"{name:14}{link.__name__:14}{right:6} of {total:6}{seconds:8.2f} s")


def found_film() -> None:
    """Print the links kept in what the bundled model finds, and the most there can be."""
    truth = tifffile.imread(FILM).astype(np.int32)
    image = tifffile.imread(FILM.with_name("timeseries.tif"))
    labels = nru.segment(image, nru.load_model(), axes="TYX")
    # Numbers of the truth where an object is found: the best that linking can do.
    best = np.zeros_like(labels)
    for true, found, plane in zip(truth, labels, best, strict=True):
        for number, label, _ in score(true, found).matched:
            plane[found == label] = number
    for name, kept in (("starter", labels), ("at best", best)):
        right, total = links_kept(truth, kept)
        print(f"{'film':14}{name:14}{right:6} of {total:6}")


def volumes(linkers: list[Link]) -> None:
    """Print AP@0.5, and the numbers of objects."""
    for distance in (0.95, 0.7):
        for z_step in (1.0, 2.5, 4.0):
            truths = [ellipsoids(z_step, distance, seed) for seed in range(2)]
            for link in linkers:
                scores = [score(truth, link(shuffled(truth))) for truth in truths]
                ap = np.mean([s.ap50 for s in scores])
                found, true = (
                    sum(getattr(s, n) for s in scores) for n in ("n_found", "n_true")
                )
                print(
                    f"{distance:5}{z_step:6} {link.__name__:14}{ap:6.2f}{found:5} of {true}"
                )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", action="store_true")
    linkers: list[Link] = [ours, by_iou_only]
    if parser.parse_args().peers:
        linkers.append(laptrack)
    films(linkers)
    found_film()
    volumes(linkers)
