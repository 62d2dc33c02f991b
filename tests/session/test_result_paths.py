"""Results are named like their images, and no two results have the same name."""

import json
from pathlib import Path

import pytest

from napari_resunet.session.find_images import FoundImage
from napari_resunet.session.result_paths import output_paths

DATA = Path("/data")


def in_folder(*names):
    return [FoundImage(DATA / name, Path(name), DATA) for name in names]


def files(*names):
    return [FoundImage(Path(name), Path(Path(name).name)) for name in names]


def results(images, folder=Path("out")):
    paths = output_paths(images, folder)
    assert list(paths) == [image.path for image in images]
    return [path.relative_to(folder).as_posix() for path in paths.values()]


def test_results_are_where_the_images_are_below_their_folder():
    found = results(in_folder("x.tif", "a/x.tif", "b/c/x.ome.tif"))
    assert found == ["x_labels.tif", "a/x_labels.tif", "b/c/x.ome_labels.tif"]


@pytest.mark.parametrize(
    ("images", "names"),
    [
        (in_folder("a/x.tif", "a/x.png", "b/x.tif"), ["a/x_tif", "a/x_png", "b/x"]),
        (in_folder("x.tif", "X.png"), ["x_tif", "X_png"]),
        (in_folder("x.tif", "X.tif"), ["x_tif", "X_tif_2"]),
        (in_folder("A/x.tif", "a/x.tif"), ["A/x_tif", "a/x_tif_2"]),
        (in_folder("é.tif", "e\u0301.tif"), ["é_tif", "e\u0301_tif_2"]),
        (in_folder("x.tif", "x.png", "x_png.tif"), ["x_tif", "x_png", "x_png_tif"]),
        (files("a/x.tif", "b/x.tif", "b/y.tif"), ["a_x_tif", "b_x_tif", "y"]),
        (files("/a/s/x.tif", "/b/s/x.tif"), ["a_s_x_tif", "b_s_x_tif"]),
        (files("/a/x.tif", "/a/X.tif"), ["a_x_tif", "a_X_tif_2"]),
        (files("/b/x.tif") + in_folder("x.tif"), ["b_x_tif", "x_tif"]),
    ],
)
def test_no_two_results_have_one_name(images, names):
    found = results(images)
    assert found == [f"{name}_labels.tif" for name in names]
    assert len({name.casefold() for name in found}) == len(images)


def remember(folder, name, image):
    note = {"image": {"source": str(image)}, "model": {}, "settings": {}, "programs": {}}
    (folder / name).write_text(json.dumps(note))


def test_an_image_that_comes_later_renames_no_result(tmp_path):
    remember(tmp_path, "x_labels.json", DATA / "x.tif")
    both = in_folder("x.tif", "x.png")
    assert results(both, tmp_path) == ["x_labels.tif", "x_png_labels.tif"]
    remember(tmp_path, "x_png_labels.json", DATA / "x.png")
    assert results(in_folder("x.png"), tmp_path) == ["x_png_labels.tif"]
    assert results(in_folder("x.gif"), tmp_path) == ["x_labels.tif"]  # which is refused


def test_numbered_results_keep_their_numbers(tmp_path):
    images = in_folder("X.tif", "x.tif")
    first = results(images, tmp_path)
    for image, name in zip(images, first, strict=True):
        remember(tmp_path, name.replace(".tif", ".json"), image.path)
    assert results(images, tmp_path) == first == ["X_tif_labels.tif", "x_tif_2_labels.tif"]
