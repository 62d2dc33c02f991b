"""Tables of measurements as files: CSV for every program, Parquet where pyarrow is."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path, shown

if TYPE_CHECKING:
    from napari_resunet.engine.measure import Table

CSV, PARQUET = ".csv", ".parquet"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Spreadsheets run a text that begins with one of these as a formula."""

UM_PER_MM = 1000.0
MEGAPIXEL = 1e6


def write_table(path: Path, table: Table) -> None:
    """Write a table, all or nothing.

    Parameters
    ----------
    path : Path
        Ends in ``.csv`` or ``.parquet``.
    table : dict of str to array
        The columns. In a CSV file, NaN is an empty cell, and a text that a spreadsheet
        would run as a formula begins with an apostrophe.

    Raises
    ------
    FileError
        If the file cannot be written, the name ends in something else, or pyarrow is
        missing.
    """
    kind = path.suffix.lower()
    if kind == CSV:
        _write_csv(path, table)
    elif kind == PARQUET:
        _write_parquet(path, table)
    else:
        raise FileError(
            f"{shown(path)} names no kind of table: give a name that ends in {CSV} or "
            f"{PARQUET}."
        )


def _write_csv(path: Path, table: Table) -> None:
    rows = zip(*(_texts(column) for column in table.values()), strict=True)
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow([_no_formula(name) for name in table])
        writer.writerows(rows)


def _texts(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind == "f":
        return ["" if np.isnan(number) else f"{number:.10g}" for number in column.tolist()]
    if column.dtype.kind in "iu":
        return [str(number) for number in column.tolist()]
    return [_no_formula(str(text)) for text in column.tolist()]


def _no_formula(text: str) -> str:
    return f"'{text}" if text.startswith(FORMULA) else text


def _write_parquet(path: Path, table: Table) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FileError(
            "Parquet files need pyarrow: install it with 'pip install "
            "napari-resunet[parquet]', or give a name that ends in .csv."
        ) from error
    columns = {n: _valid(c) if c.dtype.kind == "O" else c for n, c in table.items()}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _valid(texts: npt.NDArray[Any]) -> list[str]:
    """Replace what UTF-8 cannot hold, such as bytes of a file name."""
    return [str(text).encode("utf-8", "replace").decode() for text in texts]


def with_image(table: Table, name: str) -> Table:
    """Put the name of its image in front of each row."""
    n = len(table["label"])
    return {"image": np.full(n, name, object), **table}


def join_csv(target: Path, parts: list[Path]) -> None:
    """Write the rows of several CSV files that `write_table` wrote as one file.

    Only a row at a time is in memory. A column that a part lacks is empty there.

    Raises
    ------
    FileError
        If the file cannot be written.
    """
    header: dict[str, None] = {}
    for part in parts:
        with part.open(encoding="utf-8", newline="") as stream:
            header |= dict.fromkeys(next(csv.reader(stream)))
    with (
        atomic_path(target) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="") as output,
    ):
        writer = csv.DictWriter(output, list(header), restval="")
        writer.writeheader()
        for part in parts:
            with part.open(encoding="utf-8", newline="") as stream:
                writer.writerows(csv.DictReader(stream))


def summary_of(
    table: Table, n_pixels: int, pixel_size: float | None, class_names: tuple[str, ...]
) -> dict[str, float]:
    """Summarize the objects of an image.

    Parameters
    ----------
    table : dict of str to array
        From `measure_image`, plane by plane.
    n_pixels : int
        Number of pixels of all planes.
    pixel_size : float or None
        Side of a pixel in micrometres, if known.
    class_names : tuple of str
        Names of the classes, background first; empty for objects.

    Returns
    -------
    dict of str to float
        Number of objects, mean and median of their area, density, mean intensities, and
        the share of the pixels of each class. NaN without objects.
    """
    (area,) = (name for name in table if name.startswith("area_"))
    density, per = "density_per_megapixel", n_pixels / MEGAPIXEL
    if pixel_size is not None:
        density, per = "density_per_mm2", n_pixels * (pixel_size / UM_PER_MM) ** 2
    n = len(table[area])
    row: dict[str, float] = {
        "objects": n,
        f"mean_{area}": _mean(table[area]),
        f"median_{area}": float(np.median(table[area])) if n else np.nan,
        density: n / per if per else np.nan,
    }
    row |= {k: _mean(v) for k, v in table.items() if k.startswith("mean_intensity")}
    whole = n_pixels * (pixel_size or 1.0) ** 2
    for name in class_names[1:]:
        of_class = table[area][table["class"] == name]
        row[f"share_{name}"] = float(of_class.sum() / whole) if whole else np.nan
    return row


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def table_of(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Make a table of summaries, by the name of the image; what a row lacks is NaN."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    table: Table = {"image": np.array(list(rows), object)}
    for name in names:
        values = [row.get(name, np.nan) for row in rows.values()]
        whole = all(isinstance(value, int) for value in values)
        table[name] = np.array(values, np.int64 if whole else np.float64)
    return table
