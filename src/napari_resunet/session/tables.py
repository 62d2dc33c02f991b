"""Tables of measurements as files: CSV for every program, Parquet where pyarrow is."""

from __future__ import annotations

import csv
from array import array
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path, shown
from napari_resunet.session.measurements import TRACK
from napari_resunet.session.settings import TableFormat

if TYPE_CHECKING:
    from napari_resunet.engine.measure import Table

CSV, PARQUET = ".csv", ".parquet"
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""Spreadsheets run a text that begins with one of these as a formula."""

IMAGE = "image"
"""Column of the name of the image."""

SIZES, INTENSITIES = ("area_", "volume_"), "mean_intensity"
SUMMARIZED = (*SIZES, INTENSITIES, TRACK)
"""How columns begin that a summary needs."""

UM_PER_MM = 1000.0
MILLION = 1e6


def check_format(table_format: TableFormat) -> None:
    """Check, before long work, that tables of a format can be written.

    Raises
    ------
    FileError
        If that needs pyarrow, and it is missing.
    """
    if table_format == "parquet":
        _pyarrow()


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
    with (
        atomic_path(path) as temporary,
        temporary.open("w", encoding="utf-8", errors="replace", newline="") as stream,
    ):
        writer = csv.writer(stream)
        writer.writerow(header_of(table))
        writer.writerows(rows_of(table))


def header_of(table: Table) -> list[str]:
    """Return the names of columns as a CSV file has them."""
    return [no_formula(name) for name in table]


def rows_of(table: Table) -> Iterator[tuple[str, ...]]:
    """Return the rows as a CSV file has them; see `write_table`."""
    return zip(*(_texts(column) for column in table.values()), strict=True)


def _texts(column: npt.NDArray[Any]) -> list[str]:
    if column.dtype.kind == "f":
        return ["" if np.isnan(number) else f"{number:.10g}" for number in column.tolist()]
    if column.dtype.kind in "iu":
        return [str(number) for number in column.tolist()]
    return [no_formula(str(text)) for text in column.tolist()]


def no_formula(text: str) -> str:
    """Return a text as a CSV file has it; see `write_table`."""
    return f"'{text}" if text.startswith(FORMULA) else text


def _write_parquet(path: Path, table: Table) -> None:
    pyarrow = _pyarrow()
    columns = {n: _valid(c) if c.dtype.kind == "O" else c for n, c in table.items()}
    with atomic_path(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(columns), temporary)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise FileError(
            "Parquet files need pyarrow: install it with 'pip install "
            "napari-resunet[parquet]', or choose CSV."
        ) from error
    return pyarrow


def _valid(texts: npt.NDArray[Any]) -> list[str]:
    """Replace what UTF-8 cannot hold, such as bytes of a file name."""
    return [str(text).encode("utf-8", "replace").decode() for text in texts]


def with_image(table: Table, name: str) -> Table:
    """Put the name of its image in front of each row."""
    n = len(table["label"])
    return {IMAGE: np.full(n, name, object), **table}


def join_tables(target: Path, parts: list[Path]) -> None:
    """Write the rows of several files of a format, from `write_table`, as one file.

    Only one of them at a time is in memory. A column that a part lacks is empty there.

    Raises
    ------
    FileError
        If the file cannot be written, or pyarrow is missing.
    """
    if target.suffix == PARQUET:
        _join_parquet(target, parts)
    else:
        _join_csv(target, parts)


def _join_parquet(target: Path, parts: list[Path]) -> None:
    pyarrow, options = _pyarrow(), {"promote_options": "permissive"}
    schemas = [pyarrow.parquet.read_schema(part) for part in parts]
    joined = pyarrow.unify_schemas(schemas, **options).empty_table()
    with (
        atomic_path(target) as temporary,
        pyarrow.parquet.ParquetWriter(temporary, joined.schema) as writer,
    ):
        for part in parts:
            rows = pyarrow.parquet.read_table(part)
            writer.write_table(pyarrow.concat_tables([joined, rows], **options))


def _join_csv(target: Path, parts: list[Path]) -> None:
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


def read_columns(path: Path, is_wanted: Callable[[str], bool]) -> Table:
    """Read columns of numbers of a CSV file from `write_table`; an empty cell is NaN."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.reader(stream)
        header = next(rows)
        places = [i for i, name in enumerate(header) if is_wanted(name)]
        columns = [array("d") for _ in places]
        for row in rows:
            for column, place in zip(columns, places, strict=True):
                column.append(float(row[place] or "nan"))
    return {header[i]: np.array(c) for i, c in zip(places, columns, strict=True)}


def summary_of(
    table: Table,
    n_pixels: int,
    sides: tuple[float, ...] | None,
    class_names: tuple[str, ...] = (),
) -> dict[str, float]:
    """Summarize the objects of an image.

    Parameters
    ----------
    table : dict of str to array
        From `measure_image`.
    n_pixels : int
        Number of pixels of all planes.
    sides : tuple of float, or None
        Sides of a pixel in micrometres, two or, for volumes, three; None if not known.
    class_names : tuple of str
        Names of the classes, background first; empty for objects.

    Returns
    -------
    dict of str to float
        Number of objects, of tracks in a film, mean and median of the area or volume,
        density, mean intensities, and the share of the pixels of each class. NaN without
        objects.
    """
    (size,) = (name for name in table if name.startswith(SIZES))
    sizes, n = table[size], len(table[size])
    whole = n_pixels * (1.0 if sides is None else float(np.prod(sides)))
    row: dict[str, float] = {"objects": n}
    if TRACK in table:
        row["tracks"] = len(np.unique(table[TRACK]))
    row |= {
        f"mean_{size}": _mean(sizes),
        f"median_{size}": float(np.median(sizes)) if n else np.nan,
        _density(size, sides): n / _large_units(whole, sides) if whole else np.nan,
    }
    row |= {k: _mean(v) for k, v in table.items() if k.startswith(INTENSITIES)}
    for name in class_names[1:]:
        of_class = sizes[table["class"] == name]
        row[f"share_{name}"] = float(of_class.sum() / whole) if whole else np.nan
    return row


def _density(size: str, sides: tuple[float, ...] | None) -> str:
    pixel = "megapixel" if size.startswith("area_") else "megavoxel"
    return f"density_per_{pixel if sides is None else f'mm{len(sides)}'}"


def _large_units(whole: float, sides: tuple[float, ...] | None) -> float:
    """Convert pixels to millions, and micrometres to millimetres."""
    return whole / (MILLION if sides is None else UM_PER_MM ** len(sides))


def _mean(values: npt.NDArray[Any]) -> float:
    return float(values.mean()) if len(values) else np.nan


def table_of(rows: Mapping[str, Mapping[str, float]]) -> Table:
    """Make a table of summaries, by the name of the image; what a row lacks is NaN."""
    names = dict.fromkeys(name for row in rows.values() for name in row)
    table: Table = {IMAGE: np.array(list(rows), object)}
    for name in names:
        values = [row.get(name, np.nan) for row in rows.values()]
        whole = all(isinstance(value, int) for value in values)
        table[name] = np.array(values, np.int64 if whole else np.float64)
    return table
