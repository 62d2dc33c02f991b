"""--skip-existing keeps what the same run would write again, and says what it does not."""

import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile

from napari_resunet._package import starter_path
from napari_resunet.errors import FileError
from napari_resunet.files import read_image
from napari_resunet.session import segment_files
from napari_resunet.session.existing import Existing, compare, without_existing
from napari_resunet.session.export import LabelsToExport, export_labels
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.types import ObjectSize


@pytest.fixture
def options(tmp_path):
    return SegmentOptions(tmp_path / "out", diameter=ObjectSize(20.0), channels=(0,))


@pytest.fixture
def image(tmp_path):
    tifffile.imwrite(tmp_path / "i.tif", np.arange(100, dtype=np.uint8).reshape(10, 10))
    return tmp_path / "i.tif"


@pytest.fixture
def labels(image, options, starter, by_threshold):
    target = options.output / "i_labels.tif"
    segment_files.segment_file(image, target, starter, options, print)
    return target


def changed(options, **values):
    return replace(options, **values)


def no_pixels(*arguments, **named):
    raise AssertionError("the pixels were read")


def test_labels_of_the_same_run_are_skipped_without_their_pixels(
    image, labels, options, monkeypatch
):
    monkeypatch.setattr("napari_resunet.session.existing.read_image_file", no_pixels)
    assert compare(image, labels, options) is Existing.SAME
    left, sentences = without_existing({image: labels}, changed(options, device="cpu"))
    assert left == {}
    assert sentences == ["Skipping 1 of 1 images: labels are there already."]


@pytest.mark.parametrize(
    "values",
    [{"diameter": None}, {"diameter": ObjectSize(um=20.0)}, {"axes": "YX"},
     {"channels": None}],
)  # fmt: skip
def test_labels_with_other_settings_are_made_again(image, labels, options, values):
    left, (sentence,) = without_existing({image: labels}, changed(options, **values))
    assert left == {image: labels}
    assert sentence == (
        "Segmenting again 1 of 1 images: the labels were made with other --axes, "
        "--channels, --diameter, or --stack."
    )


def test_labels_of_another_model_are_made_again(image, labels, options, tmp_path):
    same, other = tmp_path / "same.safetensors", tmp_path / "other.safetensors"
    same.write_bytes(starter_path().read_bytes())
    other.write_bytes(b"another")
    assert compare(image, labels, changed(options, model=str(same))) is Existing.SAME
    for model in (other, tmp_path / "missing"):
        found = compare(image, labels, changed(options, model=str(model)))
        assert found is Existing.OTHER_MODEL


def test_changed_labels_are_kept_unless_overwritten(image, labels, options):
    tifffile.imwrite(labels, np.full((10, 10), 7, np.uint16))
    left, (sentence,) = without_existing({image: labels}, options)
    assert left == {}
    assert sentence == "Skipping 1 of 1 images: somebody changed the labels."
    left, (sentence,) = without_existing({image: labels}, changed(options, overwrite=True))
    assert left == {image: labels}
    assert sentence == "Segmenting again 1 of 1 images: somebody changed the labels."


def test_a_copied_image_is_the_same_and_a_changed_one_is_not(image, labels, options):
    os.utime(image, ns=(0, 0))
    assert compare(image, labels, options) is Existing.SAME
    tifffile.imwrite(image, read_image(image) + 1)
    assert compare(image, labels, options) is Existing.IMAGE_CHANGED
    image.write_bytes(b"damaged")
    assert compare(image, labels, options) is Existing.IMAGE_CHANGED


def test_an_image_that_changes_while_it_is_segmented_is_noticed(
    image, labels, options, starter, monkeypatch
):
    read = segment_files.read_image_file

    def read_and_change(path, axes, level):
        stored = read(path, axes, level)
        tifffile.imwrite(image, stored.array[:8])
        return stored

    monkeypatch.setattr(segment_files, "read_image_file", read_and_change)
    segment_files.segment_file(image, labels, starter, options, print)
    assert compare(image, labels, options) is Existing.IMAGE_CHANGED


def test_labels_of_other_images_and_missing_ones_are_not_there(image, labels, options):
    other = image.with_name("j.tif")
    other.write_bytes(image.read_bytes())
    assert compare(other, labels, options) is Existing.NOTHING
    labels.unlink()
    assert compare(image, labels, options) is Existing.NOTHING
    assert without_existing({image: labels}, options) == ({image: labels}, [])


@pytest.mark.parametrize(
    ("key", "value"),
    [("model", []), ("model", {"sha256": ""}), ("request", 5), ("file", "x"),
     ("labels_sha256", None), ("image", 3)],
)  # fmt: skip
def test_damaged_notes_raise_nothing(image, labels, options, key, value):
    note = labels.with_suffix(".json")
    note.write_text(json.dumps(json.loads(note.read_text("utf-8")) | {key: value}))
    compare(image, labels, options)
    if key in ("model", "request"):
        assert without_existing({image: labels}, options)[0] == {image: labels}


def test_labels_from_the_dock_are_kept(image, labels, options, starter):
    note = labels.with_suffix(".json")
    about = {**json.loads(note.read_text("utf-8")), "checked_share": 0.5}
    export_labels(labels, LabelsToExport(np.full((10, 10), 7), about))
    assert compare(image, labels, options) is Existing.EDITED
    with pytest.raises(FileError, match="is there already"):
        segment_files.segment_file(image, labels, starter, options, print)
    assert (read_image(labels) == 7).all()


def test_an_image_without_one_of_the_formats_is_segmented_again(
    image, labels, options, starter
):
    both = changed(options, also=("geojson",))
    assert compare(image, labels, both) is Existing.FORMAT_MISSING
    segment_files.segment_file(image, labels, starter, both, print)
    assert compare(image, labels, both) is Existing.SAME
