"""A server with the bundled model, for all tests."""

from __future__ import annotations

import pytest
from servers import KEY, served

from napari_resunet.engine.device import choose
from napari_resunet.remote.client import connect
from napari_resunet.remote.server import Service


@pytest.fixture(scope="session")
def service(starter):
    made = Service(choose("cpu"), KEY)
    made.models.add(starter)
    return made


@pytest.fixture(scope="session")
def url(service):
    with served(service) as address:
        yield address


@pytest.fixture
def server(url):
    return connect(url, KEY)
