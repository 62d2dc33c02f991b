"""The images under File › Open Sample, made by ``sample_data/make_samples.py``."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from napari_resunet._package import sample_data_folder
from napari_resunet.files import read_image

LayerData = tuple[npt.NDArray[Any], dict[str, Any], str]


def open_nuclei() -> list[LayerData]:
    """Open nuclei in fluorescence, shape (Y, X)."""
    return _image("nuclei")


def open_histology() -> list[LayerData]:
    """Open stained tissue, RGB, shape (Y, X, 3)."""
    return _image("histology", rgb=True)


def open_cells() -> list[LayerData]:
    """Open whole cells in phase contrast, shape (Y, X)."""
    return _image("cells_phase")


def open_stack() -> list[LayerData]:
    """Open nuclei over time, shape (T, Y, X)."""
    return _image("timeseries", axis_labels=("t", "y", "x"))


def _image(name: str, **shown: Any) -> list[LayerData]:
    pixels = read_image(sample_data_folder() / f"{name}.tif")
    return [(pixels, {"name": name, **shown}, "image")]
