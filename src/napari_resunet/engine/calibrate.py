"""The levels at which a model's maps become objects, chosen by held-out corrections.

Objects of other shapes need other levels: long cells are cut at a smoothing that suits
nuclei. It costs no training, only decoding kept maps a few times.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product

import numpy as np

from napari_resunet.engine.instances import Decoding
from napari_resunet.engine.part_score import Predicted
from napari_resunet.types import Levels, ModelInfo

FOREGROUNDS = (0.4, 0.5, 0.6, 0.7)
SEEDS = (0.2, 0.35, 0.5)
SMOOTHINGS = (1.0, 1.8)
CERTAINTIES = (0.0, 0.75, 0.86)

LEARNED = Levels(foreground=0.5, seed=0.2, smoothing=1.0, certainty=0.8)
"""For objects of another kind than the start knows, learned from few: the maps are less
sure of them than of what was learned from thousands, in other images most of all."""

FEWEST_OBJECTS = 20
"""With fewer objects the levels would follow chance."""

CLEAR_GAIN = 0.1
"""Other levels are taken where the mean score is better by more than this: a smaller gain
on few objects is chance, and costs on the images to come."""


def calibrate(seen: Sequence[Predicted], info: ModelInfo, decoding: Decoding) -> Levels:
    """Choose the levels with the best score.

    Parameters
    ----------
    seen : sequence of Predicted
        Maps of corrected parts.
    info : ModelInfo
        The model's, with the levels in use.
    decoding : Decoding
        The sliders, which stay where they are.

    Returns
    -------
    Levels
        Those in use where no others are clearly better, or the objects are few.
    """
    if info.task == "classes" or sum(s.share for s in seen) < FEWEST_OBJECTS:
        return info.levels
    levels = info.levels
    for choices in (_shapes, _certainties):
        levels = max(
            choices(levels), key=lambda choice: _score(seen, info, choice, decoding)
        )
    gain = _score(seen, info, levels, decoding) - _score(seen, info, info.levels, decoding)
    return levels if gain > CLEAR_GAIN else info.levels


def _shapes(levels: Levels) -> Iterator[Levels]:
    for foreground, seed, smoothing in product(FOREGROUNDS, SEEDS, SMOOTHINGS):
        yield replace(levels, foreground=foreground, seed=seed, smoothing=smoothing)


def _certainties(levels: Levels) -> Iterator[Levels]:
    return (replace(levels, certainty=certainty) for certainty in CERTAINTIES)


def _score(
    seen: Sequence[Predicted], info: ModelInfo, levels: Levels, decoding: Decoding
) -> float:
    info = replace(info, levels=levels)
    values = [s.score(info, decoding) for s in seen]
    return float(np.average(values, weights=[s.share for s in seen]))
