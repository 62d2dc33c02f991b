"""Training images, their targets, and patches cut from them.

The targets are the network's maps: foreground, normalized inner distance (after the learned
distance transform of Bai & Urtasun 2017, https://arxiv.org/abs/1611.08303), and boundary.
`postprocess` turns maps back into labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.morphology import isotropic_dilation
from skimage.segmentation import find_boundaries

from napari_resunet.engine.normalize import normalize, with_statistics
from napari_resunet.engine.prepare import mirrored
from napari_resunet.errors import CorrectionError
from napari_resunet.masks import compact
from napari_resunet.network.torch_import import (
    InterpolationMode,
    functional,
    torch,
    transforms,
)
from napari_resunet.types import Example, FloatArray, LabelArray, MaskArray, ModelInfo

ROTATION_MARGIN = 1.42
"""A square that is sqrt(2) times as wide covers the patch when rotated by any angle."""

SURROUNDINGS = 0.25
"""Background within this many object diameters of an edit has the weight of the edit. If
the object alone counted more, it would be learned too wide."""


@dataclass(frozen=True)
class TrainingImage:
    """A plane that patches can be cut from.

    Attributes
    ----------
    pixels : float16 array, shape (C, Y, X)
        Normalized.
    labels : int32 array, shape (Y, X)
        Objects or classes.
    distance : float16 array, shape (Y, X)
        Normalized inner distance; zeros for classes.
    weight : float16 array, shape (Y, X)
        0 where the truth is unknown.
    scale : float
        Rescale factor from image pixels to network resolution.
    edited : bool array, shape (Y, X), or None
        The pixels that the user corrected; other labels were proposed and accepted. None
        means that all labels are ground truth.
    """

    pixels: npt.NDArray[np.float16]
    labels: LabelArray
    distance: npt.NDArray[np.float16]
    weight: npt.NDArray[np.float16]
    scale: float
    edited: MaskArray | None = None


class TrainingPatch(NamedTuple):
    """A square at network resolution: pixels (C, S, S), the rest (S, S)."""

    pixels: torch.Tensor
    labels: torch.Tensor
    distance: torch.Tensor
    weight: torch.Tensor


@dataclass(frozen=True)
class PatchSource:
    """A training image on a device, to cut patches there.

    Attributes
    ----------
    planes : TrainingPatch
        The whole image: pixels (C, Y, X), the rest (Y, X).
    scale : float
        Rescale factor from image pixels to network resolution.
    """

    planes: TrainingPatch
    scale: float

    @classmethod
    def of(cls, image: TrainingImage, device: torch.device | None = None) -> PatchSource:
        """Copy an image to a device; on the CPU, None, it shares the image's memory."""
        arrays = image.pixels, image.labels, image.distance, image.weight
        planes = (torch.from_numpy(array).to(device) for array in arrays)
        return cls(TrainingPatch(*planes), image.scale)


def stack_patches(patches: Sequence[TrainingPatch]) -> TrainingPatch:
    """Stack patches of one size: pixels (N, C, S, S), the rest (N, S, S)."""
    return TrainingPatch(*(torch.stack(parts) for parts in zip(*patches, strict=True)))


@dataclass(frozen=True)
class Geometry:
    """Random geometry of patches.

    Attributes
    ----------
    zoom : float
        The scale is multiplied by 2 to a random power between -zoom and zoom.
    stretch : float
        The same for height relative to width.
    rotate : bool
        Whether to rotate half of the patches by any angle, and all by right angles and
        reflections.
    """

    zoom: float = 1.0
    stretch: float = 0.2
    rotate: bool = True


