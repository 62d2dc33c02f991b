"""What a user reads when the other computer is not there, or is something else."""

from __future__ import annotations

import logging
import socket

import pytest
from servers import KEY, answering, served, window

from napari_resunet.engine.device import choose
from napari_resunet.errors import ArgumentError, RemoteError
from napari_resunet.events import drain
from napari_resunet.remote import client, wire
from napari_resunet.remote.client import connect, server_at
from napari_resunet.remote.predict import RemotePredictor
from napari_resunet.remote.server import Service
from napari_resunet.types import RemoteServer

EVENTS = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def test_connecting_tells_the_device(url):
    server = connect(f" {url}/ ", f"{KEY}\n")
    assert (server.url, server.key) == (url, KEY)
    assert server.device.startswith("CPU, ")


def test_an_address_may_leave_out_its_scheme():
    assert server_at("gpu.lab:8787", KEY).url == "http://gpu.lab:8787"


@pytest.mark.parametrize(
    "url",
    ["", "http://", "ftp://host", "http://host:99999", "http://host:0", "http://a b",
     "http://höst", "http://[::1", "file:///etc/passwd"],
)  # fmt: skip
def test_what_is_no_address_is_refused(url):
    with pytest.raises(ArgumentError, match="is no address of a server"):
        server_at(url, KEY)


@pytest.mark.parametrize("url", ["http://me:pw@host", "http://host?key=x", "http://host#x"])
def test_a_key_in_the_address_is_refused(url):
    with pytest.raises(ArgumentError, match="give the key in its own place"):
        server_at(url, KEY)


@pytest.mark.parametrize("key", ["", "two words", "kéy", "a\r\nHost: b"])
def test_what_is_no_key_is_refused(key):
    with pytest.raises(ArgumentError, match="The key is missing or holds characters"):
        server_at("http://host", key)


def test_a_wrong_key_is_said_and_never_printed(url, caplog):
    caplog.set_level(logging.DEBUG)
    with pytest.raises(RemoteError, match="refuses the key: copy it again") as caught:
        connect(url, "another-secret-key")
    shown = f"{caught.value} {caplog.text} {server_at(url, 'another-secret-key')}"
    assert "another-secret-key" not in shown


def test_nothing_answers_at_a_closed_port():
    with socket.create_server(("127.0.0.1", 0)) as opened:
        port = opened.getsockname()[1]
    with pytest.raises(RemoteError, match=f"Nothing answers at 127.0.0.1:{port}: start"):
        connect(f"http://127.0.0.1:{port}", KEY)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 404 Not Found\r\n\r\n<html>", b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n"],
)
def test_another_program_is_told_apart(answer):
    with answering(answer) as url, pytest.raises(RemoteError, match="is no server of"):
        connect(url, KEY)


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-OpenSSH\r\n"])
def test_what_speaks_no_http_is_told_apart(answer):
    with answering(answer) as url, pytest.raises(RemoteError, match="was lost"):
        connect(url, KEY)


def test_a_server_of_another_version_is_refused(url, monkeypatch):
    monkeypatch.setattr(wire, "WIRE", 2)
    with pytest.raises(RemoteError, match=r"different versions \(1 and 2\): install"):
        connect(url, KEY)


@pytest.mark.parametrize(
    ("lines", "sentence"),
    [
        (b"", "was lost: try again. Your labels and models are as they were"),
        (b'2a\r\n{"event": "progress", "done": 1, "total": 2', "was lost"),
        (b'11\r\n{"event": "new"}\n\r\n', "What arrived is damaged"),
    ],
)
def test_a_connection_that_breaks_off_is_said(starter, lines, sentence):
    with answering(EVENTS + lines) as url:
        there = RemotePredictor(starter, RemoteServer(url, KEY))
        there._remote._is_there = True
        with pytest.raises(RemoteError, match=sentence):
            drain(there.maps(window()))


def test_maps_of_another_size_are_not_read(starter):
    event = wire.MapsEvent(
        arrays=(wire.Packed(dtype="<f2", shape=(3, 10**5, 10**5), n_bytes=6 * 10**10),)
    )
    line = event.model_dump_json().encode() + b"\n"
    with answering(EVENTS + b"%x\r\n%b\r\n" % (len(line), line)) as url:
        there = RemotePredictor(starter, RemoteServer(url, KEY))
        there._remote._is_there = True
        with pytest.raises(RemoteError, match="does not have the size that it states"):
            drain(there.maps(window()))


def test_a_server_that_went_away_costs_one_try(url, server, starter):
    there = RemotePredictor(starter, server)
    expected = drain(there.maps(window()))
    service = Service(choose("cpu"), KEY)
    service.models.add(starter)
    with served(service) as other:
        moved = RemotePredictor(starter, connect(other, KEY))
    with pytest.raises(RemoteError, match="Nothing answers at"):
        drain(moved.maps(window()))
    assert (drain(there.maps(window())) == expected).all()


def test_a_request_that_is_too_large_is_not_sent(url, starter):
    small = RemoteServer(url, KEY, limit=100)
    with pytest.raises(RemoteError, match="choose a smaller area"):
        drain(RemotePredictor(starter, small).maps(window()))


def test_a_silent_server_counts_as_gone(monkeypatch):
    monkeypatch.setattr(client, "SILENT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(RemoteError, match="does not answer any more"):
            connect(url, KEY)
