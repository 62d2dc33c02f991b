"""Sessions through the dock: nothing runs, nothing is lost, images come back as before."""

import json
import shutil

import numpy as np
import pytest
import tifffile
from qtpy.QtGui import QCloseEvent
from qtpy.QtWidgets import QApplication

from napari_resunet.plugin.autosave import VANISHED
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.recent import RecentSession
from napari_resunet.session.store.schema import ImageRecord


def session_of(root, **fields):
    """A session from anyone, with one image."""
    known = {"name": "cells", "shape": (20, 30), "dtype": "uint8", "axes": "YX"}
    folder = SessionFolder.create(root)
    image = ImageRecord(**known | fields)
    folder.update(folder.file.model_copy(update={"images": (image,)}))
    assert folder.close()
    return root


def answers(dock, monkeypatch, *given):
    """Answer the question for an image's file, and note what it was."""
    asked, left = [], list(given)

    def ask(name, before):
        asked.append(before)
        return left.pop(0) if left else None

    monkeypatch.setattr(dock.controller.autosave.section, "ask_image", ask)
    return asked


def test_nothing_that_a_session_names_is_run(dock, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    names = ("notes.py", "cells.zarr/__init__.py", "cells.TIF.py")
    for name in names:
        script = tmp_path / name
        script.parent.mkdir(exist_ok=True)
        script.write_text(f"open({str(ran)!r}, 'w')")
    for number, name in enumerate(("notes.py", "cells.zarr", "cells.TIF.py")):
        source = tmp_path / name
        root = session_of(tmp_path / f"s{number}", source=str(source), reader="napari")
        asked = answers(dock, monkeypatch, source)
        dock.proceed(root)
        # Not even where the user is led to choose it.
        assert asked == [str(source)] * 2
        assert not ran.exists()
        assert "was not found" in dock.message
    assert not list(dock.viewer.layers)


def test_an_image_of_another_kind_is_opened_once_the_user_chose_it(
    dock, tmp_path, monkeypatch
):
    pixels = np.arange(600, dtype=np.uint8).reshape(20, 30)
    np.save(tmp_path / "cells.npy", pixels)
    place = {"rotate": ((0.0, 1.0), (-1.0, 0.0)), "scale": (2.0, 2.0)}
    source = str(tmp_path / "cells.npy")
    root = session_of(tmp_path / "s", source=source, reader="napari", **place)
    opened = []
    real = dock.viewer.open
    monkeypatch.setattr(
        type(dock.viewer), "open", lambda _, p, **k: opened.append(p) or real(p, **k)
    )
    asked = answers(dock, monkeypatch, tmp_path / "cells.npy")
    dock.proceed(root)
    assert asked == [source]
    assert opened == [source]
    (image,) = (x for x in dock.viewer.layers if type(x).__name__ == "Image")
    assert np.array_equal(image.data, pixels)
    assert np.allclose(image.rotate, place["rotate"])


def go_on(dock, make_napari_viewer):
    """Close the dock, and open its session in another viewer."""
    autosave = dock.controller.autosave
    assert autosave.flush(10)
    root = autosave.folder.root
    dock.controller.shut_down()
    viewer = make_napari_viewer()
    _, widget = viewer.window.add_plugin_dock_widget("napari-resunet")
    later = type(dock)(viewer, widget, dock.qtbot)
    later.proceed(root)
    return later


@pytest.mark.parametrize("when", ["before", "after", "script"])
def test_an_image_edited_in_memory_comes_back_with_its_labels(
    dock, make_napari_viewer, image_of_nuclei, tmp_path, when
):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image_of_nuclei)
    (image,) = dock.viewer.open(path, plugin="napari")
    edited = np.maximum(image_of_nuclei, 30) - 30
    if when == "before":
        image.data = edited
    layer = dock.work.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    assert dock.controller.autosave.flush(10)
    if when == "after":
        image.data = edited
    elif when == "script":
        image.data[:] = edited
    later = go_on(dock, make_napari_viewer)
    assert np.array_equal(later.viewer.layers["cells"].data, edited)
    assert later.labels.data[30, 30] == 77
    assert "is open" in later.message
    later.controller.shut_down()


