"""Device › Remote…: compute on another computer, and on this one again."""

from __future__ import annotations

from napari_resunet.errors import ArgumentError
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.messages import BUSY
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.remote.client import connect_steps, is_readable, name_of, server_at
from napari_resunet.types import RemoteServer

ADDRESS = "http://127.0.0.1:8787"
CONNECTED = "Segment and Fine-tune now run on {name} ({device})."
READABLE = "Others in the network could read what is sent: an SSH tunnel would prevent it."


class RemoteController:
    """Connects to the computer that the user names.

    The key is kept in memory only, as long as the window is open.

    Parameters
    ----------
    state : AppState
        The device that is chosen.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    """

    def __init__(self, state: AppState, view: DockView, jobs: JobRunner) -> None:
        self._state, self._view, self._jobs = state, view, jobs
        self._address = ADDRESS
        view.model.remote_clicked.connect(self.ask)

    def ask(self) -> None:
        """Ask for a server, and connect to it."""
        if self._jobs.current is not None:
            self._view.set_message(BUSY, "warning")
        elif (answer := self._view.model.ask_server(self._address)) is not None:
            self._connect(*answer)
        self._show_device()

    def _connect(self, url: str, key: str) -> None:
        try:
            server = server_at(url, key)
        except ArgumentError as error:
            self._view.set_message(str(error), "error")
            return
        self._address = server.url
        self._jobs.start(
            Job("load", lambda token: connect_steps(server, token), self._connected)
        )

    def _connected(self, server: RemoteServer) -> None:
        name = name_of(server)
        self._state.device, self._state.speed = server, None
        self._state.device_text = f"{server.device} at {name}"
        self._show_device()
        text = CONNECTED.format(name=name, device=server.device)
        if is_readable(server):
            self._view.set_message(f"{text} {READABLE}", "warning")
        else:
            self._view.set_message(text)
        self._state.changed.emit()

    def _show_device(self) -> None:
        # The menu has ticked what was clicked.
        self._view.model.set_device(self._state.device_key)
