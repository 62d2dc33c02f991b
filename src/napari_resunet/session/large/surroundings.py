"""What lies around a part of a large image: the pixels of its file.

With them, *Segment* sees in a part what it saw there in the whole image.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError, ImageError
from napari_resunet.events import Notice
from napari_resunet.files import shown
from napari_resunet.session.image_files import read_image_file
from napari_resunet.session.large.store_note import StoreNote, read_note
from napari_resunet.session.store.parts import PartRecord
from napari_resunet.session.store.safety import local_file, local_folder
from napari_resunet.types import Index, Window
from napari_resunet.windows import overlap, relative

if TYPE_CHECKING:
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.session.segmenter import PlaneAround


def open_image(note: StoreNote) -> ImageReader:
    """Open the image of labels that are ours, with the channels that the network saw.

    Raises
    ------
    FileError
        If it is not there, or damaged.
    ImageError
        If it has no such channels.
    """
    from napari_resunet.engine.image_reader import ImageReader

    text, asked = str(note.source), note.run.asked
    source = local_file(text) or local_folder(text)
    if source is None:
        raise FileError(
            f"The image of these labels, {shown(text)}, is not there: put it back, or "
            "segment it in its new place."
        )
    stored = read_image_file(source, asked.axes, asked.level)
    return ImageReader([stored.array], stored.axes, asked.channels)


def open_around(
    record: PartRecord, part: ImageReader
) -> Generator[Notice, None, PlaneAround | None]:
    """Open the plane out of which a part was cut, or say why it is not seen.

    Parameters
    ----------
    record : PartRecord
        Where the part belongs.
    part : ImageReader
        Its own pixels, which count inside it.

    Yields
    ------
    Notice
        If labels or image are not there, damaged, or others than they were.

    Returns
    -------
    PlaneAround or None
        None also if channels are combined in the part: their ranges there are others than
        those in the plane.
    """
    try:
        return _plane(record, part)
    except (FileError, ImageError) as error:
        yield Notice(f"Nothing beyond the edge of this part is seen. {error}")
        return None


def _plane(record: PartRecord, part: ImageReader) -> PlaneAround | None:
    from napari_resunet.session.segmenter import PlaneAround

    folder = local_folder(record.store)
    if folder is None:
        raise FileError(
            f"The labels in {shown(record.store)} are not there: put them back."
        )
    note = read_note(folder)
    whole = open_image(note)
    if not (_fits(record, whole) and (part.height, part.width) == _size(record.window)):
        raise other_shape(note)
    known = whole.channels  # of the file, in the order of those of the part
    if not all(isinstance(c, int) and c < len(known) for c in part.channels):
        return None
    chosen = tuple(known[c] for c in part.channels if isinstance(c, int))
    reader = _Surrounded(part, whole.with_channels(chosen), record.window)
    return PlaneAround(reader, record.index, (whole.height, whole.width), record.window)


def other_shape(note: StoreNote) -> ImageError:
    """Make the error for an image whose shape is not that of its labels."""
    return ImageError(
        f"{shown(note.source)} has another shape than its labels: segment it again."
    )


def _fits(record: PartRecord, whole: ImageReader) -> bool:
    """Return whether a part is inside an image."""
    ends = (*record.index, *(span.stop - 1 for span in record.window))
    shape = whole.shape
    return len(ends) == len(shape) and all(e < n for e, n in zip(ends, shape, strict=True))


def _size(window: Window) -> tuple[int, int]:
    rows, columns = (span.stop - span.start for span in window)
    return rows, columns


@dataclass(frozen=True, eq=False)
class _Surrounded:
    """Reads a plane: inside the part its own pixels, and those of the file around it."""

    part: ImageReader
    whole: ImageReader
    window: Window

    def read(self, index: Index, rows: slice, columns: slice) -> npt.NDArray[Any]:
        asked = rows, columns
        inside = overlap(asked, self.window)
        own = self.part.read((), *relative(inside, self.window))
        if inside == asked:
            return own
        pixels = self.whole.read(index, rows, columns)
        pixels = pixels.astype(np.result_type(pixels, own), copy=False)
        pixels[relative(inside, asked)] = own
        return pixels
