"""Time and size of labels in each format: ``python benchmarks/formats.py [--tiles 12]``.

The labels of the sample nuclei are repeated, with new numbers: 12 × 12 times are 32,000
objects. Each format is written, read back, and compared.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

import napari_resunet as nru
from napari_resunet._package import sample_data_folder
from napari_resunet.engine.polygons import shapes_of
from napari_resunet.files import read_image


def many_objects(n: int) -> np.ndarray:
    """Repeat the sample nuclei n × n times."""
    labels = read_image(sample_data_folder() / "nuclei_labels.tif").astype(np.int32)
    most = labels.max()
    return np.block(
        [[labels + (labels > 0) * most * (n * i + j) for j in range(n)] for i in range(n)]
    )


def main() -> None:
    """Print a row for each format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiles", type=int, default=12)
    labels = many_objects(parser.parse_args().tiles)
    assert nru.save_labels  # imports torch, which would count as time to write
    begin = time.perf_counter()
    n = sum(1 for _ in shapes_of(labels))
    print(f"{n} objects, {labels.shape}, traced in {time.perf_counter() - begin:.1f} s")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".tif", ".zip", ".geojson"):
            path = Path(folder) / f"labels{suffix}"
            begin = time.perf_counter()
            nru.save_labels(path, labels)
            written = time.perf_counter() - begin
            begin = time.perf_counter()
            is_tiff = suffix == ".tif"
            back = tifffile.imread(path) if is_tiff else nru.read_labels(path, labels.shape)
            read = time.perf_counter() - begin
            same = "equal" if np.array_equal(back, labels) else "DIFFERENT"
            size = path.stat().st_size / 2**20
            times = f"write {written:5.1f} s  read {read:5.1f} s"
            print(f"{suffix:<10}{size:7.1f} MB  {times}  {same}")
        for predictor in (None, 2):
            path = Path(folder) / "predictor.tif"
            tifffile.imwrite(path, labels, compression="zlib", predictor=predictor)
            print(f"predictor {predictor or 1}: {path.stat().st_size / 2**20:.1f} MB")


if __name__ == "__main__":
    main()
