"""Table and picture of `learning.py`, from the rows of its CSV file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
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
    "learn_seconds": "s to learn",
    "propose_seconds": "s to propose",
}
Rows = Sequence[dict[str, str]]


def print_table(rows: Rows) -> None:
    """Print Markdown: mean over seeds ± half the range."""
    print("\n| domain | column | round | objects |", " | ".join(HEADS.values()), "| Dice |")
    print("|---" * (len(HEADS) + 5) + "|")
    for domain, column, number in _keys(rows, "domain", "column", "round"):
        of = _where(rows, domain=domain, column=column, round=number)
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
    return f"{np.mean(values):.2f}" + (f" ± {half:.2f}" if len(values) > 1 else "")


def draw(rows: Rows, path: Path) -> None:
    """Draw the main score over the corrected objects, and the edits, for each domain."""
    domains = [key[0] for key in _keys(rows, "domain")]
    figure = Figure(figsize=(4.2 * len(domains), 6.4), layout="constrained")
    panels = figure.subplots(2, len(domains), squeeze=False)
    for domain, (top, bottom) in zip(domains, panels.T, strict=True):
        of_domain = _where(rows, domain=domain)
        classes = bool(of_domain[0]["dice"])
        for column in (key[0] for key in _keys(of_domain, "column")):
            of = _where(of_domain, column=column)
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


def _line(panel, rows: Rows, value, label: str) -> None:
    # Before the first correction a column that starts from nothing has nothing to show.
    rows = [r for r in rows if float(r["propose_seconds"]) > 0]
    rounds = sorted({int(r["round"]) for r in rows})
    values = [[value(r) for r in rows if int(r["round"]) == n] for n in rounds]
    panel.plot(rounds, [np.mean(v) for v in values], marker="o", label=label)
    low, high = [min(v) for v in values], [max(v) for v in values]
    panel.fill_between(rounds, low, high, alpha=0.2)


def _keys(rows: Rows, *names: str) -> list[tuple[str, ...]]:
    return list(dict.fromkeys(tuple(r[n] for n in names) for r in rows))


def _where(rows: Rows, **values: str) -> list[dict[str, str]]:
    return [r for r in rows if all(r[k] == v for k, v in values.items())]
