"""Gaps of a 10 ms timer on the main thread: ``xvfb-run python benchmarks/gui_gaps.py``.

Idle, while segmenting, while fine-tuning with a stroke every 200 ms, and as long with
*Learn while I correct*, marking the visible area as verified every ten seconds.

``--large`` instead: while an image is segmented into a file, while the camera moves over an
image of 8192 × 8192 pixels whose labels are in a file, while all of it is cut out by *Work
here*, and while *Done* writes it back.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import napari
import numpy as np
import tifffile
from event_loop import Clock, run

from napari_resunet.engine import synthetic
from napari_resunet.ome_zarr.label_pyramid import LabelPyramid
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.image_layers import Origin, layer_id_of
from napari_resunet.plugin.layers.readers import make_layer
from napari_resunet.session.large.label_store import open_store
from napari_resunet.session.queue_images import read_own


def paint(viewer: napari.Viewer, stroke: int) -> None:
    """Paint one dab, and move the view a little."""
    viewer.layers["cells labels"].paint((20 + stroke * 7 % 980, 300), 7)
    viewer.scene.camera.center = (0, 500 + stroke % 20, 500)


def open_image(viewer: napari.Viewer, folder: Path, side: int) -> napari.layers.Image:
    """Open a TIFF with nuclei as the list of images does; return its layer."""
    tile, _ = synthetic.nuclei((512, 512), np.random.default_rng(0))
    path = folder / f"cells{side}.tif"
    tifffile.imwrite(path, np.tile(tile, (side // 512, side // 512)), tile=(512, 512))
    layer = make_layer(read_own(path), Origin(path.stem, str(path)))
    viewer.add_layer(layer)
    return layer


def make_labels(image: Path, side: int) -> Path:
    """Write labels of an image, as a run on a large image leaves them."""
    _, tile = synthetic.nuclei((512, 512), np.random.default_rng(0))
    pyramid = LabelPyramid(image.with_suffix(".ome.zarr"), (side, side), "YX", 1024)
    pyramid.create(np.uint32)
    for row in range(0, side, 512):
        for column in range(0, side, 512):
            where = slice(row, row + 512), slice(column, column + 512)
            first = (row * side // 512 + column) // 512 * tile.max()
            pyramid.write(0, where, np.where(tile, tile + first, 0))
    for level, (height, width) in enumerate(pyramid.shapes[1:], start=1):
        pyramid.resample(level, (), slice(0, height), slice(0, width))
    asked = {"source": str(image), "level": 0}
    statistics = {"low": [0.0], "high": [200.0]}
    run = {"asked": asked, "scale": 1.0, "statistics": statistics, "objects": True}
    n_objects = int(tile.max()) * (side // 512) ** 2
    pyramid.finish({"run": run, "n_objects": n_objects})
    return pyramid.folder


def measure_large(folder: Path) -> None:
    """Measure large images phase by phase."""
    image_layers.MAX_IN_MEMORY = 10**6
    viewer = napari.Viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    app, state = widget.app, widget.app.state

    def wait(clock: Clock, phase: str) -> None:
        while app.jobs.current is not None:
            run(0.05)
        run(1)  # what is shown after it
        clock.report(phase)

    open_image(viewer, folder, 1536)
    app.image.set_object_size(24)
    app.segment.choose_scope("slice")
    run(2)
    clock = Clock()
    run(3)
    clock.report("idle")
    app.segment.segment()
    wait(clock, "segmenting into a file")
    layer = open_image(viewer, folder, 8192)
    key, source = layer_id_of(layer), folder / "cells8192.tif"
    app.large.show(key, open_store(make_labels(source, 8192)))
    state.choose(key)
    viewer.reset_view()
    run(3)
    clock.gaps.clear()
    viewer.scene.camera.zoom = 1
    for step in range(100):
        viewer.scene.camera.center = (0, 500 + 70 * step, 500 + 70 * step)
        run(0.05)
    clock.report("panning")
    viewer.reset_view()
    run(3)
    clock.gaps.clear()
    app.work_here.work_here()
    wait(clock, "Work here, 8192²")
    labels = app.layers.binding(state.image_key)
    labels.layer.data_setitem((np.arange(99), np.arange(99)), 9)
    run(1)
    clock.gaps.clear()
    app.work_here.write_back()
    wait(clock, "Done, 8192²")
    viewer.close()


def measure_small() -> None:
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
    app.jobs.cancel()
    while app.jobs.current is not None:
        run(0.1)
    viewer.close()


def main() -> None:
    """Measure an ordinary image or, if asked to, large ones."""
    if "--large" not in sys.argv[1:]:
        measure_small()
        return
    with tempfile.TemporaryDirectory() as folder:
        measure_large(Path(folder))


if __name__ == "__main__":
    main()
