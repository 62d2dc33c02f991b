"""Where a fine-tuning stands, complete enough to go on after a crash.

Taken from and put back into a network and its optimiser here; how it lies on the disk is
`session/store/checkpoint.py`, when it is taken `finetune`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from napari_resunet.engine.postprocess import Decoding
from napari_resunet.engine.validation import HeldOutScore
from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.network.model_file import Model, Weights, with_aliases, without_aliases
from napari_resunet.network.resnet_unet import ResNetUNet
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Count, Example, Share

LAST, BEST, OPTIMIZER = "last.", "best.", "optimizer."
"""How the names of a checkpoint's tensors begin."""


@dataclass(frozen=True)
class TrainerState:
    """All of a checkpoint but its tensors: what JSON can hold.

    Attributes
    ----------
    model_id : str
        Of the model that it began with.
    corrections : str
        Fingerprint of what it learns from.
    config : dict
        Of `finetune.FineTuneConfig`.
    decoding : Decoding
        The sliders, for the score.
    steps : int
        Batches done.
    share : float
        How much of the work is done, 0 to 1.
    spent : float
        Seconds it took.
    n_evaluations, without_gain : int
        Looks at the held-out part, and how many of the last brought no better score.
    peak : float
        Highest score seen.
    best : HeldOutScore or None
        The best so far; None where nothing is held out.
    rng : dict
        State of the source of chance.
    """

    model_id: str
    corrections: str
    config: dict[str, Any]
    decoding: Decoding
    steps: Count
    share: Share
    spent: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    n_evaluations: Count
    without_gain: Count
    peak: Share
    best: HeldOutScore | None
    rng: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A fine-tuning on its way.

    Attributes
    ----------
    trainer_state : TrainerState
        Numbers.
    tensors : dict of str to Tensor
        Last weights, best weights where they are not the start's, optimiser; on the CPU.
    """

    trainer_state: TrainerState
    tensors: Weights

    @property
    def best(self) -> Weights | None:
        """The best weights so far; None where they are the start's."""
        found = part(self.tensors, BEST)
        return with_aliases(found) if found else None

    def check(self, model: Model, examples: Sequence[Example]) -> None:
        """Make sure that it goes on with what it began with.

        Parameters
        ----------
        model : Model
            The start.
        examples : sequence of Example
            All corrections.

        Raises
        ------
        CorrectionError
            If either is another one.
        """
        trainer_state = self.trainer_state
        same_model = trainer_state.model_id == model.info.lineage.model_id
        if not same_model or trainer_state.corrections != fingerprint(examples):
            raise CorrectionError(
                "The interrupted fine-tuning began with another model or other "
                "corrections: drop it, and click Fine-tune to begin anew."
            )


def fingerprint(examples: Sequence[Example]) -> str:
    """Tell corrections from others: a hash over labels, masks and scales, in order."""
    digest = hashlib.blake2b(digest_size=16)
    for example in examples:
        digest.update(f"{example.labels.shape} {example.scale} {example.held_out}".encode())
        for array in (example.labels.astype(np.int32), example.verified, example.edited):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def state_tensors(
    network: ResNetUNet, optimizer: torch.optim.Optimizer, best: Weights | None
) -> Weights:
    """Copy all tensors that a training needs to go on.

    Parameters
    ----------
    network : ResNetUNet
        Being trained.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    best : dict of str to Tensor, or None
        The best weights so far, which nobody changes any more.

    Returns
    -------
    dict of str to Tensor
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
    """Set a network, its fresh optimiser and the source of chance to a checkpoint.

    Parameters
    ----------
    network : ResNetUNet
        Placed for training.
    optimizer : torch.optim.Optimizer
        Of its parameters.
    rng : numpy Generator
        Source of all chance.
    checkpoint : Checkpoint
        Of the same network.

    Raises
    ------
    FileError
        If it does not fit.
    """
    try:
        rng.bit_generator.state = checkpoint.trainer_state.rng
    except (ValueError, TypeError, LookupError, OverflowError) as error:
        raise incompatible_checkpoint() from error
    put_back_tensors(network, optimizer, checkpoint.tensors)


def put_back_tensors(
    network: ResNetUNet, optimizer: torch.optim.Optimizer, tensors: Weights
) -> None:
    """Set a network and its fresh optimiser to the tensors of `state_tensors`.

    Raises
    ------
    FileError
        If they do not fit.
    """
    try:
        network.load_state_dict(with_aliases(part(tensors, LAST)))
        state: dict[int, Weights] = {}
        for key, value in part(tensors, OPTIMIZER).items():
            number, name = key.split(".")
            state.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
        for parameter, moments in optimizer.state.items():
            # The fused step goes through both in the order of the memory.
            for name, value in moments.items():
                if value.ndim:
                    moments[name] = torch.empty_like(parameter).copy_(value)
    except (RuntimeError, ValueError, TypeError, LookupError, OverflowError) as error:
        raise incompatible_checkpoint() from error


def incompatible_checkpoint() -> FileError:
    """Say that a checkpoint is not one of ours."""
    return FileError(
        "The interrupted fine-tuning cannot go on, for its checkpoint does not fit the "
        "model: drop it, and click Fine-tune to begin anew."
    )


def part(tensors: Weights, start: str) -> Weights:
    """Take the tensors whose names begin with `start`, without it."""
    return {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}


def _copy(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().to("cpu", copy=True)
