"""What a user does is on the disk at once, whatever the disk does."""

import shutil

import numpy as np
import tifffile
from harness import on_disk

from napari_resunet.plugin.controllers.autosave import VANISHED
from napari_resunet.session.store.folder import SessionFolder


def wait_on_disk(dock, place, value):
    """Wait until the labels on disk have this value at this place."""

    def is_there():
        folder = dock.app.autosave.folder
        if folder is None or not list(folder.root.glob("planes/*/*/*")):
            return False
        return on_disk(folder)[place] == value

    dock.until(is_there)


def test_paint_fill_undo_redo_and_scripts_reach_the_disk(dock, image_of_nuclei):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    wait_on_disk(dock, (30, 30), 77)
    for change, row, value in (
        (lambda: layer.paint((60, 60), 78), 60, 78),
        (layer.undo, 60, 0),
        (layer.redo, 60, 78),
        (lambda: layer.fill((60, 60), 79), 60, 79),
        (lambda: layer.data_setitem((np.array([90]), np.array([60])), 5), 90, 5),
    ):
        change()
        wait_on_disk(dock, (row, 60), value)
    layer.data[100, 60] = 9  # a script: napari tells nobody
    wait_on_disk(dock, (100, 60), 9)
    layer.visible = False
    layer.undo()
    wait_on_disk(dock, (90, 60), 0)


def test_a_stroke_that_is_not_finished_is_on_disk_as_well(dock, image_of_nuclei):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    wait_on_disk(dock, (30, 30), 77)
    with layer.block_history():
        layer.paint((60, 60), 78)
        wait_on_disk(dock, (60, 60), 78)


def test_nothing_is_written_before_there_is_something_to_keep(
    dock, image_of_nuclei, sessions_elsewhere
):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.app.layers.make_binding(image)
    for _ in range(5):
        dock.app.autosave.tick()
    assert not list(sessions_elsewhere.iterdir())
    assert "Nothing to save" in dock.find("session_place").text()


def test_trouble_with_the_disk_is_reported_once_and_nothing_is_lost(
    dock, image_of_nuclei, caplog
):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    autosave = dock.app.autosave
    assert autosave.flush(60)
    away = autosave.folder.root.with_name("unplugged")
    autosave.folder.root.rename(away)
    layer.paint((60, 60), 78)
    dock.until(lambda: "not there" in dock.message)
    dock.view.set_message("")
    layer.paint((90, 60), 79)
    failures = len(caplog.records)
    dock.until(lambda: len(caplog.records) > failures)  # it was tried again
    autosave.tick()
    assert not dock.message
    assert "not there" in dock.find("session_line").text()
    away.rename(autosave.folder.root)
    dock.until(lambda: "saved again" in dock.message)
    assert dock.find("session_line").text().startswith("Saved in")
    labels = on_disk(autosave.folder)
    assert (labels[60, 60], labels[90, 60]) == (78, 79)


def test_an_image_that_no_session_can_hold_is_reported_once(dock):
    image = dock.viewer.add_image(np.ones((1, 1, 1, 1, 20, 30), np.uint8), name="deep")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((0, 0, 0, 0, 5, 5), 7)
    dock.until(lambda: "cannot be saved" in dock.message)
    dock.view.set_message("")
    for value in (8, 9):
        layer.paint((0, 0, 0, 0, 5, 5), value)
        assert dock.app.autosave.flush(60)
    assert not dock.message


def test_files_that_vanish_are_written_again_from_memory(dock, image_of_nuclei):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    autosave = dock.app.autosave
    for value in range(20):
        layer.paint((5 + 5 * value, 30), 77 + value)
        autosave.tick()
    assert autosave.flush(60)
    root = autosave.folder.root
    shutil.rmtree(root / "planes")
    dock.app.shut_down()
    assert dock.message == VANISHED
    folder = SessionFolder.open(root)
    labels = folder.load_plane(folder.file.images[0].key, ()).labels
    assert set(range(77, 97)) <= set(np.unique(labels))
    folder.close()


def test_an_image_as_in_its_file_is_not_stored(dock, image_of_nuclei, tmp_path):
    tifffile.imwrite(tmp_path / "cells.tif", image_of_nuclei)
    (image,) = dock.viewer.open(tmp_path / "cells.tif", plugin="napari")
    dock.app.layers.make_binding(image).layer.paint((30, 30), 77)
    assert dock.app.autosave.flush(60)
    folder = dock.app.autosave.folder
    assert not folder.file.images[0].stored
    assert folder.file.images[0].content_hash
    assert not (folder.root / "sources").exists()
