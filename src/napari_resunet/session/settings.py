"""The one source of defaults for what a user can set. No torch here."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from napari_resunet.types import DeviceChoice

Scope = Literal["visible", "slice", "stack"]


class Settings(BaseModel):
    """What the widget shows when it opens.

    Attributes
    ----------
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    scope : {"visible", "slice", "stack"}
        What Segment works on.
    foreground : float
        Foreground threshold, 0 to 1.
    split : float
        0 merges neighbours, 1 splits them.
    minutes : float
        Time for fine-tuning.
    """

    model_config = ConfigDict(frozen=True)

    device: DeviceChoice = "auto"
    scope: Scope = "visible"
    foreground: float = Field(default=0.5, ge=0, le=1)
    split: float = Field(default=0.5, ge=0, le=1)
    minutes: float = Field(default=1.0, gt=0, le=120)
