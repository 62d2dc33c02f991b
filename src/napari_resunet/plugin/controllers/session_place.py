"""Moves the session folder, and asks before unsaved work is lost."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from napari_resunet.errors import FileError
from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.store.directory import copy_session
from napari_resunet.session.store.folder import (
    CLOSE_SECONDS,
    SessionFolder,
)
from napari_resunet.session.store.recent import free_name, remember

RETRY_SECONDS = 8.0
"""Time to wait for the disk after the user was asked."""


class SessionPlace:
    """Moves the session folder, and makes sure that everything is saved before closing.

    Parameters
    ----------
    autosave : Autosave
        Saves the session.
    view : DockView
        Asks the user.
    jobs : JobRunner
        Moves the folder in a thread.
    """

    def __init__(self, autosave: Autosave, view: DockView, jobs: JobRunner) -> None:
        self._autosave, self._view, self._jobs = autosave, view, jobs
        self._shut = False
        view.session.move_clicked.connect(self.ask_move)

    def ask_move(self) -> None:
        """Move the session to a folder that the user picks."""
        parent, folder = self._view.session.ask_parent(), self._autosave.folder
        if parent is not None and folder is not None:
            self.move(free_name(parent / folder.root.name))

    def move(self, target: Path) -> None:
        """Move the session; if its folder is gone, write a new one from memory."""
        folder = self._autosave.folder
        if folder is None or self._jobs.current is not None:
            return
        if folder.is_there and folder.is_owned:
            self._jobs.start(
                Job("session", lambda token: _move_steps(folder, target), self._moved)
            )
        else:
            self._write_new_folder(target)

    def _moved(self, target: Path) -> None:
        self._autosave.show_place()
        self._view.set_message(f"The session was moved to '{target}'.", "info")

    def secure(self, can_stay: bool) -> bool:
        """Write everything; if that fails, let the user decide.

        Parameters
        ----------
        can_stay : bool
            Whether the user may choose to continue working.

        Returns
        -------
        bool
            False if the user continues working; if True, the work is on disk or given up.
        """
        autosave = self._autosave
        if autosave.ended or autosave.given_up:
            return True
        trouble = "" if autosave.folder is None else autosave.folder.trouble
        autosave.check_pixels()
        done = autosave.flush(0.0 if trouble else CLOSE_SECONDS)
        while not done:
            answer = self._view.session.ask_unsaved(self._unsaved(), can_stay)
            if answer == "stay":
                return False
            if answer == "lose":
                autosave.given_up = True
                return True
            if isinstance(answer, Path):
                self._save_in(answer)
            done = autosave.flush(RETRY_SECONDS)
        return True

    def close(self) -> None:
        """Write and close this session before another one is opened."""
        self._autosave.pause()
        self.secure(can_stay=False)
        self._autosave.release()
        self._autosave.given_up = False

    def shut_down(self) -> None:
        """Write what is left and close the folder; only the first call does it."""
        if not self._shut:
            self._shut = True
            self._autosave.draw_thumbnail_soon()
            self.close()

    def _write_new_folder(self, target: Path) -> None:
        """Write everything in memory to a new folder."""
        autosave, old = self._autosave, self._autosave.folder
        assert old is not None
        is_copy = old.is_there
        try:
            new = _copied(old, target) if is_copy else _created(old, target)
        except FileError as error:
            self._view.set_message(str(error), "error")
            return
        old.close(0.0)
        autosave.use(new)
        if is_copy:
            # Another window owns the old folder, so the copied labels may not be ours.
            autosave.recapture_all()
        else:
            autosave.rewrite_all()

    def _save_in(self, parent: Path) -> None:
        """Save the session in another folder before the window closes."""
        autosave, folder = self._autosave, self._autosave.folder
        try:
            if folder is None:
                autosave.use(SessionFolder.create(free_name(parent / "session")))
            elif folder.is_there and folder.is_owned:
                folder.move(free_name(parent / folder.root.name))
                autosave.use(folder)
            else:
                self._write_new_folder(free_name(parent / folder.root.name))
        except FileError as error:
            self._view.set_message(str(error), "error")

    def _unsaved(self) -> str:
        folder = self._autosave.folder
        place = "" if folder is None else f" in '{folder.root}'"
        trouble = "" if folder is None else folder.trouble
        trouble = trouble or "The drive does not answer, or there is no folder."
        return f"Part of your work is not saved{place} yet. {trouble}"


def _copied(old: SessionFolder, target: Path) -> SessionFolder:
    copy_session(old.root, target)
    return SessionFolder.open(target)


def _created(old: SessionFolder, target: Path) -> SessionFolder:
    new = SessionFolder.create(target, old.file.name)
    images = tuple(i.model_copy(update={"stored": False}) for i in old.file.images)
    new.update(old.file.model_copy(update={"images": images}))
    return new


def _move_steps(folder: SessionFolder, target: Path) -> Generator[None, None, Path]:
    yield None
    folder.move(target)
    remember(target)
    return target
