"""Corrections on disk: what the model learned from, and pairs of files for other tools.

``corrections/NAME/`` holds a corrected region with its surroundings, as the model sees it;
``images/NAME.tif`` and ``masks/NAME.tif`` hold only its verified part. A new round on the
same plane gets a new name. Its record is written last, then the older round is deleted.
"""

from __future__ import annotations

import re
import shutil
import zlib
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from napari_resunet.corrections.training_set import Correction
from napari_resunet.errors import SessionError
from napari_resunet.session.settings import PIXEL_SIZE
from napari_resunet.session.store.safety import (
    inside,
    read_text,
    sealed,
    set_aside,
    unsealed,
)
from napari_resunet.session.store.schema import (
    CORRECTIONS,
    IMAGES,
    KEY,
    MASKS,
    Index,
    Record,
    plane_name,
)
from napari_resunet.session.store.tiff import label_dtype, read_tiff, store_text, write_tiff
from napari_resunet.types import Example, Statistics, Window, now
from napari_resunet.windows import bounding_window

RECORD = "record.json"
MAX_PIXELS = 2**31
_NAME = re.compile(r"([a-z0-9]{1,32})-(.+)-r(\d{1,6})")


class CorrectionRecord(Record):
    """The record of a correction.

    Attributes
    ----------
    image : str
        Key of the image.
    index : tuple of int
        Plane of the stack.
    window : tuple of int
        First row, row after the last, first column, column after the last.
    channels : int
        Number of channels of the image crop.
    scale : float or None
        Rescale factor from image pixels to network resolution.
    low, high : tuple of float
        Intensities of the whole image that become 0 and 1.
    created : str
        ISO 8601, UTC.
    n_objects : int
        Number of objects with a verified pixel.
    held_out : tuple of tuple of int
        Held-out regions, each like `window` but in pixels of the crop.
    pixel_size : float or None
        Side of a pixel in micrometres, if it was known.
    pixels : str
        CRC-32 of image, labels, and both masks; empty in older files.
    """

    image: str = Field(pattern=KEY)
    index: tuple[int, ...]
    window: tuple[int, int, int, int]
    channels: int = Field(ge=1, le=4)
    scale: float | None = Field(default=None, gt=0, le=1e6, allow_inf_nan=False)
    low: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    high: tuple[Annotated[float, Field(allow_inf_nan=False)], ...] = ()
    created: str = Field(default_factory=now, max_length=100)
    n_objects: int = 0
    held_out: tuple[tuple[int, int, int, int], ...] = ()
    pixel_size: float | None = PIXEL_SIZE.field()
    pixels: str = ""


class SavedCorrection:
    """A correction that was read, with its record."""

    def __init__(self, record: CorrectionRecord, example: Example) -> None:
        self.record = record
        self.example = example

    def correction(self, image_id: str) -> Correction:
        """Make the correction for the id that the image has now."""
        edited, verified = self.example.edited, self.example.verified
        assert edited is not None
        assert verified is not None
        return Correction(
            image_id,
            self.record.index,
            _window(self.record.window),
            self.example.labels,
            verified,
            edited,
        )


def save_correction(
    root: Path, image_key: str, correction: Correction, example: Example
) -> str:
    """Write a correction, then delete an earlier one of the same plane.

    Parameters
    ----------
    root : Path
        The session folder.
    image_key : str
        Key of the image.
    correction : Correction
        The corrected region.
    example : Example
        The same with its image crop.

    Returns
    -------
    str
        Name of the correction, which includes its round.

    Raises
    ------
    FileError
        If it cannot be written.
    """
    older = _rounds(root, image_key, correction.index)
    number = 1 + max((n for n, _ in older), default=0)
    name = f"{image_key}-{plane_name(correction.index)}-r{number}"
    image = np.atleast_3d(example.image)
    _write_region(inside(root, CORRECTIONS, name), image, correction)
    _write_pair(root, name, image, correction)
    record = _record(image_key, correction, example, image.shape[2])
    masks = correction.verified, correction.edited
    pixels = _checksum(image, correction.labels, *masks)
    record = record.model_copy(update={"pixels": pixels})
    store_text(inside(root, CORRECTIONS, name, RECORD), sealed(record))
    for _, old in older:
        _delete(root, old)
    return name


def _checksum(*arrays: npt.NDArray[Any]) -> str:
    """Compute the CRC-32 of arrays; the same for all integer dtypes."""
    crc = 0
    for array in arrays:
        whole = array.dtype.kind in "bui"
        plain = array.astype(np.int64) if whole else array
        crc = zlib.crc32(np.ascontiguousarray(plain).data, crc)
    return f"crc32:{crc:08x}"


