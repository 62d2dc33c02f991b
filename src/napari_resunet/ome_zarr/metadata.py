"""What an OME-Zarr says of itself: which images it holds, their axes, levels, and scales.

No pixels are read here, and finding images needs no other library.
"""

from __future__ import annotations

import json
import math
import re
import stat
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_resunet.errors import FileError
from napari_resunet.files import plain, shown
from napari_resunet.types import PIXEL_SIZES

SUFFIX = ".zarr"
GROUP_FILES = ("zarr.json", ".zattrs")
"""Where the attributes of a group are: in zarr 3, and in zarr 2."""

VERSIONS = {3: "0.5", 2: "0.4"}
"""NGFF versions that can be read, by the format of zarr."""

MAX_METADATA = 2**24
"""Bytes of a metadata file."""

MAX_IMAGES = 10**5
"""Images of a plate."""

MICROMETRES = {
    "angstrom": 1e-4, "picometer": 1e-6, "nanometer": 1e-3, "micrometer": 1.0,
    "millimeter": 1e3, "centimeter": 1e4, "decimeter": 1e5, "meter": 1e6, "inch": 25_400.0,
}  # fmt: skip
SECONDS = {"millisecond": 1e-3, "second": 1.0, "minute": 60.0, "hour": 3600.0}
SPACE = "ZYX"
INSTALL = 'OME-Zarr needs two more packages: run pip install "napari-resunet[zarr]".'


@dataclass(frozen=True, eq=False)
class ImageMetadata:
    """What an image of an OME-Zarr says of itself.

    Attributes
    ----------
    version : {"0.4", "0.5"}
        Of NGFF.
    axes : str
        One letter of "TCZYXP" for each dimension.
    multiscale : yaozarrs.v04.Multiscale or yaozarrs.v05.Multiscale
        The checked metadata of its resolution levels.
    channels : tuple of str
        Names of the channels; empty if they are not named.
    notices : tuple of str
        What is left out, one sentence each.
    """

    version: str
    axes: str
    multiscale: Any
    channels: tuple[str, ...]
    notices: tuple[str, ...]

    @property
    def paths(self) -> tuple[str, ...]:
        """Path of each level's array below the image, the finest first."""
        return tuple(dataset.path for dataset in self.multiscale.datasets)

    def pixel_size(self, level: int) -> float | None:
        """Return the side of a pixel of a level in micrometres, if it is stated."""
        steps = self.steps(level)
        side = math.sqrt(steps.get("Y", 0) * steps.get("X", 0))
        return side if PIXEL_SIZES[0] <= side <= PIXEL_SIZES[1] else None

    def steps(self, level: int) -> dict[str, float]:
        """Return the steps from pixel to pixel of a level, as far as they are stated.

        In micrometres along X, Y, and Z, and in seconds along T.
        """
        found = {}
        scales = [self.multiscale.datasets[level].coordinateTransformations]
        scales.append(self.multiscale.coordinateTransformations or [])
        for i, name in enumerate(self.axes):
            units = MICROMETRES if name in SPACE else SECONDS if name == "T" else {}
            unit = units.get(str(self.multiscale.axes[i].unit))
            factor = math.prod(t.scale[i] for ts in scales for t in ts if t.type == "scale")
            if unit is not None and PIXEL_SIZES[0] <= factor * unit <= PIXEL_SIZES[1]:
                found[name] = factor * unit
        return found


def is_ome_zarr(folder: Path) -> bool:
    """Return whether a folder is named as a Zarr, or holds metadata of OME-Zarr."""
    try:
        if not folder.is_dir():
            return False
        if folder.suffix.lower() == SUFFIX:
            return True
        return bool(_image_keys(read_ome(folder)[1]))
    except (FileError, OSError, ValueError):
        return False


def store_of(path: Path) -> Path:
    """Return the OME-Zarr whose metadata file a path is; any other path as it is.

    Dialogs for files show no folders to choose, but the file in them.
    """
    is_inside = path.name in GROUP_FILES and is_ome_zarr(path.parent)
    return path.parent if is_inside else path


