"""A session folder with one image."""

import pytest

from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.schema import ImageRecord


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
