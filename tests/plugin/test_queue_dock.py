"""A list of images in the dock, with threads, the bundled model, and a real window."""

from __future__ import annotations

import numpy as np
import tifffile

from napari_resunet.session.store.folder import SessionFolder


def is_idle(dock):
    app = dock.app
    runners = app.jobs, app.opens, app.adds, app.records, app.aheads
    return all(runner.current is None for runner in runners)


def test_a_list_of_images_from_the_folder_to_the_session(
    window_dock, image_of_nuclei, tmp_path, sure_fine_tuning
):
    dock, folder = window_dock, tmp_path / "plate"
    folder.mkdir()
    for number in range(3):
        pixels = image_of_nuclei[: 100 + 5 * number]
        tifffile.imwrite(folder / f"t{number}.tif", pixels)
    (folder / "t1.tif").write_bytes(b"II*\0garbage")
    dock.app.image.set_object_size(20)
    dock.view.queue.paths_chosen.emit([folder], "", False)
    dock.until(lambda: len(dock.state.queue) == 3 and is_idle(dock))
    dock.click("propose_all")
    dock.until(lambda: is_idle(dock))
    items = dock.state.queue.items
    assert [item.state for item in items] == ["proposed", "failed", "proposed"]
    assert dock.labels.data.any()
    dock.labels.paint((5, 5), 999)
    dock.mark("slice")
    before = dock.labels.data.copy()
    dock.click("done_next")
    dock.until(lambda: dock.state.image_key == items[2].key and is_idle(dock))
    dock.until(lambda: len(dock.viewer.layers) < 5)
    assert [x.name for x in dock.viewer.layers][:2] == ["t2", "t2 labels"]
    assert dock.labels.data.any()
    dock.click("fine_tune")  # on what was verified before
    dock.until(lambda: is_idle(dock))
    assert dock.state.versions.current.record.images == 1
    root = dock.end()
    session = SessionFolder.open(root)
    assert [item.state for item in session.file.queue][:2] == ["done", "failed"]
    state = session.load_plane(session.file.queue[0].image, ())
    assert np.array_equal(state.labels, before)
    assert state.review().verified.all()
    session.close()
