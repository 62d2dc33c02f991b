"""Corrections on disk: what the model learned from, and pairs for any other tool.

``corrections/NAME/`` holds a corrected region as we learn from it, surroundings included;
``images/NAME.tif`` and ``masks/NAME.tif`` hold its checked part alone. A new round on the
same plane gets a new name; the record is written last, then the older round is deleted.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from napari_resunet.corrections.log import Correction
from napari_resunet.errors import SessionError
from napari_resunet.session.store.layout import (
    CORRECTIONS,
    IMAGES,
    MASKS,
    Index,
    plane_name,
)
from napari_resunet.session.store.safety import inside, read_text, read_tiff
from napari_resunet.session.store.schema import KEY, Record
from napari_resunet.session.store.tiff import label_dtype, write_text, write_tiff
from napari_resunet.types import Example, Statistics, Window, now
from napari_resunet.windows import bounding_window

RECORD = "record.json"
MAX_PIXELS = 2**31
_NAME = re.compile(r"([a-z0-9]{1,32})-(.+)-r(\d{1,6})")


class CorrectionRecord(Record):
    """What is known of a correction.

    Attributes
    ----------
    image : str
        Key of the image.
    index : tuple of int
        Plane.
    window : tuple of int
        First row, row after the last, first column, column after the last.
    channels : int
        Of the image crop.
    scale : float or None
        Factor from image to working pixels.
    low, high : tuple of float
        Intensities of the whole image that become 0 and 1.
    created : str
        ISO 8601, UTC.
    n_objects : int
        Objects with a checked pixel.
    held_out : tuple of tuple of int
        Like `window`, in the crop's pixels: what is never learned from.
    """

    image: str = Field(pattern=KEY)
    index: tuple[int, ...]
    window: tuple[int, int, int, int]
    channels: int = Field(ge=1, le=4)
    scale: float | None = None
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    created: str = Field(default_factory=now)
    n_objects: int = 0
    held_out: tuple[tuple[int, int, int, int], ...] = ()


class SavedCorrection:
    """A correction as it was read, with its record."""

    def __init__(self, record: CorrectionRecord, example: Example) -> None:
        self.record = record
        self.example = example

    def correction(self, image_id: str) -> Correction:
        """Make the correction of an image that has this id now."""
        touched, checked = self.example.touched, self.example.checked
        assert touched is not None
        assert checked is not None
        return Correction(
            image_id,
            self.record.index,
            _window(self.record.window),
            self.example.labels,
            checked,
            touched,
        )


def save_correction(
    root: Path, image_key: str, correction: Correction, example: Example
) -> None:
    """Write a correction; an earlier one of the same plane is then deleted.

    Parameters
    ----------
    root : Path
        The session folder.
    image_key : str
        Of the image.
    correction : Correction
        The region.
    example : Example
        The same with its image crop.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    older = _rounds(root, image_key, correction.index)
    number = 1 + max((n for n, _ in older), default=0)
    name = f"{image_key}-{plane_name(correction.index)}-r{number}"
    image = np.atleast_3d(example.image)
    _write_ours(inside(root, CORRECTIONS, name), image, correction)
    _write_pair(root, name, image, correction)
    record = _record(image_key, correction, example, image.shape[2])
    write_text(inside(root, CORRECTIONS, name, RECORD), record.model_dump_json(indent=1))
    for _, old in older:
        _delete(root, old)


def load_corrections(root: Path) -> list[SavedCorrection]:
    """Read all corrections, the oldest first; those that a crash cut short are left out.

    Returns
    -------
    list of SavedCorrection

    Raises
    ------
    SessionError
        If one is damaged or not ours.
    """
    folder = inside(root, CORRECTIONS)
    if not folder.is_dir():
        return []
    newest: dict[str, tuple[int, str]] = {}
    for path in folder.iterdir():
        match = _NAME.fullmatch(path.name)
        if match and (path / RECORD).is_file():
            key, number = path.name.rpartition("-r")[0], int(match[3])
            newest[key] = max(newest.get(key, (0, "")), (number, path.name))
    found = [_load(root, name) for _, name in newest.values()]
    # The planes of an image are written in their order, many in one second.
    return sorted(found, key=lambda saved: (saved.record.created, saved.record.index))


