"""A viewer with our dock in it, and patience for jobs."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from qtpy.QtWidgets import QWidget

from napari_resunet.plugin.widget import SegmentWidget

TIMEOUT = 60_000


class Dock:
    """What a user can see and do."""

    def __init__(self, viewer, widget, qtbot):
        self.viewer, self.widget, self.qtbot = viewer, widget, qtbot
        self.view, self.controller = widget.view, widget.controller
        self.work = widget.controller.work
        self.view.minutes = 0.05

    def find(self, name):
        return self.view.findChild(QWidget, name)

    def click(self, name):
        self.find(name).click()

    @property
    def message(self):
        return self.find("message").text()

    @property
    def labels(self):
        return self.work.layers.binding(self.controller._image_key).layer

    def wait(self):
        self.qtbot.waitUntil(self.is_idle, timeout=TIMEOUT)

    def is_idle(self):
        return self.work.job is None and self.work.redraw_job is None

    def segment(self, scope="slice"):
        self.controller.choose_scope(scope)
        self.click("segment")
        self.wait()

    def fine_tune(self):
        self.controller.choose_region("slice")
        self.click("fine_tune")
        self.wait()

    def proceed(self, root):
        self.controller.sessions.open(root)
        self.qtbot.waitUntil(lambda: self.controller.sessions.job is None, timeout=30_000)


@pytest.fixture
def dock(make_napari_viewer, qtbot, starter):
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    assert isinstance(widget, SegmentWidget)
    # Loaded once for all tests; the first test of the loop loads it as a user does.
    widget.controller.work.versions.starter_loaded(starter)
    widget.controller.refresh()
    yield Dock(viewer, widget, qtbot)
    widget.controller.shut_down()


@pytest.fixture
def image_of_nuclei(nuclei):
    return np.ascontiguousarray(nuclei[0][:120, :130])


class Bench:
    """The dock on a viewer without a window: quick, and with a camera all the same."""

    def __init__(self, viewer, widget):
        self.viewer, self.view, self.controller = viewer, widget.view, widget.controller
        self.work, self.layers = widget.controller.work, widget.controller.layers

    def find(self, name):
        return self.view.findChild(QWidget, name)

    def click(self, name):
        self.find(name).click()

    @property
    def message(self):
        return self.find("message").text()

    @property
    def binding(self):
        return self.layers.binding(self.controller.image_key)

    def verified(self, index=()):
        return self.binding.review.plane(index).verified

    def mark(self, region):
        self.controller.choose_region(region)
        self.controller.mark_verified()


@pytest.fixture
def bench(qtbot):
    viewer = ViewerModel()
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget)
    yield Bench(viewer, widget)
    widget.controller.shut_down()
