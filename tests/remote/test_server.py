"""Who may ask, what is read of a request, whose turn it is."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from threading import Event, Thread

import numpy as np
import pytest
from servers import KEY, ask, served, window

from napari_resunet.engine.device import choose
from napari_resunet.errors import Cancelled, RemoteError
from napari_resunet.events import CancelToken, Progress, drain
from napari_resunet.remote import server as server_module
from napari_resunet.remote.predict import RemotePredictor
from napari_resunet.remote.server import Service, listen
from napari_resunet.remote.wire import MapsEvent, ProgressEvent, frame

MAPS = frame(MapsEvent(), [np.zeros((3, 40, 40), np.float16)])
PATHS = [
    ("GET", "/v1/hello"),
    ("PUT", f"/v1/models/{'0' * 64}"),
    ("POST", "/v1/predict"),
    ("POST", "/v1/stop/x"),
    ("GET", "/docs"),
]


class SlowWork:
    """Work that lasts until it is told to end."""

    def __init__(self, monkeypatch):
        self.began, self.may_end, self.cancelled = Event(), Event(), Event()
        monkeypatch.setattr(server_module, "predict", self.steps)
        monkeypatch.setattr(server_module, "BEAT", 0.01)

    def steps(self, models, message, arrays, token):
        self.began.set()
        while not self.may_end.wait(0.005):
            if token.cancelled:
                self.cancelled.set()
                raise Cancelled
            yield frame(ProgressEvent(done=1, total=3, text="slowly"))
        return MAPS


@pytest.fixture
def slow(monkeypatch):
    made = SlowWork(monkeypatch)
    yield made
    made.may_end.set()


def body_of(facts=(), data=b"", **arrays):
    message = {
        "job": "0" * 12, "model": "0" * 64, "scale": 1.0, "tta": False,
        "statistics": {"low": [0.0], "high": [1.0]},
        "arrays": [{"dtype": "|u1", "shape": [4, 5, 1], "n_bytes": 20} | arrays],
    }  # fmt: skip
    return json.dumps(message | dict(facts)).encode() + b"\n" + data


@pytest.mark.parametrize(("method", "path"), PATHS)
@pytest.mark.parametrize("key", [None, "", "Bearer ", f"Bearer {KEY}x", f"Basic {KEY}"])
def test_nothing_is_answered_without_the_key(url, method, path, key):
    headers = {} if key is None else {"Authorization": key}
    status, text = ask(url, method, path, b"x" * 100, headers)
    assert status == 401
    assert KEY not in text


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"no json\n",
        body_of(data=bytes(19)),
        body_of(data=bytes(21)),
        body_of(data=bytes(20), shape=[4, 6, 1]),
        body_of(data=bytes(20), n_bytes=10**15, shape=[10**5, 10**5, 10**5]),
        body_of(data=bytes(20), dtype="|O8"),
        body_of(data=bytes(20), codec="zlib"),
        body_of(data=bytes(20)).replace(b"\n", b" "),
    ],
)
def test_a_body_that_is_not_what_it_says_is_refused(url, body):
    status, text = ask(url, "POST", "/v1/predict", body)
    assert status == 400
    assert "does not have the size that it states" in text


@pytest.mark.parametrize(
    "facts",
    [
        {"statistics": {"low": [0.0, 0.0], "high": [1.0, 1.0]}},
        {"arrays": [{"dtype": "|u1", "shape": [20], "n_bytes": 20}]},
        {"arrays": [{"dtype": "|u1", "shape": [1, 1, 20], "n_bytes": 20}]},
    ],
)
def test_pixels_that_make_no_sense_are_refused(url, service, starter, facts):
    body = body_of({"model": starter.digest, **facts}, bytes(20))
    assert '"event":"error"' in (answer := ask(url, "POST", "/v1/predict", body)[1])
    assert "What arrived is damaged" in answer


def test_an_area_without_end_is_refused(url, starter):
    body = body_of({"model": starter.digest, "scale": 9999.0}, bytes(20))
    assert "choose a smaller area" in ask(url, "POST", "/v1/predict", body)[1]


def test_a_body_that_is_too_large_is_refused_unread():
    with served(Service(choose("cpu"), KEY, limit=1000)) as url:
        for method, path in (("POST", "/v1/predict"), ("PUT", f"/v1/models/{'0' * 64}")):
            status, text = ask(url, method, path, bytes(2000))
            assert status == 413
            assert "choose a smaller area" in text
        headers = {"Authorization": f"Bearer {KEY}", "Transfer-Encoding": "chunked"}
        assert ask(url, "POST", "/v1/predict", b"", headers)[0] == 400


def test_a_model_under_another_name_is_refused(url, starter):
    status, text = ask(url, "PUT", f"/v1/models/{'0' * 64}", b"no model")
    assert status == 400
    assert "ModelFileError" in text


def test_an_unexpected_error_is_one_sentence(server, starter, monkeypatch, caplog):
    def fails(models, message, arrays, token):
        raise ZeroDivisionError("secret details")
        yield

    monkeypatch.setattr(server_module, "predict", fails)
    with pytest.raises(RemoteError, match=r"Unexpected error on the server \(ZeroDivision"):
        drain(RemotePredictor(starter, server).maps(window()))
    assert "Traceback" in caplog.text


def test_a_second_client_sees_for_what_it_waits(server, starter, slow):
    first = Thread(target=drain, args=(RemotePredictor(starter, server).maps(window()),))
    first.start()
    slow.began.wait()

    seen = []

    def look(event):
        seen.append(event)
        if isinstance(event, Progress) and "busy with" in event.message:
            slow.may_end.set()

    maps = drain(RemotePredictor(starter, server).maps(window()), look)
    first.join()
    assert maps.shape == (3, 40, 40)
    texts = [event.message for event in seen]
    assert "waiting: the server is busy with a segmentation" in texts


def test_one_client_too_many_is_told_so(server, service, starter, slow, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_HELD", 1)
    first = Thread(target=drain, args=(RemotePredictor(starter, server).maps(window()),))
    first.start()
    slow.began.wait()
    with pytest.raises(RemoteError, match="The server is busy with a segmentation, and"):
        drain(RemotePredictor(starter, server).maps(window()))
    slow.may_end.set()
    first.join()
    assert drain(RemotePredictor(starter, server).maps(window())).shape == (3, 40, 40)


def test_cancel_ends_the_work_on_the_server(server, starter, slow):
    token = CancelToken()

    def cancel(event):
        if event == Progress(1, 3, "slowly"):
            token.cancel()

    with pytest.raises(Cancelled):
        drain(RemotePredictor(starter, server).maps(window(), token), cancel)
    assert slow.cancelled.wait(20)


def test_closing_the_window_ends_it_too(server, starter, slow):
    with closing(RemotePredictor(starter, server).maps(window())) as running:
        while next(running) != Progress(1, 3, "slowly"):
            pass
    assert slow.cancelled.wait(20)


def test_a_port_that_is_taken_is_said():
    with listen("127.0.0.1", 0) as opened:
        port = opened.getsockname()[1]
        with pytest.raises(RemoteError, match=f"cannot listen at 127.0.0.1, port {port}"):
            listen("127.0.0.1", port)


def test_the_log_has_no_key(url, caplog):
    caplog.set_level("DEBUG")
    ask(url, "GET", "/v1/hello")
    with socket.create_connection(url.removeprefix("http://").split(":")) as raw:
        raw.sendall(f"GET /v1/hello HTTP/1.1\r\nAuthorization: {KEY}\x00\r\n\r\n".encode())
        raw.recv(1000)
    assert KEY not in caplog.text
