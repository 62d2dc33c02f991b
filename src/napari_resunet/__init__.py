"""napari-resunet: segment, correct, fine-tune. Importing the package imports no torch."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_resunet.network.resnet_unet import ResNetUNet
    from napari_resunet.remote.client import connect
    from napari_resunet.session.api import (
        Decoding,
        Example,
        Model,
        Score,
        fine_tune,
        load_model,
        score,
        segment,
    )
    from napari_resunet.session.labels_api import (
        measure,
        read_labels,
        save_labels,
        save_labels_into,
    )

__all__ = [
    "Decoding",
    "Example",
    "Model",
    "ResNetUNet",
    "Score",
    "connect",
    "fine_tune",
    "load_model",
    "measure",
    "read_labels",
    "save_labels",
    "save_labels_into",
    "score",
    "segment",
]


ELSEWHERE = {
    "ResNetUNet": "network.resnet_unet",
    "connect": "remote.client",
    "measure": "session.labels_api",
    "read_labels": "session.labels_api",
    "save_labels": "session.labels_api",
    "save_labels_into": "session.labels_api",
}
"""Modules of public names; the others are in `session.api`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = ELSEWHERE.get(name, "session.api")
    return getattr(import_module(f"{__name__}.{module}"), name)
