"""Where do the seconds go until the first labels? ``xvfb-run python benchmarks/start.py``.

A new process for each column: napari and the dock open as with ``napari-resunet demo``;
then *Segment* is clicked on an image of 1024 × 1024 pixels, either after the model has
loaded in the background or as soon as the dock is there. The first process, which may have
to read everything from the disk, is not shown.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

SIDE = 1024
STEPS = (
    "napari is imported",
    "the window and the image are there",
    "the dock is there",
    "the model is loaded",
    "click",
    "first labels",
)
GAPS = "longest gap before the click (ms)", "longest gap after the click (ms)"
STARTED = "START_OF_THE_PROCESS"


class Child:
    """The process that is measured.

    Imports are inside: this process has imported nothing before napari.
    """

    def __init__(self) -> None:
        self.found: dict[str, float] = {}
        self.begin = float(os.environ[STARTED])

    def mark(self, step: str) -> None:
        """Keep the seconds since the start when a step is reached for the first time."""
        self.found.setdefault(step, time.time() - self.begin)

    def open(self, image: str) -> None:
        """Open napari, the image, and the dock."""
        from napari import Viewer

        self.mark(STEPS[0])
        from event_loop import Clock, run

        self.run, self.viewer = run, Viewer()
        self.viewer.open(image)
        run(0.001)
        self.mark(STEPS[1])
        _, widget = self.viewer.window.add_plugin_dock_widget("napari-resunet")
        run(0.001)
        self.mark(STEPS[2])
        self.app, self.clock = widget.app, Clock()
        self.app.segment.choose_scope("slice")

    def loaded(self) -> bool:
        """Return whether the model is loaded."""
        background = self.app.background
        return background.generation > 0 and background.current is None

    def labelled(self) -> bool:
        """Return whether there are labels."""
        layers = [layer for layer in self.viewer.layers if layer.name.endswith("labels")]
        return any(layer.data.any() for layer in layers)

    def until(self, condition: Callable[[], bool]) -> None:
        """Run the event loop until a condition holds."""
        while not condition():
            self.run(0.05)
            if self.loaded():
                self.mark(STEPS[3])

    def click(self, when: str) -> None:
        """Click, and wait for the labels."""
        if when == "loaded":
            self.until(self.loaded)
        self.found[GAPS[0]] = max(self.clock.gaps, default=0)
        self.clock.gaps.clear()
        self.mark(STEPS[4])
        self.app.segment.segment()
        self.until(self.labelled)
        self.run(0.001)
        self.mark(STEPS[5])
        self.until(lambda: self.app.jobs.current is None and self.loaded())
        self.found[GAPS[1]] = max(self.clock.gaps)


def measure(when: str, image: Path) -> dict[str, float]:
    """Run one process; return its seconds and longest gaps."""
    done = subprocess.run(
        [sys.executable, __file__, when, str(image)],
        env=os.environ | {STARTED: str(time.time())},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    if not lines:
        sys.exit(done.stderr)
    found: dict[str, float] = json.loads(lines[-1])
    return found


def write_image(folder: Path) -> Path:
    """Write an image with nuclei."""
    import numpy as np
    import tifffile

    from napari_resunet.engine import synthetic

    tile, _ = synthetic.nuclei((512, 512), np.random.default_rng(0))
    path = folder / "cells.tif"
    tifffile.imwrite(path, np.tile(tile, (SIDE // 512, SIDE // 512)))
    return path


def main() -> None:
    """Print a table: seconds since the process was started."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NAPARI_RESUNET_SESSIONS"] = folder
        image = write_image(Path(folder))
        measure("loaded", image)
        columns = [measure(when, image) for when in ("loaded", "at once")]
    print(f"{'seconds since the start':<38}{'click when loaded':>20}{'at once':>10}")
    for step in (*STEPS, *GAPS):
        digits = 0 if step in GAPS else 1
        loaded, at_once = (f"{column[step]:.{digits}f}" for column in columns)
        print(f"{step:<38}{loaded:>20}{at_once:>10}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        child = Child()
        child.open(sys.argv[2])
        child.click(sys.argv[1])
        print(json.dumps(child.found), flush=True)
        os._exit(0)
    main()
