"""How fast does it learn? ``python benchmarks/learning.py DATA``.

A simulated user works through images of a domain: propose, count the edits, correct one
region, fine-tune on all regions so far, next image. The images are spread evenly over the
folder, in the order of their names; each seed starts at another one. Images that are never
corrected are scored after each round. Rows go to a CSV file at once, so that an interrupted
run can be resumed. A table and a picture are made from it.

``--choose next random`` asks whether *Next* saves work compared with regions chosen at
random; see `learning_regions`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
from learning_columns import ALWAYS, Column, Setting
from learning_flows import FLOWS
from learning_peers import PEERS
from learning_regions import CHOICES, compare_choices
from learning_report import draw, draw_choices, print_choices, print_table
from learning_rows import Table
from learning_user import Domain, busiest_region, corrected, edits_per_object, read_domain

import napari_resunet as nru
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.metrics import dice, score
from napari_resunet.types import Example

COLUMNS = ALWAYS | PEERS | FLOWS

DOMAINS = ("usiigaci_t98g_phase", "axon_sem", "dsb2018:histology_purple")


@dataclass(frozen=True)
class Row:
    """One domain, column, seed and round.

    Attributes
    ----------
    objects : int
        Number of objects corrected so far.
    region_edits : float
        Edits per object of the region that was corrected last (for classes: the fraction
        of its pixels).
    ap50, ap75, iou, edits : float
        Means over the images that are never corrected; IoU of the pairs matched at 0.5.
    own_ap50, own_ap75, own_edits : float
        Means over the whole images of which a region was corrected; in round 0 of the
        first.
    dice : str
        For classes, instead of AP and IoU: one number per class, separated by spaces.
    learn_seconds, propose_seconds : float
        Time of this round; proposing is for one image.
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
    own_ap50: float | str
    own_ap75: float | str
    own_edits: float
    learn_seconds: float
    propose_seconds: float


def run(domain: Domain, name: str, setting: Setting) -> Iterator[Row]:
    """Run all rounds with one column."""
    column = COLUMNS[name](setting)
    corrections: list[Example] = []
    objects, edits, seconds = 0, float("nan"), 0.0
    scored = _scored(column, domain, domain.correct[:1])
    label = _label(name, domain)
    yield Row(domain.name, label, setting.seed, 0, 0, edits, **scored, learn_seconds=0)
    for number, example in enumerate(domain.correct, start=1):
        proposal = column.propose(example.image, example.scale)
        region = busiest_region(example)
        correction, n, edits = corrected(example, region, proposal, domain.info)
        corrections.append(correction)
        objects += n
        if column.learns:
            begin = time.perf_counter()
            column.learn(corrections)
            seconds = time.perf_counter() - begin
            scored = _scored(column, domain, domain.correct[:number])
        yield Row(
            domain.name, label, setting.seed, number, objects, edits, **scored,
            learn_seconds=seconds,
        )  # fmt: skip


def _label(column: str, domain: Domain) -> str:
    """Name the column, and how many images it gets without labels."""
    n = len(domain.others)
    return f"{column}, {n} others" if n else column


Scores = dict[str, float | str]


def _scored(column: Column, domain: Domain, own: Sequence[Example]) -> Scores:
    scores = _means(column, domain, domain.score)
    of_own = _means(column, domain, own)
    return scores | {f"own_{name}": of_own[name] for name in ("ap50", "ap75", "edits")}


def _means(column: Column, domain: Domain, examples: Sequence[Example]) -> Scores:
    begin = time.perf_counter()
    found = [column.propose(e.image, e.scale) for e in examples]
    seconds = (time.perf_counter() - begin) / len(found)
    pairs = [
        (e.labels, np.zeros_like(e.labels) if f is None else f)
        for e, f in zip(examples, found, strict=True)
    ]
    numbers: Scores = dict.fromkeys(("ap50", "ap75", "iou", "dice"), "")
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


def compare(arguments: argparse.Namespace, table: Table) -> None:
    """Run everything that is not in the table yet."""
    for name, seed in product(arguments.domains, range(arguments.seeds)):
        domain = read_domain(name, arguments.rounds, seed / arguments.seeds, arguments)
        for column in arguments.columns:
            n = len(domain.correct) + 1
            label = _label(column, domain)
            if table.done(n, domain=name, column=label, seed=str(seed)):
                continue
            config = FineTuneConfig(
                steps=arguments.steps, seconds=arguments.seconds, seed=seed
            )
            setting = Setting(
                domain.info, arguments.model, config, arguments.device, seed, domain.others
            )
            for row in run(domain, column, setting):
                table.add(row)


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("data", type=Path, help="holds DOMAIN/train and DOMAIN/val")
    add("--domains", nargs="+", default=DOMAINS, help="dataset, or dataset:group")
    add("--columns", nargs="+", default=list(COLUMNS), choices=list(COLUMNS))
    add("--choose", nargs="+", choices=list(CHOICES), help="compare these, not columns")
    add("--pool", type=int, default=12, help="images to choose regions from")
    add("--rounds", type=int, default=4, help="images or regions to correct")
    add("--seeds", type=int, default=3, help="of chance, and of which images come first")
    add("--seconds", type=float, default=90.0, help="of fine-tuning in each round")
    add("--steps", type=int, help="instead of seconds, where others use the machine too")
    add("--images", type=int, default=5, help="images to score")
    add("--others", type=int, default=0, help="more images, given to ours without labels")
    add("--on", default="all", choices=["all", "val"], help="which never corrected images")
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
    table, picture = (arguments.output.with_suffix(s) for s in (".csv", ".png"))
    rows = Table(table)
    if arguments.choose:
        compare_choices(arguments, rows)
        print_choices(rows.rows)
        draw_choices(rows.rows, picture)
    else:
        compare(arguments, rows)
        print_table(rows.rows)
        draw(rows.rows, picture)


if __name__ == "__main__":
    main()
