"""Writes labels into a new OME-Zarr piece by piece, with coarser levels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy.typing as npt

from napari_resunet.ome_zarr.image_labels import Place, create_array
from napari_resunet.ome_zarr.labels import HASH, NOTE, labels_hash, write_group

UNITS = {"Z": "micrometer", "Y": "micrometer", "X": "micrometer", "T": "second"}
KINDS = {"T": "time", "Z": "space", "Y": "space", "X": "space"}


@dataclass(frozen=True)
class LabelPyramid:
    """Labels at several resolution levels; rows and columns halve from one to the next.

    Attributes
    ----------
    folder : Path
        Where they are written.
    shape : tuple of int
        Of the finest level; rows and columns last.
    axes : str
        One letter of "TZPYX" for each dimension.
    chunk : int
        Rows and columns of a chunk.
    version : {"0.4", "0.5"}
        Of NGFF.
    steps : mapping of str to float
        From pixel to pixel of the finest level along X, Y, and Z in micrometres, and along
        T in seconds; 1 where it is not known.
    """

    folder: Path
    shape: tuple[int, ...]
    axes: str
    chunk: int
    version: str = "0.5"
    steps: Mapping[str, float] = field(default_factory=dict)
    base: ClassVar[int] = 0
    """The level that is written first."""

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shape of each level, down to a single chunk."""
        found = [self.shape]
        while max(found[-1][-2:]) > self.chunk:
            *stack, height, width = found[-1]
            found.append((*stack, -(-height // 2), -(-width // 2)))
        return found

    def create(self, dtype: npt.DTypeLike) -> None:
        """Create the arrays, empty."""
        names = [axis.lower() for axis in self.axes]
        for i, shape in enumerate(self.shapes):
            create_array(
                self.folder / str(i), shape, dtype, self.version, names, self.chunk
            )

    def write(self, level: int, where: Place, labels: npt.NDArray[Any]) -> None:
        """Write a part of a level; two parts of one chunk only one after the other."""
        self._open(level)[where] = labels

    def resample(
        self, level: int, index: tuple[int, ...], rows: slice, columns: slice
    ) -> None:
        """Write a part of a level from every second pixel of the finer one."""
        finer = self._open(level - 1)
        twice = (slice(2 * s.start, 2 * s.stop) for s in (rows, columns))
        self._open(level)[(*index, rows, columns)] = finer[(*index, *twice)][::2, ::2]

    def finish(self, about: Mapping[str, Any]) -> None:
        """Write the metadata, which makes it an image that other programs open.

        Parameters
        ----------
        about : mapping
            How the labels were made, as JSON can hold it.
        """
        from yaozarrs import v04, v05

        multiscale = {
            "name": "labels",
            "type": "nearest",
            "axes": [_axis(letter, self.steps) for letter in self.axes],
            "datasets": [
                {
                    "path": str(i),
                    "coordinateTransformations": _place(self.axes, self.steps, i),
                }
                for i in range(len(self.shapes))
            ],
        }
        stated = {"multiscales": [multiscale], "image-label": {"version": self.version}}
        model = v05.LabelImage if self.version == "0.5" else v04.LabelImage
        if self.version == "0.5":
            stated["version"] = self.version
        else:
            multiscale["version"] = self.version
        checked = model.model_validate(stated).model_dump(mode="json", exclude_none=True)
        ome = {"ome": checked} if self.version == "0.5" else checked
        note = {**about, HASH: labels_hash(self.folder)}
        write_group(self.folder, self.version, {**ome, NOTE: note})

    def _open(self, level: int) -> Any:
        import zarr

        return zarr.open_array(str(self.folder / str(level)), mode="r+")


def _axis(letter: str, steps: Mapping[str, float]) -> dict[str, str]:
    axis = {"name": letter.lower()}
    if letter in KINDS:
        axis["type"] = KINDS[letter]
    return axis | ({"unit": UNITS[letter]} if letter in steps else {})


def _place(axes: str, steps: Mapping[str, float], level: int) -> Sequence[dict[str, Any]]:
    """Scale and place of a level: its first pixel stands for several of the finest."""
    sides = [steps.get(letter, 1.0) for letter in axes]
    factors = [2**level if letter in "YX" else 1 for letter in axes]
    scale = [side * factor for side, factor in zip(sides, factors, strict=True)]
    offset = [s * (f - 1) / 2 for s, f in zip(sides, factors, strict=True)]
    return [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": offset},
    ]
