"""Overlays: one layer that stays, over the right image, in nobody's way."""

import numpy as np
import pytest
from napari.components import ViewerModel
from synchronous import ManualTimers

from napari_resunet.plugin.layers.image_layers import is_overlay, layer_id_of
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.widget import SegmentWidget

BOX = np.array([(10, 10), (10, 40), (30, 40), (30, 10), (10, 10)], float)
LINE = np.array([(0, 0), (20, 0)], float)
WINDOW = slice(0, 80), slice(0, 100)


@pytest.fixture
def viewer():
    return ViewerModel()


@pytest.fixture
def image(viewer):
    return viewer.add_image(np.zeros((80, 100)), name="cells", scale=(2, 3))


@pytest.fixture
def timers():
    return ManualTimers()


@pytest.fixture
def overlays(viewer, timers):
    overlays = Overlays(viewer, timers)
    yield overlays
    overlays.shut_down()


@pytest.fixture
def outline(overlays):
    return Overlay(overlays, "outline", "gold")


@pytest.fixture
def circle(overlays):
    return Overlay(overlays, "circle", "cyan")


def box_of(layer):
    """Where a layer shows something, in the world: (top, left, bottom, right)."""
    ends = np.concatenate([layer.data[:, 0], layer.data.sum(1)])
    places = np.array([layer.data_to_world(end) for end in ends])
    return (*places.min(0), *places.max(0))


def test_lines_lie_over_the_image_and_follow_it(overlays, outline, image, timers):
    outline.draw(image, [BOX], WINDOW)
    overlays.update()
    assert box_of(overlays.layer) == pytest.approx((20, 30, 60, 120), abs=1)
    image.translate = (100, 0)
    image.scale = (1, 1)
    timers.fire()
    assert box_of(overlays.layer) == pytest.approx((110, 10, 130, 40), abs=1)


def test_overlays_share_one_layer_each_in_its_colour(overlays, outline, circle, image):
    outline.draw(image, [BOX, BOX + 20], WINDOW)
    circle.draw(image, [LINE], WINDOW)
    overlays.update()
    assert len(overlays.layer.data) == 9
    colours = {tuple(np.round(c, 2)) for c in overlays.layer.edge_color}
    assert colours == {(1, 0.84, 0, 1), (0, 1, 1, 1)}
    outline.clear()
    overlays.update()
    assert len(overlays.layer.data) == 1
    assert outline.lines == []


def test_corners_are_closed_and_points_draw_nothing(overlays, outline, image):
    outline.draw(image, [BOX[:1], BOX[[0, 0, 1]]], WINDOW)
    overlays.update()
    assert len(overlays.layer.data) == 1
    assert overlays.layer.data[0, 1] == pytest.approx((0, 30 + overlays.layer.edge_width))
    outline.draw(image, [BOX[[0, 0]]], WINDOW)
    overlays.update()
    assert not len(overlays.layer.data)


def test_the_layer_is_added_once_and_stays(viewer, overlays, outline, circle, image):
    overlays.update()
    assert overlays.layer is None
    outline.draw(image, [BOX], WINDOW)
    overlays.update()
    layer = overlays.layer
    for _ in range(3):
        outline.clear()
        circle.clear()
        overlays.update()
        labels = viewer.add_labels(np.zeros((80, 100), int))
        circle.draw(image, [LINE], WINDOW)
        overlays.update()
        assert overlays.layer is layer
        assert viewer.layers[-1] is layer
        viewer.layers.remove(labels)
    assert [x for x in viewer.layers if is_overlay(x)] == [layer]


def test_a_layer_that_the_user_removed_comes_with_the_next_drawing(
    viewer, overlays, outline, image
):
    outline.draw(image, [BOX], WINDOW)
    overlays.update()
    viewer.layers.remove(overlays.layer)
    assert overlays.layer is None
    outline.draw(image, [BOX], WINDOW)
    overlays.update()
    assert overlays.layer in viewer.layers


def test_lines_go_with_their_image(viewer, timers, overlays, outline, circle, image):
    other = viewer.add_image(np.zeros((50, 50)), scale=(7, 7))
    outline.draw(image, [BOX], WINDOW)
    circle.draw(other, [LINE], WINDOW)
    overlays.update()
    assert box_of(overlays.layer) == pytest.approx((0, 0, 140, 0), abs=2)
    viewer.layers.remove(other)
    timers.fire()
    assert box_of(overlays.layer) == pytest.approx((20, 30, 60, 120), abs=1)
    viewer.layers.remove(image)
    overlays.update()
    assert not len(overlays.layer.data)
    viewer.layers.clear()
    outline.clear()
    overlays.update()
    assert not len(viewer.layers)


def test_what_was_selected_stays_selected(viewer, overlays, outline, image):
    outline.draw(image, [BOX], WINDOW)
    overlays.update()
    assert viewer.layers.selection.active is image


def test_the_layer_is_no_choice_of_image_labels_or_area(viewer, image, qtbot):
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    app = widget.app
    app.layers.make_binding(image)
    app.review.choose_area("slice")
    app.review.mark_verified()
    app.overlays.update()
    assert len(app.overlays.layer.data) == 4
    assert [name for _, name in app.layers.images()] == ["cells"]
    assert len(app.layers.regions()) == 3
    viewer.layers.selection.active = app.overlays.layer
    assert app.layers.selected() == (None, None)
    assert app.state.image_key == layer_id_of(image)
    app.shut_down()
    assert not any(is_overlay(layer) for layer in viewer.layers)
