"""Reads images without labels that a fine-tuning should not make worse.

They come from the list of images, and from the other slices of the open one. Only a crop of
the middle of each is kept. What cannot be read is left out: it is said when it is opened.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_resunet.engine.changes import MAX_IMAGES, evenly
from napari_resunet.errors import Cancelled, FileError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.beside import Keyed, Reading, crop_of
from napari_resunet.session.queue_images import NOT_THERE, is_large, read_pixels
from napari_resunet.types import Index, ModelInfo, OtherImage

if TYPE_CHECKING:
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.session.queue_workers import ItemToPropose
    from napari_resunet.session.workers import ImageSnapshot

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of an open stack, without those that were corrected.

    Attributes
    ----------
    name, key : str
        Of its item in the list.
    snapshot : ImageSnapshot
        Its pixels.
    scale : float or None
        Rescale factor from image pixels to network resolution, if known.
    corrected : collection of tuple of int
        The slices to leave out.
    """

    name: str
    key: str
    snapshot: ImageSnapshot
    scale: float | None
    corrected: Collection[Index]


def read_others(
    items: Sequence[ItemToPropose],
    stack: Slices | None,
    info: ModelInfo,
    scale: float,
    token: CancelToken,
) -> Reading:
    """Read the middle of some images of the list, and then of slices of the open one.

    Parameters
    ----------
    items : sequence of ItemToPropose
        Images of the list.
    stack : Slices or None
        Slices of the open image, if it is a stack.
    info : ModelInfo
        Of the model, for the intensities.
    scale : float
        Rescale factor of images whose own is not known.
    token : CancelToken
        Checked between images.

    Raises
    ------
    Cancelled
        If the token requests it.
    """
    found: Keyed = []
    for item in items:
        yield Progress(0, 0, "reading other images")
        if token.cancelled:
            raise Cancelled
        try:
            found += _of_item(item, info, scale)
        except Exception:  # whatever a reader raises costs only this image
            log.warning("Another image was not read", exc_info=True)
    if stack is not None and len(found) < MAX_IMAGES:
        try:
            found += _of_slices(stack, MAX_IMAGES - len(found), info, scale)
        except Exception:
            log.warning("Other slices were not read", exc_info=True)
    return [(key, other) for key, other in found if other.image.size]


def _of_item(
    item: ItemToPropose, info: ModelInfo, scale: float
) -> Iterator[tuple[str, OtherImage]]:
    reader = _reader(item.snapshot) if item.snapshot else _file_reader(item)
    if reader is not None:
        index = tuple(n // 2 for n in reader.stack_shape)
        known = item.choices.scale or scale
        yield item.key, crop_of(reader, index, item.file.item.name, known, info)


def _file_reader(item: ItemToPropose) -> ImageReader | None:
    """Open an image that is not in the viewer; None if it is too large or not clear."""
    from napari_resunet.engine.image_reader import ImageReader

    if is_large(item.file.item):
        return None
    image, record = read_pixels(item.file).image, item.file.record
    if image is None:
        raise FileError(NOT_THERE)
    image = item.choices.settled(image)
    if record is not None:
        channels = record.channels or item.choices.channels_of(image)
        return ImageReader(image.levels, record.axes, channels)
    if image.unclear:
        return None
    return ImageReader(image.levels, image.axes, item.choices.channels_of(image))


def _of_slices(
    stack: Slices, n: int, info: ModelInfo, scale: float
) -> Iterator[tuple[str, OtherImage]]:
    reader = _reader(stack.snapshot)
    for position in evenly(range(int(np.prod(reader.stack_shape, dtype=int))), n):
        index = tuple(int(i) for i in np.unravel_index(position, reader.stack_shape))
        if index not in stack.corrected:
            name = f"{stack.name}, slice {', '.join(map(str, index))}"
            known = stack.scale or scale
            yield stack.key, crop_of(reader, index, name, known, info)


def _reader(snapshot: ImageSnapshot) -> ImageReader:
    from napari_resunet.engine.image_reader import ImageReader

    return ImageReader(snapshot.levels, snapshot.axes, snapshot.channels)
