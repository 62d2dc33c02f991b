"""The dock leads: the highlighted button, the open step, and the texts of the steps."""

from __future__ import annotations

import numpy as np
import pytest
from harness import SHAPE, Headless

from napari_resunet.network.model_file import new_model
from napari_resunet.plugin.messages import HINTS, version_from
from napari_resunet.types import ModelInfo

MASK = np.zeros(SHAPE, bool)
MASK[:20] = True


@pytest.fixture
def bench():
    bench = Headless(None)
    yield bench
    bench.app.shut_down()


def primary(bench):
    return bench.view.set_primary.call_args.args[0]


def state(bench, step):
    calls = [c.args for c in bench.view.steps.set_state.call_args_list]
    return next(text for name, text in reversed(calls) if name == step)


def propose(bench):
    """Write two objects into the labels, as Segment does."""
    labels = np.zeros(SHAPE, np.int32)
    labels[5:15, 5:15], labels[25:35, 5:15] = 1, 2
    binding = bench.app.layers.make_binding(bench.image)
    whole = (slice(0, SHAPE[0]), slice(0, SHAPE[1]))
    binding.apply((), whole, whole, labels, "instances")
    bench.state.changed.emit()
    return binding


def test_without_an_image_the_dock_shows_how_to_begin(bench):
    bench.viewer.layers.clear()
    assert bench.view.show_welcome.call_args.args == (True,)
    assert primary(bench) is None
    bench.viewer.add_image(np.zeros(SHAPE))
    assert bench.view.show_welcome.call_args.args == (False,)


def test_it_leads_from_segment_to_next(bench):
    assert primary(bench) == "segment"
    bench.view.steps.open.assert_not_called()
    binding = propose(bench)
    assert primary(bench) == "mark_verified"
    bench.view.steps.open.assert_called_once_with("correct")
    binding.verify((), MASK)
    bench.state.changed.emit()
    assert primary(bench) == "fine_tune"
    assert bench.view.steps.set_next.call_args.args == ("learn",)
    bench.state.log("begin")
    bench.state.changed.emit()
    assert primary(bench) == "next"
    binding.verify((), ~MASK)
    bench.state.changed.emit()
    assert primary(bench) == "fine_tune"


def test_the_hint_belongs_to_the_highlighted_button(bench):
    assert bench.view.status.set_hint.call_args.args == (HINTS["segment"],)
    propose(bench)
    assert bench.view.status.set_hint.call_args.args == (HINTS["mark_verified"],)


def test_a_step_that_the_user_opened_stays_open(bench):
    propose(bench)
    bench.state.changed.emit()
    bench.timers.fire()
    bench.view.steps.open.assert_called_once_with("correct")


def test_the_steps_say_how_far_they_are(bench):
    assert state(bench, "segment") == ""
    binding = propose(bench)
    binding.verify((), MASK)
    bench.state.changed.emit()
    assert state(bench, "segment") == state(bench, "results") == "2 objects"
    assert state(bench, "correct") == "0 edits · 1 verified"
    assert state(bench, "learn") == "Starter"
    text = bench.view.results.set_text.call_args.args[0]
    assert "2 objects, 1 of them verified" in text


def test_new_classes_are_painted_before_anything_is_proposed(bench):
    propose(bench)  # objects, by the starter
    info = ModelInfo(task="classes", class_names=("background", "axon", "myelin"))
    bench.viewer.layers.remove(bench.labels.layer)
    bench.state.versions.add(version_from(new_model(info), 1))
    bench.view.steps.open.reset_mock()
    bench.app.layers.make_binding(bench.image)
    bench.state.changed.emit()
    assert primary(bench) == "mark_verified"
    bench.view.steps.open.assert_called_once_with("correct")
