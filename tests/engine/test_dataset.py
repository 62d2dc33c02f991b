"""Folders of images with masks: one reader for training and scoring, nothing unsaid."""

import os

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_resunet.engine.dataset import find_pairs
from napari_resunet.errors import FileError


@pytest.fixture
def folder(tmp_path):
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    return tmp_path


@pytest.fixture
def labels():
    labels = np.zeros((20, 30), np.uint8)
    labels[2:8, 3:9], labels[12:18, 15:25] = 1, 2
    return labels


def write(folder, mask, image=None, name="a", **options):
    grey = np.random.default_rng(0).integers(0, 255, (20, 30), np.uint8)
    image = grey if image is None else image
    tifffile.imwrite(folder / "images" / f"{name}.tif", image, **options)
    if isinstance(mask, Image.Image):
        mask.save(folder / "masks" / f"{name}.png")
    else:
        tifffile.imwrite(folder / "masks" / f"{name}.tif", mask, photometric=None)


def indexed(labels):
    picture = Image.fromarray(labels, "P")
    picture.putpalette(np.random.default_rng(0).integers(0, 255, 768, np.uint8).tolist())
    return picture


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (lambda x: x, ""),
        (lambda x: np.where(x > 0, np.uint8(255), np.uint8(0)), "2 objects"),
        (lambda x: (x > 0).astype(np.float32), "2 objects"),
        (lambda x: np.where(x > 0, x, np.nan).astype(np.float32), ""),
        (lambda x: x.astype(np.uint32) * 2_000_000_011, ""),
        (indexed, ""),
        (lambda x: Image.fromarray(np.dstack([x] * 3)), ""),
    ],
)
def test_masks_of_all_kinds_give_the_same_labels(folder, labels, kind, said):
    write(folder, kind(labels))
    (pair,) = find_pairs(folder)
    notices = []
    found = pair.read(on_notice=notices.append).labels
    np.testing.assert_array_equal(found, labels)
    assert found.dtype == np.int32
    assert said in " ".join(notices)
    assert bool(notices) == bool(said)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        (lambda x: (x / 2).astype(np.float32), "fractions"),
        (lambda x: x.astype(np.int32) - 1, "negative labels"),
        (lambda x: Image.fromarray(np.dstack([x, x, 0 * x])), "colour picture"),
        (lambda x: np.stack([x] * 5), "one plane"),
        (lambda x: x[:10], "20 × 30 pixels, but its mask 10 × 30"),
    ],
)
def test_a_mask_that_is_no_labels_image_is_refused_by_name(folder, labels, kind, said):
    write(folder, kind(labels))
    (pair,) = find_pairs(folder)
    with pytest.raises(FileError, match=said) as told:
        pair.read()
    assert f"'{pair.mask.name}'" in str(told.value) or "'a.tif'" in str(told.value)


@pytest.mark.parametrize(
    ("shape", "options", "expected", "said"),
    [
        ((20, 30, 2), {"photometric": "minisblack"}, (20, 30), "2 channels"),
        ((20, 30, 3), {"photometric": "rgb"}, (20, 30, 3), ""),
        ((20, 30, 4), {"photometric": "rgb"}, (20, 30, 3), ""),
        ((1, 20, 30), {"photometric": "minisblack"}, (20, 30), ""),
    ],
)
def test_an_image_has_the_channels_that_segment_sees(
    folder, labels, shape, options, expected, said
):
    image = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    write(folder, labels, image, **options)
    notices = []
    found = find_pairs(folder)[0].read(on_notice=notices.append).image
    first = image[0] if shape[0] == 1 else image[..., : expected[2] if said == "" else 1]
    np.testing.assert_array_equal(found, first.reshape(expected))
    assert said in " ".join(notices)


def test_a_stack_is_refused_with_what_to_do(folder, labels):
    write(folder, labels, np.zeros((5, 20, 30), np.uint8), photometric="minisblack")
    with pytest.raises(FileError, match="a stack of 5 planes: save each"):
        find_pairs(folder)[0].read()


def test_files_without_a_partner_are_counted_and_named(folder, labels):
    write(folder, labels)
    for n in range(7):
        tifffile.imwrite(folder / "images" / f"only{n}.tif", labels)
    tifffile.imwrite(folder / "masks" / "lonely.tif", labels)
    (folder / "images" / "._a.tif").write_bytes(b"\x00\x05\x16\x07")
    (folder / "masks" / ".hidden.tif").write_bytes(b"")
    notices = []
    found = find_pairs(folder, notices.append)
    assert [pair.image.name for pair in found] == ["a.tif"]
    images, masks = notices
    assert images.startswith("7 of the images")
    assert "'only4.tif' and 2 more" in images
    assert "1 of the masks" in masks
    assert "'lonely.tif'" in masks


def test_of_several_masks_that_of_the_same_name_is_taken(folder, labels):
    write(folder, labels)
    Image.fromarray(labels * 0).save(folder / "masks" / "a.png")
    notices = []
    found = find_pairs(folder, notices.append)
    np.testing.assert_array_equal(found[0].read().labels, labels)
    assert "'a.png'" in notices[0]


@pytest.mark.parametrize(
    "content",
    [
        b"dataset,split,idx,group\nd,s,a,\xff\n",
        b"dataset,split,idx,group\nd,s,a," + b"x" * 200_000,
        b"name,value\na,b\n",
        bytes(range(256)) * 20,
    ],
)
def test_a_manifest_of_another_kind_is_left_aside_with_a_word(folder, labels, content):
    write(folder, labels)
    (folder / "manifest.csv").write_bytes(content)
    notices = []
    found = find_pairs(folder, notices.append)
    assert found[0].group == folder.name
    assert "manifest.csv" in notices[0]


def test_a_pipe_among_the_images_does_not_wait_for_ever(folder, labels):
    write(folder, labels)
    os.mkfifo(folder / "images" / "b.tif")
    tifffile.imwrite(folder / "masks" / "b.tif", labels)
    os.mkfifo(folder / "manifest.csv")
    with pytest.raises(FileError, match="a pipe or a device"):
        find_pairs(folder)[1].read()
