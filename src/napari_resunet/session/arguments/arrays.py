"""Reads arrays of any library as numpy arrays, and masks of other tools as labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.errors import CorrectionError, ImageError
from napari_resunet.masks import MaskLabels, labels_from_mask
from napari_resunet.network.torch_import import torch
from napari_resunet.session.arguments.values import channels_of, of_type
from napari_resunet.types import ModelInfo


def reader_of(image: Any, axes: Any, channels: Any) -> ImageReader:
    """Make a reader for an image of any library; a lazy image stays lazy."""
    if axes is not None:
        of_type("axes", axes, str, "a string with one letter for each dimension")
    return ImageReader([image_of(image)], axes, channels_of(channels))


def image_of(image: Any) -> Any:
    """Take an image as it is, or read it as an array; a lazy image stays lazy."""
    if isinstance(image, torch.Tensor):
        return _from_torch(image)
    if isinstance(image, np.ma.MaskedArray):
        raise _masked("image", ImageError)
    if hasattr(image, "dtype") and hasattr(image, "shape"):
        return image
    return array_of("image", image, ImageError)


def _from_torch(image: torch.Tensor) -> npt.NDArray[Any]:
    try:
        return image.detach().cpu().numpy()
    except (TypeError, RuntimeError) as error:
        raise ImageError(
            f"A tensor of {image.dtype} cannot be used as an image: give a numpy array."
        ) from error


def array_of(name: str, value: Any, kind: type[CorrectionError | ImageError]) -> Any:
    """Read an array of any library, or nested lists, into memory."""
    if isinstance(value, np.ma.MaskedArray):
        raise _masked(name, kind)
    try:
        if isinstance(value, torch.Tensor):
            value = value.detach().cpu()
        return np.asarray(value)
    except MemoryError:
        raise
    except Exception as error:  # each library has errors of its own
        raise kind(
            f"The {name} cannot be read as an array: give a numpy array, with one number "
            "for each pixel."
        ) from error


def labels_of(labels: Any, info: ModelInfo | None = None) -> MaskLabels:
    """Read labels, or a mask of another tool; without `info`, as labels of objects."""
    array = array_of("labels image", labels, CorrectionError)
    if info is None:
        return labels_from_mask(array)
    return labels_from_mask(array, info.task, info.n_maps)


def _masked(name: str, kind: type[CorrectionError | ImageError]) -> Any:
    return kind(
        f"The {name} is a masked array, whose mask would be lost: fill it first, for "
        "example with .filled(0)."
    )
