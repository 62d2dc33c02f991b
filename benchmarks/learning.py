"""How fast does it learn? ``python benchmarks/learning.py DATA``.

A simulated user works through images of a domain: propose, count the edits, correct one
region, fine-tune on all regions so far, next image. The images are spread evenly over the
folder, in the order of their names; each seed begins at another. Images that are never
corrected are scored after each round. Rows go to a CSV file as they come, so that a run
that was cut off goes on where it was; then a table and a picture are made from it.
"""

from __future__ import annotations

import argparse
import csv
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields, replace
from itertools import product
from pathlib import Path

import numpy as np
from learning_columns import ALWAYS, Column, Setting
from learning_peers import PEERS
from learning_report import draw, print_table
from scipy import ndimage
from skimage.segmentation import find_boundaries

import napari_resunet as nru
from napari_resunet.engine.dataset import Pair, find_pairs
from napari_resunet.engine.finetune import FineTuning
from napari_resunet.engine.metrics import EDIT_IOU, dice, iou_matrix, score
from napari_resunet.engine.normalize import statistics
from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.types import Example, ModelInfo

REGION = 256
"""Side of what is corrected in each image, in working pixels."""

CONTEXT = 64
"""Image pixels around a region that are kept with it, as in the plugin."""

COLUMNS = ALWAYS | PEERS

CLASSES = {"axon_sem": ("axon", "myelin")}
DOMAINS = ("usiigaci_t98g_phase", "axon_sem", "dsb2018:histology_purple")


@dataclass(frozen=True)
class Row:
    """One domain, column, seed and round.

    Attributes
    ----------
    objects : int
        Corrected so far.
    region_edits : float
        Edits for each object of the region that was corrected last (for classes: the
        share of its pixels).
    ap50, ap75, iou, edits : float
        Means over the images that are never corrected; IoU of the pairs matched at 0.5.
    dice : str
        For classes instead of AP and IoU: one number each, separated by spaces.
    learn_seconds, propose_seconds : float
        Of this round; proposing is for one image.
    """

    domain: str
    column: str
    seed: int
    round: int
    objects: int
    region_edits: float
    ap50: float | str
    ap75: float | str
    iou: float | str
    edits: float
    dice: str
    learn_seconds: float
    propose_seconds: float


@dataclass(frozen=True)
class Domain:
    """Images to correct and images to score, with the truth and the scale.

    The scale is told to all columns: objects, or connected parts of the first class, come
    to the working diameter.
    """

    name: str
    info: ModelInfo
    correct: Sequence[Example]
    score: Sequence[Example]


def read_domain(name: str, seed: int, arguments: argparse.Namespace) -> Domain:
    """Read the images of a domain, ``dataset`` or ``dataset:group``."""
    dataset, _, group = name.partition(":")
    classes = CLASSES.get(dataset, ())
    info = ModelInfo()
    if classes:
        info = replace(info, task="classes", class_names=("background", *classes))
    train, val = (
        [p for p in find_pairs(arguments.data / dataset / split) if group in ("", p.group)]
        for split in ("train", "val")
    )
    first = seed / arguments.seeds
    chosen = _evenly(train, arguments.rounds, first)
    correct = [_scaled(pair.read(), info) for pair in chosen]
    judge = [_scaled(pair.read(), info) for pair in _evenly(val, arguments.images)]
    return Domain(name, info, correct, [_middle(e, arguments.largest) for e in judge])


def _evenly(pairs: Sequence[Pair], n: int, first: float = 0.0) -> list[Pair]:
    """Take n pairs in the order of their names, evenly, for neighbours look alike."""
    n = min(n, len(pairs))
    return [pairs[int((first + i / n) % 1 * len(pairs))] for i in range(n)]


def _scaled(example: Example, info: ModelInfo) -> Example:
    pixels = example.image if example.image.ndim == 3 else example.image[..., None]
    measured = statistics(pixels, info.normalization, joint=pixels.shape[-1] == 3)
    objects = example.labels
    if info.task == "classes":
        objects, _ = ndimage.label(example.labels == 1)
    scale = scale_from_labels(objects, ModelInfo())
    return replace(example, scale=scale, statistics=measured)


