"""The dock as a user sees it, and the same app behind a fake dock."""

from __future__ import annotations

from dataclasses import replace
from threading import Event

import numpy as np
from fakes import fake_dock
from napari.components import ViewerModel
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QWidget
from synchronous import ManualTimers, SteppedBackend

from napari_resunet.engine.finetune import FineTuneStep
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.outcome import HeldOutScore
from napari_resunet.errors import Cancelled
from napari_resunet.network.model_file import Model, new_model
from napari_resunet.plugin.widget import App
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.labels import LabelsStore
from napari_resunet.types import Lineage

TIMEOUT = 60_000
SHAPE = (40, 50)


class Dock:
    """What a user can see and do."""

    def __init__(self, viewer, widget, qtbot):
        self.viewer, self.widget, self.qtbot = viewer, widget, qtbot
        self.app, self.view = widget.app, widget.view
        self.state, self.layers = self.app.state, self.app.layers

    def find(self, name):
        # Not by `or`, because an empty combo box is false.
        found = self.view.findChild(QWidget, name)
        return self.view.findChild(QAction, name) if found is None else found

    def click(self, name):
        control = self.find(name)
        control.trigger() if isinstance(control, QAction) else control.click()

    @property
    def message(self):
        """What is said now; the hint what to do next is no message."""
        text, hint = self.find("message").text(), self.view.status.hint
        return "" if text == hint else text

    @property
    def binding(self):
        return self.layers.binding(self.state.image_key)

    @property
    def labels(self):
        return self.binding.layer

    def verified(self, index=()):
        return self.binding.review.plane(index).verified

    def mark(self, area):
        self.app.review.choose_area(area)
        self.app.review.mark_verified()

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=TIMEOUT)

    def wait(self):
        self.until(self.is_idle)

    def is_idle(self):
        return self.app.jobs.current is None and self.app.redraws.current is None

    def segment(self, scope="slice"):
        self.app.segment.choose_scope(scope)
        self.click("segment")
        self.wait()

    def fine_tune(self):
        self.mark("slice")
        self.click("fine_tune")
        self.wait()

    def open_session(self, root):
        self.app.sessions.open(root)
        self.until(lambda: self.app.session_jobs.current is None)

    def end(self):
        """Write everything and close the dock; return the session folder."""
        assert self.app.autosave.flush(60)
        root = self.app.autosave.folder.root
        self.app.shut_down()
        return root


def on_disk(folder, index="plane"):
    """Read the labels as another program would, while the session is open."""
    (plane,) = folder.root.glob(f"planes/*/{index}")
    shape = folder.file.images[0].plane_shape
    return LabelsStore(plane, shape).load().labels


class Headless:
    """The app behind a fake dock: no Qt, no thread, no clock, no session on disk."""

    def __init__(self, workers):
        self.viewer, self.view, self.backend = ViewerModel(), fake_dock(), SteppedBackend()
        self.timers, self.workers = ManualTimers(), workers
        self.app = App(self.viewer, self.view, self.backend, self.timers, Settings())
        self.app.autosave.pause()
        app = self.app
        for part in (app.segment, app.next_region, app.fine_tune, app.versions):
            part._workers = workers
        self.image = self.viewer.add_image(np.zeros(SHAPE), name="cells")

    @property
    def state(self):
        return self.app.state

    @property
    def message(self):
        return self.view.set_message.call_args.args[0]

    @property
    def labels(self):
        return self.app.layers.binding(self.state.image_key)

    def reason(self, control):
        """Why a control cannot be used; empty if it can."""
        calls = [c.args for c in self.view.set_enabled.call_args_list]
        return next(reason for name, _, reason in reversed(calls) if name == control)

    def step(self, n=1):
        """Let the newest job run to its next event."""
        for _ in range(n):
            self.backend.running[-1].step()


OLD, NEW = HeldOutScore(0.4, 0.9, 7, 14), HeldOutScore(0.6, 0.5, 12, 14)
CLOSE = HeldOutScore(0.35, 0.9, 6, 14)
BETTER = "Finds 12 of the 14 held-out objects right (before: 7)."


def better_model(network, parent):
    """Make what a fine-tuning from `parent` ends with, without the wait."""
    lineage = Lineage(parent_id=parent.info.lineage.model_id, steps=5, corrected_objects=9)
    child = Model(network, replace(parent.info, lineage=lineage))
    return FineTuneResult(child, "better", OLD, NEW, BETTER, 9, 2, 1, steps=5)


def as_candidate(result, parent):
    """Make of a better model one that is too close to call."""
    return replace(
        result, outcome="too close", model=parent, candidate=result.model, after=CLOSE
    )


class SureFineTuning:
    """Stands in for training: a step, then a better model of random weights.

    An endless one goes on until it is asked to end; one that is not sure of its model lets
    the user choose.
    """

    endless, sure = False, True
    checkpoint = None

    def steps(self, model, examples, config, compute, token, decoding, **named):
        yield FineTuneStep(1, 0.5, NEW, 0.5, 3.0, self.checkpoint, OLD)
        while self.endless and not (token.cancelled or token.stopped):
            Event().wait(0.01)
        if token.cancelled:
            raise Cancelled
        result = better_model(new_model(model.info).network, model)
        return result if self.sure else as_candidate(result, model)
