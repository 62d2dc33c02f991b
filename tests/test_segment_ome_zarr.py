"""`segment` on OME-Zarr: what is found, what is written where, and what is said."""

import json

import numpy as np
import pytest
import tifffile
import zarr
from pictures_of_squares import square
from stores import make_store, write_group

from napari_resunet.cli import main
from napari_resunet.files import read_image


@pytest.fixture
def data(tmp_path, segmenting_here):
    """An OME-Zarr of two levels in a folder with a TIFF."""
    image = square(32)
    make_store(tmp_path / "data" / "x.ome.zarr", [image, image[::2, ::2]])
    tifffile.imwrite("data/y.tif", square(10))
    return tmp_path / "data"


INTO = ["segment", "data/x.ome.zarr", "--into-image", "nuclei"]


def saved(name="nuclei"):
    return zarr.open_group("data/x.ome.zarr", mode="r")[f"labels/{name}/0"][...]


def test_a_store_is_one_image_of_its_folder(data, capsys):
    tifffile.imwrite("data/x.ome.zarr/0/inside.tif", square(10))
    assert main(["segment", "data", "-o", "out", "--recursive"]) == 0
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "out/x_labels.tif: 1 labels (1 of 2)",
        "out/y_labels.tif: 1 labels (2 of 2)",
    ]
    assert said.err == ""
    assert read_image(data.parent / "out" / "x_labels.tif").shape == (32, 32)


def test_a_store_and_a_tiff_of_one_name_have_two_results(data, capsys):
    tifffile.imwrite("data/x.tif", square(10))
    assert main(["segment", "data", "-o", "out"]) == 0
    names = [line.split(":")[0] for line in capsys.readouterr().out.splitlines()]
    assert names == [
        "out/x_ome_zarr_labels.tif", "out/x_tif_labels.tif", "out/y_labels.tif",
    ]  # fmt: skip


def test_the_level_follows_the_diameter(data, capsys):
    command = ["segment", "data/x.ome.zarr", "-o", "out"]
    assert main([*command, "--diameter", "50"]) == 0
    assert "Its resolution level '1' was read, 16 × 16 pixels" in capsys.readouterr().err
    assert read_image(data.parent / "out" / "x_labels.tif").shape == (16, 16)
    note = json.loads((data.parent / "out" / "x_labels.json").read_text())
    assert note["level"] == 1
    assert note["image"]["shape"] == [16, 16]
    assert main([*command, "--diameter", "50", "--skip-existing"]) == 0
    assert "Skipping 1 of 1 images: labels are there already." in capsys.readouterr().err


def test_labels_are_saved_into_the_image_alone(data, capsys):
    assert main(INTO) == 0
    assert capsys.readouterr().out == "data/x.ome.zarr/labels/nuclei: 1 labels\n"
    assert np.array_equal(saved() > 0, square(32) > 0)
    assert sorted(p.name for p in data.parent.iterdir()) == ["data"]
    text = (data / "x.ome.zarr" / "labels" / "nuclei" / "zarr.json").read_text()
    note = json.loads(text)["attributes"]["napari-resunet"]
    assert {"image", "model", "settings", "n_objects", "programs"} <= note.keys()


def test_labels_are_saved_in_both_places(data, capsys):
    command = ["segment", "data", "-o", "out", "--into-image", "nuclei"]
    assert main(command) == 0
    assert np.array_equal(read_image(data.parent / "out" / "x_labels.tif"), saved())
    assert (data.parent / "out" / "y_labels.tif").exists()
    assert main([*command, "--skip-existing"]) == 0
    assert "Skipping 2 of 2 images" in capsys.readouterr().err


def test_a_run_into_images_goes_on(data, capsys):
    for _ in range(2):  # what this program wrote is replaced
        assert main(INTO) == 0
    assert main([*INTO, "--skip-existing"]) == 0
    assert "Skipping 1 of 1 images: labels are there already." in capsys.readouterr().err
    zarr.open_group("data/x.ome.zarr", mode="r+")["0"][0, 0] = 7
    assert main([*INTO, "--skip-existing"]) == 0
    assert "Segmenting again 1 of 1 images: changed since" in capsys.readouterr().err


def test_labels_that_somebody_corrected_are_kept(data, capsys):
    main(INTO)
    zarr.open_group("data/x.ome.zarr", mode="r+")["labels/nuclei/0"][0, 0] = 7
    assert main([*INTO, "--skip-existing"]) == 0
    assert "Skipping 1 of 1 images: somebody changed" in capsys.readouterr().err
    assert main(INTO) == 1
    assert "has labels of the name 'nuclei' already" in capsys.readouterr().err
    assert saved()[0, 0] == 7
    assert main([*INTO, "--overwrite"]) == 0
    assert saved()[0, 0] == 0


def test_another_image_needs_a_folder(data, capsys):
    assert main(["segment", "data", "--into-image", "nuclei"]) == 1
    said = capsys.readouterr()
    assert "y.tif' is no OME-Zarr image: give -o, a folder for its labels." in said.err
    assert said.out == "data/x.ome.zarr/labels/nuclei: 1 labels (1 of 2)\n"


def test_each_image_of_a_plate_is_segmented(data, capsys):
    write_group(data / "p.zarr", {"plate": {"wells": [{"path": "B/3"}]}})
    images = {"images": [{"path": "0"}, {"path": "1"}]}
    write_group(data / "p.zarr" / "B" / "3", {"well": images})
    for name in "01":
        make_store(data / "p.zarr" / "B" / "3" / name, [square(12)])
    for command in (["data", "--pattern", "p*"], ["data/p.zarr"]):
        assert main(["segment", *command, "-o", "out"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.rpartition("p.zarr/")[2] for line in lines] == [
            "B/3/0_labels.tif: 1 labels (1 of 2)", "B/3/1_labels.tif: 1 labels (2 of 2)",
        ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment", "data"], "are required: -o/--output, or --into-image"),
        (["segment", "data", "--into-image", "../x"], "give a name of letters, digits"),
        (["segment", "data/empty.zarr", "-o", "out"], "holds no metadata of OME-Zarr"),
        (["segment", "data/y.tif/z.zarr", "-o", "out"], "There is no file"),
    ],
)
def test_errors_are_one_sentence(data, capsys, arguments, words):
    (data / "empty.zarr").mkdir()
    assert main(arguments) == 1
    said = capsys.readouterr()
    assert words in said.err
    assert len(said.err.splitlines()) == 1


def test_a_broken_store_does_not_end_the_run(data, capsys):
    (data / "x.ome.zarr" / "0" / "zarr.json").write_text("{")
    assert main(["segment", "data", "-o", "out"]) == 1
    said = capsys.readouterr()
    assert said.out == "out/y_labels.tif: 1 labels (2 of 2)\n"
    assert "cannot be read as an OME-Zarr ('zarr.json' is no JSON)" in said.err


def test_an_image_is_segmented_by_the_network(tmp_path, monkeypatch, nuclei):
    monkeypatch.chdir(tmp_path)
    image = nuclei[0][:96, :96]
    make_store(tmp_path / "x.zarr", [image])
    tifffile.imwrite("y.tif", image)
    assert main(["segment", "x.zarr", "y.tif", "-o", "out", "--diameter", "24"]) == 0
    assert np.array_equal(*(read_image(tmp_path / "out" / f"{n}_labels.tif") for n in "xy"))
