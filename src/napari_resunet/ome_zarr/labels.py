"""Writes labels into an OME-Zarr image: at all of its levels, and as its NGFF version.

The new labels are complete before they get their name, so a crash leaves the old ones.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.files import atomic_path, shown
from napari_resunet.ome_zarr.consolidated import update_consolidated
from napari_resunet.ome_zarr.image import open_levels
from napari_resunet.ome_zarr.image_labels import SIDE, ImageLabels, nearest, parts_of
from napari_resunet.ome_zarr.metadata import (
    GROUP_FILES,
    ImageMetadata,
    damaged,
    read_json,
    read_metadata,
)

FOLDER = "labels"
NOTE = "napari-resunet"
"""Key of our description, beside the attributes of OME."""

HASH = "labels_sha256"
"""Key of the hash of the arrays as written, in our description."""

TEMPORARY = ".resunet-labels-"
"""How the names of folders begin in which labels are written."""

DAY = 24 * 3600
Labels = npt.NDArray[Any]


def labels_path(image: Path, name: str) -> Path:
    """Return the folder of labels in an image."""
    return image / FOLDER / name


def read_label_note(image: Path, name: str) -> dict[str, Any] | None:
    """Read our description of labels in an image; None if they are not ours.

    Labels that a crash left aside are put back first.
    """
    folder = labels_path(image, name)
    _put_back(folder)
    try:
        attributes = own_attributes(folder)
    except FileError:
        return None
    return None if attributes is None else attributes[NOTE]


def own_attributes(folder: Path) -> dict[str, Any] | None:
    """Read the attributes of labels with our description; None if they are not ours.

    Raises
    ------
    FileError
        If they are damaged.
    """
    for name in GROUP_FILES:
        if (folder / name).exists():
            document = read_json(folder / name)
            attributes = document.get("attributes") if name == GROUP_FILES[0] else document
            note = attributes.get(NOTE) if isinstance(attributes, dict) else None
            return attributes if isinstance(note, dict) else None
    return None


def labels_hash(folder: Path) -> str:
    """Hash the arrays of labels, names and contents, as SHA-256.

    Raises
    ------
    OSError
        If something there is no file that can be read.
    """
    digest = hashlib.sha256()
    for where, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names) if Path(where) != folder else ():
            path = Path(where, name)
            if not path.is_file():  # a pipe may never end
                raise OSError(errno.EINVAL, "not a file", str(path))
            with path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
            digest.update(f"{path.relative_to(folder).as_posix()} {content}\n".encode())
    return digest.hexdigest()


def fitting_shape(image: Path, labels: Labels) -> tuple[int, ...]:
    """Find the level whose size labels have; return its shape without channels.

    Parameters
    ----------
    image : Path
        The folder of the image.
    labels : integer array
        The labels; axes of length 1 may be left out or added.

    Raises
    ------
    FileError
        If the image is damaged.
    CorrectionError
        If no level has that size.
    """
    shapes = _shapes(image, read_metadata(image))
    wanted = [n for n in labels.shape if n != 1]
    for shape in shapes:
        if [n for n in shape if n != 1] == wanted:
            return shape
    raise CorrectionError(
        f"The labels are of shape {labels.shape}, and the image {shown(image)} is of shape "
        f"{shapes[0]} without its channels: give labels of the same size."
    )


def write_labels(image: Path, name: str, labels: Labels, about: Mapping[str, Any]) -> Path:
    """Write labels into an image, in the place of labels of the same name.

    Parameters
    ----------
    image : Path
        The folder of the image.
    name : str
        Name of the labels.
    labels : integer array, shape of a level of the image without channels
        Not negative. Each level gets the nearest label.
    about : mapping
        How the labels were made, as JSON can hold it.

    Returns
    -------
    Path
        The folder of the labels.

    Raises
    ------
    CorrectionError
        If the labels have another size than the image.
    FileError
        If the image is damaged.
    OSError
        If the image cannot be written.
    """
    labels = labels.reshape(fitting_shape(image, labels))
    check_place(image, name)
    _sweep(image)
    temporary = Path(tempfile.mkdtemp(prefix=TEMPORARY, dir=image))
    try:
        new = labels_for(image, temporary / name)
        _write_arrays(new, labels)
        describe_labels(image, new.folder, name, about)
        place_labels(image, name, new.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return labels_path(image, name)


def labels_for(image: Path, folder: Path, base: int = 0) -> ImageLabels:
    """Return labels for the levels of an image, to be written into a folder.

    Raises
    ------
    FileError
        If the image is damaged.
    """
    metadata = read_metadata(image)
    names = tuple(axis["name"] for axis in _stated(metadata)["axes"])
    shapes = tuple(_shapes(image, metadata))
    return ImageLabels(folder, shapes, names, metadata.version, base)


def check_place(image: Path, name: str) -> None:
    """Check that labels of a name can get their place in an image.

    Raises
    ------
    FileError
        If what the image says of its labels is damaged.
    """
    target = labels_path(image, name)
    if target.parent.is_symlink():
        raise damaged(image, "its labels are a link to another place")
    _put_back(target)
    _registered(image, read_metadata(image).version, name)


def describe_labels(image: Path, new: Path, name: str, about: Mapping[str, Any]) -> None:
    """Write the metadata of labels whose arrays are whole, and sync them to the disk.

    Parameters
    ----------
    image : Path
        The folder of the image.
    new : Path
        The folder of the labels.
    name : str
        Their name.
    about : mapping
        How they were made, as JSON can hold it.
    """
    metadata, note = read_metadata(image), {**about, HASH: labels_hash(new)}
    write_group(new, metadata.version, _attributes(metadata, name, note))
    sync_files(new)


def place_labels(image: Path, name: str, new: Path) -> None:
    """Give labels that are whole their place in an image, and then list them there.

    Parameters
    ----------
    image : Path
        The folder of the image.
    name : str
        Name of the labels; others of that name are removed.
    new : Path
        The folder of the labels, on the same disk.
    """
    target, version = labels_path(image, name), read_metadata(image).version
    target.parent.mkdir(exist_ok=True)
    _replace(new, target)
    write_group(target.parent, version, _registered(image, version, name))
    update_consolidated(image, target)


def _shapes(image: Path, metadata: ImageMetadata) -> list[tuple[int, ...]]:
    """List the shapes of the levels without channels."""
    levels = [level.shape for level in open_levels(image, metadata)]
    keep = [i for i, axis in enumerate(metadata.axes) if axis != "C"]
    return [tuple(shape[i] for i in keep) for shape in levels]


def _write_arrays(new: ImageLabels, labels: Labels) -> None:
    new.create(np.uint16 if labels.max(initial=0) < 2**16 else np.uint32)
    for level, shape in enumerate(new.shapes):
        for index, rows, columns in parts_of(shape, SIDE):
            part = nearest(labels, shape, index, rows, columns)
            new.write(level, (*index, rows, columns), part)


def _stated(metadata: ImageMetadata) -> dict[str, Any]:
    """Return the metadata of the levels, without the axis of channels."""
    stated: dict[str, Any] = metadata.multiscale.model_dump(mode="json", exclude_none=True)
    keep = [i for i, axis in enumerate(metadata.axes) if axis != "C"]
    stated["axes"] = [stated["axes"][i] for i in keep]
    for part in [stated, *stated["datasets"]]:
        for transformation in part.get("coordinateTransformations", []):
            kind = transformation["type"]
            transformation[kind] = [transformation[kind][i] for i in keep]
    return stated


def _attributes(
    metadata: ImageMetadata, name: str, note: Mapping[str, Any]
) -> dict[str, Any]:
    """Make the attributes of the labels, and let yaozarrs check those of OME."""
    from yaozarrs import v04, v05

    model = v05.LabelImage if metadata.version == "0.5" else v04.LabelImage
    stated = _stated(metadata) | {"name": name, "type": "nearest"}
    stated.pop("metadata", None)  # which says how the image's levels were made
    for i, dataset in enumerate(stated["datasets"]):
        dataset["path"] = str(i)
    source = {"source": {"image": "../../"}, "version": metadata.version}
    labels = model.model_validate({"multiscales": [stated], "image-label": source})
    ome = labels.model_dump(mode="json", exclude_none=True)
    return {**({"ome": ome} if metadata.version == "0.5" else ome), NOTE: dict(note)}


def _registered(image: Path, version: str, name: str) -> dict[str, Any]:
    """Return the attributes of the group of all labels, with this name among them."""
    folder, v3 = image / FOLDER, version == "0.5"
    path = folder / ("zarr.json" if v3 else ".zattrs")
    document = read_json(path) if path.exists() else {}
    attributes = document.get("attributes", {}) if v3 else document
    ome = attributes.get("ome", {}) if v3 and isinstance(attributes, dict) else attributes
    names = ome.get("labels", []) if isinstance(ome, dict) else None
    if not isinstance(names, list):
        raise damaged(folder, "its list of labels is no list")
    listed = {**ome, "labels": [*names, *([] if name in names else [name])]}
    return {**attributes, "ome": {"version": version, **listed}} if v3 else listed


def write_group(folder: Path, version: str, attributes: Mapping[str, Any]) -> None:
    """Write the metadata of a group, each file all or nothing."""
    if version == "0.5":
        document = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return _write_json(folder / "zarr.json", document)
    _write_json(folder / ".zgroup", {"zarr_format": 2})
    return _write_json(folder / ".zattrs", attributes)


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(document, indent=1), encoding="utf-8")


def _sweep(image: Path) -> None:
    """Remove what programs left that were stopped; a younger one may still be at work."""
    for leftover in image.glob(f"{TEMPORARY}*"):
        if time.time() - leftover.stat().st_mtime > DAY:
            shutil.rmtree(leftover, ignore_errors=True)


def sync_files(folder: Path) -> None:
    """Sync all files of a folder to the disk."""
    for where, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(where, name), "rb+") as stream:
                os.fsync(stream.fileno())


def _aside(target: Path) -> Path:
    return target.with_name(f".{target.name}.before")


def _replace(new: Path, target: Path) -> None:
    """Give new labels their name; the old ones are aside for a moment."""
    aside = _aside(target)
    if target.exists():
        _remove(aside)
        target.rename(aside)
    try:
        new.rename(target)
    except BaseException:
        _put_back(target)
        raise
    _remove(aside)


def _put_back(target: Path) -> None:
    """Give old labels their name again, if new ones did not take it."""
    aside = _aside(target)
    if aside.exists() and not target.exists():
        aside.rename(target)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
