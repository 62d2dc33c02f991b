"""How to begin: samples, files, earlier sessions, and the model that loads meanwhile."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tifffile
from harness import Headless

from napari_resunet.network.model_file import new_model
from napari_resunet.plugin.controllers import welcome
from napari_resunet.plugin.layers import labels_look
from napari_resunet.session.store.recent import RecentSession
from napari_resunet.session.workers import ModelReady
from napari_resunet.types import ModelInfo


class Loader:
    """Loads a model in one step."""

    def __init__(self):
        self.corrections, self.requests = SimpleNamespace(fresh=[]), []

    def load(self, request, token):
        self.requests.append(request)
        yield None
        return ModelReady(new_model(ModelInfo()), "CPU", request.name)


@pytest.fixture
def bench(monkeypatch, tmp_path, plugins):
    sessions = [RecentSession(tmp_path, "nuclei", "", 3, None)]
    monkeypatch.setattr(welcome, "recent_sessions", lambda: sessions)
    bench = Headless(Loader())
    bench.app.welcome._workers = bench.workers
    bench.sessions = sessions
    yield bench
    bench.app.shut_down()


def finish(bench):
    while bench.app.background.current is not None:
        bench.step()


def test_sessions_are_listed_and_the_model_loads_in_the_background(bench):
    bench.app.welcome.start()
    assert bench.app.jobs.current is None  # Segment can be clicked meanwhile
    finish(bench)
    bench.view.welcome.set_sessions.assert_called_once_with(bench.sessions)
    assert [r.name for r in bench.workers.requests] == ["starter"]
    assert bench.state.model is not None
    assert bench.state.device_text == "CPU"


def test_what_the_first_labels_need_is_loaded_in_the_background_too(bench, monkeypatch):
    made = []
    monkeypatch.setattr(labels_look, "Labels", lambda data: made.append(data.dtype))
    bench.app.welcome.start()
    assert made == []  # the window waits for nothing
    finish(bench)
    assert made == [np.int32]


def test_a_dock_that_has_ended_starts_nothing(bench):
    bench.app.shut_down()
    bench.app.start_background()
    assert bench.app.background.current is None


def test_a_model_that_is_there_is_not_loaded_again(bench):
    bench.state.versions.loaded("starter", new_model(ModelInfo()))
    bench.app.welcome.start()
    finish(bench)
    assert bench.workers.requests == []


def test_a_file_is_opened_as_an_image(bench, tmp_path):
    tifffile.imwrite(tmp_path / "nuclei.tif", np.ones((20, 30), np.uint8))
    bench.view.welcome.paths_chosen.emit([tmp_path / "nuclei.tif"])
    assert bench.viewer.layers["nuclei"].data.shape == (20, 30)


def test_a_file_that_cannot_be_opened_is_said(bench, tmp_path):
    n = len(bench.viewer.layers)
    bench.app.welcome.open_images([tmp_path / "gone.tif"])
    assert "'gone.tif' cannot be opened" in bench.message
    assert len(bench.viewer.layers) == n


def test_the_sample_is_an_image_to_segment(bench):
    bench.viewer.layers.clear()
    bench.view.welcome.sample_clicked.emit()
    assert [name for _, name in bench.app.layers.images()] == ["nuclei"]


def test_a_session_of_the_list_is_opened(bench, tmp_path):
    opened = []
    bench.app.sessions.open = opened.append
    bench.view.welcome.session_chosen.emit(tmp_path / "none")
    assert "none" in bench.message
