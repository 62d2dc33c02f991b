"""Training images and the square patches cut from them, at the working scale.

Geometry only (position, scale, rotation, mirror); intensities are `augment`'s.
Resizing is the same antialiased triangle filter as in inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from skimage.morphology import isotropic_dilation

from napari_resunet.engine.normalize import normalize, statistics
from napari_resunet.engine.targets import compact, inner_distance, median_diameter
from napari_resunet.errors import CorrectionError
from napari_resunet.network.torch_import import InterpolationMode, torch, transforms
from napari_resunet.types import Example, MaskArray, ModelInfo

IS_COLOUR = 3
ROTATION_MARGIN = 1.42
"""A square turned by any angle covers the patch when it is sqrt(2) times as wide."""

SURROUNDINGS = 0.25
"""In working diameters: so far around what was touched the background counts as much. An
object that alone counted more would be learned too wide."""


@dataclass(frozen=True)
class TrainingImage:
    """A plane made ready to cut patches from.

    Attributes
    ----------
    pixels : float16 array, shape (C, Y, X)
        Normalised.
    labels : int32 array, shape (Y, X)
        Objects or classes.
    distance : float16 array, shape (Y, X)
        Normalised inner distance (zeros for classes).
    weight : float16 array, shape (Y, X)
        0 where the truth is not known.
    scale : float
        Factor from image to working pixels.
    touched : bool array, shape (Y, X), or None
        What the user corrected by hand; the other labels are proposals that were let pass.
        None: all labels are the truth.
    """

    pixels: npt.NDArray[np.float16]
    labels: npt.NDArray[np.int32]
    distance: npt.NDArray[np.float16]
    weight: npt.NDArray[np.float16]
    scale: float
    touched: MaskArray | None = None


class Patch(NamedTuple):
    """A square at the working scale: pixels (C, S, S), the rest (S, S)."""

    pixels: torch.Tensor
    labels: torch.Tensor
    distance: torch.Tensor
    weight: torch.Tensor


def stacked(patches: Sequence[Patch]) -> Patch:
    """Stack patches of one size: pixels (N, C, S, S), the rest (N, S, S)."""
    return Patch(*(torch.stack(parts) for parts in zip(*patches, strict=True)))


@dataclass(frozen=True)
class Geometry:
    """How freely patches are cut: all zero and False cuts them straight.

    Attributes
    ----------
    zoom : float
        Scale is multiplied by 2 to a random power between -zoom and zoom.
    stretch : float
        Likewise, for height against width.
    rotate : bool
        Turn half of the patches by any angle, and all by right angles and mirrors.
    """

    zoom: float = 1.0
    stretch: float = 0.2
    rotate: bool = True


def training_image(
    example: Example, info: ModelInfo, touched_weight: float = 1.0
) -> TrainingImage:
    """Prepare an example: normalise, compute the distance map, weigh.

    Parameters
    ----------
    example : Example
        One plane and its labels.
    info : ModelInfo
        Task, intensity contract and working diameter of the model.
    touched_weight : float
        How much what the user touched counts, and what lies around it.

    Returns
    -------
    TrainingImage

    Raises
    ------
    CorrectionError
        If a label is not one of the model's classes.
    """
    _check_classes(info, example)
    image = example.image if example.image.ndim == 3 else example.image[..., None]
    joint = image.shape[-1] == IS_COLOUR
    measured = example.statistics or statistics(image, info.normalization, joint=joint)
    pixels = normalize(image, measured, info.normalization)
    instances = info.task == "instances"
    labels = np.ascontiguousarray(
        compact(example.labels) if instances else example.labels, dtype=np.int32
    )
    scale = example.scale or scale_from_labels(labels, info)
    weight = np.ones(labels.shape, np.float16)
    if example.touched is not None and example.touched.any():
        # Without a touched pixel the dilation would mark a corner.
        reach = SURROUNDINGS * info.diameter / scale
        weight[isotropic_dilation(example.touched, reach)] = touched_weight
    if example.checked is not None:
        weight[~example.checked] = 0
    distance = inner_distance(labels) if instances else np.zeros(labels.shape)
    return TrainingImage(
        pixels=np.moveaxis(pixels, -1, 0).astype(np.float16),
        labels=labels,
        distance=distance.astype(np.float16),
        weight=weight,
        scale=scale,
        touched=example.touched,
    )


def _check_classes(info: ModelInfo, example: Example) -> None:
    highest = int(example.labels.max(initial=0))
    if info.task == "classes" and highest >= info.n_maps:
        raise CorrectionError(
            f"Label {highest} is not one of this model's {info.n_maps - 1} classes "
            f"({', '.join(info.class_names[1:])}): use the labels 1 to "
            f"{info.n_maps - 1}."
        )


def scale_from_labels(labels: npt.NDArray[Any], info: ModelInfo) -> float:
    """Compute the factor that brings these objects to the working diameter.

    Parameters
    ----------
    labels : integer array, shape (Y, X)
        Objects or classes.
    info : ModelInfo
        The model; for ``classes`` the factor is 1.

    Returns
    -------
    float
        1 where there is no object.
    """
    diameter = median_diameter(labels) if info.task == "instances" else None
    return info.diameter / diameter if diameter else 1.0


def cut_patch(
    image: TrainingImage,
    centre: tuple[float, float],
    size: int,
    geometry: Geometry,
    rng: np.random.Generator,
) -> Patch:
    """Cut one square patch, moved inside the image where it would stand out.

    Parameters
    ----------
    image : TrainingImage
        Where from.
    centre : tuple of float
        Row and column in image pixels.
    size : int
        Side of the patch in working pixels.
    geometry : Geometry
        Random zoom, stretch and rotation.
    rng : numpy Generator
        Source of all chance.

    Returns
    -------
    Patch
        What lies beyond a small image is mirrored, with weight 0.
    """
    zoom = image.scale * 2.0 ** rng.uniform(-geometry.zoom, geometry.zoom)
    stretch = 2.0 ** (rng.uniform(-geometry.stretch, geometry.stretch) / 2)
    turned = geometry.rotate and rng.random() < 0.5
    side = int(np.ceil(size * ROTATION_MARGIN)) if turned else size
    rows = _span(centre[0], side / (zoom * stretch), image.labels.shape[0])
    columns = _span(centre[1], side * stretch / zoom, image.labels.shape[1])
    smooth, sharp = _resized(image, rows, columns, side)
    if turned:
        angle = float(rng.uniform(0, 360))
        smooth = transforms.rotate(smooth, angle, interpolation=InterpolationMode.BILINEAR)
        sharp = transforms.rotate(sharp, angle, interpolation=InterpolationMode.NEAREST)
        smooth = transforms.center_crop(smooth, [size, size])
        sharp = transforms.center_crop(sharp, [size, size])
    if geometry.rotate:
        quarter_turns, mirror = int(rng.integers(4)), rng.random() < 0.5
        smooth, sharp = (_turn(t, quarter_turns, mirror) for t in (smooth, sharp))
    return Patch(
        pixels=smooth[:-1], distance=smooth[-1], labels=sharp[0].long(), weight=sharp[1]
    )


def _turn(tensor: torch.Tensor, quarter_turns: int, mirror: bool) -> torch.Tensor:
    turned = torch.rot90(tensor, quarter_turns, dims=(-2, -1))
    return transforms.horizontal_flip(turned) if mirror else turned


def _span(centre: float, length: float, available: int) -> tuple[int, int]:
    """Place an interval of whole pixels inside, or centred where it does not fit."""
    n = max(1, round(length))
    if n >= available:
        start = -((n - available) // 2)
    else:
        start = int(np.clip(round(centre - n / 2), 0, available - n))
    return start, start + n


def _resized(
    image: TrainingImage, rows: tuple[int, int], columns: tuple[int, int], side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    window = (_inside(rows, image.labels.shape[0]), _inside(columns, image.labels.shape[1]))
    padding = (
        _beyond(rows, image.labels.shape[0]),
        _beyond(columns, image.labels.shape[1]),
    )
    smooth = np.concatenate([image.pixels[:, *window], image.distance[None, *window]])
    sharp = np.stack([image.labels[window], image.weight[window]]).astype(np.float32)
    smooth = np.pad(smooth, ((0, 0), *padding), mode="symmetric")
    sharp = np.stack(
        [
            np.pad(sharp[0], padding, mode="symmetric"),
            np.pad(sharp[1], padding, constant_values=0.0),
        ]
    )
    smooth_tensor = torch.from_numpy(smooth.astype(np.float32))
    return (
        transforms.resize(smooth_tensor, [side, side], antialias=True),
        transforms.resize(
            torch.from_numpy(sharp),
            [side, side],
            interpolation=InterpolationMode.NEAREST_EXACT,
        ),
    )


def _inside(span: tuple[int, int], available: int) -> slice:
    return slice(max(0, span[0]), min(available, span[1]))


def _beyond(span: tuple[int, int], available: int) -> tuple[int, int]:
    return max(0, -span[0]), max(0, span[1] - available)
