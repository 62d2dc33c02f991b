"""Boxes and rows of the objects of a large image, in a database on disk.

Both may be more than memory holds. The database is for one run and for nobody else.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

CACHE_KIB = 2**16

TABLES = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
CREATE TABLE parts (
    plane INTEGER, label INTEGER, block INTEGER,
    y0 INTEGER, x0 INTEGER, y1 INTEGER, x1 INTEGER,
    PRIMARY KEY (plane, label, block)
) WITHOUT ROWID;
CREATE TABLE objects (
    plane INTEGER, owner INTEGER, label INTEGER,
    y0 INTEGER, x0 INTEGER, y1 INTEGER, x1 INTEGER,
    PRIMARY KEY (plane, owner, label)
) WITHOUT ROWID;
CREATE TABLE lines (
    plane INTEGER, label INTEGER, line TEXT, PRIMARY KEY (plane, label)
) WITHOUT ROWID;
"""
JOIN = """
INSERT INTO objects
SELECT plane, MIN(y0) / :side * :columns + MIN(x0) / :side, label,
       MIN(y0), MIN(x0), MAX(y1), MAX(x1)
FROM parts GROUP BY plane, label
"""


class ObjectStore:
    """The objects of a large image.

    Parameters
    ----------
    path : Path
        Where the database is made.

    Raises
    ------
    sqlite3.Error
        Also by all methods, if the disk is full, for instance.
    """

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path)
        self._database.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._database.executescript(TABLES)

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def add_parts(
        self, plane: int, block: int, labels: npt.NDArray[Any], boxes: npt.NDArray[Any]
    ) -> None:
        """Add the box around the part of each object that lies in a block."""
        parts = np.column_stack([labels.astype(np.int64), boxes]).tolist()
        rows = [(plane, label, block, *box) for label, *box in parts]
        self._database.executemany("INSERT INTO parts VALUES (?, ?, ?, ?, ?, ?, ?)", rows)

    def join(self, side: int, n_columns: int) -> None:
        """Join the parts of each object; the block of its box's first corner owns it."""
        self._database.execute(JOIN, {"side": side, "columns": n_columns})
        self._database.execute("DELETE FROM parts")

    def owned_by(self, plane: int, block: int) -> npt.NDArray[np.int64]:
        """Return label and box of the objects that a block owns, shape (n, 5)."""
        found = self._database.execute(
            "SELECT label, y0, x0, y1, x1 FROM objects WHERE plane = ? AND owner = ?",
            (plane, block),
        ).fetchall()
        return np.array(found, np.int64).reshape(-1, 5)

    def add_lines(self, plane: int, lines: Iterable[tuple[int, str]]) -> None:
        """Add the line of the table for each label of a plane."""
        rows = ((plane, label, line) for label, line in lines)
        self._database.executemany("INSERT INTO lines VALUES (?, ?, ?)", rows)

    def lines(self) -> Iterator[str]:
        """Return the lines of the table, by plane and label."""
        query = "SELECT line FROM lines ORDER BY plane, label"
        return (line for (line,) in self._database.execute(query))
