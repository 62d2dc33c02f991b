"""`segment` on folders: what is written, what is said, and how a run goes on."""

import csv
import json
import os
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from pictures_of_squares import square
from PIL import Image

from napari_resunet.cli import main
from napari_resunet.files import read_image
from napari_resunet.session import segment_files, segment_run


@pytest.fixture
def data(tmp_path, segmenting_here):
    """Three images in two formats, two of one name, and what does not belong there."""
    (tmp_path / "data" / "sub").mkdir(parents=True)
    tifffile.imwrite("data/x.tif", square(10))
    tifffile.imwrite("data/sub/x.tif", square(12))
    Image.fromarray(square(14)).save("data/sub/y [1].png")
    (tmp_path / "data" / "notes.txt").write_text("hello")
    return tmp_path / "data"


SEGMENT = ["segment", "data", "-o", "out", "--recursive"]


def sizes(folder):
    found = sorted(folder.rglob("*_labels.tif"))
    return {p.relative_to(folder).as_posix(): len(read_image(p)) for p in found}


EVERYTHING = {
    "sub/x_labels.tif": 12, "sub/y [1]_labels.tif": 14, "x_labels.tif": 10,
}  # fmt: skip


def test_results_are_where_their_images_are(data, tmp_path, capsys):
    assert main(SEGMENT) == 0
    assert sizes(tmp_path / "out") == EVERYTHING
    said = capsys.readouterr()
    assert said.out.splitlines() == [
        "out/sub/x_labels.tif: 1 labels (1 of 3)",
        "out/sub/y [1]_labels.tif: 1 labels (2 of 3)",
        "out/x_labels.tif: 1 labels (3 of 3)",
    ]
    assert said.err == ""


@pytest.fixture
def scenes(data):
    """A TIFF with images of three sizes, and one with a name that a result could have."""
    with tifffile.TiffWriter(data / "s.tif", ome=True) as writer:
        for size in (10, 16, 18):
            writer.write(square(size))
    tifffile.imwrite(data / "s_2.tif", square(20))
    return data


def test_each_image_in_a_file_has_a_result(scenes, tmp_path, capsys):
    command = ["segment", "data/s.tif", "-o", "out", "--measure", "basic"]
    assert main(command) == 0
    assert sizes(tmp_path / "out") == {
        "s_labels.tif": 10, "s_2_labels.tif": 16, "s_3_labels.tif": 18,
    }  # fmt: skip
    assert capsys.readouterr().err == ""
    note = json.loads((tmp_path / "out" / "s_2_labels.json").read_text())
    assert note["image"]["source"] == str(scenes / "s.tif" / "2")
    assert note["image"]["name"] == "s_2"
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as stream:
        assert [row["image"] for row in csv.DictReader(stream)] == ["s", "s_2", "s_3"]
    assert main([*command, "--skip-existing"]) == 0
    assert "Skipping 3 of 3 images" in capsys.readouterr().err


def test_an_image_in_a_file_and_a_file_never_share_a_result(scenes, tmp_path):
    assert main(["segment", "data", "-o", "out"]) == 0
    assert sizes(tmp_path / "out") == {
        "x_labels.tif": 10, "s_labels.tif": 10, "s_2_tif_labels.tif": 16,
        "s_3_labels.tif": 18, "s_2_tif_2_labels.tif": 20,
    }  # fmt: skip
    alone = ["data/s.tif/2", "data/s_2.tif"]
    assert main(["segment", *alone, "-o", "two"]) == 0
    assert sorted(sizes(tmp_path / "two").values()) == [16, 20]


def test_results_inside_the_folder_are_no_images(data, capsys):
    for output in ("data", "data/out"):
        command = ["segment", "data", "-o", output, "--recursive"]
        for _ in range(2):
            assert main(command) == 0
            assert len(capsys.readouterr().out.splitlines()) == 3
    assert sizes(data / "out") == EVERYTHING


def test_several_folders_have_folders_of_their_own(data, tmp_path, capsys):
    assert main(["segment", "data", "data/s*", "-o", "out", "--pattern", "x.*"]) == 0
    assert sizes(tmp_path / "out") == {"data/x_labels.tif": 10, "sub/x_labels.tif": 12}


