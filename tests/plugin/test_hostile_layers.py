"""Images of every kind that napari takes: each works, or a sentence says why not."""

import dask.array as da
import numpy as np
import pytest

from napari_resunet.plugin import image_layers

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


@pytest.mark.parametrize(("data", "known"), FINE.values(), ids=FINE)
@pytest.mark.filterwarnings("ignore:All-NaN")
def test_any_image_can_be_corrected(bench, data, known):
    image = bench.viewer.add_image(data, name="im", **known)
    assert image_layers.unsupported_reason(image, bench.viewer) == ""
    bench.layers.make_binding(image).layer.data[..., 0, 0] = 1
    bench.controller.refresh()
    for region in ("visible", "slice"):
        bench.controller.unmark()
        bench.mark(region)
        index = image_layers.shown_index(image, bench.viewer)
        assert bench.verified(index).all()
    image.name = "another name"
    autosave = bench.controller.autosave
    assert autosave.flush(10)
    assert autosave.folder.file.images[0].name == "another name"
    bench.viewer.layers.remove(image)
    bench.mark("slice")
    bench.controller.segment()
    assert bench.work.job is None


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [((0, 20, 30), "empty"), ((2, 2, 2, 2, 20, 30), "too many dimensions")],
)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_what_cannot_be_segmented_says_so(bench, shape, sentence):
    bench.viewer.add_image(pixels(*shape))
    assert sentence in bench.find("segment").toolTip()
    for act in (bench.controller.mark_verified, bench.controller.fine_tune):
        act()
        assert sentence in bench.message
    bench.controller.segment()
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
    bench.controller.segment()
    bench.controller.fine_tune()
    assert bench.work.job is None
    assert not bench.binding.review.verified_planes()
