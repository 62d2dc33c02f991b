"""Measuring labels that are larger than memory: the table of the whole, by blocks."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from skimage.draw import disk
from stores import make_store

from napari_resunet.errors import Cancelled, FileError
from napari_resunet.events import CancelToken, Notice, Progress, drain, ignore
from napari_resunet.session.large import measure as large
from napari_resunet.session.large.measure import measure_large
from napari_resunet.session.measurements import MeasureRequest, measure_image
from napari_resunet.session.tables import write_table
from napari_resunet.slides import image as slides


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.setattr(large, "SIDE", 32)
    monkeypatch.setattr(slides, "HARMLESS_BYTES", 0)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def objects(*, seed=0):
    """Objects of all sizes: across blocks, larger than a block, and in two pieces."""
    rng = np.random.default_rng(seed)
    labels = np.zeros((110, 131), np.uint32)
    for number in rng.permutation(60) + 1:
        y, x = rng.integers(0, (110, 131))
        rows, columns = disk((y, x), rng.integers(1, 9), shape=labels.shape)
        labels[rows, columns] = number
    labels[40:43, 5:125] = 900
    labels[3:104, 64] = 70_001
    labels[:2, :2] = labels[-2:, -2:] = 4  # and perhaps somewhere in the middle
    return labels


def store(labels, axes="yx"):
    """Write labels in chunks that do not divide the blocks."""
    make_store(large_labels(), [labels], axes)


def large_labels():
    return Path.cwd() / "labels.ome.zarr"


def image(*shape):
    return np.random.default_rng(1).integers(0, 60_000, shape).astype(np.uint16)


def measure(source="image.tif", on_event=ignore, **options):
    target = large_labels().with_name("table.csv")
    return measure_large(
        large_labels(), target.with_name(source), target, on_event=on_event, **options
    )


def undivided(labels, pixels, axes, **about):
    """Measure all at once."""
    request = MeasureRequest(labels, levels=(pixels,), axes=axes, **about)
    path = large_labels().with_name("whole.csv")
    write_table(path, drain(measure_image(request)))
    return path.read_bytes()


def table():
    return large_labels().with_name("table.csv").read_bytes()


@pytest.mark.parametrize("group", ["basic", "all"])
def test_the_table_is_that_of_the_undivided_labels(group):
    labels, pixels = objects(), image(2, 110, 131)
    store(labels)
    metadata = {"axes": "CYX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
    tifffile.imwrite("image.tif", pixels, ome=True, tile=(48, 48), metadata=metadata)
    n = measure(group=group)
    expected = undivided(labels, pixels, "CYX", pixel_size=(0.5, 0.5), group=group)
    assert table() == expected
    assert n == len(np.unique(labels)) - 1
    assert table().count(b"\r\n") == n + 1


def test_a_number_in_two_planes_is_two_objects():
    labels, pixels = np.stack([objects(), objects(seed=2)]), image(2, 110, 131)
    store(labels, "tyx")
    tifffile.imwrite(
        "image.tif", pixels, metadata={"axes": "TYX"}, photometric="minisblack"
    )
    measure()
    assert table() == undivided(labels, pixels, "TYX", stack_axes=("T",))
    assert table().startswith(b"plane,label,area_px")


def test_the_level_that_was_segmented_is_measured():
    labels, pixels = objects(), image(110, 131)
    store(labels)
    fine = np.kron(pixels, np.ones((2, 2), np.uint16))
    make_store(large_labels().with_name("image.ome.zarr"), [fine, pixels], scale=[0.2, 0.2])
    measure("image.ome.zarr", level=1)
    assert table() == undivided(labels, pixels, "YX", pixel_size=(0.4, 0.4))


def test_colours_are_channels():
    labels, pixels = objects(), image(110, 131, 3)
    store(labels)
    tifffile.imwrite("image.tif", pixels, photometric="rgb")
    measure()
    assert table() == undivided(labels, pixels, "YXS")
    assert b"mean_intensity_green" in table()


def test_without_objects_the_table_has_columns_only():
    store(np.zeros((50, 40), np.uint32))
    tifffile.imwrite("image.tif", image(50, 40))
    assert measure() == 0
    assert table().count(b"\n") == 1


def test_an_object_that_is_spread_too_far_is_left_out_with_a_word(monkeypatch):
    monkeypatch.setattr(large, "MAX_OBJECT", 5000)
    labels, events = objects(), []
    store(labels)
    tifffile.imwrite("image.tif", pixels := image(110, 131))
    measure(on_event=events.append)
    assert table() == undivided(np.where(labels == 4, 0, labels), pixels, "YX")
    assert [e.message for e in events if isinstance(e, Notice)] == [
        "Objects that lie in pieces far apart are not in the table: 4."
    ]


def test_progress_goes_to_its_end():
    store(objects())
    tifffile.imwrite("image.tif", image(110, 131))
    events = []
    n = measure(on_event=events.append)
    done = [e.done for e in events if isinstance(e, Progress)]
    assert done == sorted(done)
    assert done[-1] == events[-1].total
    assert events[-1].message == f"{n} objects measured"


def test_cancel_leaves_no_file_behind(here):
    store(objects())
    tifffile.imwrite("image.tif", image(110, 131))
    before, token = sorted(here.iterdir()), CancelToken()

    def cancel_late(event):
        if event.done > 20:
            token.cancel()

    with pytest.raises(Cancelled):
        measure(on_event=cancel_late, token=token)
    assert sorted(here.iterdir()) == before


def test_a_table_that_is_there_is_replaced_only_if_told():
    store(objects())
    tifffile.imwrite("image.tif", image(110, 131))
    large_labels().with_name("table.csv").write_text("mine")
    with pytest.raises(FileError, match="is there already: give --overwrite"):
        measure()
    assert table() == b"mine"
    measure(overwrite=True)
    assert table().startswith(b"label,")


def test_labels_of_another_image_are_refused():
    store(objects())
    tifffile.imwrite("image.tif", image(110, 130))
    with pytest.raises(
        FileError, match=r"are 110 × 131 pixels, and the image .* 110 × 130"
    ):
        measure()


def test_an_image_is_not_taken_for_labels():
    store(np.ones((50, 40), np.float32))
    tifffile.imwrite("image.tif", image(50, 40))
    with pytest.raises(FileError, match="holds no labels, but float32 numbers"):
        measure()


def test_damaged_labels_are_said(here):
    store(objects())
    tifffile.imwrite("image.tif", image(110, 131))
    chunks = [p for p in (here / "labels.ome.zarr" / "0").rglob("*") if p.name == "1"]
    for chunk in chunks:
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    with pytest.raises(FileError, match="copy the image again"):
        measure()
    assert not (here / "table.csv").exists()
