"""Going through many images: ``xvfb-run python benchmarks/many_images.py``.

How long *Propose all* takes beside `segment()` of the same images; and how long the user
waits after *Done & next* until the next image is drawn with its proposal, made ahead.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import tifffile
from qtpy.QtWidgets import QApplication

import napari_resunet as nru
from napari_resunet.engine import synthetic

N_IMAGES, SIDE = 8, 512
DIAMETER = 24.0


def write_images(folder: Path) -> list[np.ndarray]:
    """Write synthetic nuclei, and return their pixels."""
    rng = np.random.default_rng(0)
    images = [synthetic.nuclei((SIDE, SIDE), rng)[0] for _ in range(N_IMAGES)]
    for number, image in enumerate(images):
        tifffile.imwrite(folder / f"t{number}.tif", image)
    return images


class Window:
    """The dock in a window."""

    def __init__(self) -> None:
        self.viewer = napari.Viewer()
        self.viewer.window.resize(1280, 720)
        widget = self.viewer.window.add_plugin_dock_widget("napari-resunet")[1]
        self.app, self.view = widget.app, widget.view
        self.n_drawn = 0
        canvas = self.viewer.window._qt_viewer.canvas._scene_canvas
        canvas.events.draw.connect(self._drawn, position="last")
        self.until(lambda: self.app.state.model is not None)

    def _drawn(self, event: object) -> None:
        self.n_drawn += 1

    def until(self, condition: Callable[[], bool]) -> None:
        """Run Qt's event loop."""
        while not condition():
            QApplication.instance().processEvents()
            time.sleep(0.001)

    def is_idle(self) -> bool:
        """Return whether no job runs that the user waits for."""
        runners = self.app.jobs, self.app.opens, self.app.adds, self.app.pictures
        return all(runner.current is None for runner in runners)

    def propose_all(self) -> float:
        """Return the seconds that *Propose all* takes."""
        begin = time.perf_counter()
        self.app.propose_all.start()
        self.until(self.is_idle)
        return time.perf_counter() - begin

    def done_and_next(self) -> float:
        """Return the seconds until the next image is drawn."""
        following = self.app.state.queue.unfinished(self.app.state.image_key)[0].key
        self.until(lambda: following in self.app.queue_layers.ahead)
        self.until(lambda: self.app.aheads.current is None)
        begin = time.perf_counter()
        self.app.queue.done()
        self.n_drawn = 0
        self.until(lambda: self.n_drawn > 0)
        waited = time.perf_counter() - begin
        assert self.app.layers.binding(following).layer.data.any()
        self.until(lambda: len(self.viewer.layers) <= 3)
        return waited


def main() -> None:
    """Print the ratio and the wait."""
    with tempfile.TemporaryDirectory() as root:
        os.environ["NAPARI_RESUNET_SESSIONS"] = f"{root}/sessions"
        folder = Path(root) / "plate"
        folder.mkdir()
        images = write_images(folder)
        window, model = Window(), nru.load_model()
        window.view.queue.paths_chosen.emit([folder], "", False)
        window.until(lambda: len(window.app.state.queue) == N_IMAGES and window.is_idle())
        window.app.image.set_object_size(DIAMETER)
        waits = [window.done_and_next() for _ in range(N_IMAGES - 2)]
        for item in window.app.state.queue.items:
            window.app.state.queue.update(item.key, state="new", edits=0)
        ratios = []
        for _ in range(3):
            together = window.propose_all()
            begin = time.perf_counter()
            for image in images:
                nru.segment(image, model, diameter=DIAMETER)
            ratios.append(together / (time.perf_counter() - begin))
        window.viewer.close()
    shown = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"Propose all / segment() of the same images: {shown}")
    print(f"Done & next until drawn: median {statistics.median(waits):.2f} s, "
          f"longest {max(waits):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
