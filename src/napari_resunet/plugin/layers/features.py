"""Measurements as features of a Labels layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
from napari.layers import Labels


def show_features(layer: Labels, columns: Mapping[str, npt.NDArray[Any]]) -> None:
    """Replace the features of a layer; the row of an object is at its label."""
    layer.features = dict(columns)


def drop_features(layer: Labels) -> None:
    """Remove all features of a layer."""
    layer.features = {}
