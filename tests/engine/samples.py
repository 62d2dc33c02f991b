"""Labels and models that several tests of the engine share."""

from copy import deepcopy
from dataclasses import replace

import numpy as np

from napari_resunet.engine.device import choose
from napari_resunet.engine.model_selection import ModelSelector, weights
from napari_resunet.engine.validation import HeldOutPart
from napari_resunet.network.model_file import Model, Weights
from napari_resunet.types import Decoding


def squares() -> np.ndarray:
    """Three squares, two of which touch."""
    labels = np.zeros((40, 60), np.int32)
    labels[5:15, 5:15] = 1
    labels[5:15, 15:25] = 7  # touches the first
    labels[20:35, 30:55] = 3
    return labels


def moved(model: Model, logit: float) -> Weights:
    """Weights whose foreground is wider by this logit."""
    changed = weights(model.network)
    changed["conv_last.bias"][0] += logit
    return changed


def with_weights(model: Model, state: Weights) -> Model:
    """The same model with other weights."""
    network = deepcopy(model.network)
    network.load_state_dict(state)
    return replace(model, network=network)


def scored(model: Model, parts: list[HeldOutPart]) -> float:
    """The score of a model on some parts."""
    selector = ModelSelector(parts, [], model.info, choose("cpu"), Decoding())
    return selector.begin(model.network, model.info.min_size_fraction).score.value
