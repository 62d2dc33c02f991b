"""A session folder with one image; an image that is worked on in small blocks."""

import numpy as np
import pytest

from napari_resunet.engine import synthetic
from napari_resunet.session.api import segment
from napari_resunet.session.large import outputs
from napari_resunet.session.large import run as large
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.types import ObjectSize


@pytest.fixture
def session(tmp_path):
    folder = SessionFolder.create(tmp_path / "my session")
    yield folder
    folder.close()


@pytest.fixture
def key(session):
    image = ImageRecord(name="cells", shape=(300, 320), dtype="uint8", axes="YX")
    session.update(session.file.model_copy(update={"images": (image,)}))
    return image.key


@pytest.fixture(scope="session")
def image():
    return synthetic.nuclei((210, 260), np.random.default_rng(3))[0]


@pytest.fixture(scope="session")
def whole(image, starter):
    """The labels of the image, segmented as one piece."""
    return segment(image, starter, diameter=ObjectSize(30.0), device="cpu")


@pytest.fixture
def small_blocks(monkeypatch):
    """The image has six blocks, and labels at four levels."""
    monkeypatch.setattr(large, "SIDE", 128)
    monkeypatch.setattr(outputs, "CHUNK", 64)
