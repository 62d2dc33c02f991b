"""Reads an image of the queue for a viewer: its pixels, and its labels in the session.

Everything here runs in a background thread and knows no viewer.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet.errors import FileError, ImageError, SessionError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.files import (
    IMAGE_SUFFIXES,
    read_stored,
    scene_name,
    shown,
    split_scene,
    stated_axes,
)
from napari_resunet.ome_zarr.metadata import is_ome_zarr
from napari_resunet.ome_zarr.pyramid import open_pyramid
from napari_resunet.session.microscope_files import (
    is_installed,
    is_microscope_file,
    read_microscope_file,
)
from napari_resunet.session.pixels import is_image, local_image, open_large_tiff
from napari_resunet.session.store.delta import LabelsSnapshot
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.images import load_image
from napari_resunet.session.store.schema import ImageRecord, QueueItem, source_path
from napari_resunet.tiff_reader import HARMLESS_BYTES, StoredImage

log = logging.getLogger(__name__)
MAX_UNCLEAR = 4
"""The first of three dimensions may be channels if it has up to this many planes."""

NAMED = "TZPCYXS"
"""Letters of axes that a viewer shows by their names."""

UNCLEAR = (
    "Its planes may be channels or slices: open it and say which, then propose it again."
)
NOT_THERE = "Its file is not there, or holds other pixels now: click it to choose the file."
NO_SERIES = (
    "{} has no image number {} any more: remove it from the list, and add the file again."
)


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image of a file.

    Attributes
    ----------
    name : str
        Its name.
    levels : tuple of arrays
        Pixels, the finest level first, with rows and columns last, or before the samples
        of RGB.
    axes : str
        One letter of "PTZCYXS" for each dimension.
    rgb : bool
        Whether the last dimension is samples.
    unclear : bool
        Whether the first dimension may be channels or slices.
    meta : mapping
        Further arguments for a layer of a viewer.
    reader : str or None
        Plugin that read it; None for our own reader.
    notices : tuple of str
        What was left out, one sentence each.
    """

    name: str
    levels: tuple[Any, ...]
    axes: str
    rgb: bool = False
    unclear: bool = False
    meta: Mapping[str, Any] = field(default_factory=dict)
    reader: str | None = None
    notices: tuple[str, ...] = ()


ReadFile = Callable[[Path], Sequence[ReadImage]]
"""Reads all images of a file of another kind than ours."""


@dataclass(frozen=True, eq=False)
class OpenRequest:
    """Read an item of the queue.

    Attributes
    ----------
    item : QueueItem
        The item.
    record : ImageRecord or None
        What the session says of it; None if it has no labels yet.
    folder : SessionFolder or None
        The session.
    read : callable or None
        Reads other files. None for a file that a session names and nobody chose: it is
        read only if it is a local TIFF, PNG, JPEG, or OME-Zarr.
    """

    item: QueueItem
    record: ImageRecord | None = None
    folder: SessionFolder | None = None
    read: ReadFile | None = None


@dataclass(frozen=True, eq=False)
class OpenedItem:
    """An item as it was read.

    Attributes
    ----------
    image : ReadImage or None
        Its pixels; None if its file is not there, or holds other pixels.
    n_series : int
        How many images its file holds.
    names : tuple of str
        The names of all of them.
    states : mapping of tuple of int to LabelsSnapshot
        Its labels in the session.
    notices : tuple of str
        What is damaged, in sentences.
    """

    image: ReadImage | None
    names: tuple[str, ...] = ()
    states: Mapping[tuple[int, ...], LabelsSnapshot] = field(default_factory=dict)
    notices: tuple[str, ...] = ()


def read_own(path: Path) -> ReadImage:
    """Read a TIFF, PNG, or JPEG, or one of several images in a TIFF.

    Of a large TIFF, pixels are read when they are used.

    Raises
    ------
    FileError
        If it is missing or damaged, or too large to be read as a whole, as it must be.
    """
    large = open_large_tiff(path)
    if large is None:
        stored = read_stored(path)
    else:
        stored = StoredImage(large.levels[0], large.axes, large.notices)
    stated = stated_axes(path)
    known = stated is not None and stated.shape == stored.array.shape
    letters = stated.axes if stated is not None and known else ""
    found = arranged(Path(scene_name(path)).stem, stored, letters)
    return found if large is None else replace(found, levels=large.levels)


UNITS = {"T": "second"} | dict.fromkeys("XYZ", "micrometer")


