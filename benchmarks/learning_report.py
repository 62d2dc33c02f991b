"""Table and picture from the CSV file of `learning.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from learning_rows import Rows, keys, where
from matplotlib.figure import Figure

TITLES = {
    "starter": "ours, from the starter",
    "random": "ours, from random weights",
    "none": "no learning",
    "forest": "random forest",
}
HEADS = {
    "region_edits": "edits/object in region",
    "ap50": "AP@0.5",
    "ap75": "AP@0.75",
    "iou": "IoU",
    "edits": "edits/object",
    "own_ap50": "AP@0.5, corrected",
    "own_edits": "edits/object, corrected",
    "learn_seconds": "s to learn",
    "propose_seconds": "s to propose",
}
CHOICE_HEADS = {
    "objects": "objects corrected",
    "made": "edits made",
    "start": "to finish, at the start",
    "finish": "to finish, at the end",
    "mean": "to finish, mean of the rounds",
    "edits": "edits/object, unseen",
}


def print_table(rows: Rows) -> None:
    """Print Markdown: mean over seeds ± half the range."""
    print("\n| domain | column | round | objects |", " | ".join(HEADS.values()), "| Dice |")
    print("|---" * (len(HEADS) + 5) + "|")
    for domain, column, number in keys(rows, "domain", "column", "round"):
        of = where(rows, domain=domain, column=column, round=number)
        cells = [_spread([float(r[n]) for r in of if r[n]]) for n in HEADS]
        title = TITLES.get(column, column)
        print(f"| {domain} | {title} | {number} | {of[0]['objects']} |",
              " | ".join(cells), f"| {_dice(of)} |")  # fmt: skip


def _dice(rows: Rows) -> str:
    values = np.array([[float(v) for v in r["dice"].split()] for r in rows])
    return ", ".join(_spread(list(column)) for column in values.T)


def _spread(values: Sequence[float]) -> str:
    if not values:
        return "–"
    half = (max(values) - min(values)) / 2
    digits = 2 if max(values) < 100 else 0
    text = f"{np.mean(values):.{digits}f}"
    return text + (f" ± {half:.{digits}f}" if len(values) > 1 else "")


def draw(rows: Rows, path: Path) -> None:
    """Plot the main score and the edits over the corrected objects, for each domain."""
    domains = [key[0] for key in keys(rows, "domain")]
    figure = Figure(figsize=(4.2 * len(domains), 6.4), layout="constrained")
    panels = figure.subplots(2, len(domains), squeeze=False)
    for domain, (top, bottom) in zip(domains, panels.T, strict=True):
        of_domain = where(rows, domain=domain)
        classes = bool(of_domain[0]["dice"])
        for column in (key[0] for key in keys(of_domain, "column")):
            of = where(of_domain, column=column)
            # Before the first correction, a column without a start has no result.
            of = [r for r in of if float(r["propose_seconds"]) > 0]
            _line(top, of, _main_score, TITLES.get(column, column))
            _line(bottom, of, _edits, column)
        top.set(title=domain, ylabel="mean Dice" if classes else "AP@0.5", ylim=(0, 1))
        what = "share of wrong pixels" if classes else "edits per object"
        bottom.set(xlabel="corrected regions", ylabel=what)
        for panel in (top, bottom):
            panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=150)


def _main_score(row: dict[str, str]) -> float:
    values = row["dice"].split() or [row["ap50"]]
    return float(np.mean([float(v) for v in values]))


def _edits(row: dict[str, str]) -> float:
    return float(row["edits"])


def print_choices(rows: Rows) -> None:
    """Print Markdown: what each choice of regions costs, as `print_table`."""
    print("\n| domain | choice |", " | ".join(CHOICE_HEADS.values()), "|")
    print("|---" * (len(CHOICE_HEADS) + 2) + "|")
    for domain, choice in sorted(keys(rows, "domain", "choice")):
        of = where(rows, domain=domain, choice=choice)
        ends = [_summary(where(of, seed=seed)) for (seed,) in keys(of, "seed")]
        cells = [_spread([end[n] for end in ends]) for n in CHOICE_HEADS]
        print(f"| {domain} | {choice} | {' | '.join(cells)} |")
    for (choice,) in keys(rows, "choice"):
        if choice != "random":
            _print_share(rows, choice)


def _summary(run: Rows) -> dict[str, float]:
    """Sum up a run: its last round, and the mean over the rounds after the first."""
    learned = [float(r["finish"]) for r in run[1:]]
    last = {n: float(run[-1][n]) for n in ("objects", "made", "finish", "edits")}
    return last | {"start": float(run[0]["finish"]), "mean": float(np.mean(learned))}


def _print_share(rows: Rows, choice: str) -> None:
    """Print what a choice needs compared with random, for each domain and seed."""
    finish, mean = [], []
    for domain, seed in keys(where(rows, choice="random"), "domain", "seed"):
        of = where(rows, domain=domain, seed=seed)
        one, other = where(of, choice=choice), where(of, choice="random")
        if len(one) == len(other):
            ours, random = _summary(one), _summary(other)
            finish.append(ours["finish"] / random["finish"])
            mean.append(ours["mean"] / random["mean"])
    print(f"\n{choice} / random, {len(finish)} pairs: to finish {_spread(finish)} "
          f"(fewer in {sum(f < 1 for f in finish)}), mean {_spread(mean)} "
          f"(fewer in {sum(m < 1 for m in mean)})")  # fmt: skip


def draw_choices(rows: Rows, path: Path) -> None:
    """Plot the edits to finish, and those of unseen images, for each domain."""
    domains = [key[0] for key in keys(rows, "domain")]
    figure = Figure(figsize=(4.2 * len(domains), 6.4), layout="constrained")
    panels = figure.subplots(2, len(domains), squeeze=False)
    for domain, column in zip(domains, panels.T, strict=True):
        of_domain = where(rows, domain=domain)
        column[0].set(title=domain, ylabel="edits to finish the pool")
        column[1].set(ylabel="edits per object, unseen", xlabel="corrected regions")
        for panel, name in zip(column, ("finish", "edits"), strict=True):
            for (choice,) in keys(of_domain, "choice"):
                of = where(of_domain, choice=choice)
                _line(panel, of, lambda row, name=name: float(row[name]), choice)
            panel.xaxis.get_major_locator().set_params(integer=True)
    panels[0, 0].legend(fontsize="small")
    figure.savefig(path, dpi=150)


def _line(panel, rows: Rows, value, label: str) -> None:
    rounds = sorted({int(r["round"]) for r in rows})
    values = [[value(r) for r in rows if int(r["round"]) == n] for n in rounds]
    panel.plot(rounds, [np.mean(v) for v in values], marker="o", label=label)
    low, high = [min(v) for v in values], [max(v) for v in values]
    panel.fill_between(rounds, low, high, alpha=0.2)
