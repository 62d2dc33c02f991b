"""A program with a viewer and our dock that fine-tunes until it is killed.

    python learn_until_killed.py PIXELS.npy LABELS.npy

Sessions go where ``NAPARI_RESUNET_SESSIONS`` says.
"""

from __future__ import annotations

import sys
import time
from functools import partial

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_resunet._package import starter_path
from napari_resunet.engine import finetune_config


def main(pixels: np.ndarray, labels: np.ndarray) -> None:
    """Load a model, correct everything, learn; paint a stroke while it learns."""
    viewer = napari.Viewer(show=False)
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    app = widget.app
    image = viewer.add_image(pixels, name="cells")
    layer = app.layers.make_binding(image).layer
    layer.data = labels
    app.view.ask_open_path = starter_path
    app.versions.load()
    while app.jobs.current is not None:
        QApplication.processEvents()
        time.sleep(0.01)
    app.review.choose_area("slice")
    app.review.mark_verified()
    app.view.fine_tune.minutes = 0.1
    small = partial(finetune_config.FineTuneConfig, batch=1, patch=64)
    finetune_config.FineTuneConfig = small
    app.fine_tune.fine_tune()
    layer.paint((5, 5), 999)
    QApplication.instance().exec()


if __name__ == "__main__":
    main(*(np.load(path) for path in sys.argv[1:]))