def read_store(folder: Path, name: str, shape: Sequence[int] | None = None) -> ReadImage:
    """Read an image of an OME-Zarr; of a large one, pixels are read when they are used.

    Parameters
    ----------
    folder : Path
        Of the image.
    name : str
        Its name.
    shape : sequence of int or None
        Shape of the level that was opened before, if it was.

    Raises
    ------
    FileError
        If it is missing, damaged, or too large for the memory.
    """
    pyramid = open_pyramid(folder, shape)
    found = _placed(name, pyramid.levels, pyramid.axes, pyramid.steps)
    return replace(found, notices=pyramid.notices)


def read_scene(path: Path, name: str) -> ReadImage:
    """Read an image of a microscope's file; of a large one, when pixels are used.

    Raises
    ------
    FileError
        If bioio cannot read it.
    """
    stored = read_microscope_file(path, HARMLESS_BYTES)
    return _placed(name, (stored.array,), stored.axes, stored.steps)


def _placed(
    name: str, levels: tuple[Any, ...], axes: str, steps: Mapping[str, float]
) -> ReadImage:
    """Name the dimensions of an image, and place it by its steps."""
    rgb = axes.endswith("S")
    named = axes.removesuffix("S")
    meta = {
        "axis_labels": tuple(named.lower()),
        "scale": tuple(steps.get(axis, 1.0) for axis in named),
        "units": tuple(UNITS[axis] if axis in steps else "pixel" for axis in named),
    }
    channel = axes.index("C") if "C" in axes else None
    return ReadImage(name, levels, viewer_axes(len(axes), channel, rgb), rgb, meta=meta)


def arranged(name: str, stored: StoredImage, stated: str) -> ReadImage:
    """Arrange the dimensions of an image as a viewer shows them.

    Parameters
    ----------
    name : str
        Its name.
    stored : StoredImage
        Its pixels.
    stated : str
        One letter for each dimension as the file states them; empty if it does not.
    """
    array, axes = stored.array, stored.axes
    rgb = "S" in axes and array.shape[axes.index("S")] in (3, 4)
    last = "YXS" if rgb else "YX"
    order = [axis for axis in axes if axis not in last] + list(last)
    moved: Any = array
    if order != list(axes):
        moved = np.transpose(array, [axes.index(axis) for axis in order])
    colours = {"S"} if not rgb else set()
    if moved.shape != array.shape or "C" in stated:
        colours.add("C")
    channel = next((n for n, axis in enumerate(order) if axis in colours), None)
    is_named = set(stated) == set(order) and set(stated) <= set(NAMED)
    named = channel is not None or is_named
    unclear = moved.ndim == 3 and not (rgb or stated.strip("IQYX") or channel is not None)
    return ReadImage(
        name,
        (moved,),
        viewer_axes(moved.ndim, channel, rgb),
        rgb,
        unclear and 2 <= moved.shape[0] <= MAX_UNCLEAR,
        {"axis_labels": _labels(order, channel, rgb)} if named else {},
        notices=stored.notices,
    )


def _labels(order: Sequence[str], channel: int | None, rgb: bool) -> tuple[str, ...]:
    named = ["c" if n == channel else axis.lower() for n, axis in enumerate(order)]
    return tuple(named[:-1] if rgb else named)


def viewer_axes(ndim: int, channel: int | None, rgb: bool) -> str:
    """Name dimensions by letters of "PTZCYXS", as those of a layer are named.

    Raises
    ------
    ImageError
        If there are too many.
    """
    n_stack = ndim - 2 - rgb - (channel is not None)
    if not 0 <= n_stack <= len("PTZ"):
        raise ImageError("This image has too many dimensions.")
    letters = list("PTZ"[len("PTZ") - n_stack :])
    if channel is not None:
        letters.insert(channel, "C")
    return "".join(letters) + "YX" + "S" * rgb


def open_item(
    request: OpenRequest, token: CancelToken
) -> Generator[Progress, None, OpenedItem]:
    """Read the pixels of an item, and its labels.

    Raises
    ------
    FileError
        If the file is damaged or of an unknown kind.
    """
    yield Progress(0, 0, f"opening {shown(request.item.name)}")
    return read_item(request)


def read_item(request: OpenRequest) -> OpenedItem:
    """Read the pixels of an item, and its labels; see `open_item`."""
    states, notices = saved_labels(request)
    opened = read_pixels(request)
    return replace(opened, states=states, notices=(*opened.notices, *notices))


