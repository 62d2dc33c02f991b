"""napari-resunet: propose, correct, learn. Importing this package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_resunet.session.api import (
        Example,
        Model,
        Score,
        fine_tune,
        load_model,
        score,
        segment,
    )

__all__ = ["Example", "Model", "Score", "fine_tune", "load_model", "score", "segment"]


def __getattr__(name: str) -> Any:
    """Import the API when it is first asked for."""
    if name in __all__:
        return getattr(import_module("napari_resunet.session.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
