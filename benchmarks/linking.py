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
from napari_resunet.engine.divisions import parents_of
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


def ellipsoids(
    z_step: float,
    distance: float,
    seed: int,
    shape: tuple[int, int, int] = (24, 96, 96),
    radii: tuple[float, float] = (7, 11),
    most: int = 70,
) -> Labels:
    """Draw ellipsoids; `distance` is 1 where two neighbours just touch."""
    rng, spacing = np.random.default_rng(seed), np.array([z_step, 1, 1])
    at = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * spacing
    nearest, labels, found = np.ones(shape), np.zeros(shape, np.int32), np.zeros((0, 2, 3))
    for _ in range(20000):
        centre, radius = rng.uniform(0, shape * spacing), rng.uniform(*radii, 3)
        apart = np.linalg.norm((centre - found[:, 0]) / (radius + found[:, 1]), axis=1)
        if len(found) == most or apart.min(initial=2) < distance:
            continue
        found = np.append(found, [[centre, radius]], 0)
        first, last = ((centre + side * radius) / spacing for side in (-1, 1))
        box = tuple(map(slice, np.maximum(first, 0).astype(int), last.astype(int) + 1))
        inside = (((at[box] - centre) / radius) ** 2).sum(-1)
        labels[box][inside < nearest[box]] = len(found)
        nearest[box] = np.minimum(nearest[box], inside)
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


def dividing(step: float, apart: float) -> tuple[Labels, dict[int, int]]:
    """Draw a crowd of cells that move, grow, and divide; return also their parents.

    Cells move by `step` pixels at random, and the daughters of a cell of radius 9 lie
    `apart` pixels on each side of where its centre was, with half of its area each.
    """
    rng, size = np.random.default_rng(2), 512
    cells = [(n + 1, x, 9.0) for n, x in enumerate(rng.uniform(20, 490, (160, 2)))]
    parents: dict[int, int] = {}
    at = np.stack(np.indices((size, size)), -1)
    frames, n_cells = [], len(cells)
    for _ in range(16):
        frame, nearest = np.zeros((size, size), np.int32), np.ones((size, size))
        following = []
        for name, centre, radius in cells:
            window = tuple(slice(max(0, int(c) - 12), int(c) + 13) for c in centre)
            far = np.linalg.norm(at[window] - centre, axis=-1) / radius
            closer = far < nearest[window]
            frame[window][closer], nearest[window][closer] = name, far[closer]
            if radius >= 9 and rng.random() < 0.06:
                angle = rng.uniform(0, np.pi)
                away = apart * np.array([np.sin(angle), np.cos(angle)])
                for sign in (1, -1):
                    n_cells += 1
                    parents[n_cells] = name
                    moved = centre + sign * away + rng.normal(0, step, 2)
                    following.append((n_cells, moved, radius / np.sqrt(2)))
            else:
                moved = centre + rng.normal(0, step, 2)
                following.append((name, moved, min(9.0, radius * 1.08)))
        frames.append(frame)
        cells = following
    there = np.unique(frames)
    return np.array(frames), {d: p for d, p in parents.items() if d in there}


def n_right(truth: Labels, parents: dict[int, int], linked: Labels) -> tuple[int, int]:
    """Count the daughters that have their parent, and all that have one."""
    found, right = parents_of(linked), 0

    def name(label: int, time: int) -> int:
        return int(np.bincount(linked[time][truth[time] == label]).argmax())

    for daughter, parent in parents.items():
        begins = np.flatnonzero((truth == daughter).any((1, 2)))
        ends = np.flatnonzero((truth == parent).any((1, 2)))
        if len(begins) and len(ends):
            known = found.get(name(daughter, begins[0]))
            right += known == name(parent, ends[-1])
    return right, len(found)


def ours(labels: Labels) -> Labels:
    """Link as `segment` does."""
    return drain(linking.link_slices(labels))


def as_film(labels: Labels) -> Labels:
    """Link as `segment` does frames, which may divide."""
    return drain(linking.link_slices(labels, divide=True))


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


def divided_films() -> None:
    """Print the daughters with the right parent, and the links with and without."""
    for apart in (5.0, 7.0, 9.0):
        truth, parents = dividing(1.5, apart)
        for share in (0.0, 0.1):
            kept = with_gaps(truth, share)
            linked, plain = as_film(shuffled(kept)), ours(shuffled(kept))
            right, found = n_right(kept, parents, linked)
            links = [links_kept(kept, labels)[0] for labels in (linked, plain)]
            print(
                f"apart {apart}, {share:.0%} missing: {right} of {len(parents)} daughters, "
                f"{found - right} wrong; {links[0]} links, {links[1]} without divisions"
            )


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
    films([*linkers, as_film])
    divided_films()
    found_film()
    volumes(linkers)