def read_pixels(request: OpenRequest) -> OpenedItem:
    """Read the pixels of an item without its labels; see `open_item`."""
    stored = _stored(request)
    if stored is not None:
        return OpenedItem(stored)
    images = _images(request)
    item, record = request.item, request.record
    if not images:
        return OpenedItem(None)
    if item.series >= len(images):
        path = shown(item.path)
        raise FileError(NO_SERIES.format(path, item.series + 1))
    image = images[item.series]
    if record is not None and not is_image(record, image.levels[0]):
        return OpenedItem(None)
    told = tuple(f"{shown(item.name)}: {notice}" for notice in image.notices)
    return OpenedItem(image, tuple(i.name for i in images), notices=told)


def _stored(request: OpenRequest) -> ReadImage | None:
    """Read the pixels that the session holds, if it does."""
    folder, record = request.folder, request.record
    if folder is None or record is None:
        return None
    if not (record.stored or source_path(folder.root, record.key).exists()):
        return None
    try:
        data, _ = load_image(folder.root, record)
    except SessionError:
        return None
    return ReadImage(record.name, (data,), record.axes, record.rgb)


def _images(request: OpenRequest) -> Sequence[ReadImage]:
    """Read the file of an item; nothing if it is not there or was not chosen."""
    read, record = request.read, request.record
    path = local_image(request.item.path) if read is None else Path(request.item.path)
    if path is None:
        return ()
    if is_ome_zarr(path):
        shape = None if record is None else record.shape
        return (read_store(path, request.item.name, shape),)
    file, _ = split_scene(path)
    if not file.is_file():
        return ()
    if file.suffix.lower() in IMAGE_SUFFIXES:
        return (replace(read_own(path), name=request.item.name),)
    if read is None:
        return ()
    return _by_bioio(request) or read(path)


def _by_bioio(request: OpenRequest) -> Sequence[ReadImage]:
    """Read an item by bioio; nothing if a plugin of a viewer has to."""
    path, record = Path(request.item.path), request.record
    by_plugin = record is not None and record.reader is not None
    if by_plugin or not is_microscope_file(path) or not is_installed():
        return ()
    try:
        return (read_scene(path, request.item.name),)
    except FileError:
        if split_scene(path)[1] is not None:
            raise
        log.warning("%s is left to a plugin", shown(path), exc_info=True)
        return ()


def saved_labels(
    request: OpenRequest,
) -> tuple[dict[tuple[int, ...], LabelsSnapshot], tuple[str, ...]]:
    """Read the labels of an item from the session, and list what is damaged."""
    folder, record = request.folder, request.record
    states: dict[tuple[int, ...], LabelsSnapshot] = {}
    notices: list[str] = []
    if folder is None or record is None:
        return states, ()
    for index in folder.planes(record.key):
        try:
            state = folder.load_plane(record.key, index)
        except SessionError as error:
            notices.append(str(error))
            continue
        if state.labels.any() or state.marks.any():
            states[index] = state
        if damage := folder.plane_damage(record.key, index):
            notices.append(f"Labels of {shown(record.name)}: {'; '.join(damage)}.")
    return states, tuple(notices)


MAX_FILE = 2**28
"""Bytes of a file that is read only to be shown small, or before it is opened."""


def is_large(item: QueueItem) -> bool:
    """Return whether a file is too large to be read before the user asks for it."""
    try:
        return split_scene(Path(item.path))[0].stat().st_size > MAX_FILE
    except (OSError, ValueError):
        return False


THUMBNAIL = 32
"""Largest side of the small picture of an item, in pixels."""


def small_picture(image: ReadImage) -> Any:
    """Draw an image small, its middle plane and first channel.

    Returns
    -------
    uint8 array, shape (Y, X, 3)
    """
    from napari_resunet.session.store.images import draw_thumbnail

    data, n_last = image.levels[-1], 3 if image.rgb else 2
    letters = image.axes[: len(data.shape) - n_last]
    sizes = zip(letters, data.shape, strict=False)
    plane = data[tuple(0 if axis == "C" else n // 2 for axis, n in sizes)]
    step = max(1, math.ceil(max(plane.shape[:2]) / THUMBNAIL))
    pixels = np.asarray(plane[::step, ::step])
    return draw_thumbnail(pixels, np.zeros(pixels.shape[:2], np.int32))