def load_corrections(root: Path) -> tuple[list[SavedCorrection], list[str]]:
    """Read all corrections but the unfinished ones of a crash.

    Returns
    -------
    corrections : list of SavedCorrection
        The oldest first.
    damage : list of str
        What could not be read, in sentences.
    """
    newest: dict[str, tuple[int, str]] = {}
    for match in map(_NAME.fullmatch, _names(root)):
        if match and inside(root, CORRECTIONS, match[0], RECORD).exists():
            place = match[0].rpartition("-r")[0]
            newest[place] = max(newest.get(place, (0, "")), (int(match[3]), match[0]))
    found, damage = [], list[str]()
    for _, name in newest.values():
        try:
            found.append(_load(root, name))
        except SessionError as error:
            damage.append(str(error))
    # Many may have the same time, to the second; they were written in this order.
    found.sort(key=lambda saved: (saved.record.created, saved.record.index))
    return found, damage


def _names(root: Path) -> list[str]:
    folder = inside(root, CORRECTIONS)
    return [path.name for path in folder.iterdir()] if folder.is_dir() else []


def _rounds(root: Path, image_key: str, index: Index) -> list[tuple[int, str]]:
    """List the rounds of a plane, finished or not."""
    start = f"{image_key}-{plane_name(index)}-r"
    ours = [n for n in _names(root) if n.startswith(start) and _NAME.fullmatch(n)]
    return [(int(name.removeprefix(start)), name) for name in ours]


def _write_region(folder: Path, image: npt.NDArray[Any], correction: Correction) -> None:
    write_image(folder / "image.tif", image)
    write_tiff(folder / "labels.tif", label_dtype(correction.labels))
    write_tiff(folder / "checked.tif", correction.verified)
    write_tiff(folder / "touched.tif", correction.edited)


def _write_pair(
    root: Path, name: str, image: npt.NDArray[Any], correction: Correction
) -> None:
    """Write the verified part for other tools: an image, and labels of the same size."""
    rows, columns = bounding_window(correction.verified, 0)
    labels = label_dtype(correction.labels[rows, columns])
    write_image(inside(root, IMAGES, f"{name}.tif"), image[rows, columns])
    write_tiff(inside(root, MASKS, f"{name}.tif"), labels)


def write_image(path: Path, image: npt.NDArray[Any]) -> None:
    """Write a plane of an image, shape (Y, X, C)."""
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
        pixel_size=example.pixel_size,
    )


def _bounds(window: Window) -> tuple[int, int, int, int]:
    rows, columns = window
    return rows.start, rows.stop, columns.start, columns.stop


def _window(bounds: tuple[int, int, int, int]) -> Window:
    top, bottom, left, right = bounds
    return slice(top, bottom), slice(left, right)


def _load(root: Path, name: str) -> SavedCorrection:
    folder = inside(root, CORRECTIONS, name)
    record = _read_record(folder)
    top, bottom, left, right = record.window
    shape = bottom - top, right - left
    try:
        image = read_tiff(inside(folder, "image.tif"), (*shape, record.channels), "uif")
        labels = read_tiff(inside(folder, "labels.tif"), shape).astype(np.int32)
        verified, edited = (
            read_tiff(inside(folder, f"{kind}.tif"), shape, "u") > 0
            for kind in ("checked", "touched")
        )
    except SessionError as error:
        raise _damaged(name) from error
    if record.pixels not in ("", _checksum(image, labels, verified, edited)):
        raise _damaged(name)
    known = Statistics(record.low, record.high) if record.low else None
    held_out = tuple(map(_window, record.held_out))
    example = Example(
        image, labels, verified, edited, record.scale, known, held_out, record.pixel_size
    )
    return SavedCorrection(record, example)


def _read_record(folder: Path) -> CorrectionRecord:
    try:
        fields, intact = unsealed(read_text(inside(folder, RECORD)))
        record = CorrectionRecord.model_validate(fields)
        top, bottom, left, right = record.window
        shape = bottom - top, right - left
        absurd = min(*shape, top, left) < 0 or 0 in shape
        if absurd or shape[0] * shape[1] > MAX_PIXELS or not intact:
            raise ValueError("absurd window")
        if len(record.low) != len(record.high):
            raise ValueError("statistics do not match")
    except (ValueError, SessionError) as error:
        raise _damaged(folder.name) from error
    return record


def _is_good(folder: Path) -> bool:
    try:
        _read_record(folder)
    except SessionError:
        return False
    return True


def _damaged(name: str) -> SessionError:
    return SessionError(
        f"The correction '{name}' of the session is damaged and not learned from: "
        "Fine-tune writes it again from the verified area."
    )


def _delete(root: Path, name: str) -> None:
    """Delete an older round; set it aside if it is damaged."""
    folder = inside(root, CORRECTIONS, name)
    if not folder.is_dir() or ((folder / RECORD).exists() and not _is_good(folder)):
        set_aside(folder)
        return
    (folder / RECORD).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    for pairs in (IMAGES, MASKS):
        inside(root, pairs, f"{name}.tif").unlink(missing_ok=True)
