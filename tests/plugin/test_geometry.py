"""Every transform of an image: what lies over it lies over it, then and later."""

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes

from napari_resunet.engine.differences import compare_objects
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.compare import ComparedLayer
from napari_resunet.plugin.layers.geometry import is_across_slices, to_pixels, to_world
from napari_resunet.plugin.layers.targets import seen_window
from napari_resunet.session.workers import Comparison
from napari_resunet.types import Target

LEANING = np.array([[1.0, 0.0], [0.4, 1.0]])
QUARTER = np.array([[0, 1, 5], [-1, 0, 10], [0, 0, 1.0]])
PLACES = {
    "scaled": {"scale": (2, 0.5), "translate": (7, -3), "units": ("um", "um")},
    "mirrored": {"scale": (-1, 2)},
    "turned": {"rotate": 30, "scale": (2, 0.5), "translate": (7, -3)},
    "sheared": {"shear": [0.3], "scale": (1, 3)},
    "sheared the other way": {"shear": LEANING},
    "by affine": {"affine": QUARTER},
    "all of it": {"rotate": 200, "shear": [0.2], "scale": (3, 1), "affine": QUARTER},
}
PIXELS = np.array([(0, 0), (10, 20), (39, 49), (-5, 3.5)])
every_place = pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)


def world(layer, *pixel):
    return np.asarray(layer.data_to_world(pixel))


@every_place
def test_the_labels_lie_over_the_image(place):
    image = Image(np.zeros((40, 50)), **place)
    labels = Labels(np.zeros((40, 50), int), **image_layers.labels_place(image))
    for pixel in PIXELS:
        assert world(labels, *pixel) == pytest.approx(world(image, *pixel))
    assert labels.units == image.units


@every_place
def test_the_labels_follow_an_image_that_is_placed_later(bench, place):
    image = bench.viewer.add_image(np.zeros((40, 50)))
    labels = bench.layers.make_binding(image).layer
    for name, value in place.items():
        setattr(image, name, value)
    image.axis_labels = ("row", "column")
    for pixel in PIXELS:
        assert world(labels, *pixel) == pytest.approx(world(image, *pixel))
    assert labels.units == image.units
    assert labels.axis_labels == ("row", "column")
    image.affine = np.diag([2.0, 2.0, 1.0])  # a copy, or both would have moved
    bench.layers.unbind()
    image.affine = np.eye(3)
    assert np.asarray(labels.affine)[0, 0] == 2


@every_place
def test_a_plane_over_the_image_and_the_way_there_and_back(place):
    image = Image(np.zeros((40, 50)), **place)
    plane = Shapes(ndim=2, **image_layers.plane_place(image))
    for pixel in PIXELS:
        assert world(plane, *pixel) == pytest.approx(world(image, *pixel))
    assert to_world(image, PIXELS)[1] == pytest.approx(world(image, *PIXELS[1]))
    assert to_pixels(image, to_world(image, PIXELS)) == pytest.approx(PIXELS)


@every_place
def test_a_plane_of_larger_pixels_begins_where_it_should(place):
    image = Image(np.zeros((40, 50)), **place)
    where = image_layers.plane_place(image)
    first, step = np.array((4.0, 6.0)), np.array((2.0, 3.0))
    where["translate"] = where["translate"] + where["scale"] * first
    where["scale"] = where["scale"] * step
    coarse = Image(np.zeros((5, 5)), **where)
    assert world(coarse, 2, 3) == pytest.approx(world(image, 4 + 2 * 2, 6 + 3 * 3))


@every_place
def test_two_models_are_compared_where_they_looked(place):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((40, 50)), **place)
    target = Target((), (slice(10, 20), slice(30, 45)))
    labels = np.ones((10, 15), np.int32)
    layer = ComparedLayer(
        viewer,
        image,
        Comparison(target, compare_objects(labels, labels)),
        ("a", "b"),
        None,
    ).layer
    assert world(layer, 3, 4) == pytest.approx(world(image, 13, 34))


