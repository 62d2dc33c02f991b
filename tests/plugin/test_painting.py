"""napari's brush on our labels: a new object, its neighbours, its pieces, its contours."""

from types import SimpleNamespace

import numpy as np
import pytest
from harness import Headless, better_model
from napari.utils.interactions import (
    mouse_move_callbacks,
    mouse_press_callbacks,
    mouse_release_callbacks,
)

from napari_resunet.network.model_file import new_model
from napari_resunet.plugin.messages import version_from
from napari_resunet.plugin.tools import CONTOURS_KEY
from napari_resunet.types import ModelInfo

NUCLEUS = slice(5, 15), slice(5, 15)
NEIGHBOUR = slice(20, 30), slice(30, 40)
THIRD = slice(32, 38), slice(2, 8)
WHOLE = slice(0, 40), slice(0, 50)


class Easel(Headless):
    """The app behind a fake dock, with two nuclei, 1 and 2, that Segment proposed."""

    def __init__(self):
        super().__init__(None)
        self.binding = self.app.layers.make_binding(self.image)
        self.layer = self.binding.layer
        self.layer.brush_size = 4
        self.propose()

    def propose(self, *more):
        labels = np.zeros((40, 50), np.int32)
        for number, window in enumerate((NUCLEUS, NEIGHBOUR, *more), 1):
            labels[window] = number
        self.binding.apply((), WHOLE, WHOLE, labels, "instances")

    def stroke(self, *places):
        event = SimpleNamespace(
            type="mouse_press", position=places[0], modifiers=(), button=1,
            is_dragging=False, handled=False, view_direction=None, dims_displayed=[0, 1],
        )  # fmt: skip
        mouse_press_callbacks(self.layer, event)
        event.type, event.is_dragging = "mouse_move", True
        for place in places[1:]:
            event.position = place
            mouse_move_callbacks(self.layer, event)
        event.type = "mouse_release"
        mouse_release_callbacks(self.layer, event)

    @property
    def data(self):
        return self.layer.data

    @property
    def labels_in_use(self):
        return set(np.unique(self.data)) - {0}

    def use_classes(self):
        info = ModelInfo(task="classes", class_names=("background", "axon", "myelin"))
        model = new_model(info)
        self.state.versions.add(version_from(better_model(model.network, model).model, 1))
        self.state.changed.emit()

    def use_objects(self):
        model = new_model(ModelInfo())
        self.state.versions.add(version_from(better_model(model.network, model).model, 2))
        self.state.changed.emit()


@pytest.fixture
def easel():
    easel = Easel()
    yield easel
    easel.app.shut_down()


@pytest.mark.parametrize("mode", ["paint", "fill", "polygon"])
def test_a_brush_that_is_taken_begins_a_new_object(easel, mode):
    assert easel.layer.selected_label == 1
    easel.layer.mode = mode
    assert easel.layer.selected_label == 3


def test_the_new_object_spares_its_neighbours(easel):
    before = easel.data.copy()
    easel.layer.mode = "paint"
    easel.stroke((10, 20), (10, 8), (25, 35))
    assert easel.labels_in_use == {1, 2, 3}
    assert np.array_equal(easel.data[before > 0], before[before > 0])


def test_a_picked_object_is_painted(easel):
    easel.layer.selected_label = 2
    easel.layer.mode = "paint"
    easel.stroke((25, 42))
    assert easel.layer.selected_label == 2
    assert easel.data[25, 42] == 2


def test_the_object_under_the_eyedropper_is_picked_even_if_it_was_selected(easel):
    easel.layer.mode = "pick"
    easel.stroke((10, 10))
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == 1
    easel.layer.mode = "pick"
    easel.stroke((38, 3))
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == 3


def test_an_object_in_the_making_is_gone_on_with_after_moving_the_view(easel):
    easel.layer.mode = "paint"
    easel.stroke((10, 25))
    easel.layer.mode = "pan_zoom"
    easel.layer.mode = "paint"
    easel.stroke((12, 25))
    assert easel.labels_in_use == {1, 2, 3}


def test_after_segment_nothing_is_picked(easel):
    easel.layer.selected_label = 2
    easel.propose(THIRD)
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == easel.data.max() + 1


def test_a_proposal_that_arrives_takes_no_brush_out_of_the_hand(easel):
    easel.layer.mode = "paint"
    easel.propose(THIRD)
    new = easel.layer.selected_label
    assert new == easel.data.max() + 1
    easel.stroke((10, 25))
    easel.propose(THIRD)
    assert (easel.layer.mode, easel.layer.selected_label) == ("paint", new)
    easel.stroke((12, 25))
    assert easel.data[12, 25] == easel.data[10, 25] == new


def test_new_colours_pick_nothing(easel):
    easel.layer.new_colormap()
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == 3


def test_labels_of_other_slices_are_not_begun_again():
    easel = Easel()
    stack = easel.viewer.add_image(np.zeros((2, 40, 50)), name="stack")
    binding = easel.app.layers.make_binding(stack)
    easel.viewer.dims.set_point(0, 0)
    labels = np.zeros((40, 50), np.int32)
    labels[NUCLEUS] = 7
    binding.apply((1,), WHOLE, WHOLE, labels, "instances")
    binding.layer.mode = "paint"
    assert binding.layer.selected_label > int(binding.layer.data.max())
    easel.app.shut_down()


def test_the_eraser_and_the_bucket_take_what_they_touch(easel):
    easel.layer.mode = "erase"
    easel.stroke((10, 10))
    assert easel.data[10, 10] == 0
    easel.layer.mode = "fill"
    easel.stroke((25, 35))
    assert (easel.data[NEIGHBOUR] == easel.layer.selected_label).all()


