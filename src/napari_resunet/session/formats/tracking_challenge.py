"""Tracks in the format of the Cell Tracking Challenge: a folder with a mask for each frame.

See https://celltrackingchallenge.net: ``mask000.tif``, … and ``res_track.txt``, with a line
"label begin end parent" for each track.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path, cannot_write, shown
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.store.tiff import write_text
from napari_resunet.tiff_reader import PIXEL_AXES

TRACKS = "res_track.txt"
TRACKS_ENDING = "_ctc"
"""Of the name of the folder."""

MOST_TRACKS = 2**16 - 1
"""Masks are 16-bit."""

NO_PARENT = 0


@dataclass
class _Track:
    """A track without a gap; its parent is what it was before the gap, or what divided."""

    label: int
    begin: int
    end: int
    parent: int


def check_film(path: Path, axes: str, shape: tuple[int, ...]) -> None:
    """Refuse labels that are no film, or several.

    Parameters
    ----------
    path : Path
        Of the image, for the message.
    axes : str
        One letter of "PTZYX" for each dimension of the labels.
    shape : tuple of int
        Of the labels.

    Raises
    ------
    FileError
        If there is no axis of time, or more than one position.
    """
    if "T" not in axes and len(axes) != len(PIXEL_AXES) + 1:
        raise FileError(
            f"{shown(path)} has no axis of time (T), so it has no tracks: name its axes, "
            "or leave the format ctc out."
        )
    if "P" in axes and "T" in axes and shape[axes.index("P")] > 1:
        raise FileError(
            f"{shown(path)} has several positions, but the format ctc takes one film: save "
            "each position as a file of its own, or leave the format out."
        )


def write_tracks(folder: Path, labels: npt.NDArray[Any], layout: LabelsLayout) -> None:
    """Write the tracks of a film, all or nothing.

    The format knows no gaps: where an object is missing for some frames, its track ends,
    and goes on as another track with the first as its parent. The daughters of a division
    have the track that divided as their parent.

    Parameters
    ----------
    folder : Path
        A new folder, or one that is replaced.
    labels : integer array
        Objects with one number through time; 0 and below is background.
    layout : LabelsLayout
        Their axes: T, or else the only axis of the stack, is time.

    Raises
    ------
    FileError
        If the labels are no film, there are more than 65,535 tracks, or a file cannot be
        written.
    """
    check_film(folder, layout.axes, labels.shape)
    frames = _frames(labels, layout.axes)
    tracks, tables = _tracks(folder, frames)
    lines = (f"{t.label} {t.begin} {t.end} {t.parent}\n" for t in tracks)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
            new, old = Path(temporary) / "new", Path(temporary) / "old"
            new.mkdir()
            for number, (frame, table) in enumerate(zip(frames, tables, strict=True)):
                _write_mask(new / mask_name(number, len(frames)), _renamed(frame, table))
            write_text(new / TRACKS, "".join(lines))
            _put_in_place(new, folder, old)
    except OSError as error:
        raise cannot_write(folder, error) from error


def mask_name(number: int, n_frames: int) -> str:
    """Name the mask of a frame: with three digits, or more if the film needs them."""
    return f"mask{number:0{max(3, len(str(n_frames - 1)))}}.tif"


def _frames(labels: npt.NDArray[Any], axes: str) -> npt.NDArray[Any]:
    """Return frames of shape (Y, X), or (Z, Y, X), one after the other."""
    if "P" in axes and "T" in axes:
        labels = labels.squeeze(axes.index("P"))
        axes = axes.replace("P", "")
    stack = [axis for axis in axes if axis not in PIXEL_AXES]
    stack.sort(key=lambda axis: axis != "T")
    return labels.transpose([axes.index(axis) for axis in (*stack, *PIXEL_AXES)])


def _tracks(
    folder: Path, frames: npt.NDArray[Any]
) -> tuple[list[_Track], list[dict[int, int]]]:
    """List tracks without gaps, and for each frame, the track of each label."""
    from napari_resunet.engine.divisions import parents_of

    parents = parents_of(frames)
    tracks: list[_Track] = []
    latest: dict[int, _Track] = {}
    tables: list[dict[int, int]] = []
    for time, frame in enumerate(frames):
        here = [int(label) for label in np.unique(frame) if label > 0]
        for label in here:
            known = latest.get(label)
            if known is None or known.end < time - 1:
                known = known or latest.get(parents.get(label, NO_PARENT))
                parent = NO_PARENT if known is None else known.label
                latest[label] = _Track(len(tracks) + 1, time, time, parent)
                tracks.append(latest[label])
            latest[label].end = time
        tables.append({label: latest[label].label for label in here})
    if len(tracks) > MOST_TRACKS:
        raise FileError(
            f"{shown(folder)} cannot hold {len(tracks)} tracks, because the format ctc "
            f"ends at {MOST_TRACKS}: cut the film, or leave the format out."
        )
    return tracks, tables


def _renamed(frame: npt.NDArray[Any], table: dict[int, int]) -> npt.NDArray[np.uint16]:
    labels, places = np.unique(frame, return_inverse=True)
    names = np.array([table.get(int(label), 0) for label in labels], np.uint16)
    return names[places].reshape(frame.shape)


def _write_mask(path: Path, mask: npt.NDArray[np.uint16]) -> None:
    import tifffile

    with atomic_path(path) as temporary:
        # By default three planes would be written as RGB.
        tifffile.imwrite(temporary, mask, photometric="minisblack", compression="zlib")


def _put_in_place(new: Path, folder: Path, old: Path) -> None:
    """Replace a folder; if that fails, the one that was there is back."""
    if not folder.exists():
        new.rename(folder)
        return
    folder.rename(old)
    try:
        new.rename(folder)
    except OSError:
        old.rename(folder)
        raise
