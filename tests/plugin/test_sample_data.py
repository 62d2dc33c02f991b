"""Sample images open from napari's menu."""

from napari.components import ViewerModel

from napari_resunet.plugin import sample_data

SHAPES = {
    "nuclei": (384, 384),
    "histology": (384, 384, 3),
    "cells_phase": (512, 512),
    "timeseries": (5, 256, 256),
}


def test_samples_open_through_the_manifest(plugins):
    viewer = ViewerModel()
    for key in ("nuclei", "histology", "cells", "timeseries"):
        viewer.open_sample("napari-resunet", key)
    assert {layer.name: layer.data.shape for layer in viewer.layers} == SHAPES
    assert viewer.layers["histology"].rgb


def test_openers_need_no_viewer():
    ((pixels, shown, kind),) = sample_data.open_stack()
    assert pixels.shape == SHAPES["timeseries"]
    assert shown["axis_labels"] == ("t", "y", "x")
    assert kind == "image"
