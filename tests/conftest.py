"""What many tests share: small real pixels and small real models."""

from __future__ import annotations

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read by torch as it is imported: two workers share two cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
from once import PredictedOnce

from napari_resunet.engine import predict, synthetic
from napari_resunet.network.model_file import Model, new_model
from napari_resunet.session import segment_files
from napari_resunet.session.api import load_model
from napari_resunet.types import ModelInfo


@pytest.fixture(autouse=True)
def sessions_elsewhere(tmp_path_factory, monkeypatch):
    """Keep the sessions of tests out of the user's documents."""
    folder = tmp_path_factory.mktemp("sessions")
    monkeypatch.setenv("NAPARI_RESUNET_SESSIONS", str(folder))
    return folder


@pytest.fixture(scope="session")
def starter() -> Model:
    return load_model()


@pytest.fixture(scope="session")
def random_model() -> Model:
    return new_model(ModelInfo())


@pytest.fixture(scope="session")
def nuclei() -> tuple[np.ndarray, np.ndarray]:
    return synthetic.nuclei((160, 176), np.random.default_rng(3))


@pytest.fixture(scope="session", autouse=True)
def predicted_once():
    """Let each tile go through each network once for all tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "fast_copy", PredictedOnce(predict.fast_copy))
        yield


@pytest.fixture
def by_threshold(monkeypatch):
    """A model that needs no time: bright pieces are objects."""
    from skimage.measure import label

    def segment_planes(planes, model, **named):
        shown = [planes.read(i, *planes.window)[..., 0] for i in planes.indices()]
        found = np.stack([label(s > s.mean()) for s in shown])
        return found.reshape(planes.shape).astype(np.int32), 1.0

    monkeypatch.setattr(segment_files, "segment_planes", segment_planes)


@pytest.fixture
def segmenting_here(tmp_path, monkeypatch, by_threshold, starter):
    """Commands run in the folder of the test, and take no time for the model."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_resunet.session.api.load_model", lambda name: starter)
