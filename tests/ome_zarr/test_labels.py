"""Labels that are saved into an OME-Zarr, as zarr and yaozarrs read them back."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import yaozarrs
import zarr
from stores import change, make_store, write_group

from napari_resunet import save_labels_into
from napari_resunet.errors import ArgumentError, CorrectionError, DiskFullError, FileError
from napari_resunet.ome_zarr import labels as module

RNG = np.random.default_rng(0)
VERSIONS = pytest.mark.parametrize("version", ["0.4", "0.5"])


def pixels(*shape):
    return RNG.integers(1, 200, shape).astype(np.uint16)


def squares(*shape, value=1):
    labels = np.zeros(shape, np.int32)
    for i, index in enumerate(np.ndindex(shape[:-2])):
        labels[index][3:9, 4:13] = value + i
    return labels


@pytest.fixture(params=["0.4", "0.5"])
def store(tmp_path, request):
    """A pyramid of two levels, 20 × 24 and 10 × 12."""
    image = pixels(20, 24)
    return make_store(
        tmp_path / "x.ome.zarr", [image, image[::2, ::2]], version=request.param
    )


@pytest.fixture
def image(tmp_path):
    """An image of one level, 20 × 24."""
    return make_store(tmp_path / "x.ome.zarr", [pixels(20, 24)])


def attributes(folder):
    if (folder / "zarr.json").exists():
        return json.loads((folder / "zarr.json").read_text())["attributes"]
    return json.loads((folder / ".zattrs").read_text())


def ome(folder):
    return attributes(folder).get("ome", attributes(folder))


def read(store, name="resunet", level=0):
    return zarr.open_group(str(store), mode="r")[f"labels/{name}/{level}"][...]


@VERSIONS
@pytest.mark.parametrize(
    ("axes", "shape", "labels_axes"),
    [
        ("yx", (20, 24), "yx"),
        ("tyx", (3, 20, 24), "tyx"),
        ("zyx", (3, 20, 24), "zyx"),
        ("tczyx", (2, 2, 3, 20, 24), "tzyx"),
    ],
)
def test_labels_come_back_equal_and_lie_on_the_image(
    tmp_path, version, axes, shape, labels_axes
):
    image, scale = pixels(*shape), [1.5, 1, 2, 0.5, 0.25][-len(axes) :]
    store = make_store(
        tmp_path / "x.zarr", [image, image[..., ::2, ::2]], axes, version, scale
    )
    labels = squares(*(n for n, axis in zip(shape, axes, strict=True) if axis != "c"))
    folder = save_labels_into(store, labels, "cells")
    assert folder == store / "labels" / "cells"
    assert np.array_equal(read(store, "cells"), labels)
    assert np.array_equal(read(store, "cells", 1), labels[..., ::2, ::2])
    assert read(store, "cells").dtype == np.uint16
    yaozarrs.validate_zarr_store(str(store))
    there = ome(folder)["multiscales"][0]
    assert "".join(axis["name"] for axis in there["axes"]) == labels_axes
    of_axis = dict(zip(axes, scale, strict=True))
    for i, dataset in enumerate(there["datasets"]):
        (transformation,) = dataset["coordinateTransformations"]
        factors = [2**i if axis in "yx" else 1 for axis in labels_axes]
        wanted = [of_axis[a] * f for a, f in zip(labels_axes, factors, strict=True)]
        assert transformation["scale"] == wanted
    assert ome(folder)["image-label"]["source"] == {"image": "../../"}


def test_the_image_is_as_it_was(store):
    before = {p: p.read_bytes() for p in store.rglob("*") if p.is_file()}
    save_labels_into(store, squares(20, 24))
    assert all(path.read_bytes() == content for path, content in before.items())
    others = [p.name for p in store.iterdir() if p not in before and p.is_dir()]
    assert sorted(others) == ["0", "1", "labels"]


def test_labels_of_a_coarse_level_are_saved_at_all_levels(store):
    coarse = squares(10, 12)
    save_labels_into(store, coarse)
    assert np.array_equal(read(store, level=1), coarse)
    assert np.array_equal(read(store), coarse.repeat(2, 0).repeat(2, 1))


def test_other_labels_stay(store):
    save_labels_into(store, squares(20, 24), "by hand")
    before = read(store, "by hand")
    for value in (3, 4):
        save_labels_into(store, squares(20, 24, value=value), "nuclei")
    assert read(store, "nuclei").max() == 4
    assert np.array_equal(read(store, "by hand"), before)
    assert ome(store / "labels")["labels"] == ["by hand", "nuclei"]
    assert sorted(p.name for p in (store / "labels").iterdir() if p.is_dir()) == [
        "by hand", "nuclei",
    ]  # fmt: skip


def test_how_they_were_made_is_saved(store):
    folder = save_labels_into(store, squares(20, 24), about={"model": {"name": "mine"}})
    note = attributes(folder)["napari-resunet"]
    assert note["n_objects"] == 1
    assert note["model"] == {"name": "mine"}
    assert "napari-resunet" in note["programs"]


def test_large_numbers_are_kept(store):
    labels = squares(20, 24).astype(np.int64) * (2**32 - 1)
    save_labels_into(store, labels)
    assert np.array_equal(read(store), labels)


def test_axes_of_length_one_may_be_left_out(tmp_path):
    store = make_store(tmp_path / "x.zarr", [pixels(1, 1, 20, 24)], "tcyx")
    save_labels_into(store, squares(20, 24))
    assert read(store).shape == (1, 20, 24)


def test_labels_of_others_are_not_replaced(store):
    folder = save_labels_into(store, squares(20, 24))
    file = folder / ("zarr.json" if (folder / "zarr.json").exists() else ".zattrs")
    file.write_text(file.read_text().replace("napari-resunet", "another-program"))
    with pytest.raises(FileError, match="has labels of the name 'resunet' already"):
        save_labels_into(store, squares(20, 24, value=7))
    assert read(store).max() == 1
    save_labels_into(store, squares(20, 24, value=7), overwrite=True)
    assert read(store).max() == 7


def test_labels_that_somebody_changed_are_not_replaced(store):
    save_labels_into(store, squares(20, 24))
    zarr.open_group(str(store), mode="r+")["labels/resunet/0"][0, 0] = 9
    with pytest.raises(FileError, match="give another name, or overwrite them"):
        save_labels_into(store, squares(20, 24, value=7))
    assert read(store)[0, 0] == 9


class StoppedError(BaseException):
    """As if the process was killed."""


@pytest.mark.parametrize(
    "step", ["_write_arrays", "labels_hash", "sync_files", "_replace", "_write_json"]
)
def test_a_crash_leaves_the_old_labels(image, monkeypatch, step):
    save_labels_into(image, squares(20, 24, value=1))

    def stop(*args):
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr(module, step, stop)
        patch.setattr(module.shutil, "rmtree", lambda *args, **named: None)
        with pytest.raises(StoppedError):
            save_labels_into(image, squares(20, 24, value=5), overwrite=True)
    assert read(image).max() == 1
    save_labels_into(image, squares(20, 24, value=5))
    assert read(image).max() == 5


def test_a_crash_while_labels_change_places_is_mended(image, monkeypatch):
    folder = save_labels_into(image, squares(20, 24, value=1))
    folder.rename(folder.with_name(".resunet.before"))  # where a kill would leave them
    with pytest.raises(CorrectionError):
        save_labels_into(image, squares(4, 4))
    with monkeypatch.context() as patch:
        patch.setattr(module, "_write_arrays", lambda *args: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            save_labels_into(image, squares(20, 24, value=5))
    assert read(image).max() == 1


def test_a_failed_rename_leaves_the_old_labels(image, monkeypatch):
    save_labels_into(image, squares(20, 24, value=1))
    rename = Path.rename

    def fails(path, target):
        if module.TEMPORARY in str(path):
            raise OSError(28, "No space left on device")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fails)
    with pytest.raises(DiskFullError, match="cannot be written \\(No space left on device"):
        save_labels_into(image, squares(20, 24, value=5))
    assert read(image).max() == 1
    assert not list(image.glob(".resunet*"))


def test_a_read_only_image_is_one_sentence(image, monkeypatch):
    def refuse(**named):
        raise PermissionError(30, "Read-only file system")

    monkeypatch.setattr(module.tempfile, "mkdtemp", refuse)
    with pytest.raises(FileError, match="cannot be written \\(Read-only file system\\)"):
        save_labels_into(image, squares(20, 24))


@pytest.mark.parametrize(
    "name", ["", "../x", ".hidden", "a/b", "__x", "x" * 200, "end.", "a:b"]
)
def test_names_that_cannot_be_folders_are_refused(image, name):
    with pytest.raises(ArgumentError, match="give a name of letters, digits"):
        save_labels_into(image, squares(20, 24), name)
    assert not (image / "labels").exists()


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (squares(20, 23), "The labels are of shape \\(20, 23\\), and the image"),
        (squares(20, 24).astype(float), "no whole numbers"),
        (-squares(20, 24), "no whole numbers"),
    ],
)
def test_labels_that_do_not_fit_are_refused(image, labels, words):
    with pytest.raises(CorrectionError, match=words):
        save_labels_into(image, labels)


def test_a_folder_that_is_no_image_is_refused(tmp_path):
    with pytest.raises(FileError, match="is no OME-Zarr image: give the folder of one"):
        save_labels_into(tmp_path, squares(20, 24))


def test_labels_that_are_a_link_are_not_followed(store, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (store / "labels").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(FileError, match="its labels are a link to another place"):
        save_labels_into(store, squares(20, 24))
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("to", [7, {"ome": 7}, {"ome": {"labels": 7}}])
def test_a_damaged_list_of_labels_is_one_sentence(tmp_path, to):
    store = make_store(tmp_path / "x.zarr", [pixels(20, 24)])
    save_labels_into(store, squares(20, 24), "first")
    change(store / "labels" / "zarr.json", "attributes", to=to)
    with pytest.raises(FileError, match="its list of labels is no list"):
        save_labels_into(store, squares(20, 24))
    assert read(store, "first").max() == 1


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@VERSIONS
def test_consolidated_metadata_names_the_new_labels(tmp_path, version):
    store = make_store(tmp_path / "x.zarr", [pixels(20, 24)], version=version)
    zarr.consolidate_metadata(str(store))
    for value in (1, 2):
        save_labels_into(store, squares(20, 24, value=value))
        there = zarr.open_consolidated(str(store), mode="r")
        assert there["labels/resunet/0"][...].max() == value
    assert "resunet" in there["labels"].group_keys()


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
def test_the_copy_of_a_plate_names_the_labels_of_its_images(tmp_path):
    plate = tmp_path / "p.zarr"
    write_group(plate, {"plate": {"wells": [{"path": "B/3"}]}})
    write_group(plate / "B", {})
    write_group(plate / "B" / "3", {"well": {"images": [{"path": "0"}]}})
    image = make_store(plate / "B" / "3" / "0", [pixels(20, 24)])
    zarr.consolidate_metadata(str(plate))
    save_labels_into(image, squares(20, 24))
    there = zarr.open_consolidated(str(plate), mode="r")
    assert np.array_equal(there["B/3/0/labels/resunet/0"][...], squares(20, 24))


def test_a_pipe_among_labels_is_not_read(image):
    folder = save_labels_into(image, squares(20, 24))
    os.mkfifo(folder / "0" / "pipe")
    with pytest.raises(FileError, match="not as this program wrote them"):
        save_labels_into(image, squares(20, 24))


def test_what_a_stopped_program_left_is_removed_a_day_later(image):
    for name in ("old", "new"):
        (image / f".resunet-labels-{name}" / "0").mkdir(parents=True)
    os.utime(image / ".resunet-labels-old", (0, 0))
    save_labels_into(image, squares(20, 24))
    assert [p.name for p in image.glob(".resunet*")] == [".resunet-labels-new"]
