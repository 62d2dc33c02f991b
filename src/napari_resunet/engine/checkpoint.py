"""The state of a training, complete enough to resume after a crash.

``session/store/models.py`` writes it to disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.network.model_file import Model, Weights, with_aliases, without_aliases
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Count, Decoding, Example, Fraction

LAST, BEST, OPTIMIZER = "last.", "best.", "optimizer."
"""Prefixes of the tensors' names."""


@dataclass(frozen=True)
class TrainerState:
    """Everything in a checkpoint except the tensors, as JSON can store it.

    Attributes
    ----------
    model_id : str
        The model that the fine-tuning started from.
    corrections : str
        Fingerprint of the corrections that it learns from.
    config : dict
        The fields of a `FineTuneConfig`.
    decoding : Decoding
        The two sliders, for the score.
    steps : int
        Number of batches so far.
    fraction : float
        Fraction of the work that is done, 0 to 1.
    seconds : float
        Time spent.
    n_evaluations, n_without_improvement : int
        Number of evaluations so far, and since the last improvement.
    highest_score : float
        Highest score so far.
    best : HeldOutScore or None
        Best score so far; None if nothing is held out.
    rng : dict
        State of the random number generator.
    """

    model_id: str
    corrections: str
    config: dict[str, Any]
    decoding: Decoding
    steps: Count
    fraction: Annotated[Fraction, Field(alias="share")]
    seconds: Annotated[float, Field(alias="spent", ge=0, allow_inf_nan=False)]
    n_evaluations: Count
    n_without_improvement: Annotated[Count, Field(alias="without_gain")]
    highest_score: Annotated[Fraction, Field(alias="peak")]
    best: HeldOutScore | None
    rng: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """An unfinished fine-tuning.

    Attributes
    ----------
    trainer_state : TrainerState
        Everything except the tensors.
    tensors : dict of str to Tensor
        The last weights, the optimizer state, and the best weights unless they are those
        of the start, all on the CPU.
    """

    trainer_state: TrainerState
    tensors: Weights

    @property
    def best(self) -> Weights | None:
        """The best weights so far; None if they are those of the start."""
        found = with_prefix(self.tensors, BEST)
        return with_aliases(found) if found else None

    def check(self, model: Model, examples: Sequence[Example]) -> None:
        """Check that model and corrections are those that the fine-tuning started with.

        Raises
        ------
        CorrectionError
            If either differs.
        """
        trainer_state = self.trainer_state
        same_model = trainer_state.model_id == model.info.lineage.model_id
        if not same_model or trainer_state.corrections != fingerprint(examples):
            raise CorrectionError(
                "The interrupted fine-tuning began with another model or other "
                "corrections: discard it, and click Fine-tune to start again."
            )


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash labels, masks, scales, and held-out regions, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(f"{example.labels.shape} {example.scale} {example.held_out}".encode())
        for array in (example.labels.astype(np.int32), example.verified, example.edited):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def state_tensors(
    network: ResNetUNet, optimizer: torch.optim.Optimizer, best: Weights | None
) -> Weights:
    """Collect all tensors that a training needs to resume.

    The tensors of `best` are not copied, so they must not change any more.
    """
    tensors = {f"{LAST}{k}": _copy(v) for k, v in without_aliases(network.state_dict())}
    tensors |= {f"{BEST}{k}": v for k, v in without_aliases(best or {})}
    for number, state in optimizer.state_dict()["state"].items():
        for name, value in state.items():
            tensors[f"{OPTIMIZER}{number}.{name}"] = _copy(value)
    return tensors


def load_state(
    network: ResNetUNet,
    optimizer: torch.optim.Optimizer,
    rng: np.random.Generator,
    checkpoint: Checkpoint,
) -> None:
    """Load a checkpoint into a network, a new optimizer, and the random number generator.

    Raises
    ------
    FileError
        If it does not fit.
    """
    try:
        rng.bit_generator.state = checkpoint.trainer_state.rng
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise incompatible_checkpoint() from error
    load_tensors(network, optimizer, checkpoint.tensors)


def load_tensors(
    network: ResNetUNet, optimizer: torch.optim.Optimizer, tensors: Weights
) -> None:
    """Load the tensors of `state_tensors` into a network and a new optimizer.

    Raises
    ------
    FileError
        If they do not fit.
    """
    try:
        network.load_state_dict(with_aliases(with_prefix(tensors, LAST)))
        state: dict[int, Weights] = {}
        for key, value in with_prefix(tensors, OPTIMIZER).items():
            number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for parameter, moments in optimizer.state.items():
            # The fused optimizer needs moments in the memory format of their parameter.
            for name, value in moments.items():
                if value.ndim:
                    moments[name] = torch.empty_like(parameter).copy_(value)
    except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise incompatible_checkpoint() from error


def incompatible_checkpoint() -> FileError:
    """Make the error for a checkpoint that does not fit."""
    return FileError(
        "The interrupted fine-tuning cannot be resumed, because its checkpoint does not "
        "fit the model: discard it, and click Fine-tune to start again."
    )


def with_prefix(tensors: Weights, start: str) -> Weights:
    """Return the tensors whose names begin with `start`, without it."""
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)
