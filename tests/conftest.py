"""What many tests share: small real pixels and small real models.

xdist's own process, which runs no tests, loads this file before it starts the workers: what
takes long to import is imported where it is used.
"""

from __future__ import annotations

import gc
import os
from itertools import count

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read by torch as it is imported: two workers share two cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()  # until all is imported

import numpy as np
import pytest
from once import PredictedOnce


def pytest_collection_finish():
    """Look for garbage among what the tests make: among all modules it takes long."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def session_folders(tmp_path_factory):
    """Folders by number: pytest would look through all earlier ones for each."""
    root = tmp_path_factory.mktemp("sessions")
    return (root / str(number) for number in count())


@pytest.fixture(autouse=True)
def sessions_elsewhere(session_folders, monkeypatch):
    """Keep the sessions of tests out of the user's documents."""
    folder = next(session_folders)
    folder.mkdir()
    monkeypatch.setenv("NAPARI_RESUNET_SESSIONS", str(folder))
    return folder


@pytest.fixture(scope="session")
def starter():
    from napari_resunet.session.api import load_model

    return load_model()


@pytest.fixture(scope="session")
def random_model():
    from napari_resunet.network.model_file import new_model
    from napari_resunet.types import ModelInfo

    return new_model(ModelInfo())


@pytest.fixture(scope="session")
def nuclei() -> tuple[np.ndarray, np.ndarray]:
    from napari_resunet.engine import synthetic

    return synthetic.nuclei((160, 176), np.random.default_rng(3))


@pytest.fixture(scope="session", autouse=True)
def predicted_once():
    """Let each tile go through each network once for all tests."""
    from napari_resunet.engine import predict

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(predict, "fast_copy", PredictedOnce(predict.fast_copy))
        yield


@pytest.fixture
def by_threshold(monkeypatch):
    """A model that needs no time: bright pieces are objects."""
    from skimage.measure import label

    from napari_resunet.session import segment_files

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
