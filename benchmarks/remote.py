"""What a server costs: ``python benchmarks/remote.py``.

A server runs as a process of its own on this computer. One plane is segmented there and
here, in turn. Checked: the labels are equal. Measured: bytes that are sent and that come
back, and the CPU time of both sides together, as a ratio to the time without a server.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import psutil
from psutil import Process

import napari_resunet as nru
from napari_resunet.engine import synthetic
from napari_resunet.remote import client, predict
from napari_resunet.remote.key import KEY_VARIABLE, new_key
from napari_resunet.types import Device, RemoteServer

DIAMETER = 24.0
"""That of the network, so that an image pixel is one at network resolution."""


class Counted(client.Asked):
    """Counts the bytes of all requests and answers, without the lines of JSON of these."""

    sent = received = 0

    def _pieces(self) -> Iterator[bytes | memoryview]:
        for piece in super()._pieces():
            Counted.sent += len(piece)
            yield piece

    def _read_events(self, answer: client.HTTPResponse) -> Iterator[client.Received]:
        for event, arrays in super()._read_events(answer):
            Counted.received += event.n_bytes
            yield event, arrays


@contextmanager
def serving() -> Iterator[tuple[RemoteServer, Process]]:
    """Start a server; provide it and its process."""
    key = new_key()
    command = [sys.executable, "-m", "napari_resunet.cli", "serve", "--port", "0"]
    with psutil.Popen(
        command, stdout=subprocess.PIPE, text=True, env=os.environ | {KEY_VARIABLE: key}
    ) as process:
        try:
            url = process.stdout.readline().split()[-1]
            yield nru.connect(url, key), process
        finally:
            process.terminate()


def noisy_nuclei(side: int) -> np.ndarray:
    """Make an image of nuclei, with noise that no compression makes smaller."""
    rng = np.random.default_rng(0)
    piece, _ = synthetic.nuclei((256, 256), rng)
    n = -(-side // 256)
    whole = np.tile(piece, (n, n))[:side, :side].astype(int)
    return (whole + rng.normal(0, 8, whole.shape)).clip(0, 255).astype(np.uint8)


def cpu_seconds(process: Process) -> float:
    """Return the CPU time that a process has taken."""
    times = process.cpu_times()
    return times.user + times.system


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    side = arguments.side
    image, ratios = noisy_nuclei(side), []
    model, here = nru.load_model(), Process()
    predict.Asked = Counted
    with serving() as (server, there):

        def measure(device: Device) -> tuple[float, np.ndarray]:
            began = cpu_seconds(here) + cpu_seconds(there)
            labels = nru.segment(image, model, diameter=DIAMETER, device=device)
            return cpu_seconds(here) + cpu_seconds(there) - began, labels

        measure(server)  # what is done once
        for _ in range(arguments.rounds):
            alone, labels = measure("auto")
            Counted.sent = Counted.received = 0
            began = time.perf_counter()
            both, remote = measure(server)
            seconds = time.perf_counter() - began
            assert np.array_equal(labels, remote)
            ratios.append(both / alone)
            print(f"CPU {alone:.2f} s here, {both:.2f} s with a server ({seconds:.1f} s)")
    print(f"{image.dtype} {side}²: {Counted.sent} bytes sent, {Counted.received} received")
    print(f"CPU time with a server: {statistics.median(ratios):.3f} times that without")


if __name__ == "__main__":
    main()
