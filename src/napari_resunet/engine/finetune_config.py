"""What can be set for a fine-tuning, with ranges. No torch: a session keeps it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from napari_resunet.types import FINE_TUNE_SECONDS, Fraction

MAX_SECONDS = 7 * 24 * 3600.0
"""A week: the session file of another person must not make training endless."""


@dataclass(frozen=True)
class FineTuneConfig:
    """Configuration of a fine-tuning.

    Attributes
    ----------
    steps : int or None
        Number of batches; None trains for `seconds`.
    seconds : float
        Longest duration if `steps` is None; a fast computer has learned all it can before.
    batch : int
        Patches in a batch.
    patch : int
        Side of a patch at network resolution, a multiple of 32.
    lr : float
        Highest learning rate; it is reduced if the start is already good.
    edited_weight : float
        Weight of the pixels that the user edited, and of their surroundings.
    edited_fraction : float
        Fraction of the patches that are centred on an edited pixel.
    intensity : float
        Strength of the intensity augmentation, 0 to 1.
    zoom : float
        Patches are zoomed in or out by a factor of up to 2 to this power.
    n_evaluations : int
        Number of evaluations on the held-out regions.
    patience : int
        Training stops after this many evaluations without a better score.
    seed : int
        Seed of the random number generator.
    """

    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    seconds: Annotated[float, Field(gt=0, le=MAX_SECONDS)] = FINE_TUNE_SECONDS
    batch: Annotated[int, Field(ge=1, le=64)] = 4
    patch: Annotated[int, Field(ge=32, le=1024, multiple_of=32)] = 128
    lr: Annotated[float, Field(gt=0, le=1)] = 2e-3
    edited_weight: Annotated[float, Field(ge=0, le=1000)] = 3.0
    edited_fraction: Fraction = 0.5
    intensity: Fraction = 0.2
    zoom: Annotated[float, Field(ge=0, le=4)] = 0.8
    n_evaluations: Annotated[int, Field(ge=1, le=10**6)] = 12
    patience: Annotated[int, Field(ge=1, le=10**6)] = 10
    seed: Annotated[int, Field(ge=0)] = 0
