"""What a fine-tuning gets beside corrections: images without labels, each with a key.

`other_images` reads them. Importing this module imports no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from napari_resunet.events import CancelToken, Progress
from napari_resunet.types import Example, Index, ModelInfo, OtherImage
from napari_resunet.windows import middle

if TYPE_CHECKING:
    from napari_resunet.engine.finetune_result import FineTuneResult
    from napari_resunet.engine.image_reader import ImageReader

MAX_SIDE = 2048
"""Rows and columns that are read at most, in image pixels, however large objects are."""

Keyed = list[tuple[str, OtherImage]]
"""Images, each with the key of its item in the list."""

Reading = Generator[Progress, None, Keyed]
ReadOthers: TypeAlias = Callable[[ModelInfo, float, CancelToken], Reading]
"""Reads images at the scales that are known, or else at this one."""


def crop_of(
    reader: ImageReader, index: Index, name: str, scale: float, info: ModelInfo
) -> OtherImage:
    """Read the middle of a plane, as large as is compared.

    Parameters
    ----------
    reader : ImageReader
        The image.
    index : tuple of int
        The plane.
    name : str
        What the user calls it.
    scale : float
        Rescale factor from image pixels to network resolution.
    info : ModelInfo
        How the intensities of the whole image are measured.
    """
    from napari_resunet.engine.elsewhere import SIDE

    window = middle((reader.height, reader.width), min(SIDE / scale, MAX_SIDE))
    pixels = reader.read(index, *window)
    return OtherImage(name, pixels, scale, reader.measure(info.normalization))


def read_beside(
    examples: Sequence[Example],
    read: ReadOthers | None,
    info: ModelInfo,
    token: CancelToken,
) -> Reading:
    """Read what is looked at beside examples, at the scale of the last one if in doubt."""
    if read is None:
        return []
    scale = (examples[-1].scale if examples else None) or 1.0
    return (yield from read(info, scale, token))


def completed(result: FineTuneResult, others: Keyed, n_images: int) -> FineTuneResult:
    """Add to a result what the engine does not know: keys, and how many images."""
    compared = result.elsewhere
    if compared is not None:
        compared = compared.with_keys([key for key, _ in others])
    return replace(result, n_images=n_images, elsewhere=compared)
