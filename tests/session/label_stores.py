"""Makes small stores of labels, as a run on a large image leaves them."""

from itertools import product

import numpy as np

from napari_resunet.ome_zarr.label_pyramid import LabelPyramid


def squares(shape, first, step, side):
    """Draw squares, numbered from 1."""
    found = np.zeros(shape, np.int32)
    rows, columns = (range(first, n - side, step) for n in shape)
    for number, (row, column) in enumerate(product(rows, columns), start=1):
        found[row : row + side, column : column + side] = number
    return found


def write_store(
    folder, labels, *, objects=True, version="0.5", source="/big.tif", channels=None
):
    pyramid = LabelPyramid(folder, labels.shape, "ZYX"[-labels.ndim :], 16, version)
    pyramid.create(np.uint16)
    pyramid.write(0, (...,), labels.astype(np.uint16))
    for level, shape in enumerate(pyramid.shapes[1:], start=1):
        for index in np.ndindex(shape[:-2]):
            pyramid.resample(level, index, slice(0, shape[-2]), slice(0, shape[-1]))
    asked = {"source": str(source), "level": 0, "axes": None, "channels": channels}
    measured = {"scale": 0.8, "statistics": {"low": [1.0], "high": [9.0]}}
    n = len(np.unique(labels)) - 1 if objects else 0
    run = {"asked": asked, "objects": objects, **measured}
    pyramid.finish({"n_objects": n, "run": run})
    return folder
