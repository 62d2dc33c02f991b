"""Images larger than memory: ``python benchmarks/big.py``.

Peak memory by the size of the image, which should not grow, on stores whose chunks are
links to one file, with a stand-in for the network; and with the real network, the time of
`segment_large` beside the network alone on the tiles of the whole image.

``--sizes 10000 40000 100000`` takes about an hour on two cores.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import zarr
from busy import seconds_of_a_tile

import napari_resunet as nru
from napari_resunet.engine import predict, synthetic
from napari_resunet.engine.predict import tile_grid
from napari_resunet.session.large.run import LargeRun, segment_large
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.types import ObjectSize

CHUNK = 1024
ENLARGED = 4
DIAMETER = 22.0
"""Of the drawn nuclei, in pixels before they are enlarged."""

N_TILES_TIMED = 40
GROUP = {
    "ome": {
        "version": "0.5",
        "multiscales": [
            {
                "axes": [{"name": n, "type": "space"} for n in "yx"],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [{"type": "scale", "scale": [1, 1]}],
                    }
                ],
            }
        ],
    }
}


def main() -> None:
    """Print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[5000, 10_000, 20_000])
    parser.add_argument(
        "--rows", type=int, default=4096, help="of the store for the network"
    )
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(memory(arguments.child)))
        return
    print("| side | peak memory | whole time | pixels of the image a second |")
    print("|---|---|---|---|")
    for size in arguments.sizes:
        command = [sys.executable, __file__, "--child", str(size)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found = json.loads(said.splitlines()[-1])
        speed = size**2 / found["seconds"] / 1e6
        row = f"{size:,} | {found['gb']:.2f} GB | {found['seconds']:.0f} s | {speed:.1f} M"
        print(f"| {row} |", flush=True)
    if arguments.rows:
        overhead(arguments.rows)


def write_store(folder: Path, shape: tuple[int, int], chunk: np.ndarray) -> None:
    """Write a store in which each chunk is a link to the same file."""
    array = zarr.create_array(
        folder / "0", shape=shape, chunks=chunk.shape, dtype=chunk.dtype, zarr_format=3
    )
    array[: chunk.shape[0], : chunk.shape[1]] = chunk
    first = folder / "0/c/0/0"
    rows, columns = (-(-n // side) for n, side in zip(shape, chunk.shape, strict=True))
    for row in range(rows):
        (folder / f"0/c/{row}").mkdir(exist_ok=True)
        for column in range(columns):
            if (row, column) != (0, 0):
                os.link(first, folder / f"0/c/{row}/{column}")
    document = {"zarr_format": 3, "node_type": "group", "attributes": GROUP}
    (folder / "zarr.json").write_text(json.dumps(document))


def stand_in(network: object, compute: object) -> object:
    """Return a network that takes bright pixels for objects."""

    def run(images: torch.Tensor) -> torch.Tensor:
        inside = (6 * images[:, :1].float()).sigmoid()
        distance = torch.nn.functional.avg_pool2d(inside, 15, 1, 7) ** 3
        return torch.cat([inside, distance, 0 * inside], 1).logit(1e-4)

    return run


def run_on(folder: Path, diameter: float) -> tuple[int, float]:
    """Segment a store; return the number of objects and the seconds."""
    options = SegmentOptions(None, diameter=ObjectSize(diameter), device="cpu")
    run = LargeRun(folder / "i.ome.zarr", folder / "l.ome.zarr", nru.load_model(), options)
    began = time.perf_counter()
    n = segment_large(run, lambda event: None)
    return n, time.perf_counter() - began


def memory(size: int) -> dict[str, float]:
    """Segment a large store, and return peak memory and time."""
    predict.fast_copy = stand_in
    small = synthetic.nuclei((CHUNK // ENLARGED,) * 2, np.random.default_rng(0))[0]
    chunk = np.kron(small, np.ones((ENLARGED, ENLARGED), small.dtype))
    with tempfile.TemporaryDirectory() as name:
        write_store(Path(name, "i.ome.zarr"), (size, size), chunk)
        n, seconds = run_on(Path(name), ENLARGED * DIAMETER)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {"gb": peak, "seconds": seconds, "objects": n}


def overhead(rows: int) -> None:
    """Print the time of two blocks beside that of the network alone."""
    chunk = synthetic.nuclei((CHUNK, CHUNK), np.random.default_rng(0))[0]
    shape = rows, 2 * rows
    with tempfile.TemporaryDirectory() as name:
        write_store(Path(name, "i.ome.zarr"), shape, chunk)
        n, seconds = run_on(Path(name), 24.0)
    one, tile = seconds_of_a_tile(N_TILES_TIMED), nru.load_model().info.tile
    n_tiles = np.prod([len(tile_grid(side, tile).starts) for side in shape])
    print(f"{n} objects; {np.prod(shape) / seconds / 1e6:.2f} M pixels a second")
    ratio = seconds / one / n_tiles
    print(f"segment_large / the network alone on {n_tiles} tiles: {ratio:.2f}")


if __name__ == "__main__":
    main()