def test_a_folder_without_images_is_one_sentence_and_loads_no_model(
    data, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr("napari_resunet.session.api.load_model", None)
    assert main(["segment", "data", "-o", "out", "--pattern", "*.lsm"]) == 1
    assert capsys.readouterr().err == (
        "There is no TIFF, PNG, JPEG, or OME-Zarr image with a name like '*.lsm' in 'data' "
        "(subfolders were not searched).\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("pattern", ["", "sub/*.tif", "sub\\*.tif"])
def test_a_pattern_with_a_folder_says_what_to_give(pattern, data, capsys):
    assert main([*SEGMENT, "--pattern", pattern]) == 1
    assert "--pattern: give a pattern for names without" in capsys.readouterr().err


def test_bad_files_are_listed_at_the_end(data, tmp_path, capsys):
    (data / "bad.tif").write_bytes((data / "x.tif").read_bytes()[:60])
    tifffile.imwrite(data / "sub" / "stack.tif", np.zeros((2, 5, 5), np.uint8))
    assert main([*SEGMENT, "--axes", "YX"]) == 1
    assert sizes(tmp_path / "out") == EVERYTHING
    said = capsys.readouterr().err.splitlines()
    assert said[2] == "2 of 5 images failed:"
    assert said[3:] == [f"  {sentence}" for sentence in said[:2]]
    assert said[0].startswith("'data/bad.tif' cannot be read as an image")
    assert said[1].startswith("'data/sub/stack.tif' has 3 dimensions")


def test_what_is_there_is_skipped_without_a_model(data, monkeypatch, capsys):
    assert main(SEGMENT) == 0
    monkeypatch.setattr("napari_resunet.session.api.load_model", None)
    capsys.readouterr()
    assert main([*SEGMENT, "--skip-existing"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == "Skipping 3 of 3 images: labels are there already.\n"


def test_only_what_is_new_is_segmented(data, tmp_path, capsys):
    assert main(SEGMENT) == 0
    tifffile.imwrite("data/sub/x.png.tif", square(16))
    Image.fromarray(square(18)).save("data/x.png")
    capsys.readouterr()
    assert main([*SEGMENT, "--skip-existing"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "out/sub/x.png_labels.tif: 1 labels (1 of 2)",
        "out/x_png_labels.tif: 1 labels (2 of 2)",
    ]
    assert sizes(tmp_path / "out") == EVERYTHING | {
        "sub/x.png_labels.tif": 16, "x_png_labels.tif": 18,
    }  # fmt: skip


def fills_up_after(n_files, monkeypatch):
    """Let the disk be full once so many files are written."""
    fsync, written = os.fsync, []

    def full(handle):
        written.append(handle)
        if len(written) > n_files:
            raise OSError(28, "No space left on device")
        fsync(handle)

    monkeypatch.setattr(os, "fsync", full)


@pytest.mark.parametrize("n_files", [3, 4])
def test_a_full_disk_ends_the_run_and_the_same_command_goes_on(
    data, tmp_path, monkeypatch, capsys, n_files
):
    # The folder is synced too: an image is labels, note, folder.
    with monkeypatch.context() as patch:
        fills_up_after(n_files, patch)
        assert main(SEGMENT) == 1
    assert capsys.readouterr().err == (
        "The disk is full: 1 of 3 images have their labels. Free some space, and run the "
        "same command with --skip-existing to go on.\n"
    )
    assert sizes(tmp_path / "out") == {"sub/x_labels.tif": 12}
    names = sorted(p.name for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert names == ["x_labels.json", "x_labels.tif"]
    assert main([*SEGMENT, "--skip-existing"]) == 0
    assert sizes(tmp_path / "out") == EVERYTHING
    assert "Skipping 1 of 3 images" in capsys.readouterr().err


def test_a_full_disk_names_the_file_of_a_single_image(data, monkeypatch, capsys):
    fills_up_after(0, monkeypatch)
    assert main(["segment", "data/x.tif", "-o", "out"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("'out/x_labels.tif' cannot be written (No space left on device)")
    assert said.count("\n") == 1


def test_ctrl_c_says_how_many_are_done_and_how_to_go_on(data, monkeypatch, capsys):
    (data / "sub" / "a.tif").write_bytes(b"bad")
    segment_file = segment_run.segment_file

    def interrupted(path, *arguments):
        if path.suffix == ".png":
            raise KeyboardInterrupt
        return segment_file(path, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(segment_run, "segment_file", interrupted)
        assert main(SEGMENT) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[1].startswith("1 of 4 images failed:")
    assert said[-1] == (
        "Interrupted: 1 of 4 images have their labels; run the same command with "
        "--skip-existing to go on."
    )
    assert main([*SEGMENT, "--skip-existing"]) == 1
    assert "Skipping 1 of 4 images" in capsys.readouterr().err


def test_one_model_is_hashed_once_for_all_notes(data, tmp_path, monkeypatch):
    hashed = []
    file_hash = segment_files.file_hash
    monkeypatch.setattr(
        segment_files, "file_hash", lambda path: hashed.append(path) or file_hash(path)
    )
    assert main(SEGMENT) == 0
    assert len(hashed) == 1
    notes = [json.loads(p.read_text("utf-8")) for p in (tmp_path / "out").rglob("*.json")]
    assert len({note["model"]["sha256"] for note in notes}) == 1


def test_labels_that_are_kept_are_measured_with_the_others(data, tmp_path, capsys):
    assert main(["segment", "data/x.tif", "-o", "out"]) == 0
    labels = tmp_path / "out" / "x_labels.tif"
    two = np.where(np.arange(10) < 5, read_image(labels), 2 * read_image(labels))
    tifffile.imwrite(labels, two)  # the user's own
    assert main([*SEGMENT, "--skip-existing", "--measure", "basic"]) == 0
    said = capsys.readouterr()
    assert "Skipping 1 of 3 images: somebody changed the labels." in said.err
    assert "out/x_labels.tif: kept, and measured (1 of 3)" in said.out
    with (tmp_path / "out" / "summary.csv").open(encoding="utf-8") as file:
        counts = {row["image"]: row["objects"] for row in csv.DictReader(file)}
    assert counts == {"x": "2", "sub/x": "1", "sub/y [1]": "1"}


def test_an_image_without_pixels_is_one_sentence(data, monkeypatch, capsys):
    read = segment_files.read_image_file

    def emptied(path, *arguments):
        stored = read(path, *arguments)
        return replace(stored, array=stored.array[:0]) if path.suffix == ".png" else stored

    monkeypatch.setattr(segment_files, "read_image_file", emptied)
    assert main(SEGMENT) == 1
    said = capsys.readouterr()
    assert "has no pixels: copy it again." in said.err
    assert "out/x_labels.tif: 1 labels" in said.out
