"""The session moves where the user wants it, and the window asks before work is lost."""

import json
import shutil

import pytest
from harness import on_disk
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication

from napari_resunet.session.store.directory import read_description
from napari_resunet.session.store.folder import SessionFolder


def test_a_lost_folder_is_written_again_elsewhere(dock, image_of_nuclei, tmp_path):

    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    autosave = dock.app.autosave
    assert autosave.flush(60)
    shutil.rmtree(autosave.folder.root)
    dock.app.place.move(tmp_path / "elsewhere")
    assert autosave.flush(60)
    assert str(tmp_path / "elsewhere") in dock.find("session_place").text()
    assert on_disk(autosave.folder)[30, 30] == 77
    dock.app.shut_down()
    reopened = SessionFolder.open(tmp_path / "elsewhere")
    assert reopened.file.images[0].stored
    reopened.close()


def test_moving_is_shown(dock, image_of_nuclei, tmp_path, monkeypatch):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.app.layers.make_binding(image).layer.paint((30, 30), 77)
    autosave = dock.app.autosave
    assert autosave.flush(60)
    monkeypatch.setattr(dock.view.session, "ask_parent", lambda: tmp_path / "new place")
    dock.click("move_session")
    dock.until(lambda: "new place" in dock.find("session_place").text())
    assert read_description(autosave.folder.root).images


@pytest.fixture
def in_trouble(window_dock, image_of_nuclei, monkeypatch):
    """A dock with a stroke that cannot be written."""
    dock = window_dock
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    autosave = dock.app.autosave
    assert autosave.flush(60)
    autosave.folder.root.rename(autosave.folder.root.with_name("unplugged"))
    layer.paint((60, 60), 78)
    monkeypatch.setattr(
        "napari_resunet.plugin.controllers.session_place.RETRY_SECONDS", 3.0
    )
    dock.until(lambda: bool(autosave.folder.trouble))
    return dock


def close_window(dock):
    """Close the window as its × does; tell whether it was allowed."""
    window = dock.view.window()
    while window.parentWidget() is not None:
        window = window.parentWidget()
    dock.app.autosave.tick()
    heard = QCloseEvent()
    blocked = dock.widget._panel._guard.eventFilter(window, heard)
    QApplication.processEvents()
    return not blocked


def test_closing_asks_for_another_folder_and_keeps_the_work(
    in_trouble, tmp_path, monkeypatch
):
    autosave, sentences = in_trouble.app.autosave, []

    def ask(sentence, can_stay):
        sentences.append(sentence)
        return tmp_path

    monkeypatch.setattr(in_trouble.view.session, "ask_unsaved", ask)
    assert close_window(in_trouble)
    (sentence,) = sentences
    assert "not saved" in sentence
    folder = autosave.folder
    assert folder.root.parent == tmp_path
    in_trouble.app.shut_down()
    folder = SessionFolder.open(folder.root)
    labels = folder.load_plane(folder.file.images[0].key, ()).labels
    assert (labels[30, 30], labels[60, 60]) == (77, 78)
    folder.close()


def test_closing_can_be_called_off_tried_again_or_lose_the_work(in_trouble, monkeypatch):
    autosave = in_trouble.app.autosave
    given = iter(["stay"])
    monkeypatch.setattr(in_trouble.view.session, "ask_unsaved", lambda *_: next(given))
    assert not close_window(in_trouble)
    root = autosave.folder.root

    def back(*_):
        root.with_name("unplugged").rename(root)
        return "again"

    monkeypatch.setattr(in_trouble.view.session, "ask_unsaved", back)
    assert close_window(in_trouble)
    folder = json.loads((root / "session.json").read_text())
    assert folder["images"]
    root.rename(root.with_name("unplugged"))
    in_trouble.labels.paint((90, 60), 79)
    autosave.tick()
    monkeypatch.setattr(in_trouble.view.session, "ask_unsaved", lambda *_: "lose")
    assert close_window(in_trouble)
