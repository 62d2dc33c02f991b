"""Linking slices in the dock: one number for one object; what is the user's stays."""

import numpy as np
import pytest
from harness import Headless

from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.plugin.controllers.link import CHANGED, LINKED
from napari_resunet.plugin.layers.labels import LOCKED
from napari_resunet.session.segmenter import Proposal
from napari_resunet.types import ModelInfo

SHAPE = (3, 30, 40)
WINDOW = (slice(0, 30), slice(0, 40))


def frame(number):
    """Two squares that move to the right; every other frame has their numbers swapped."""
    labels = np.zeros(SHAPE[1:], np.int32)
    left, names = 5 + 2 * number, (1, 2) if number % 2 else (2, 1)
    labels[5:13, left : left + 8], labels[18:26, left : left + 8] = names
    return labels


class FakeWorkers:
    """Proposes two objects in each slice."""

    def segment(self, request, token):
        for target in request.targets:
            (number,) = target.index
            maps = PredictionMaps(np.zeros((3, *SHAPE[1:]), np.float16), (), ModelInfo())
            yield Proposal(target.index, WINDOW, WINDOW, frame(number), maps, 1.0)

    def forget(self, key):
        """Nothing is cached."""


@pytest.fixture
def app():
    headless = Headless(FakeWorkers())
    headless.viewer.layers.clear()
    headless.image = headless.viewer.add_image(
        np.zeros(SHAPE), name="film", axis_labels=("t", "y", "x")
    )
    return headless


def finish(app):
    """Let all jobs run to their end, also those that others start."""
    while app.app.jobs.current is not None:
        app.step()


def segment(app):
    app.app.segment.choose_scope("stack")
    app.view.segment.segment_clicked.emit()
    finish(app)


def choose(app, stack):
    app.view.segment.stack_chosen.emit(stack)
    finish(app)


def upper(labels):
    return [int(np.unique(plane[5:13])[-1]) for plane in labels]


@pytest.mark.parametrize("stack", ["film", "volume"])
def test_choosing_what_the_slices_are_links_them(app, stack):
    choose(app, "separate")
    segment(app)
    assert len(set(upper(app.labels.layer.data))) == 2
    before = app.labels.layer.data > 0
    choose(app, stack)
    assert len(set(upper(app.labels.layer.data))) == 1
    assert len(np.unique(app.labels.layer.data)) == 3
    assert np.array_equal(app.labels.layer.data > 0, before)
    assert app.message == LINKED


def test_new_proposals_are_linked_too(app):
    app.view.segment.stack_chosen.emit("film")  # there are no labels yet
    segment(app)
    finish(app)
    assert len(set(upper(app.labels.layer.data))) == 1
    choose(app, "separate")
    assert len(set(upper(app.labels.layer.data))) == 1  # numbers stay as they are


def test_what_the_user_edited_or_verified_keeps_its_number_and_its_pixels(app):
    segment(app)
    app.labels.layer.data[1, 5:13, 7:15] = 50
    app.labels.layer.paint((1, 6, 8), 50)
    app.labels.verify((2,), np.pad(np.ones((2, 2), bool), ((18, 10), (9, 29))))
    app.labels.layer.paint((0, 28, 38), 7)
    before = app.labels.layer.data.copy()
    choose(app, "film")
    after, review = app.labels.layer.data, app.labels.review
    assert upper(after) == [50, 50, 50]
    assert np.array_equal(after > 0, before > 0)
    for index, plane in review.planes.items():
        mine = plane.protected
        assert np.array_equal(after[index][mine], before[index][mine])
    assert (after[2][18:26] == before[2][18:26]).all()
    assert after[0, 28, 38] == 7


def test_numbers_given_by_linking_are_no_edits_and_the_edits_stay(app):
    segment(app)
    app.labels.layer.paint((0, 28, 38), 7)
    edits = {index: mask.copy() for index, mask in app.labels.edited().items()}
    n = app.labels.edits
    choose(app, "film")
    assert app.labels.edits == n
    assert app.labels.edited().keys() == edits.keys()
    assert all(np.array_equal(app.labels.edited()[i], mask) for i, mask in edits.items())


def test_what_was_drawn_where_nothing_is_proposed_stays(app):
    app.app.segment.choose_scope("slice")
    app.view.segment.segment_clicked.emit()
    finish(app)
    app.labels.layer.paint((2, 9, 12), 33)
    before = app.labels.layer.data.copy()
    choose(app, "film")
    assert np.array_equal(app.labels.layer.data[2], before[2])
    assert len(app.labels.review.planes) < SHAPE[0]


def test_labels_that_change_meanwhile_stay(app):
    segment(app)
    app.view.segment.stack_chosen.emit("film")
    app.labels.layer.paint((0, 28, 38), 7)
    before = app.labels.layer.data.copy()
    finish(app)
    assert np.array_equal(app.labels.layer.data, before)
    assert app.message == CHANGED


def test_labels_of_an_image_with_channels_are_linked():
    app = Headless(FakeWorkers())
    app.viewer.layers.clear()
    pixels = np.zeros((SHAPE[0], 2, *SHAPE[1:]))
    app.image = app.viewer.add_image(pixels, axis_labels=("t", "c", "y", "x"))
    segment(app)
    choose(app, "film")
    assert len(np.unique(app.labels.layer.data)) == 3


def test_numbers_and_choice_are_there_tomorrow(dock, make_window_dock):
    names = ("t", "y", "x")
    image = dock.viewer.add_image(np.zeros(SHAPE), name="film", axis_labels=names)
    binding = dock.layers.make_binding(image)
    for number in range(SHAPE[0]):
        binding.apply((number,), WINDOW, WINDOW, frame(number), "instances")
    combo = dock.find("stack")
    assert combo.isVisibleTo(dock.view.segment)
    combo.setCurrentIndex(combo.findText("Separate"))
    combo.setCurrentIndex(combo.findText("A film"))
    dock.wait()
    linked = dock.labels.data.copy()
    assert len(set(upper(linked))) == 1
    root, later = dock.end(), make_window_dock()
    later.open_session(root)
    assert later.find("stack").currentText() == "A film"
    assert np.array_equal(later.labels.data, linked)
    assert not later.binding.edited()


def test_locked_labels_stay(app):
    segment(app)
    app.labels.layer.editable = False
    before = app.labels.layer.data.copy()
    choose(app, "film")
    assert np.array_equal(app.labels.layer.data, before)
    assert app.message == LOCKED


@pytest.mark.parametrize(
    ("names", "stack"),
    [
        (("t", "y", "x"), "film"),
        (("Z", "y", "x"), "volume"),
        (("p", "y", "x"), "separate"),
        (("field", "y", "x"), "separate"),
    ],
)
def test_what_the_slices_are_is_guessed_from_the_names_of_the_axes(app, names, stack):
    app.viewer.layers.clear()
    app.image = app.viewer.add_image(np.zeros(SHAPE), axis_labels=names)
    app.view.segment.set_stack.assert_called_with(stack)
    segment(app)
    assert len(set(upper(app.labels.layer.data))) == (2 if stack == "separate" else 1)


def test_the_question_is_there_for_stacks_only(app):
    shown = app.view.segment.set_stack
    shown.assert_called_with("film")
    choose(app, "volume")
    app.state.changed.emit()
    shown.assert_called_with("volume")
    app.viewer.add_image(np.zeros(SHAPE[1:]), name="plane")
    app.state.changed.emit()
    shown.assert_called_with(None)