def _middle(example: Example, largest: int) -> Example:
    """Cut a large image to its middle: scoring should not take longer than learning."""
    side = round(largest / (example.scale or 1.0))
    window = tuple(
        slice(max(0, (n - side) // 2), (n + side) // 2) for n in example.labels.shape
    )
    return replace(example, image=example.image[window], labels=example.labels[window])


def busiest_region(example: Example) -> tuple[slice, slice]:
    """Find the region with the most edges: where a user would begin."""
    edges = find_boundaries(example.labels).astype(np.float32)
    side = round(REGION / (example.scale or 1.0))
    sides = [min(side, n) for n in edges.shape]
    sums = ndimage.uniform_filter(edges, sides, mode="constant")
    inside = tuple(
        slice(s // 2, n - (s - s // 2) + 1) for s, n in zip(sides, edges.shape, strict=True)
    )
    best = np.unravel_index(int(sums[inside].argmax()), sums[inside].shape)
    rows, columns = (slice(int(b), int(b) + s) for b, s in zip(best, sides, strict=True))
    return rows, columns


def corrected(
    example: Example, proposal: np.ndarray | None, info: ModelInfo
) -> tuple[Example, int, float]:
    """Correct the busiest region; return it, its objects and the edits for each."""
    region = busiest_region(example)
    wide = tuple(
        slice(max(0, s.start - CONTEXT), min(n, s.stop + CONTEXT))
        for s, n in zip(region, example.labels.shape, strict=True)
    )
    checked = np.zeros(example.labels.shape, bool)
    checked[region] = True
    inside = example.labels[region]
    found = np.zeros_like(example.labels) if proposal is None else proposal
    truth = example.labels[wide]
    if info.task == "instances":
        # Beyond the region only its own objects are known.
        truth = np.where(np.isin(truth, np.unique(inside)), truth, 0)
    result = replace(
        example,
        image=example.image[wide],
        labels=truth,
        checked=checked[wide],
        touched=_to_edit(truth, found[wide], info) & checked[wide],
    )
    return result, _count(inside, info), edits_per_object(inside, found[region], info)


def _count(labels: np.ndarray, info: ModelInfo) -> int:
    if info.task == "classes":
        return int(ndimage.label(labels == 1)[1])
    return len(np.unique(labels[labels > 0]))


def edits_per_object(truth: np.ndarray, found: np.ndarray, info: ModelInfo) -> float:
    """Count what a user would have to change; for classes the share of wrong pixels."""
    if info.task == "classes":
        return float((truth != found).mean())
    result = score(truth, found)
    return result.edits / max(1, result.n_true)


def _to_edit(truth: np.ndarray, found: np.ndarray, info: ModelInfo) -> np.ndarray:
    """Mark what the user changes: wrong classes, or objects that are not good enough."""
    if info.task == "classes":
        return truth != found
    iou, true_ids, found_ids = iou_matrix(truth, found)
    good = iou >= EDIT_IOU
    bad_true = np.isin(truth, true_ids[~good.any(1)])
    bad_found = np.isin(found, found_ids[~good.any(0)])
    return bad_true | bad_found


def run(domain: Domain, name: str, setting: Setting) -> Iterator[Row]:
    """Go through the rounds with one column."""
    column = COLUMNS[name](setting)
    corrections: list[Example] = []
    objects, edits, seconds = 0, float("nan"), 0.0
    scored = _scored(column, domain)
    yield Row(domain.name, name, setting.seed, 0, 0, edits, **scored, learn_seconds=0)
    for number, example in enumerate(domain.correct, start=1):
        proposal = column.propose(example.image, example.scale)
        correction, n, edits = corrected(example, proposal, domain.info)
        corrections.append(correction)
        objects += n
        if column.learns:
            begin = time.perf_counter()
            column.learn(corrections)
            seconds = time.perf_counter() - begin
            scored = _scored(column, domain)
        yield Row(
            domain.name, name, setting.seed, number, objects, edits, **scored,
            learn_seconds=seconds,
        )  # fmt: skip


def _scored(column: Column, domain: Domain) -> dict[str, float | str]:
    begin = time.perf_counter()
    found = [column.propose(e.image, e.scale) for e in domain.score]
    seconds = (time.perf_counter() - begin) / len(found)
    pairs = [
        (e.labels, np.zeros_like(e.labels) if f is None else f)
        for e, f in zip(domain.score, found, strict=True)
    ]
    numbers: dict[str, float | str] = dict.fromkeys(("ap50", "ap75", "iou", "dice"), "")
    edits = [edits_per_object(t, f, domain.info) for t, f in pairs]
    numbers |= {"edits": float(np.mean(edits)), "propose_seconds": seconds}
    if domain.info.task == "classes":
        values = np.mean([dice(t, f, domain.info.n_maps) for t, f in pairs], axis=0)
        return numbers | {"dice": " ".join(f"{v:.4f}" for v in values)}
    scores = [score(t, f) for t, f in pairs]
    return numbers | {
        "ap50": float(np.mean([s.ap50 for s in scores])),
        "ap75": float(np.mean([s.ap75 for s in scores])),
        "iou": float(np.mean([s.mean_iou for s in scores])),
    }


def finished_rows(path: Path) -> list[dict[str, str]]:
    """Read the rows of a run that was cut off."""
    if not path.is_file():
        return []
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def write(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write all rows."""
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, [f.name for f in fields(Row)])
        writer.writeheader()
        writer.writerows(rows)


def compare(arguments: argparse.Namespace) -> list[dict[str, str]]:
    """Run what is not in the CSV file yet."""
    path = arguments.output.with_suffix(".csv")
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = finished_rows(path)
    for name, seed in product(arguments.domains, range(arguments.seeds)):
        domain = read_domain(name, seed, arguments)
        for column in arguments.columns:
            key = (name, column, str(seed))
            of_key = [r for r in rows if (r["domain"], r["column"], r["seed"]) == key]
            if len(of_key) > len(domain.correct):
                continue
            rows = [r for r in rows if r not in of_key]
            recipe = FineTuning(steps=arguments.steps, seconds=arguments.seconds, seed=seed)
            setting = Setting(domain.info, arguments.model, recipe, arguments.device, seed)
            for row in run(domain, column, setting):
                rows.append({k: _short(v) for k, v in asdict(row).items()})
                write(path, rows)
                print(", ".join(f"{k} {v}" for k, v in rows[-1].items() if v), flush=True)
    return rows


def _short(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", type=Path, help="holds DOMAIN/train and DOMAIN/val")
    add("--domains", nargs="+", default=DOMAINS, help="dataset, or dataset:group")
    add("--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS))
    add("--rounds", type=int, default=4, help="images to correct")
    add("--seeds", type=int, default=3, help="of chance, and of which images come first")
    add("--seconds", type=float, default=90.0, help="of fine-tuning in each round")
    add("--steps", type=int, help="instead of seconds, where others use the machine too")
    add("--images", type=int, default=5, help="images to score")
    add("--largest", type=int, default=800, help="working pixels of an image to score")
    add("--model", default="starter")
    add("--device", default="cpu", choices=["auto", "cpu", "cuda", "mps"])
    add("--output", type=Path, default=Path("learning"), help="of .csv and .png")
    add("--quick", action="store_true", help="one seed, two rounds, 20 seconds each")
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.seeds, arguments.rounds, arguments.seconds = 1, 2, 20.0
    return arguments


def main() -> None:
    """Run, print the table, draw the picture."""
    arguments = parse()
    print(nru.load_model(arguments.model).info.lineage, flush=True)
    rows = compare(arguments)
    print_table(rows)
    draw(rows, arguments.output.with_suffix(".png"))


if __name__ == "__main__":
    main()