def training_image(
    example: Example, info: ModelInfo, edited_weight: float = 1.0
) -> TrainingImage:
    """Prepare an example: normalize it, compute its distance map and weights.

    Raises
    ------
    CorrectionError
        If a label is not one of the model's classes.
    """
    _check_classes(info, example)
    image, measured = with_statistics(example.image, example.statistics, info.normalization)
    pixels = normalize(image, measured, info.normalization)
    instances = info.task == "instances"
    # A copy, because torch refuses memory that is read-only.
    labels = np.array(compact(example.labels) if instances else example.labels, np.int32)
    scale = example.scale or scale_from_labels(labels, info)
    weight = np.ones(labels.shape, np.float16)
    if example.edited is not None and example.edited.any():
        # Without an edited pixel the dilation would mark a corner.
        reach = SURROUNDINGS * info.diameter / scale
        weight[isotropic_dilation(example.edited, reach)] = edited_weight
    if example.verified is not None:
        weight[~example.verified] = 0
    distance = inner_distance(labels) if instances else np.zeros(labels.shape)
    return TrainingImage(
        pixels=np.moveaxis(pixels, -1, 0).astype(np.float16),
        labels=labels,
        distance=distance.astype(np.float16),
        weight=weight,
        scale=scale,
        edited=example.edited,
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
    """Compute the rescale factor from the objects; 1 for classes, or without objects."""
    diameter = median_diameter(labels) if info.task == "instances" else None
    return info.diameter / diameter if diameter else 1.0


def cut_patch(
    source: PatchSource,
    centre: tuple[float, float],
    size: int,
    geometry: Geometry,
    rng: np.random.Generator,
) -> TrainingPatch:
    """Cut one square patch, shifted into the image if it extends beyond.

    Parameters
    ----------
    source : PatchSource
        The image; the patch is cut on its device.
    centre : tuple of float
        Row and column in image pixels.
    size : int
        Side of the patch at network resolution.
    geometry : Geometry
        Random zoom, stretch, and rotation.
    rng : numpy Generator
        Random number generator.

    Returns
    -------
    TrainingPatch
        A small image is extended by reflection, with weight 0.
    """
    height, width = source.planes.labels.shape
    zoom = source.scale * 2.0 ** rng.uniform(-geometry.zoom, geometry.zoom)
    stretch = 2.0 ** (rng.uniform(-geometry.stretch, geometry.stretch) / 2)
    turned = geometry.rotate and rng.random() < 0.5
    side = int(np.ceil(size * ROTATION_MARGIN)) if turned else size
    rows = _span(centre[0], side / (zoom * stretch), height)
    columns = _span(centre[1], side * stretch / zoom, width)
    smooth, sharp = _resized(source.planes, rows, columns, side)
    if turned:
        angle = float(rng.uniform(0, 360))
        smooth = transforms.rotate(smooth, angle, interpolation=InterpolationMode.BILINEAR)
        sharp = transforms.rotate(sharp, angle, interpolation=InterpolationMode.NEAREST)
        smooth = transforms.center_crop(smooth, [size, size])
        sharp = transforms.center_crop(sharp, [size, size])
    if geometry.rotate:
        quarter_turns, mirror = int(rng.integers(4)), rng.random() < 0.5
        smooth, sharp = (_turn(t, quarter_turns, mirror) for t in (smooth, sharp))
    return TrainingPatch(
        pixels=smooth[:-1], distance=smooth[-1], labels=sharp[0].long(), weight=sharp[1]
    )


def _turn(tensor: torch.Tensor, quarter_turns: int, mirror: bool) -> torch.Tensor:
    turned = torch.rot90(tensor, quarter_turns, dims=(-2, -1))
    return transforms.horizontal_flip(turned) if mirror else turned


def _span(centre: float, length: float, available: int) -> tuple[int, int]:
    """Return an interval of whole pixels inside, or centred if it does not fit."""
    n = max(1, round(length))
    if n >= available:
        start = -((n - available) // 2)
    else:
        start = int(np.clip(round(centre - n / 2), 0, available - n))
    return start, start + n


def _resized(
    planes: TrainingPatch, rows: tuple[int, int], columns: tuple[int, int], side: int
) -> tuple[torch.Tensor, torch.Tensor]:
    height, width = planes.labels.shape
    window = _inside(rows, height), _inside(columns, width)
    beyond = _beyond(rows, height), _beyond(columns, width)
    pixels, labels, distance, weight = (plane[..., *window] for plane in planes)
    smooth = mirrored(torch.cat([pixels, distance[None]]), *beyond)
    unknown = functional.pad(weight.float(), (*beyond[1], *beyond[0]))
    sharp = torch.stack([mirrored(labels, *beyond).float(), unknown])
    return (
        transforms.resize(smooth.float(), [side, side], antialias=True),
        transforms.resize(
            sharp, [side, side], interpolation=InterpolationMode.NEAREST_EXACT
        ),
    )


def _inside(span: tuple[int, int], available: int) -> slice:
    return slice(max(0, span[0]), min(available, span[1]))


def _beyond(span: tuple[int, int], available: int) -> tuple[int, int]:
    return max(0, -span[0]), max(0, span[1] - available)


MIN_OBJECT_PIXELS = 4


def inner_distance(labels: npt.NDArray[Any]) -> FloatArray:
    """Compute the distance to each object's own edge, divided by its maximum there.

    It is 0 on background and 1 in the middle of each object.
    """
    objects = compact(labels)
    inside = objects > 0
    core = inside & ~find_boundaries(objects, mode="inner")
    distance: npt.NDArray[np.float64] = ndimage.distance_transform_edt(core)
    distance[inside] += 1.0
    n = int(objects.max(initial=0)) + 1
    largest = np.zeros(n)
    np.maximum.at(largest, objects[inside], distance[inside])
    result = np.zeros(labels.shape, np.float32)
    result[inside] = distance[inside] / largest[objects[inside]]
    return result


def median_diameter(labels: npt.NDArray[Any], least: int = 1) -> float | None:
    """Return the median equal-area diameter in pixels; None if there are too few objects.

    Parameters
    ----------
    labels : integer array
        Objects, each with its own number; 0 is background.
    least : int
        Number of objects from which they tell a size.
    """
    areas = np.bincount(compact(labels).ravel())[1:]
    areas = areas[areas >= MIN_OBJECT_PIXELS]
    if areas.size < least:
        return None
    return float(np.median(np.sqrt(4.0 * areas / np.pi)))


class Sampler:
    """Draws patch centres from the verified area, partly where it was edited.

    Parameters
    ----------
    images : sequence of TrainingImage
        Each with a verified pixel; drawn in proportion to the side of its verified area.
    edited_fraction : float
        Fraction of the centres on an edited pixel, if there are any.
    """

    def __init__(self, images: Sequence[TrainingImage], edited_fraction: float) -> None:
        # Scanning whole images for each patch would take a tenth of the time.
        self._images = images
        self._edited_fraction = edited_fraction
        self._verified = [np.flatnonzero(image.weight > 0) for image in images]
        self._edited = [_edited(image) for image in images]
        sides = np.sqrt([where.size for where in self._verified])
        self._probabilities = sides / sides.sum()

    def sample(self, rng: np.random.Generator) -> tuple[TrainingImage, tuple[float, float]]:
        """Draw an image and a centre, row and column in image pixels."""
        number = int(rng.choice(len(self._images), p=self._probabilities))
        image, where = self._images[number], self._verified[number]
        if rng.random() < self._edited_fraction and self._edited[number].size:
            where = self._edited[number]
        row, column = divmod(int(rng.choice(where)), image.weight.shape[1])
        return image, (float(row), float(column))


def _edited(image: TrainingImage) -> npt.NDArray[np.intp]:
    """Find the verified pixels that were edited; none if all labels are the truth."""
    if image.edited is None:
        return np.empty(0, np.intp)
    return np.flatnonzero(image.edited & (image.weight > 0))
