"""Compares the start of a fine-tuning with what it ends with on images without labels.

Held-out parts lie in the image that was corrected, so they do not show what happens to
others. Without labels, nothing says which of the two models is right: the user is told what
differs, and where to look.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from napari_resunet.engine.blocks import PredictionMaps, decode_labels
from napari_resunet.engine.changes import (
    MAX_IMAGES,
    Changes,
    Elsewhere,
    ImageChanges,
    evenly,
)
from napari_resunet.engine.device import Compute
from napari_resunet.engine.differences import SAME_OUTLINE
from napari_resunet.engine.image_reader import Axis
from napari_resunet.engine.metrics import score
from napari_resunet.engine.normalize import with_statistics
from napari_resunet.engine.predict import Predictor
from napari_resunet.engine.prepare import Pixels, PredictionRequest
from napari_resunet.events import CancelToken, Notice, Progress, only_notices
from napari_resunet.network.model_file import Model
from napari_resunet.types import Decoding, LabelArray, ModelInfo, OtherImage
from napari_resunet.windows import middle

SIDE = 416
"""Largest side of what is compared of an image, at network resolution: two tiles. Six such
images take as long as about a dozen steps of training."""

COMPARING = "comparing on your other images"


def compare_elsewhere(
    start: Model,
    new: Model,
    others: Sequence[OtherImage],
    compute: Compute,
    decoding: Decoding,
    token: CancelToken | None = None,
) -> Generator[Progress | Notice, None, Elsewhere | None]:
    """Compare the labels of two models in the middle of up to `MAX_IMAGES` images.

    Test-time augmentation, which takes four times as long, is left out.

    Parameters
    ----------
    start, new : Model
        The two models, with the same maps.
    others : sequence of OtherImage
        Images, or parts of them.
    compute : Compute
        Device and precision.
    decoding : Decoding
        The two sliders.
    token : CancelToken or None
        Checked between tiles.

    Yields
    ------
    Progress or Notice

    Returns
    -------
    Elsewhere or None
        None if there are no images, or if the start has learned nothing yet.

    Raises
    ------
    Cancelled
        If the token requests it.
    ResunetError
        As `Predictor.maps`.
    """
    chosen = evenly(others, MAX_IMAGES)
    if not chosen or _is_untaught(start):
        return None
    predictors = [Predictor(model, compute) for model in (start, new)]
    found = []
    for number, other in enumerate(chosen):
        yield Progress(number, len(chosen), COMPARING)
        part, labels = middle_of(other, SIDE, start.info), []
        for predictor in predictors:
            labels.append((yield from _labels(predictor, part, decoding, token)))
        changes = compare_labels(*labels, classes=start.info.task == "classes")
        found.append(ImageChanges(other.name, changes))
    return Elsewhere(tuple(found))


def _is_untaught(model: Model) -> bool:
    """Return whether the classes of a model are only names yet."""
    return model.info.task == "classes" and not model.info.lineage.steps


def _labels(
    predictor: Predictor, part: OtherImage, decoding: Decoding, token: CancelToken | None
) -> Generator[Notice, None, LabelArray]:
    """Label a part of an image, at network resolution."""
    info = predictor.model.info
    assert part.statistics is not None
    height, width = part.image.shape[:2]
    window = slice(0, height), slice(0, width)
    request = PredictionRequest(Pixels(part.image), (), window, part.scale, part.statistics)
    maps = yield from only_notices(predictor.maps(request, token))
    rows, columns = (Axis(n, n) for n in maps.shape[1:])
    return decode_labels(PredictionMaps(maps, (rows, columns), info), decoding)


def middle_of(other: OtherImage, side: int, info: ModelInfo) -> OtherImage:
    """Cut the middle out of an image, with the intensities of the whole.

    Parameters
    ----------
    other : OtherImage
        The image.
    side : int
        Largest side of the result at network resolution.
    info : ModelInfo
        How intensities are measured.

    Returns
    -------
    OtherImage
        With statistics, and channels last.
    """
    pixels, measured = with_statistics(other.image, other.statistics, info.normalization)
    part = pixels[middle(pixels.shape[:2], side / other.scale)]
    return replace(other, image=part, statistics=measured)


def compare_labels(old: LabelArray, new: LabelArray, *, classes: bool) -> Changes:
    """Count what differs between two labels of the same pixels.

    Objects at the edge that only one of the two has are not counted: it shows a sliver of
    them, which is found or not by chance.
    """
    if classes:
        return Changes(pixels=float((old != new).mean()))
    matched = score(old, new).matched
    n_same = sum(iou >= SAME_OUTLINE for _, _, iou in matched)
    return Changes(
        new=len(_whole_objects(new) - {label for _, label, _ in matched}),
        gone=len(_whole_objects(old) - {label for label, _, _ in matched}),
        changed=len(matched) - n_same,
        same=n_same,
    )


def _whole_objects(labels: LabelArray) -> set[int]:
    """List the objects that do not touch the edge."""
    edge = np.concatenate([labels[0], labels[-1], labels[:, 0], labels[:, -1]])
    return set(np.setdiff1d(labels, np.append(edge, 0)).tolist())
