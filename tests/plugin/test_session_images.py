"""Images of a session come back with their pixels and their place, and nothing is run."""

import numpy as np
import pytest
import tifffile

from napari_resunet.session.store.folder import SessionFolder
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

    monkeypatch.setattr(dock.app.view.session, "ask_image", ask)
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
        dock.open_session(root)
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
    dock.open_session(root)
    assert asked == [source]
    assert opened == [source]
    (image,) = (x for x in dock.viewer.layers if type(x).__name__ == "Image")
    assert np.array_equal(image.data, pixels)
    assert np.allclose(image.rotate, place["rotate"])


@pytest.mark.parametrize("when", ["before", "after", "script"])
def test_an_image_edited_in_memory_comes_back_with_its_labels(
    dock, make_dock, image_of_nuclei, tmp_path, when
):
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, image_of_nuclei)
    (image,) = dock.viewer.open(path, plugin="napari")
    edited = np.maximum(image_of_nuclei, 30) - 30
    if when == "before":
        image.data = edited
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    assert dock.app.autosave.flush(60)
    if when == "after":
        image.data = edited
    elif when == "script":
        image.data[:] = edited
    root, later = dock.end(), make_dock()
    later.open_session(root)
    assert np.array_equal(later.viewer.layers["cells"].data, edited)
    assert later.labels.data[30, 30] == 77
    assert "is open" in later.message


PLACES = {
    "rotate": {"rotate": 30.0},
    "shear": {"shear": [0.3]},
    "affine": {"affine": np.array([[0, 1, 5], [-1, 0, 10], [0, 0, 1.0]])},
    "all": {"rotate": 10.0, "shear": [0.1], "scale": (0.5, -2), "translate": (3, 4),
            "affine": np.array([[1, 0.2, 5], [0, 1, 0], [0, 0, 1.0]])},
}  # fmt: skip


@pytest.mark.parametrize("place", PLACES)
def test_a_turned_image_lies_where_it_lay(dock, make_dock, image_of_nuclei, place):
    image = dock.viewer.add_image(image_of_nuclei, name="cells", **PLACES[place])
    dock.app.layers.make_binding(image).layer.paint((30, 30), 77)
    assert dock.app.autosave.flush(60)
    image.translate = (7, 8)  # changed later
    root, later = dock.end(), make_dock()
    later.open_session(root)
    found = later.viewer.layers["cells"]
    for point in ((0, 0), (100, 20)):
        assert np.allclose(found.data_to_world(point), image.data_to_world(point))
