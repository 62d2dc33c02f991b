"""Images of every kind that napari takes: each works, or a sentence says why not."""

import dask.array as da
import numpy as np
import pytest
from harness import TIMEOUT
from napari.layers import Image

from napari_resunet.plugin.layers import image_layers

RANDOM = np.random.default_rng(0)


def pixels(*shape, dtype=np.uint8):
    return RANDOM.integers(0, 255, shape).astype(dtype)


FINE = {
    "bool": (pixels(20, 30) > 100, {}),
    "float16": (pixels(20, 30, dtype=np.float16), {}),
    "only infinity": (np.full((20, 30), np.inf), {}),
    "only NaN": (np.full((20, 30), np.nan), {}),
    "RGBA": (pixels(20, 30, 4), {"rgb": True}),
    "a stack of RGB": (pixels(3, 20, 30, 3), {"rgb": True}),
    "one pixel": (pixels(1, 1), {}),
    "one column": (pixels(2, 20, 1), {}),
    "5D": (pixels(2, 1, 2, 20, 30), {}),
    "6D with channels": (
        pixels(2, 2, 1, 2, 20, 30),
        {"axis_labels": ("t", "c", "p", "z", "y", "x")},
    ),
    "a pyramid of channels": (
        [pixels(3, 40, 60), pixels(3, 20, 30)],
        {"axis_labels": ("c", "y", "x"), "multiscale": True},
    ),
    "dask": (da.from_array(pixels(3, 20, 30)), {}),
    "nanometres": (pixels(20, 30), {"scale": (1e-9, 1e-9)}),
    "far away": (pixels(20, 30), {"translate": (1e9, -1e9)}),
    "two axes named channel": (
        pixels(2, 2, 20, 30),
        {"axis_labels": ("c", "ch", "y", "x")},
    ),
}


@pytest.mark.parametrize(
    ("place", "size"),
    [
        ({}, None),
        ({"scale": (0.5, 0.5)}, None),
        ({"scale": (0.5, 0.5), "units": ("um", "um")}, 0.5),
        ({"scale": (-500, 500), "units": ("nm", "nm")}, 0.5),
        ({"scale": (1e-6, 0.25), "units": ("m", "um"), "rotate": 30}, 0.5),
        ({"scale": (2, 0.5, 0.5), "units": ("s", "um", "um")}, 0.5),
        ({"scale": (0.5, 0.5), "units": ("um", "pixel")}, None),
        ({"scale": (0.5, 0.5), "units": ("s", "s")}, None),
        ({"scale": (1e-9, 1e-9), "units": ("um", "um")}, None),
    ],
)
def test_pixels_have_a_size_if_their_units_are_lengths(place, size):
    data = pixels(*(20, 30) if len(place.get("scale", "yx")) == 2 else (3, 20, 30))
    assert image_layers.pixel_size(Image(data, **place)) == pytest.approx(size)


@pytest.mark.parametrize(("data", "known"), FINE.values(), ids=FINE)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_any_image_can_be_corrected(bench, data, known):
    image = bench.viewer.add_image(data, name="im", **known)
    assert image_layers.unsupported_reason(image, bench.viewer) == ""
    bench.layers.make_binding(image).layer.data[..., 0, 0] = 1
    bench.app.state.changed.emit()
    for region in ("visible", "slice"):
        bench.app.review.unmark()
        bench.mark(region)
        index = image_layers.shown_index(image, bench.viewer)
        assert bench.verified(index).all()
    image.name = "another name"
    autosave = bench.app.autosave
    assert autosave.flush(60)
    assert autosave.folder.file.images[0].name == "another name"
    bench.viewer.layers.remove(image)
    bench.mark("slice")
    bench.app.segment.segment()
    assert bench.app.jobs.current is None


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((0, 20, 30), "empty"), ((2, 2, 2, 2, 20, 30), "too many dimensions")],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_cannot_be_segmented_says_so(bench, shape, sentence):
    bench.viewer.add_image(pixels(*shape))
    assert sentence in bench.find("segment").toolTip()
    for act in (bench.app.review.mark_verified, bench.app.fine_tune.fine_tune):
        act()
        assert sentence in bench.message
    bench.app.segment.segment()
    assert bench.binding is None


