"""Gaps of a 10 ms timer on the main thread: ``xvfb-run python benchmarks/gui_gaps.py``.

Idle, while segmenting, while fine-tuning with a stroke every 200 ms, and as long with
*Learn while I correct*, marking the visible area as verified every ten seconds.
"""

from __future__ import annotations

import time

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_resunet.engine import synthetic


class Clock:
    """Records how long a 10 ms timer had to wait for the main thread."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self.timer = QTimer()
        self.timer.timeout.connect(self._tick)
        self.timer.start(10)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def report(self, phase: str) -> None:
        """Print the gaps and start again."""
        middle, high, top = np.percentile(self.gaps, [50, 99, 100])
        print(
            f"{phase:<24}{middle:>8.0f}{high:>8.0f}{top:>8.0f}   ms (median, 99th, longest)"
        )
        self.gaps.clear()


def run(seconds: float) -> None:
    """Run Qt's event loop."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.instance().processEvents()
        time.sleep(0.001)


def paint(viewer: napari.Viewer, stroke: int) -> None:
    """Paint one dab, and move the view a little."""
    viewer.layers["cells labels"].paint((20 + stroke * 7 % 980, 300), 7)
    viewer.scene.camera.center = (0, 500 + stroke % 20, 500)


def main() -> None:
    """Measure phase by phase."""
    viewer = napari.Viewer()
    tile, _ = synthetic.nuclei((512, 512), np.random.default_rng(0))
    viewer.add_image(np.tile(tile, (2, 2)), name="cells")
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    app, view = widget.app, widget.view
    app.image.set_object_size(24)
    app.segment.choose_scope("slice")
    app.segment.segment()  # not measured: loads torch and the model
    while app.jobs.current is not None:
        run(0.1)
    clock = Clock()
    run(3)
    clock.report("idle")
    for _ in range(3):
        app.segment.segment()
        while app.jobs.current is not None:
            run(0.05)
    clock.report("segmenting")
    view.fine_tune.minutes = 0.5
    app.review.choose_area("slice")
    app.review.mark_verified()
    app.fine_tune.fine_tune()
    stroke = 0
    while app.jobs.current is not None and app.jobs.kind == "fine-tune":
        run(0.2)
        paint(viewer, stroke)
        stroke += 1
    clock.report("fine-tuning, painting")
    app.review.choose_area("visible")
    app.fine_tune.switch_auto(True)
    viewer.scene.camera.zoom *= 3
    for stroke in range(60 * 5):
        if stroke % 50 == 0:
            app.review.mark_verified()
        run(0.2)
        paint(viewer, stroke)
    clock.report("learning along, painting")
    app.fine_tune.switch_auto(False)
    app.segment.cancel()
    while app.jobs.current is not None:
        run(0.1)
    viewer.close()


if __name__ == "__main__":
    main()
