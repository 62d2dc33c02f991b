"""Opens a large image and its labels again, as a session says where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.ome_zarr.arrays import ZarrLevel
from napari_resunet.ome_zarr.image import open_levels
from napari_resunet.ome_zarr.metadata import is_ome_zarr, read_metadata
from napari_resunet.session.large.label_store import StoreReady, open_store
from napari_resunet.session.pixels import is_image
from napari_resunet.session.store.safety import local_folder
from napari_resunet.session.store.schema import ImageRecord


class OneChannel:
    """One channel of an array, which is read when it is used.

    Parameters
    ----------
    level : ZarrLevel
        All channels.
    axis, channel : int
        Which dimension they are, and which one to read.
    """

    def __init__(self, level: ZarrLevel, axis: int, channel: int) -> None:
        self._level, self._axis, self._channel = level, axis, channel
        self.shape = level.shape[:axis] + level.shape[axis + 1 :]
        self.chunks = level.chunks[:axis] + level.chunks[axis + 1 :]
        self.dtype, self.ndim = level.dtype, len(self.shape)
        self.size = level.size // level.shape[axis]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Read all of it into memory."""
        return np.asarray(self[(slice(None),) * self.ndim], dtype)

    def __getitem__(self, where: Any) -> npt.NDArray[Any]:
        """Read a part into memory."""
        given = list(where) if isinstance(where, tuple) else [where]
        if Ellipsis in given:
            at = given.index(Ellipsis)
            given[at : at + 1] = [slice(None)] * (self.ndim - len(given) + 1)
        given += [slice(None)] * (self.ndim - len(given))
        given.insert(self._axis, self._channel)
        return self._level[tuple(given)]


def reopen_store(root: Path, record: ImageRecord) -> StoreReady | None:
    """Open the labels of an image; None if they are not there.

    Labels in a session folder are found there after it was moved.
    """
    moved = root / Path(record.store).name
    folder = local_folder(record.store) or local_folder(str(moved))
    try:
        return None if folder is None else open_store(folder)
    except FileError:
        return None


def reopen_levels(record: ImageRecord, store: StoreReady) -> list[Any] | None:
    """Open the resolution levels of an OME-Zarr image; None if it has other pixels now."""
    folder = local_folder(record.source)
    if folder is None or not is_ome_zarr(folder):
        return None
    try:
        metadata = read_metadata(folder)
        levels: list[Any] = list(open_levels(folder, metadata))
        shown = store.note.channels
        if "C" in metadata.axes and "C" not in record.axes and shown is not None:
            axis, channel = metadata.axes.index("C"), shown[0]
            if not isinstance(channel, int) or channel >= levels[0].shape[axis]:
                return None
            levels = [OneChannel(level, axis, channel) for level in levels]
        return levels if is_image(record, levels[0]) else None
    except FileError:
        return None
