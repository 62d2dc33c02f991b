"""Rows of the CSV file of `learning.py`, written at once, read to resume or to plot."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

Rows = Sequence[dict[str, str]]


class Table:
    """A growing CSV file, from which an interrupted run can be resumed.

    Parameters
    ----------
    path : Path
        The file; its rows are kept.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self.rows: list[dict[str, str]] = []
        if path.is_file():
            with path.open(newline="") as stream:
                self.rows = list(csv.DictReader(stream))

    def done(self, n: int, **values: str) -> bool:
        """Return whether there are n rows with these values; if fewer, drop them."""
        found = where(self.rows, **values)
        if len(found) < n:
            self.rows = [row for row in self.rows if row not in found]
        return len(found) >= n

    def add(self, row: Any) -> None:
        """Add a row, a dataclass, and print it."""
        self.rows.append({k: _short(v) for k, v in asdict(row).items()})
        with self._path.open("w", newline="") as stream:
            writer = csv.DictWriter(stream, list(self.rows[0]))
            writer.writeheader()
            writer.writerows(self.rows)
        print(", ".join(f"{k} {v}" for k, v in self.rows[-1].items() if v), flush=True)


def keys(rows: Rows, *names: str) -> list[tuple[str, ...]]:
    """List the different values of some columns, in their order."""
    return list(dict.fromkeys(tuple(r[n] for n in names) for r in rows))


def where(rows: Rows, **values: str) -> list[dict[str, str]]:
    """Choose the rows with these values."""
    return [r for r in rows if all(r[k] == v for k, v in values.items())]


def _short(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.4f}"
    return str(value)
