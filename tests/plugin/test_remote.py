"""Device › Remote…: the dialog, the menu, and labels that another computer found."""

from __future__ import annotations

import numpy as np
import pytest
from harness import Headless
from qtpy.QtWidgets import QLineEdit, QPushButton, QWidget
from servers import KEY, served

from napari_resunet.engine.device import choose
from napari_resunet.errors import RemoteError
from napari_resunet.events import Progress
from napari_resunet.plugin.controllers import remote
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.messages import BUSY
from napari_resunet.plugin.views.model import ModelBar
from napari_resunet.plugin.views.remote import RemoteDialog
from napari_resunet.remote.server import Service
from napari_resunet.session.settings import Settings
from napari_resunet.types import RemoteServer

FOUND = RemoteServer("http://gpu:8787", KEY, "NVIDIA H200, bfloat16")


@pytest.fixture
def dock(qtbot, plugins):
    made = Headless(None)
    made.view.model.ask_server.return_value = ("gpu:8787", KEY)
    yield made
    made.app.shut_down()


def connect(dock, monkeypatch, found):
    def steps(server, token):
        yield Progress(0, 0, "connecting")
        if isinstance(found, Exception):
            raise found
        return found

    monkeypatch.setattr(remote, "connect_steps", steps)
    dock.view.model.remote_clicked.emit()
    while dock.app.jobs.current is not None:
        dock.step()


def ticked(dock):
    return dock.view.model.set_device.call_args.args[0]


def test_connecting_makes_the_server_the_device(dock, monkeypatch):
    connect(dock, monkeypatch, FOUND)
    assert dock.state.device == FOUND
    assert dock.state.device_text == "NVIDIA H200, bfloat16 at gpu:8787"
    assert ticked(dock) == "remote"
    assert "now run on gpu:8787 (NVIDIA H200, bfloat16)." in dock.message
    assert "an SSH tunnel would prevent it" in dock.message
    dock.view.model.device_chosen.emit("cpu")
    assert dock.state.device == "cpu"


def test_a_tunnel_needs_no_warning(dock, monkeypatch):
    connect(dock, monkeypatch, RemoteServer("http://127.0.0.1:8787", KEY, "CPU"))
    assert "SSH" not in dock.message


def test_what_fails_leaves_the_device_as_it_was(dock, monkeypatch):
    connect(dock, monkeypatch, RemoteError("Nothing answers."))
    assert dock.message == "Nothing answers."
    dock.view.model.ask_server.return_value = ("", "")
    dock.view.model.remote_clicked.emit()
    assert "is no address of a server" in dock.message
    dock.view.model.ask_server.return_value = None
    dock.view.model.remote_clicked.emit()
    assert (dock.state.device, ticked(dock)) == ("auto", "auto")


def test_it_waits_for_the_running_job(dock):
    dock.app.jobs.start(Job("load", lambda token: iter(()), lambda result: None))
    dock.view.model.remote_clicked.emit()
    assert dock.message == BUSY
    dock.view.model.ask_server.assert_not_called()


def test_a_session_neither_stores_the_server_nor_disconnects_it(dock, monkeypatch):
    connect(dock, monkeypatch, FOUND)
    dock.app.take_settings(Settings(device="cuda"))
    assert (dock.state.device, ticked(dock)) == (FOUND, "remote")


def test_the_dialog_hides_the_key_and_returns_both(qtbot):
    parent = QWidget()
    qtbot.addWidget(parent)
    dialog = RemoteDialog("http://127.0.0.1:8787", parent)
    key = dialog.findChild(QLineEdit, "remote_key")
    assert key.echoMode() == QLineEdit.EchoMode.Password
    key.setText(KEY)
    dialog.findChild(QPushButton, "remote_connect").click()
    assert dialog.answer == ("http://127.0.0.1:8787", KEY)


def test_the_menu_tells_devices_from_other_computers(qtbot):
    bar, seen = ModelBar(), []
    qtbot.addWidget(bar)
    bar.device_chosen.connect(seen.append)
    bar.remote_clicked.connect(lambda: seen.append("asked"))
    actions = {action.data(): action for action in bar._devices.actions()}
    actions["cpu"].trigger()
    actions["remote"].trigger()
    assert seen == ["cpu", "asked"]


def test_segment_in_the_dock_runs_on_the_server(make_dock, starter, nuclei, monkeypatch):
    dock = make_dock()
    dock.viewer.add_image(nuclei[0][:96, :96])
    service = Service(choose("cpu"), KEY)
    service.models.add(starter)
    with served(service) as url:
        monkeypatch.setattr(dock.view.model, "ask_server", lambda before: (url, KEY))
        dock.view.model.remote_clicked.emit()
        dock.wait()
        dock.segment()
    assert f"at {url.removeprefix('http://')}" in dock.state.device_text
    found = np.array(dock.labels.data)
    assert found.max() > 3
    dock.click("segment")
    dock.wait()
    assert "Nothing answers at" in dock.message
    np.testing.assert_array_equal(dock.labels.data, found)