def _rounds(root: Path, image_key: str, index: Index) -> list[tuple[int, str]]:
    """List the rounds of a plane, whole or not."""
    start = f"{image_key}-{plane_name(index)}-r"
    folder = inside(root, CORRECTIONS)
    names = [p.name for p in folder.iterdir()] if folder.is_dir() else []
    ours = [n for n in names if n.startswith(start) and _NAME.fullmatch(n)]
    return [(int(name.removeprefix(start)), name) for name in ours]


def _write_ours(folder: Path, image: npt.NDArray[Any], correction: Correction) -> None:
    write_image(folder / "image.tif", image)
    write_tiff(folder / "labels.tif", label_dtype(correction.labels))
    write_tiff(folder / "checked.tif", correction.checked)
    write_tiff(folder / "touched.tif", correction.touched)


def _write_pair(
    root: Path, name: str, image: npt.NDArray[Any], correction: Correction
) -> None:
    """Write the checked part as tools expect it: an image, and labels of equal size."""
    rows, columns = bounding_window(correction.checked, 0)
    labels = label_dtype(correction.labels[rows, columns])
    write_image(inside(root, IMAGES, f"{name}.tif"), image[rows, columns])
    write_tiff(inside(root, MASKS, f"{name}.tif"), labels)


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write one plane of an image, shape (Y, X, C)."""
    image = image.astype(np.uint8) if image.dtype == bool else image
    if image.shape[2] == 1:
        write_tiff(path, image[..., 0])
        return
    colours = "rgb" if image.shape[2] in (3, 4) else "minisblack"
    write_tiff(path, image, photometric=colours, planarconfig="contig")


def _record(
    image_key: str, correction: Correction, example: Example, channels: int
) -> CorrectionRecord:
    known = example.statistics
    return CorrectionRecord(
        image=image_key,
        index=correction.index,
        window=_bounds(correction.window),
        channels=channels,
        scale=example.scale,
        low=known.low if known else (),
        high=known.high if known else (),
        n_objects=correction.n_objects,
        held_out=tuple(map(_bounds, example.held_out)),
    )


def _bounds(window: Window) -> tuple[int, int, int, int]:
    rows, columns = window
    return rows.start, rows.stop, columns.start, columns.stop


def _window(bounds: tuple[int, int, int, int]) -> Window:
    top, bottom, left, right = bounds
    return slice(top, bottom), slice(left, right)


def _load(root: Path, name: str) -> SavedCorrection:
    folder = inside(root, CORRECTIONS, name)
    try:
        text = read_text(inside(folder, RECORD))
        record = CorrectionRecord.model_validate_json(text)
        top, bottom, left, right = record.window
        shape = bottom - top, right - left
        if min(*shape, top, left) < 0 or 0 in shape or shape[0] * shape[1] > MAX_PIXELS:
            raise ValueError("absurd window")
    except (ValueError, ValidationError) as error:
        raise SessionError(
            f"The correction '{name}' of the session is damaged or not from "
            "napari-resunet: remove its folder, or choose another session."
        ) from error
    image = read_tiff(inside(folder, "image.tif"), (*shape, record.channels), "uif")
    checked, touched = (
        read_tiff(inside(folder, f"{kind}.tif"), shape, "u") > 0
        for kind in ("checked", "touched")
    )
    labels = read_tiff(inside(folder, "labels.tif"), shape).astype(np.int32)
    known = Statistics(record.low, record.high) if record.low else None
    held_out = tuple(map(_window, record.held_out))
    example = Example(image, labels, checked, touched, record.scale, known, held_out)
    return SavedCorrection(record, example)


def _delete(root: Path, name: str) -> None:
    inside(root, CORRECTIONS, name, RECORD).unlink(missing_ok=True)
    shutil.rmtree(inside(root, CORRECTIONS, name), ignore_errors=True)
    for folder in (IMAGES, MASKS):
        inside(root, folder, f"{name}.tif").unlink(missing_ok=True)