@every_place
def test_next_looks_where_the_window_is(place):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((400, 500)), **place)
    window = slice(100, 140), slice(30, 90)
    targets.look_at(viewer, image, window)
    rows, columns = seen_window(image, viewer)
    assert rows.start <= 100
    assert rows.stop >= 140
    assert columns.start <= 30
    assert columns.stop >= 90
    assert (rows.stop - rows.start) * (columns.stop - columns.start) < 100_000


def test_a_stack_of_channels_that_is_turned(bench):
    image = bench.viewer.add_image(
        np.zeros((3, 4, 40, 50)), axis_labels=("z", "c", "y", "x"),
        rotate=[[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
        scale=(5, 2, 0.5, 0.25), translate=(1, 2, 3, 4),
    )  # fmt: skip
    binding = bench.layers.make_binding(image)
    assert binding.layer.data.shape == (3, 1, 40, 50)
    for channel in range(4):
        place = binding.layer.world_to_data(world(image, 2, channel, 7, 9))
        assert np.round(np.asarray(place) - 1e-9).tolist() == [2, 0, 7, 9]
    plane = Labels(np.zeros((40, 50), int), **image_layers.plane_place(image))
    assert world(plane, 7, 9) == pytest.approx(world(image, 2, 1, 7, 9)[-2:])


@pytest.mark.parametrize(
    "place",
    [
        {"scale": (3, 5, 2, 0.5), "translate": (1, 2, 3, 4)},
        {
            "rotate": [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, -1], [0, 0, 1, 0]],
            "scale": (3, 5, 0.5, 0.25),
            "translate": (1, 2, 3, 4),
        },
        {"affine": np.diag([2.0, 3, 0.5, 0.5, 1]), "scale": (1, 2, 1, 1)},
    ],
)
def test_labels_have_no_axis_for_channels_that_come_first(bench, place):
    names = ("c", "z", "y", "x")
    image = bench.viewer.add_image(np.zeros((4, 3, 40, 50)), axis_labels=names, **place)
    binding = bench.layers.make_binding(image)
    assert binding.layer.data.shape == (3, 40, 50)
    assert binding.layer.axis_labels == ("z", "y", "x")
    for channel in range(4):
        there = world(image, channel, 2, 7, 9)
        assert binding.layer.world_to_data(there) == pytest.approx((2, 7, 9))
    image.scale = np.array(image.scale) * 2
    there = world(image, 1, 2, 7, 9)
    assert binding.layer.world_to_data(there) == pytest.approx((2, 7, 9))
    assert binding.indices() == [(0,), (1,), (2,)]


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
def test_an_image_turned_across_its_slices_is_refused(bench):
    image = bench.viewer.add_image(np.zeros((3, 40, 50)), rotate=(0, 30, 0))
    assert is_across_slices(image)
    assert "across its slices" in image_layers.unsupported_reason(image, bench.viewer)
    image.rotate = np.eye(3)
    assert bench.find("segment").isEnabled()


def test_the_outline_moves_with_the_image(bench):
    image = bench.viewer.add_image(np.zeros((40, 50)))
    bench.layers.make_binding(image)
    bench.mark("slice")
    drawn = []
    bench.app.review.outline.draw = lambda *what: drawn.append(what)
    image.translate = (0, 100)
    assert len(drawn) == 1


def test_labels_of_an_image_whose_axes_change_are_left_alone(bench):
    image = bench.viewer.add_image(np.zeros((3, 40, 50)), axis_labels=("z", "y", "x"))
    binding = bench.layers.make_binding(image)
    binding.layer.data[:2, 5:9] = 3  # of two slices, so they do not fit on one
    image.axis_labels = ("c", "y", "x")
    assert bench.binding is None
    assert binding.layer in bench.viewer.layers
    assert "Segment makes new ones" in bench.message
    assert bench.layers.make_binding(image).layer.data.shape == (40, 50)
