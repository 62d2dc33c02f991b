"""Good images with bits flipped, ends cut off, parts zeroed, and tags that lie."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import tifffile

from attacks import files_other, files_tiff
from attacks.expected import Expected
from attacks.program import crop

Rng = np.random.Generator
Made = tuple[str, Path, Expected]
WHOLE = (files_tiff.plain, files_tiff.layout, files_tiff.imagej, files_tiff.ome,
         files_tiff.codecs, files_tiff.colours, files_other.png,
         files_other.jpeg)  # fmt: skip


def make(rng: Rng, folder: Path) -> Made:
    """Write a damaged file."""
    return _lying(rng, folder) if rng.random() < 0.15 else _damaged(rng, folder)


def _damaged(rng: Rng, folder: Path) -> Made:
    what, path, expected = WHOLE[int(rng.integers(len(WHOLE)))](rng, folder)
    data = bytearray(path.read_bytes())
    kind = str(rng.choice(["flips", "header flips", "cut", "zeros", "doubled"]))
    shape = None
    if kind == "cut":
        del data[int(rng.integers(len(data))) :]
    elif kind == "doubled":
        data = data * 2
    else:
        _spoil(data, kind, rng)
        shape = _labels_shape(expected)
    path.write_bytes(data)
    if kind in ("cut", "doubled"):
        # The rest may still be complete: then the labels are those of the whole.
        return f"{what}, {kind}", path, Expected(expected.arrays)
    # Damaged tags may state another shape, or other channels.
    shapes = [] if shape is None else [shape]
    for array in (expected.arrays[0][0], _independent(path)):
        shapes += [] if array is None else _without_channels(array.shape)
    return f"{what}, {kind}", path, Expected(shapes=shapes)


def _without_channels(shape: tuple[int, ...]) -> list[tuple[int, ...]]:
    """List the possible shapes of the labels, with any channel axis or none."""
    return [shape, *((*shape[:axis], *shape[axis + 1 :]) for axis in range(len(shape)))]


def _spoil(data: bytearray, kind: str, rng: Rng) -> None:
    end = min(len(data), 400) if kind == "header flips" else len(data)
    if kind == "zeros":
        begin = int(rng.integers(len(data)))
        data[begin : begin + 64] = bytes(len(data[begin : begin + 64]))
        return
    for _ in range(int(rng.integers(1, 9))):
        data[int(rng.integers(end))] ^= 1 << int(rng.integers(8))


def _labels_shape(expected: Expected) -> tuple[int, ...] | None:
    array, axes = expected.arrays[0]
    kept = (n for n, a in zip(array.shape, axes or "", strict=True) if a not in "CS")
    return tuple(n for n in kept if n > 1)


def _independent(path: Path) -> np.ndarray | None:
    """Read with the TIFF library alone, to find out what the tags say."""
    if not path.suffix.lower().startswith(".tif"):
        return None
    try:
        with tifffile.TiffFile(path) as tiff:
            series = tiff.series[0]
            kept = [
                n for n, a in zip(series.shape, series.axes, strict=True) if a not in "CS"
            ]
            if np.prod(kept) > 2**24:
                return None
            return np.broadcast_to(np.uint8(0), [n for n in kept if n > 1])
    except Exception:  # noqa: BLE001 it may be anything
        return None


def _lying(rng: Rng, folder: Path) -> Made:
    """Write a TIFF whose tags say that it is huge."""
    path = folder / "lying.tif"
    tifffile.imwrite(path, crop(rng, 60, 64)[0])
    with tifffile.TiffFile(path) as tiff:
        tags = {n: tiff.pages[0].tags[n] for n in ("ImageWidth", "ImageLength")}
        places = {n: (t.valueoffset, t.dtype) for n, t in tags.items()}
    data = bytearray(path.read_bytes())
    side = int(rng.choice([30_000, 65_535]))
    for offset, dtype in places.values():
        short = int(dtype) == 3
        struct.pack_into("<H" if short else "<I", data, offset,
                         side if short else side * int(rng.choice([1, 1000])))  # fmt: skip
    path.write_bytes(data)
    return f"tags of {side} pixels and more", path, Expected(must="refuse")
