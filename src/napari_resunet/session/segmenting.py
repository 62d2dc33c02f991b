"""Segmenting files, for the command line: read, segment, write labels and their note."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_resunet._package import starter_path
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import FileError, ImageError
from napari_resunet.files import cannot_write, check_regular, plain_name, read_stored, shown
from napari_resunet.network.model_file import Model
from napari_resunet.session.api import STARTER, OnEvent, segment_planes
from napari_resunet.session.export import (
    describe_labels,
    export_labels,
    note_path,
    record_of_model,
    written_before,
)
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.content_hash import content_hash
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import DeviceChoice, LabelArray, Notice


@dataclass(frozen=True)
class SegmentRequest:
    """What is the same for all files.

    Attributes
    ----------
    output : Path
        Folder of the labels.
    model : str
        "starter" or the path of the model file.
    axes : str or None
        One letter of "PTZCYXS" for each dimension; None takes the file's word.
    channels : tuple of int or None
        Which feed the network.
    scale : float or None
        Factor from image to working pixels; None estimates it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    overwrite : bool
        Whether labels that somebody changed, or of others, may be replaced.
    """

    output: Path
    model: str = STARTER
    axes: str | None = None
    channels: tuple[int, ...] | None = None
    scale: float | None = None
    device: DeviceChoice = "auto"
    overwrite: bool = False


def output_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Name the labels of each image, no two alike.

    Parameters
    ----------
    images : sequence of Path
        Files.
    folder : Path
        Of the labels.

    Returns
    -------
    dict of Path to Path
        The labels by the image, each image once: ``NAME_labels.tif``; where several
        images have the same name without its ending, ``FOLDER_NAME_ENDING_labels.tif``,
        with as many folders as tell them apart.

    Raises
    ------
    FileError
        If they cannot be told apart.
    """
    whole = {Path(os.path.realpath(path)): path for path in reversed(images)}
    names = {path: path.stem for path in reversed(whole)}
    longest = max((len(path.parts) for path in whole), default=0)
    for n_folders in range(1, longest):
        alike = _alike(names)
        if not alike:
            break
        names |= {path: _long_name(path, n_folders) for path in alike}
    if alike := _alike(names):
        raise FileError(
            f"The labels of {shown(whole[alike[0]])} and of another image would have the "
            "same name: segment the two in runs of their own, with another -o."
        )
    return {whole[path]: folder / f"{name}_labels.tif" for path, name in names.items()}


def _alike(names: dict[Path, str]) -> list[Path]:
    """List the images whose names differ by upper and lower case at most."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        by_name[name.casefold()].append(path)
    return [path for paths in by_name.values() if len(paths) > 1 for path in paths]


def _long_name(path: Path, n_folders: int) -> str:
    folders = [part.strip("/:\\") for part in path.parts[-1 - n_folders : -1]]
    return "_".join([*filter(None, folders), path.stem, path.suffix[1:]])


def segment_file(
    path: Path, target: Path, model: Model, request: SegmentRequest, on_event: OnEvent
) -> int:
    """Write the labels of an image, and next to them how they were made.

    Parameters
    ----------
    path : Path
        Of the image.
    target : Path
        Of the labels; see `output_paths`.
    model : Model
        The one that the request names.
    request : SegmentRequest
        How, and where to.
    on_event : callable
        Called with each Progress and Notice.

    Returns
    -------
    int
        The number of labels.

    Raises
    ------
    FileError, ImageError, DeviceError, OutOfMemoryError
    """
    source = plain_name(Path(os.path.realpath(path)))
    check_regular(path)
    _check_free(target, source, request)
    stored = read_stored(path, request.axes)
    for notice in stored.notices:
        on_event(Notice(f"{shown(path)}: {notice}"))
    try:
        planes = ImageReader([stored.array], stored.axes, request.channels)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error
    labels, scale = segment_planes(
        planes, model, scale=request.scale, device=request.device, on_event=on_event
    )
    about = _describe(path, stored, planes, labels, scale, request, model)
    _check_free(target, source, request)  # it took a while
    export_labels(target, labels, about, overwrite=request.overwrite)
    return int(about["n_objects"])


def _check_free(target: Path, source: str, request: SegmentRequest) -> None:
    try:
        there = [path for path in (target, note_path(target)) if path.exists()]
    except OSError as error:  # a name that is too long, for instance
        raise cannot_write(target, error) from error
    if there and not request.overwrite and not written_before(target, source):
        raise FileError(
            f"{shown(there[0])} is there already, and not as an earlier run on this image "
            "wrote it: give another folder with -o, or --overwrite."
        )


def _describe(
    path: Path,
    stored: StoredImage,
    planes: ImageReader,
    labels: LabelArray,
    scale: float | None,
    request: SegmentRequest,
    model: Model,
) -> dict[str, Any]:
    rgb = planes.axes.endswith("YXS")
    image = ImageRecord(
        name=plain_name(Path(path.stem)),
        shape=stored.array.shape,
        dtype=str(stored.array.dtype),
        # The samples of planar colours are channels: a record knows them last only.
        axes=planes.axes if rgb else planes.axes.replace("S", "C"),
        rgb=rgb,
        source=plain_name(Path(os.path.realpath(path))),
        content_hash=content_hash(stored.array),
        channels=tuple(planes.channels),
        object_scale=scale,
    )
    settings = Settings(device=request.device, scope="stack")
    return describe_labels(image, _version(model, request.model), settings, labels, None)


def _version(model: Model, name: str) -> VersionRecord:
    starter = name == STARTER
    record = record_of_model(model.info, STARTER if starter else "loaded")
    sha256 = file_hash(starter_path() if starter else Path(name))
    return record.model_copy(update={"sha256": sha256})