def lies_in_store(path: str) -> bool:
    """Return whether a path is named as a Zarr, or as something inside of one."""
    return any(part.lower().endswith(SUFFIX) for part in re.split(r"[/\\]", path))


def images_in(store: Path) -> list[Path]:
    """List the images of an OME-Zarr: itself, or those of a plate or a collection.

    Parameters
    ----------
    store : Path
        A folder.

    Returns
    -------
    list of Path
        The folders of the images, in the order of the plate or collection. A store that
        says nothing of images stands for itself, so that reading it says why.

    Raises
    ------
    FileError
        If the metadata is damaged, or a plate or collection holds no image.
    """
    _, ome = read_ome(store)
    keys = _image_keys(ome)
    if not keys or "multiscales" in keys:
        return [store]
    found = list(_images_of_plate(store, ome) if "plate" in keys else _series(store, ome))
    if not found:
        raise FileError(f"{shown(store)} holds no image: check that it was copied whole.")
    return found


def _image_keys(ome: dict[str, Any]) -> set[str]:
    return {"multiscales", "plate", "well", "bioformats2raw.layout"} & ome.keys()


def _images_of_plate(store: Path, ome: dict[str, Any]) -> Iterator[Path]:
    n = 0
    for well in _items(ome.get("plate"), "wells"):
        folder = inside(store, well.get("path"))
        for path in _fields(folder, read_ome(folder)[1]):
            n += 1
            if n > MAX_IMAGES:
                raise damaged(store, f"its plate names more than {MAX_IMAGES} images")
            yield path


def _fields(folder: Path, ome: dict[str, Any]) -> Iterator[Path]:
    for image in _items(ome.get("well"), "images"):
        yield inside(folder, image.get("path"))


def _series(store: Path, ome: dict[str, Any]) -> list[Path]:
    """List the images of a well, or of what bioformats2raw writes: folders 0, 1, 2, …."""
    if "well" in ome:
        return list(_fields(store, ome))
    numbered = [p for p in store.iterdir() if re.fullmatch("[0-9]{1,9}", p.name)]
    return sorted((p for p in numbered if p.is_dir()), key=lambda p: int(p.name))


def _items(parent: Any, key: str) -> list[dict[str, Any]]:
    items = parent.get(key) if isinstance(parent, dict) else None
    return [i for i in items if isinstance(i, dict)] if isinstance(items, list) else []


def read_metadata(folder: Path) -> ImageMetadata:
    """Read and check the metadata of an image.

    Parameters
    ----------
    folder : Path
        The folder of the image.

    Returns
    -------
    ImageMetadata

    Raises
    ------
    FileError
        If it is missing, damaged, of another version, not an image, or if yaozarrs is not
        installed.
    """
    zarr_format, ome = read_ome(folder)
    stated = ome.get("multiscales")
    if not isinstance(stated, list) or not stated:
        raise FileError(
            f"{shown(folder)} says nothing of an image: give the folder of an OME-Zarr "
            "image (NGFF 0.4 or 0.5)."
        )
    version = _version(folder, zarr_format, ome)
    multiscale = _checked(folder, version, stated[0])
    for path in (dataset.path for dataset in multiscale.datasets):
        inside(folder, path)
    n_more = len(stated) - 1
    notices = (f"It holds {n_more + 1} images in one: only the first was read.",)
    axes = _letters(folder, multiscale.axes)
    return ImageMetadata(
        version, axes, multiscale, _channel_names(ome), notices if n_more else ()
    )


def _version(folder: Path, zarr_format: int, ome: dict[str, Any]) -> str:
    first = ome["multiscales"][0]
    inner = first.get("version") if isinstance(first, dict) else None
    stated = ome.get("version", inner) if zarr_format == 3 else inner
    version = VERSIONS[zarr_format]
    if stated not in (None, version):
        raise FileError(
            f"{shown(folder)} is of NGFF version {plain(str(stated))[:20]}, and only 0.4 "
            "and 0.5 can be read: convert it first."
        )
    return version


