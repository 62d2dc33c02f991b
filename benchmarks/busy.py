"""What other programs cost: ``python benchmarks/busy.py``.

A tile through the network, while 0, 1, or as many others compute as there are cores, in
four ways: as the plugin has it, where libgomp's threads spin briefly while they wait for
each other, and then sleep; as libgomp does it by itself, spinning sixty times as long;
sleeping at once; and with a single thread. The ways take turns.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict

WAYS: dict[str, dict[str, str]] = {
    "ours": {},
    "libgomp's": {"GOMP_SPINCOUNT": "300000"},
    "sleeping": {"OMP_WAIT_POLICY": "passive"},
    "one thread": {"OMP_NUM_THREADS": "1"},
}
TILES = 12


def main() -> None:
    """Print seconds for a tile by load and way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(seconds_of_a_tile(TILES))
        return
    print("| other programs | " + " | ".join(WAYS) + " |")
    print("|---" * (len(WAYS) + 1) + "|")
    for n in sorted({0, 1, os.cpu_count() or 1}):
        others = [
            subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n)
        ]
        try:
            found = measure(arguments.rounds)
        finally:
            for other in others:
                other.kill()
        print(
            f"| {n} | " + " | ".join(f"{found[way]:.3f} s" for way in WAYS) + " |",
            flush=True,
        )


def measure(rounds: int) -> dict[str, float]:
    """Return the median seconds for a tile of each way."""
    seconds = defaultdict(list)
    for _ in range(rounds):
        for way, settings in WAYS.items():
            kept = {k: v for k, v in os.environ.items() if k[:4] not in ("OMP_", "GOMP")}
            command = [sys.executable, __file__, "--child"]
            said = subprocess.run(
                command, env=kept | settings, capture_output=True, text=True, check=True
            ).stdout
            seconds[way].append(float(said))
    return {way: statistics.median(values) for way, values in seconds.items()}


def seconds_of_a_tile(n: int) -> float:
    """Time the network on a tile, as the plugin runs it: the mean of `n`."""
    import napari_resunet as nru
    from napari_resunet.engine.device import choose
    from napari_resunet.engine.predict import Predictor
    from napari_resunet.network.torch_import import torch

    predictor = Predictor(nru.load_model(), choose("cpu"))
    tile = torch.randn(1, 3, *(predictor.plan.tile,) * 2).to(predictor.plan.compute.dtype)
    tile = tile.contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        predictor.plan.network(tile)
        began = time.perf_counter()
        for _ in range(n):
            predictor.plan.network(tile)
    return (time.perf_counter() - began) / n


if __name__ == "__main__":
    main()