def test_who_wants_to_paint_over_neighbours_can(easel):
    easel.layer.mode = "paint"
    assert easel.layer.preserve_labels
    easel.layer.preserve_labels = False
    for mode in ("erase", "pan_zoom", "paint"):
        easel.layer.mode = mode
    easel.propose()
    assert not easel.layer.preserve_labels
    easel.stroke((25, 35))
    assert easel.data[25, 35] == 3
    easel.layer.preserve_labels = True
    easel.layer.mode = "erase"
    easel.layer.mode = "paint"
    assert easel.layer.preserve_labels


def test_our_own_tools_write_over_what_the_brush_spares(easel):
    easel.layer.mode = "paint"
    easel.viewer.cursor.position = (10, 10)
    {str(key): f for key, f in easel.layer.keymap.items()}["D"](easel.layer)
    assert not easel.data[NUCLEUS].any()


def test_classes_are_painted_as_they_are_selected(easel):
    easel.use_classes()
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == 1
    easel.stroke((25, 35))
    assert easel.data[25, 35] == 1
    easel.timers.fire()
    easel.view.set_message.assert_not_called()


def luminance(colour):
    """Relative luminance as the guidelines for accessible contents define it."""
    linear = [c / 12.92 if c <= 0.04 else ((c + 0.055) / 1.055) ** 2.4 for c in colour[:3]]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_classes_have_colours_that_show_on_dark_and_bright_pixels(easel):
    layer = easel.layer
    before = layer.get_color(1)
    easel.use_classes()
    shown = [layer.get_color(label) for label in range(1, 7)]
    assert len({tuple(colour) for colour in shown}) == 6
    for colour in shown:
        light = luminance(colour) + 0.05
        assert light / 0.05 > 2  # contrast with black
        assert 1.05 / light > 2  # contrast with white
    layer.new_colormap(3)
    chosen = layer.get_color(1)
    easel.state.changed.emit()
    assert np.array_equal(layer.get_color(1), chosen)  # the user's own colours stay
    easel.use_objects()
    assert np.array_equal(layer.get_color(1), before)


def test_an_object_in_two_far_pieces_is_pointed_out(easel):
    easel.layer.mode = "paint"
    easel.stroke((10, 25))
    easel.timers.fire()
    easel.view.set_message.assert_not_called()
    easel.stroke((35, 8))
    easel.timers.fire()
    assert "Object 3 lies in 2 pieces" in easel.message
    assert all(word in easel.message for word in ("J", "K", "Ctrl-Z"))


def test_an_object_that_the_eraser_cut_through_is_pointed_out(easel):
    easel.propose((slice(32, 36), slice(2, 48)))
    label = easel.data[34, 5]
    easel.layer.mode = "erase"
    easel.layer.brush_size = 20
    easel.stroke((38, 25))
    easel.timers.fire()
    assert f"Object {label} lies in 2 pieces" in easel.message


def test_a_stroke_that_was_undone_is_not_pointed_out(easel):
    easel.layer.mode = "paint"
    easel.stroke((10, 25))
    easel.stroke((35, 8))
    easel.layer.undo()
    easel.timers.fire()
    easel.view.set_message.assert_not_called()


# Contours -------------------------------------------------------------------------------


def press(easel, key):
    keymap = {str(k): f for k, f in easel.viewer.keymap.items()}
    keymap[key](easel.viewer)


def test_labels_are_contours_and_one_key_fills_them(easel):
    assert easel.layer.contour > 0
    press(easel, CONTOURS_KEY)
    assert easel.layer.contour == 0
    assert easel.layer.opacity < 0.7
    press(easel, CONTOURS_KEY)
    assert easel.layer.contour > 0
    assert easel.layer.opacity > 0.7


def test_each_look_keeps_its_own_opacity(easel):
    easel.layer.opacity, easel.layer.contour = 0.8, 3
    press(easel, CONTOURS_KEY)
    easel.layer.opacity = 0.25
    press(easel, CONTOURS_KEY)
    assert (easel.layer.opacity, easel.layer.contour) == (0.8, 3)
    press(easel, CONTOURS_KEY)
    assert easel.layer.opacity == 0.25


def test_the_button_follows_the_key_and_napari_and_new_labels_the_choice(easel):
    shown = easel.view.correct.set_contours_shown
    assert shown.call_args.args == (True,)
    press(easel, CONTOURS_KEY)
    assert shown.call_args.args == (False,)
    easel.layer.contour = 3
    assert shown.call_args.args == (True,)
    easel.view.correct.contours_toggled.emit(False)
    other = easel.viewer.add_image(np.zeros((30, 30)), name="other")
    assert easel.app.layers.make_binding(other).layer.contour == 0


def test_in_3d_labels_are_filled_and_afterwards_as_they_were(easel):
    stack = easel.viewer.add_image(np.zeros((3, 40, 50)), name="stack")
    binding = easel.app.layers.make_binding(stack)
    easel.viewer.dims.ndisplay = 3
    assert binding.layer.contour == 0
    assert binding.style().contour > 0
    easel.viewer.dims.ndisplay = 2
    assert binding.layer.contour > 0


def test_the_end_leaves_no_key_behind(easel):
    assert CONTOURS_KEY in {str(key) for key in easel.viewer.keymap}
    easel.app.shut_down()
    assert CONTOURS_KEY not in {str(key) for key in easel.viewer.keymap}
    easel.layer.mode = "paint"
    assert easel.layer.selected_label == 1
