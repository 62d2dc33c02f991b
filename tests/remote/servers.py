"""A server over a real socket, and something else that answers."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from http.client import HTTPConnection
from threading import Thread
from urllib.parse import urlsplit

import numpy as np

from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.prepare import PredictionRequest
from napari_resunet.remote.server import listen, make_server
from napari_resunet.types import Statistics

KEY = "a-key-for-the-tests"


@contextmanager
def served(service):
    """Run a service in a thread; provide its address."""
    with listen("127.0.0.1", 0) as opened:
        server = make_server(service)
        thread = Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def answering(data):
    """Provide the address of something that gives one answer to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer():
            connection, _ = listening.accept()
            with connection:
                connection.recv(2**16)
                connection.sendall(data)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(2**16):
                    pass  # closing unread would reset the connection

        thread = Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        thread.join()


def ask(url, method, path, body=b"", headers=None):
    """Send what no client of ours would send; return status and answer."""
    connection = HTTPConnection(urlsplit(url).netloc, timeout=20)
    headers = {"Authorization": f"Bearer {KEY}"} if headers is None else headers
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text


def window(side=40):
    """Ask for all of a small image."""
    image = np.random.default_rng(0).integers(0, 255, (side, side), np.uint8)
    reader = ImageReader([image])
    return PredictionRequest(reader, (), reader.window, 1.0, Statistics((0.0,), (255.0,)))
