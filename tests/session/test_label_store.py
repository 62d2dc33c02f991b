"""Correcting a part of labels that are larger than memory, in an OME-Zarr of ours."""

import json

import numpy as np
import pytest
import yaozarrs
import zarr
from label_stores import squares, write_store
from stores import change, make_store

from napari_resunet.errors import CorrectionError, FileError
from napari_resunet.session.large import label_store
from napari_resunet.session.large.label_store import LabelStore
from napari_resunet.session.large.store_lock import only_writer

SHAPE = (100, 90)
WINDOW = slice(20, 60), slice(30, 70)


@pytest.fixture
def labels():
    """Squares of 8 × 8 pixels, 12 apart, numbered from 1; some are cut by the window."""
    return squares(SHAPE, first=2, step=12, side=8)


@pytest.fixture
def folder(tmp_path, labels):
    return write_store(tmp_path / "labels.ome.zarr", labels)


def whole(folder, level=0):
    return zarr.open_array(folder / str(level), mode="r")[...]


def assert_levels_agree(folder):
    for level in range(1, 4):
        np.testing.assert_array_equal(
            whole(folder, level), whole(folder)[:: 2**level, :: 2**level]
        )


def corrected(store):
    """Delete one object, move another's edge, and draw a new one."""
    part = store.read((), WINDOW)
    gone, grown = part[20, 20], part[32, 20]
    assert gone > 0
    assert grown > 0
    part[part == gone] = 0
    part[32, 14:26] = grown
    part[10, 10:13] = part.max() + 1  # as the brush numbers a new object
    return part, gone, grown


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_part_is_replaced_at_all_levels(tmp_path, labels, version):
    folder = write_store(tmp_path / "v.ome.zarr", labels, version=version)
    store = LabelStore(folder)
    part, gone, grown = corrected(store)
    assert store.write((), WINDOW, part) == labels.max()  # one more and one less
    found = whole(folder)
    outside = np.ones(SHAPE, bool)
    outside[WINDOW] = False
    np.testing.assert_array_equal(found[outside], labels[outside])
    assert not (found == gone).any()
    assert (found[52, 44:56] == grown).all()
    assert (found[30, 40:43] == labels.max() + 1).all()
    assert_levels_agree(folder)
    yaozarrs.validate_zarr_store(str(folder))


def test_a_new_object_gets_a_number_that_no_other_has(folder, labels):
    store = LabelStore(folder)
    part = store.read((), WINDOW)
    outside = labels[88, 5]  # a number that is used outside of the part
    assert outside not in part
    part[part == 0] = outside
    store.write((), WINDOW, part)
    assert (whole(folder)[WINDOW] == outside).sum() == 0
    assert (whole(folder) == labels.max() + 1).any()
    part = store.read((), WINDOW)
    part[:3, :3] = 3000
    store.write((), WINDOW, part)
    assert whole(folder).max() == labels.max() + 2


def test_an_object_that_lies_partly_outside_stays_whole(folder, labels):
    store = LabelStore(folder)
    cut = np.unique(labels[60 - 1, 30:70])
    part, _, _ = corrected(store)
    store.write((), WINDOW, part)
    for number in cut[cut > 0]:
        np.testing.assert_array_equal(whole(folder) == number, labels == number)


def test_nothing_changes_if_nothing_was_corrected(folder, labels):
    store = LabelStore(folder)
    assert store.write((), WINDOW, store.read((), WINDOW)) == labels.max()
    np.testing.assert_array_equal(whole(folder), labels)


def test_a_plane_of_a_stack_is_corrected_alone(tmp_path, labels):
    stack = np.stack([labels, np.where(labels, labels + labels.max(), 0)])
    folder = write_store(tmp_path / "stack.ome.zarr", stack)
    store = LabelStore(folder)
    store.write((1,), WINDOW, np.zeros((40, 40), np.int32))
    np.testing.assert_array_equal(whole(folder)[0], labels)
    assert not whole(folder)[(1, *WINDOW)].any()
    assert not whole(folder, 1)[1, 10:30, 15:35].any()


def test_classes_keep_their_values(tmp_path, labels):
    folder = write_store(tmp_path / "classes.ome.zarr", labels % 3, objects=False)
    store = LabelStore(folder)
    part = np.full((40, 40), 5, np.int32)
    store.write((), WINDOW, part)
    np.testing.assert_array_equal(whole(folder)[WINDOW], part)


