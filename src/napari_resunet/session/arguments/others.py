"""Reads images without labels that a fine-tuning should not make worse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from napari_resunet.engine.patches import scale_from_labels
from napari_resunet.errors import ArgumentError
from napari_resunet.session.arguments.examples import reader_of_plane
from napari_resunet.session.arguments.values import shown
from napari_resunet.session.beside import crop_of
from napari_resunet.session.object_size import scale_from
from napari_resunet.types import Example, ModelInfo, ObjectSize, OtherImage


def others_of(
    others: Any,
    info: ModelInfo,
    channels: Any,
    size: ObjectSize | None,
    examples: Sequence[Example],
) -> Iterator[OtherImage]:
    """Read other images, which are called "others[0]" and so on.

    Parameters
    ----------
    others : sequence of arrays
        One plane each.
    info : ModelInfo
        Of the model.
    channels : sequence of int or None
        The channels that the network sees.
    size : ObjectSize or None
        The object size that the user gave.
    examples : sequence of Example
        What is learned from; without a size, the objects are as large as in the last one.

    Raises
    ------
    ArgumentError
        If one of them is not a plane.
    ImageError
        If one of them cannot be used as it is.
    """
    if isinstance(others, str) or not isinstance(others, Sequence):
        raise ArgumentError(
            f"others must be a list of images, such as [image], not {shown(others)}."
        )
    scale = scale_from(size, info, None) or _scale_of_last(examples, info)
    for number, image in enumerate(others):
        name = f"others[{number}]"
        reader = reader_of_plane(image, channels)
        if reader.stack_shape:
            raise ArgumentError(
                f"{name} is a stack of {reader.shape} pixels: give each plane as an image."
            )
        yield crop_of(reader, (), name, scale, info)


def _scale_of_last(examples: Sequence[Example], info: ModelInfo) -> float:
    if not examples:
        return 1.0
    last = examples[-1]
    return last.scale or scale_from_labels(last.labels, info)