@pytest.mark.parametrize("turn", ["3D", "rolled"])
def test_nothing_is_verified_or_segmented_in_another_view(bench, turn):
    image = bench.viewer.add_image(pixels(3, 20, 30))
    bench.layers.make_binding(image)
    if turn == "3D":
        bench.viewer.dims.ndisplay = 3
    else:
        bench.viewer.dims.roll()
    bench.mark("slice")
    assert "first" in bench.message
    bench.app.segment.segment()
    bench.app.fine_tune.fine_tune()
    assert "first" in bench.message
    assert bench.app.jobs.current is None
    assert not bench.binding.review.verified_planes()


def test_a_stack_is_segmented_by_slice_or_as_a_whole(dock, image_of_nuclei):
    stack = np.stack([image_of_nuclei] * 3)
    dock.viewer.add_image(stack, name="movie", axis_labels=("t", "y", "x"))
    dock.viewer.dims.set_point(0, 1)
    dock.segment("slice")
    labels = dock.labels
    assert [plane.any() for plane in labels.data] == [False, True, False]
    dock.segment("stack")
    assert dock.labels is labels
    assert all(plane.any() for plane in labels.data)
    assert labels.axis_labels == ("t", "y", "x")


def test_one_channel_of_several_feeds_the_network(dock, image_of_nuclei):
    noise = np.random.default_rng(0).integers(0, 255, image_of_nuclei.shape, dtype=np.uint8)
    channels = np.stack([noise, image_of_nuclei])
    dock.viewer.add_image(channels, name="two", axis_labels=("channel", "y", "x"))
    assert dock.find("channel_0").isVisibleTo(dock.view)
    dock.app.image.choose_channels((1,))
    dock.app.image.set_object_size(20)
    dock.segment()
    labels = dock.labels
    assert labels.data.shape == image_of_nuclei.shape
    assert labels.data.max() > 10
    assert tuple(labels.world_to_data((1, 5, 6))) == (5, 6)  # it shows on every channel


def test_rgb_is_segmented_as_one_image(dock, image_of_nuclei):
    dock.viewer.add_image(np.stack([image_of_nuclei] * 3, -1), name="rgb")
    dock.segment()
    labels = dock.labels
    assert labels.data.shape == image_of_nuclei.shape
    assert labels.data.any()


def test_a_pyramid_is_proposed_at_full_resolution(dock, image_of_nuclei):
    levels = [image_of_nuclei, image_of_nuclei[::2, ::2]]
    dock.viewer.add_image(levels, name="pyramid", multiscale=True)
    dock.segment()
    labels = dock.labels
    assert labels.data.shape == image_of_nuclei.shape
    assert labels.data.any()


def test_the_visible_area_follows_the_camera(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    layer = viewer.add_image(np.zeros((400, 400)))
    viewer.camera.zoom = 20
    viewer.camera.center = (100, 300)

    def is_followed():
        rows, columns = image_layers.visible_window(layer)
        assert 0 < rows.start < 100 < rows.stop < 399
        assert 0 < columns.start < 300 < columns.stop

    qtbot.waitUntil(is_followed, timeout=TIMEOUT)


def test_reasons_stand_in_the_tooltips(bench):
    assert bench.find("segment").toolTip() == "Open an image first."
    bench.viewer.add_image(pixels(3, 20, 30))
    assert bench.find("segment").isEnabled()
    assert "Segment first" in bench.find("fine_tune").toolTip()
    assert "Nothing is running" in bench.find("stop").toolTip()
    bench.viewer.dims.ndisplay = 3
    assert not bench.find("segment").isEnabled()
    assert "2D" in bench.find("segment").toolTip()