def test_an_image_as_in_its_file_is_not_stored(dock, image_of_nuclei, tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", image_of_nuclei)
    (image,) = dock.viewer.open(tmp_path / "cells.tif", plugin="napari")
    dock.work.layers.make_binding(image).layer.paint((30, 30), 77)
    assert dock.controller.autosave.flush(10)
    folder = dock.controller.autosave.folder
    assert not folder.file.images[0].stored
    assert folder.file.images[0].content_hash
    assert not (folder.root / "sources").exists()


PLACES = {
    "rotate": {"rotate": 30.0},
    "shear": {"shear": [0.3]},
    "affine": {"affine": np.array([[0, 1, 5], [-1, 0, 10], [0, 0, 1.0]])},
    "all": {"rotate": 10.0, "shear": [0.1], "scale": (0.5, -2), "translate": (3, 4),
            "affine": np.array([[1, 0.2, 5], [0, 1, 0], [0, 0, 1.0]])},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_turned_image_lies_where_it_lay(dock, make_napari_viewer, image_of_nuclei, place):
    image = dock.viewer.add_image(image_of_nuclei, name="cells", **PLACES[place])
    dock.work.layers.make_binding(image).layer.paint((30, 30), 77)
    assert dock.controller.autosave.flush(10)
    image.translate = (7, 8)  # changed later
    later = go_on(dock, make_napari_viewer)
    found = later.viewer.layers["cells"]
    for point in ((0, 0), (100, 20)):
        assert np.allclose(found.data_to_world(point), image.data_to_world(point))
    later.controller.shut_down()


def test_an_image_that_no_session_can_hold_is_told_once(dock):
    image = dock.viewer.add_image(np.ones((1, 1, 1, 1, 20, 30), np.uint8), name="deep")
    dock.work.layers.make_binding(image).layer.paint((0, 0, 0, 0, 5, 5), 7)
    dock.qtbot.waitUntil(lambda: "cannot be kept" in dock.message, timeout=5000)
    dock.view.set_message("")
    dock.qtbot.wait(300)
    assert not dock.message


def test_files_that_vanish_are_written_again_from_memory(dock, image_of_nuclei):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.work.layers.make_binding(image).layer
    autosave = dock.controller.autosave
    for value in range(20):
        layer.paint((5 + 5 * value, 30), 77 + value)
        autosave.tick()
    assert autosave.flush(10)
    root = autosave.folder.root
    shutil.rmtree(root / "planes")
    dock.controller.shut_down()
    assert dock.message == VANISHED
    folder = SessionFolder.open(root)
    labels = folder.load_plane(folder.file.images[0].key, ()).labels
    assert set(range(77, 97)) <= set(np.unique(labels))
    folder.close()


# Closing -------------------------------------------------------------------------------


@pytest.fixture
def in_trouble(dock, image_of_nuclei, monkeypatch):
    """A dock with a stroke that cannot be written."""
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.work.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    autosave = dock.controller.autosave
    assert autosave.flush(10)
    autosave.folder.root.rename(autosave.folder.root.with_name("unplugged"))
    layer.paint((60, 60), 78)
    monkeypatch.setattr("napari_resunet.plugin.autosave.PATIENCE", 3.0)
    dock.qtbot.waitUntil(lambda: bool(autosave.folder.trouble), timeout=5000)
    return dock


def close_window(dock):
    """Close the window as its × does; tell whether it was allowed."""
    window = dock.view.window()
    while window.parentWidget() is not None:
        window = window.parentWidget()
    dock.controller.autosave.tick()
    heard = QCloseEvent()
    blocked = dock.controller.autosave._closing.eventFilter(window, heard)
    QApplication.processEvents()
    return not blocked


def test_closing_asks_for_another_folder_and_keeps_the_work(
    in_trouble, tmp_path, monkeypatch
):
    autosave, sentences = in_trouble.controller.autosave, []

    def ask(sentence, can_stay):
        sentences.append(sentence)
        return tmp_path

    monkeypatch.setattr(autosave.section, "ask_unsaved", ask)
    assert close_window(in_trouble)
    (sentence,) = sentences
    assert "not saved" in sentence
    folder = autosave.folder
    assert folder.root.parent == tmp_path
    in_trouble.controller.shut_down()
    folder = SessionFolder.open(folder.root)
    labels = folder.load_plane(folder.file.images[0].key, ()).labels
    assert (labels[30, 30], labels[60, 60]) == (77, 78)
    folder.close()


def test_closing_can_be_called_off_tried_again_or_lose_the_work(in_trouble, monkeypatch):
    autosave = in_trouble.controller.autosave
    given = iter(["stay"])
    monkeypatch.setattr(autosave.section, "ask_unsaved", lambda *_: next(given))
    assert not close_window(in_trouble)
    root = autosave.folder.root

    def back(*_):
        root.with_name("unplugged").rename(root)
        return "again"

    monkeypatch.setattr(autosave.section, "ask_unsaved", back)
    assert close_window(in_trouble)
    folder = json.loads((root / "session.json").read_text())
    assert folder["images"]
    root.rename(root.with_name("unplugged"))
    in_trouble.labels.paint((90, 60), 79)
    autosave.tick()
    monkeypatch.setattr(autosave.section, "ask_unsaved", lambda *_: "lose")
    assert close_window(in_trouble)


def test_the_list_shows_what_it_can_of_a_damaged_session(dock, tmp_path):
    from napari_resunet.plugin.session_section import ContinueDialog

    (tmp_path / "thumbnail.png").write_text("<svg/>")
    for changed in ("garbage", "", "0001-01-01T00:00:00", "2026-99-99"):
        shown = RecentSession(tmp_path, "a", changed, 3, tmp_path / "thumbnail.png")
        dialog = ContinueDialog([shown])
        assert dialog.list.item(0).text() == "a\n3 corrected objects"
        dialog.deleteLater()
