"""Cost of autosave on the main thread for each stroke, in small and large images.

    xvfb-run python benchmarks/autosave.py

The columns: median CPU time of the round after a stroke (all work of the main thread, with
up to 4 ms for the scan), the same relative to the smallest image, and the longest time
until the stroke was on disk.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time

import numpy as np

SIDES = (512, 2048, 8192)
STROKES = 30


def measure(side: int) -> tuple[float, float]:
    """Paint into a square image; return median cost and longest delay in seconds."""
    import napari
    from qtpy.QtCore import QCoreApplication

    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    image = viewer.add_image(np.zeros((side, side), np.uint8), name="cells")
    layer = widget.app.layers.make_binding(image).layer
    autosave = widget.app.autosave
    autosave._rounds.stop()
    layer.paint((9, 9), 1)
    while not autosave.flush(60):
        pass
    costs, delays = [], []
    viewer.reset_view()
    for _ in range(20):
        QCoreApplication.processEvents()
    rng = np.random.default_rng(0)
    for number in range(STROKES):
        layer.paint(tuple(rng.integers(10, side - 10, 2)), number + 2)
        begin, cpu = time.perf_counter(), time.thread_time()
        autosave.tick()
        costs.append(time.thread_time() - cpu)
        autosave.folder.flush(10)
        delays.append(time.perf_counter() - begin)
        QCoreApplication.processEvents()
    widget.app.shut_down()
    viewer.close()
    return statistics.median(costs), max(delays)


def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_RESUNET_SESSIONS"] = folder
        found = {side: measure(side) for side in SIDES}
    smallest = found[SIDES[0]][0]
    print("side   ms per stroke   ratio   longest delay (ms)")
    for side, (cost, delay) in found.items():
        ratio = cost / smallest
        print(f"{side:5}   {1000 * cost:13.1f}   {ratio:5.2f}   {1000 * delay:8.0f}")


if __name__ == "__main__":
    main()
