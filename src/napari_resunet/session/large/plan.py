"""What a run on a large image computes: everything that its labels depend on."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from napari_resunet._package import library_versions
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.engine.large_plane import BlockGrid
from napari_resunet.errors import FileError
from napari_resunet.session.image_files import read_image_file
from napari_resunet.types import Decoding, DeviceChoice, Index, Statistics

DEVICES: tuple[DeviceChoice, ...] = ("cuda", "mps", "cpu")
PRECISIONS = "float32", "bfloat16", "float16"
V = TypeVar("V")


@dataclass(frozen=True)
class Asked:
    """What the user asked for, of which file.

    Attributes
    ----------
    source : str
        The image, as an absolute path.
    stamp : dict of str to int
        Size and time of the image, which tell whether it changed.
    level : int
        Its resolution level.
    axes : str or None
        As the user names them; None reads them from the file.
    channels : tuple of int or None
        What the network sees.
    diameter : float or None
        Object size in pixels of the level; None estimates it.
    model_sha256 : str
        Of the model file.
    side : int
        Rows and columns of a block.
    decoding : Decoding
        How maps become labels.
    """

    source: str
    stamp: dict[str, int]
    level: int
    axes: str | None
    channels: tuple[int, ...] | None
    diameter: float | None
    model_sha256: str
    side: int
    decoding: Decoding = field(default_factory=Decoding)

    def open(self) -> ImageReader:
        """Open the image; pixels of a large one are read when they are used."""
        stored = read_image_file(Path(self.source), self.axes, self.level)
        return ImageReader([stored.array], stored.axes, self.channels)

    def as_json(self) -> dict[str, Any]:
        """Return what tells this run from others, with the version of this program."""
        own: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return own | {"version": library_versions()["napari-resunet"]}


@dataclass(frozen=True)
class Block:
    """A block of a stack: the plane, and the place in its grid."""

    plane: int
    row: int
    column: int

    @property
    def name(self) -> str:
        """How its files are named."""
        return f"{self.plane}-{self.row}-{self.column}"


@dataclass(frozen=True)
class Plan:
    """A run whose object size and intensities are known.

    Attributes
    ----------
    asked : Asked
        What the user asked for.
    scale : float
        Rescale factor to network resolution.
    statistics : Statistics
        Intensities of the whole image.
    tile : int
        Largest side of a tile.
    device, precision : str
        Of the network: all blocks have the same, because others round differently.
    objects : bool
        Whether the model finds objects, which are numbered, and not classes.
    stack : tuple of int
        Number of planes along each stack axis.
    height, width : int
        Of a plane, in pixels of the level.
    """

    asked: Asked
    scale: float
    statistics: Statistics
    tile: int
    device: DeviceChoice
    precision: str
    objects: bool
    stack: tuple[int, ...]
    height: int
    width: int

    @cached_property
    def grid(self) -> BlockGrid:
        """Blocks of each plane."""
        rows, columns = (Axis.scaled(n, self.scale) for n in (self.height, self.width))
        return BlockGrid((rows, columns), self.asked.side)

    @property
    def n_planes(self) -> int:
        """Number of planes."""
        return math.prod(self.stack)

    def blocks(self) -> list[Block]:
        """List all blocks, plane by plane and row by row."""
        n_rows, n_columns = self.grid.shape
        return [
            Block(plane, row, column)
            for plane in range(self.n_planes)
            for row in range(n_rows)
            for column in range(n_columns)
        ]

    def index(self, plane: int) -> Index:
        """Return the position of a plane in the stack."""
        index: list[int] = []
        for n in reversed(self.stack):
            plane, i = divmod(plane, n)
            index.insert(0, i)
        return tuple(index)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        measured: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return measured | {"asked": self.asked.as_json()}


def plan_from(document: Any, asked: Asked) -> Plan:
    """Read what an earlier run measured, if it was asked for the same.

    Raises
    ------
    FileError
        If it was asked for something else, or the document is damaged.
    """
    try:
        if document["asked"] != asked.as_json():
            raise FileError(
                "An earlier run that did not finish was on another image, or had another "
                "model or other settings: give the labels another name, or --overwrite."
            )
        return Plan(
            asked=asked,
            scale=_positive(document["scale"]),
            statistics=Statistics(
                _numbers(document["statistics"]["low"]),
                _numbers(document["statistics"]["high"]),
            ),
            tile=int(document["tile"]),
            device=_one_of(DEVICES, document["device"]),
            precision=_one_of(PRECISIONS, document["precision"]),
            objects=bool(document["objects"]),
            stack=tuple(int(n) for n in document["stack"]),
            height=int(document["height"]),
            width=int(document["width"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise FileError(
            "What an earlier run left is damaged: give --overwrite to start again."
        ) from error


def _one_of(known: Sequence[V], value: Any) -> V:
    return known[known.index(value)]


def _positive(value: Any) -> float:
    number = float(value)
    if not 0 < number < math.inf:
        raise ValueError(value)
    return number


def _numbers(values: Sequence[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
