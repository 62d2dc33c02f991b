"""Segmenting files, for the command line: read, segment, write labels and their note."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_resunet.engine.planes import Planes
from napari_resunet.files import read_image
from napari_resunet.network.model_file import Model
from napari_resunet.resources import starter_path
from napari_resunet.session.api import STARTER, OnEvent, segment_planes
from napari_resunet.session.export import describe_labels, export_labels, record_of_model
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.content_hash import content_hash
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.types import DeviceChoice


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
        One letter of "TZCYXS" for each dimension; None guesses.
    channels : tuple of int or None
        Which feed the network.
    scale : float or None
        Factor from image to working pixels; None estimates it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    """

    output: Path
    model: str = STARTER
    axes: str | None = None
    channels: tuple[int, ...] | None = None
    scale: float | None = None
    device: DeviceChoice = "auto"


def segment_file(
    path: Path, model: Model, request: SegmentRequest, on_event: OnEvent
) -> tuple[Path, int]:
    """Write the labels of an image, and beside them how they were made.

    Parameters
    ----------
    path : Path
        Of the image.
    model : Model
        The one that the request names.
    request : SegmentRequest
        How, and where to.
    on_event : callable
        Called with each Progress and Notice.

    Returns
    -------
    path : Path
        Of the labels.
    n_labels : int

    Raises
    ------
    FileError, ImageError, DeviceError, OutOfMemoryError
    """
    array = read_image(path)
    planes = Planes([array], request.axes, request.channels)
    labels, scale = segment_planes(
        planes, model, scale=request.scale, device=request.device, on_event=on_event
    )
    image = ImageRecord(
        name=path.stem,
        shape=array.shape,
        dtype=str(array.dtype),
        axes=planes.axes,
        rgb=planes.is_rgb,
        source=str(path.resolve()),
        content_hash=content_hash(array),
        channels=tuple(planes.channels),
        object_scale=scale,
    )
    settings = Settings(device=request.device, scope="stack")
    about = describe_labels(image, _version(model, request.model), settings, labels, None)
    target = request.output / f"{path.stem}_labels.tif"
    export_labels(target, labels, about)
    return target, about["n_objects"]


def _version(model: Model, name: str) -> VersionRecord:
    starter = name == STARTER
    record = record_of_model(model.info, STARTER if starter else "loaded")
    sha256 = file_hash(starter_path() if starter else Path(name))
    return record.model_copy(update={"sha256": sha256})