def _checked(folder: Path, version: str, stated: Any) -> Any:
    """Let yaozarrs check the metadata of the levels."""
    try:
        from yaozarrs import v04, v05
    except ImportError as error:
        raise FileError(INSTALL) from error
    model = v05.Multiscale if version == "0.5" else v04.Multiscale
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of unusual units, which are read as unknown
            multiscale = model.model_validate(stated)
    except (ValueError, RecursionError) as error:
        raise damaged(folder, f"its metadata is not that of NGFF {version}") from error
    if not all(_is_finite(t) for d in multiscale.datasets for t in _transformations(d)):
        raise damaged(folder, "its scales are no positive numbers")
    return multiscale


def _transformations(dataset: Any) -> list[Any]:
    return list(dataset.coordinateTransformations)


def _is_finite(transformation: Any) -> bool:
    if transformation.type == "scale":
        return all(math.isfinite(x) and x > 0 for x in transformation.scale)
    return all(map(math.isfinite, transformation.translation))


def _letters(folder: Path, axes: list[Any]) -> str:
    kinds = [axis.type for axis in axes]
    space = iter(SPACE[-kinds.count("space") :])
    known = {"time": "T", "channel": "C"}
    letters = [next(space) if k == "space" else known.get(str(k), "P") for k in kinds]
    if len(set(letters)) < len(letters):
        raise damaged(folder, "two of its axes are of the same kind")
    return "".join(letters)


def _channel_names(ome: dict[str, Any]) -> tuple[str, ...]:
    names = [str(c.get("label") or "") for c in _items(ome.get("omero"), "channels")]
    return tuple(names) if all(names) else ()


def read_ome(folder: Path) -> tuple[int, dict[str, Any]]:
    """Read the format of zarr and the OME attributes of a group.

    Raises
    ------
    FileError
        If there are none, or they are damaged.
    """
    for name, zarr_format in zip(GROUP_FILES, VERSIONS, strict=True):
        path = folder / name
        if path.exists():
            document = read_json(path)
            ome: Any = document
            for key in ("attributes", "ome") if zarr_format == 3 else ():
                ome = ome.get(key) if isinstance(ome, dict) else None
            return zarr_format, ome if isinstance(ome, dict) else {}
    raise FileError(
        f"{shown(folder)} holds no metadata of OME-Zarr: check that it was copied whole, "
        "with its hidden files."
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a metadata file of limited size.

    Raises
    ------
    FileError
        If it is missing, too large, or not a JSON object.
    """
    try:
        about = path.stat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > MAX_METADATA:
            raise damaged(path.parent, f"{shown(path.name)} is no metadata file")
        document = json.loads(path.read_bytes())
    except OSError as error:
        reason = error.strerror or plain(error)
        raise damaged(path.parent, f"{shown(path.name)}: {reason}") from error
    except (ValueError, RecursionError) as error:
        raise damaged(path.parent, f"{shown(path.name)} is no JSON") from error
    if not isinstance(document, dict):
        raise damaged(path.parent, f"{shown(path.name)} is no JSON object")
    return document


def inside(folder: Path, path: Any) -> Path:
    """Join a path that metadata names.

    Raises
    ------
    FileError
        If it is not a plain path below the folder: a URL, for instance, or one with "..".
    """
    parts = path.split("/") if isinstance(path, str) else [""]
    if any(p in ("", ".", "..") or set(p) & set('\\:*?"<>|\0') for p in parts):
        raise damaged(folder, f"it names {shown(str(path)[:60])}, which is not inside it")
    return folder.joinpath(*parts)


def damaged(folder: Path, why: str) -> FileError:
    """Make the error for a store that is not what it should be."""
    return FileError(
        f"{shown(folder)} cannot be read as an OME-Zarr ({why}): if another program opens "
        "it, save it there again."
    )