@pytest.mark.parametrize("kill_at", range(6))
def test_a_kill_leaves_the_old_labels_or_the_new_ones(folder, labels, monkeypatch, kill_at):
    store = LabelStore(folder)
    part, *_ = corrected(store)
    steps = ["write_tiff", "store_text"] + ["_sync"] * 4
    count = {"left": steps[: kill_at + 1].count(steps[kill_at])}

    def killed(original):
        def call(*arguments):
            count["left"] -= 1
            if not count["left"]:
                raise KeyboardInterrupt
            return original(*arguments)

        return call

    owner = LabelStore if steps[kill_at] == "_sync" else label_store
    with monkeypatch.context() as patch:
        patch.setattr(owner, steps[kill_at], killed(getattr(owner, steps[kill_at])))
        with pytest.raises(KeyboardInterrupt):
            store.write((), WINDOW, part)
    again = LabelStore(folder)
    is_new = (whole(folder)[30, 40:43] == labels.max() + 1).all()
    if not is_new:
        np.testing.assert_array_equal(whole(folder), labels)
    assert is_new == (kill_at >= 2)
    assert again.note.highest == labels.max() + is_new
    assert_levels_agree(folder)
    again.write((), WINDOW, part)
    assert not (folder / ".writing").exists()


def test_numbers_that_a_layer_cannot_hold_are_said(folder):
    change(folder / "zarr.json", "attributes", "napari-resunet", "n_objects", to=2**31)
    with pytest.raises(FileError, match="numbers of objects above"):
        LabelStore(folder).read((), WINDOW)


def test_what_a_kill_left_is_refused_if_it_is_damaged(folder, monkeypatch):
    store = LabelStore(folder)
    monkeypatch.setattr(LabelStore, "_apply", lambda *_: None)
    store.write((), WINDOW, store.read((), WINDOW))
    for name, content in (("labels.tif", b"II"), ("place.json", b'{"index": [7]}')):
        (folder / ".writing" / name).write_bytes(content)
        with pytest.raises(FileError, match="delete that folder"):
            LabelStore(folder)


def test_two_windows_do_not_write_at_the_same_time(folder, labels):
    store = LabelStore(folder)
    part, *_ = corrected(store)
    with only_writer(folder), pytest.raises(FileError, match="wait until it is done"):
        store.write((), WINDOW, part)
    np.testing.assert_array_equal(whole(folder), labels)
    store.write((), WINDOW, part)
    assert (whole(folder)[30, 40:43] == labels.max() + 1).all()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_new_objects_of_two_windows_have_different_numbers(folder, labels):
    one, other = LabelStore(folder), LabelStore(folder)
    part, *_ = corrected(one)
    one.write((), WINDOW, part)
    below = slice(60, 100), slice(0, 40)
    part = other.read((), below)
    part[10, 10] = 999
    other.write((), below, part)
    assert whole(folder)[30, 41] == labels.max() + 1
    assert whole(folder)[70, 10] == labels.max() + 2


def test_what_another_window_is_writing_is_left_to_it(folder, monkeypatch):
    store = LabelStore(folder)
    part, *_ = corrected(store)
    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "_apply", lambda *_: None)
        store.write((), WINDOW, part)
    with only_writer(folder):
        LabelStore(folder)
        assert (folder / ".writing").exists()
    LabelStore(folder)
    assert not (folder / ".writing").exists()


def test_a_part_outside_or_too_large_is_refused(folder, monkeypatch):
    store = LabelStore(folder)
    for window in ((slice(0, 10), slice(85, 95)), (slice(5, 5), slice(0, 5))):
        with pytest.raises(FileError, match="choose one inside it"):
            store.read((), window)
    monkeypatch.setattr(label_store, "MAX_SIDE", 30)
    with pytest.raises(FileError, match="choose one inside it"):
        store.read((), WINDOW)


def test_labels_that_cannot_be_objects_are_refused(folder):
    store = LabelStore(folder)
    with pytest.raises(CorrectionError, match="below 0"):
        store.write((), WINDOW, np.full((40, 40), -1, np.int32))
    with pytest.raises(CorrectionError, match="another shape"):
        store.write((), WINDOW, np.ones((40, 41), np.int32))


def test_labels_without_numbers_left_are_said(folder):
    change(folder / "zarr.json", "attributes", "napari-resunet", "n_objects", to=2**16 - 1)
    store = LabelStore(folder)
    part, *_ = corrected(store)
    with pytest.raises(FileError, match="no numbers left"):
        store.write((), WINDOW, part)


def test_labels_of_other_programs_are_refused(tmp_path, labels):
    with pytest.raises(FileError, match="that this program wrote"):
        LabelStore(make_store(tmp_path / "other.ome.zarr", [labels.astype(np.uint16)]))


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        (("run", "scale"), -1),
        (("run", "statistics"), {"low": ["x"], "high": [1]}),
        (("run", "asked"), {"source": 5}),
        (("n_objects",), 10**30),
    ],
)
def test_a_damaged_note_is_said(folder, keys, value):
    change(folder / "zarr.json", "attributes", "napari-resunet", *keys, to=value)
    with pytest.raises(FileError, match="segment the image again"):
        LabelStore(folder)


def test_levels_of_another_shape_are_refused(folder):
    document = json.loads((folder / "1/zarr.json").read_text())
    document["shape"] = [51, 45]
    (folder / "1/zarr.json").write_text(json.dumps(document))
    with pytest.raises(FileError, match="not as this program writes them"):
        LabelStore(folder)
