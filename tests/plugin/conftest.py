"""The dock on a viewer, with or without a window, and fine-tuning without the wait."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Dock, SureFineTuning
from napari.components import ViewerModel
from npe2 import PluginManager

from napari_resunet._package import STARTER
from napari_resunet.plugin.widget import SegmentWidget


@pytest.fixture(scope="session")
def plugins():
    """Find the installed plugins, as napari does when its window opens."""
    manager = PluginManager.instance()
    manager.discover()
    return manager


@pytest.fixture
def make_bench(qtbot, plugins):
    """Provide a function that opens the dock on a viewer without a window."""
    made = []

    def make(kind=Dock, viewer=None):
        viewer = viewer or ViewerModel()
        widget = SegmentWidget(viewer)
        qtbot.addWidget(widget)
        made.append(kind(viewer, widget, qtbot))
        return made[-1]

    yield make
    for bench in made:
        bench.app.shut_down()


@pytest.fixture
def bench(make_bench):
    """Provide the dock on a viewer without a window, as it opens."""
    return make_bench()


@pytest.fixture
def make_dock(make_bench, starter):
    """Provide a function that does the same with the starter loaded."""
    return lambda: _ready(make_bench(), starter)


@pytest.fixture
def dock(make_dock):
    """Provide the dock without a window, with the starter and little time to learn."""
    return make_dock()


@pytest.fixture
def make_window_dock(make_napari_viewer, qtbot, starter):
    """Provide a function that opens the dock in a real window, with the starter."""
    made = []

    def make(show=False):
        viewer = make_napari_viewer(show=show)
        _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
        assert isinstance(widget, SegmentWidget)
        made.append(_ready(Dock(viewer, widget, qtbot), starter))
        return made[-1]

    yield make
    for dock in made:
        dock.app.shut_down()


@pytest.fixture
def window_dock(make_window_dock):
    """Provide the dock in a real window."""
    return make_window_dock()


def _ready(dock, starter):
    # Loaded once for all tests; the first test of the loop loads it as a user does.
    dock.state.versions.loaded(STARTER, starter)
    dock.view.fine_tune.minutes = 0.1
    dock.state.changed.emit()
    return dock


@pytest.fixture
def sure_fine_tuning(monkeypatch):
    """Replace training by a stand-in that always ends with a better model."""
    training = SureFineTuning()
    monkeypatch.setattr("napari_resunet.engine.finetune.fine_tune_steps", training.steps)
    return training


@pytest.fixture
def image_of_nuclei(nuclei):
    return np.ascontiguousarray(nuclei[0][:120, :130])
