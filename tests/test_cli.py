import json
import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from pictures_of_squares import square

import napari_resunet as nru
from napari_resunet._package import starter_path
from napari_resunet.cli import main
from napari_resunet.engine.dataset import find_pairs
from napari_resunet.files import read_image, read_stored
from napari_resunet.network.model_file import Model
from napari_resunet.session import api, segment_files, train_files
from napari_resunet.session.api import load_model
from napari_resunet.session.store.models import file_hash
from napari_resunet.types import ObjectSize


@pytest.fixture
def folder(tmp_path, nuclei):
    for name, array in zip(("images", "masks"), nuclei, strict=True):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "one.tif", array.astype(np.uint16))
    return tmp_path


def test_segment_writes_labels_beside_the_name(folder, capsys):
    image = folder / "images" / "one.tif"
    assert main(["segment", str(image), "-o", str(folder / "out"), "--diameter", "24"]) == 0
    labels = read_image(folder / "out" / "one_labels.tif")
    assert labels.dtype == np.uint16
    assert labels.max() > 10
    assert "one_labels.tif" in capsys.readouterr().out
    about = json.loads((folder / "out" / "one_labels.json").read_text("utf-8"))
    assert about["model"]["model_id"] == load_model().info.lineage.model_id
    assert about["model"]["sha256"] == file_hash(starter_path())
    assert about["n_objects"] == len(np.unique(labels)) - 1
    assert about["settings"]["foreground"] == 0.5
    assert about["image"]["object_scale"] == 1
    assert about["image"]["source"] == str(image)
    assert "torch" in about["programs"]
    assert "checked_share" not in about


def test_the_object_size_is_given_in_pixels_or_micrometres(folder, capsys):
    image = folder / "images" / "one.tif"
    um = {"imagej": True, "resolution": (2.0, 2.0), "metadata": {"unit": "um"}}
    tifffile.imwrite(folder / "um.tif", read_image(image), **um)
    found = {}
    for path, size in ((image, "36"), (folder / "um.tif", "18um"), (image, "24px")):
        assert (
            main(["segment", str(path), "-o", str(folder / size), "--diameter", size]) == 0
        )
        name = f"{path.stem}_labels"
        found[size] = read_image(folder / size / f"{name}.tif")
        about = json.loads((folder / size / f"{name}.json").read_text("utf-8"))
        assert about["image"]["object_scale"] == pytest.approx(1 if "24" in size else 2 / 3)
    assert np.array_equal(found["36"], found["18um"])
    assert not np.array_equal(found["36"], found["24px"])


def test_micrometres_need_a_file_that_states_its_pixel_size(folder, capsys):
    image = str(folder / "images" / "one.tif")
    words = "one.tif': The pixel size of the image is not known, so 12 um cannot be"
    segment = ["segment", image, "-o", str(folder / "out")]
    train = ["train", str(folder), "-o", str(folder / "m.safetensors")]
    for command in (segment, ["evaluate", str(folder)], train):
        assert main([*command, "--diameter", "12um"]) == 1
        assert words in capsys.readouterr().err
    assert not list(folder.glob("out/*"))


def test_evaluate_takes_the_object_size(folder, capsys):
    rows = {}
    for size in ("18", "18.0px", "200"):
        assert main(["evaluate", str(folder), "--diameter", size]) == 0
        rows[size] = capsys.readouterr().out.splitlines()[-1]
    assert rows["18"] == rows["18.0px"] != rows["200"]


@pytest.mark.parametrize("start", [[], ["--start", "starter"]])
def test_a_trained_model_knows_the_size_that_it_was_told(
    folder, start, monkeypatch, capsys
):
    seen = []
    monkeypatch.setattr(train_files, "train_steps", lambda *a: seen.extend(a[2]) or [])
    sizes = []
    for size in (["--diameter", "30"], []):
        out = folder / f"{len(sizes)}.safetensors"
        assert main(["train", str(folder), "-o", str(out), *start, *size]) == 0
        sizes.append(load_model(out).info.object_size)
    assert sizes == [ObjectSize(30.0), None]
    told, measured = (image.scale for _, image in seen)
    assert told == 24 / 30 != measured


def test_evaluate_prints_a_table_by_group(folder, capsys):
    assert main(["evaluate", str(folder), "--by", "group", "--tell-size"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["group", "images", "AP@0.5", "AP@0.75", "edits/object"]
    assert lines[-1].split()[:2] == ["all", "1"]
    assert float(lines[-1].split()[2]) > 0.5


def test_train_resumes_and_writes_a_model(folder, capsys):
    out, checkpoint = folder / "model.safetensors", folder / "c.pt"
    arguments = ["train", str(folder), "-o", str(out), "--batch", "1", "--patch", "64"]
    assert main([*arguments, "--steps", "2", "--classes", "nucleus"]) == 1  # 223 labels
    arguments += ["--steps", "2", "--new-looks", "1", "--checkpoint", str(checkpoint)]
    assert main(arguments) == 0
    assert main(["evaluate", str(folder), "--model", str(out), "--tell-size"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["segment", "nothing.png", "-o", "out"], "There is no file"),
        (["segment", "broken.png", "-o", "out"], "cannot be read as an image"),
        (["segment", "notes.txt", "-o", "out"], "is not a TIFF, PNG or JPEG"),
        (
            ["segment", "broken.png", "-o", "out", "--model", "no.safetensors"],
            "no model file",
        ),
        (["evaluate", "empty"], "has no pairs"),
        (["train", "empty", "-o", "m.safetensors"], "has no pairs"),
        (["train", "empty", "-o", "m.safetensors", "--patch", "100"], "multiple of 32"),
    ],
)
def test_failures_are_one_sentence_and_status_1(
    arguments, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.png").write_bytes(b"no picture")
    (tmp_path / "notes.txt").write_text("hello")
    assert main(arguments) == 1
    message = capsys.readouterr().err
    assert words in message
    assert "Traceback" not in message


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, image, photometric="minisblack")
    return str(path)


def test_images_of_one_name_have_labels_of_their_own(tmp_path, by_threshold, capsys):
    images = [
        write(tmp_path / where, square(size))
        for where, size in (
            ("a/i.tif", 10),
            ("b/i.tif", 12),
            ("b/I.tiff", 14),
            ("c/j.tif", 16),
        )
    ]
    out = tmp_path / "out"
    assert main(["segment", *images, images[0], "-o", str(out)]) == 0
    sizes = {p.name: len(read_image(p)) for p in out.glob("*.tif")}
    assert sizes == {
        "a_i_tif_labels.tif": 10, "b_i_tif_labels.tif": 12, "b_I_tiff_labels.tif": 14,
        "j_labels.tif": 16,
    }  # fmt: skip
    assert len(list(out.glob("*.json"))) == 4
    assert "1 of the images were given more than once" in capsys.readouterr().err


def test_only_what_an_earlier_run_wrote_is_replaced(tmp_path, by_threshold, capsys):
    first = write(tmp_path / "a" / "i.tif", square(10))
    second = write(tmp_path / "b" / "i.tif", square(12))
    labels = tmp_path / "out" / "i_labels.tif"
    assert main(["segment", first, "-o", str(labels.parent)]) == 0
    assert main(["segment", first, "-o", str(labels.parent)]) == 0
    assert main(["segment", second, "-o", str(labels.parent)]) == 1
    assert len(read_image(labels)) == 10
    write(labels, np.full((10, 10), 7, np.uint16))  # corrected by hand
    assert main(["segment", first, "-o", str(labels.parent)]) == 1
    assert (read_image(labels) == 7).all()
    assert "'i_labels.tif'" in capsys.readouterr().err.replace(f"{labels.parent}/", "")
    assert main(["segment", first, "-o", str(labels.parent), "--overwrite"]) == 0
    assert (read_image(labels) == square(10) // 200).all()


@pytest.mark.parametrize("name", ["i_labels.tif", "i_labels.json"])
def test_files_of_the_user_are_not_overwritten(tmp_path, by_threshold, capsys, name):
    image = write(tmp_path / "i.tif", square(10))
    (tmp_path / name).write_text("mine")
    assert main(["segment", image, "-o", str(tmp_path)]) == 1
    assert (tmp_path / name).read_text() == "mine"
    assert f"{name}' is there already" in capsys.readouterr().err


def test_one_bad_image_ends_nothing(tmp_path, by_threshold, capsys):
    good = [write(tmp_path / f"{n}.tif", square(10)) for n in "ac"]
    (tmp_path / "b.tif").write_bytes(b"")
    os.mkfifo(tmp_path / "d.png")
    bad = [str(tmp_path / name) for name in ("b.tif", "d.png", "none.tif")]
    out = tmp_path / "out"
    assert main(["segment", bad[0], *good, *bad[1:], "-o", str(out)]) == 1
    assert sorted(p.name for p in out.glob("*.tif")) == ["a_labels.tif", "c_labels.tif"]
    said = capsys.readouterr().err
    assert "3 of 5 images failed:\n  " in said
    assert "Traceback" not in said


def test_labels_have_the_axes_of_the_file_and_the_note_tells_them(tmp_path, by_threshold):
    stack = np.stack([square(20)] * 6).reshape(2, 3, 20, 20)
    tifffile.imwrite(tmp_path / "i.tif", stack, imagej=True, metadata={"axes": "TCYX"})
    assert main(["segment", str(tmp_path / "i.tif"), "-o", str(tmp_path / "out")]) == 0
    assert read_image(tmp_path / "out" / "i_labels.tif").shape == (2, 20, 20)
    about = json.loads((tmp_path / "out" / "i_labels.json").read_text("utf-8"))
    assert about["image"]["axes"] == "TCYX"


def test_outlines_are_written_beside_the_labels(tmp_path, by_threshold, capsys):
    stack = np.stack([square(20)] * 3)
    known = {"axes": "TYX", "unit": "um", "finterval": 5.0}
    image, out = tmp_path / "i.tif", tmp_path / "out"
    tifffile.imwrite(image, stack, imagej=True, resolution=(2, 2), metadata=known)
    command = ["segment", str(image), "-o", str(out), "--also", "roi,geojson"]
    assert main(command) == 0
    names = ["i.geojson", "i_labels.json", "i_labels.tif", "i_rois.zip"]
    assert sorted(path.name for path in out.iterdir()) == names
    labels = read_stored(out / "i_labels.tif")
    assert labels.axes == "TYX"
    assert labels.steps == {"X": 0.5, "Y": 0.5, "T": 5.0}
    for name in ("i_rois.zip", "i.geojson"):
        back = nru.read_labels(out / name, labels.array.shape, "TYX")
        np.testing.assert_array_equal(back, labels.array)
    note = json.loads((out / "i_labels.json").read_text("utf-8"))
    assert set(note["other_formats_sha256"]) == {"i_rois.zip", "i.geojson"}
    assert note["image"]["scale"] == [5.0, 0.5, 0.5]
    assert main(command) == 0  # what an earlier run wrote is replaced
    (out / "i_rois.zip").write_bytes(b"corrected in Fiji")
    assert main(command) == 1
    assert "i_rois.zip' is there already" in capsys.readouterr().err
    assert main([*command, "--overwrite"]) == 0
    assert nru.read_labels(out / "i_rois.zip").any()


def test_classes_are_named_in_every_format(tmp_path, monkeypatch, random_model):
    info = replace(
        random_model.info, task="classes", class_names=("background", "axon", "my")
    )
    labels = np.kron([[0, 1], [2, 1]], np.ones((10, 10), int))
    monkeypatch.setattr(segment_files, "segment_planes", lambda *_, **__: (labels, 1.0))
    monkeypatch.setattr(api, "load_model", lambda name: Model(random_model.network, info))
    image = write(tmp_path / "i.tif", square(20))
    assert main(["segment", image, "-o", str(tmp_path), "--also", "geojson,roi"]) == 0
    with tifffile.TiffFile(tmp_path / "i_labels.tif") as tiff:
        assert ">axon<" in tiff.ome_metadata
    for name in ("i_rois.zip", "i.geojson"):
        back = nru.read_labels(tmp_path / name, (20, 20), class_names=info.class_names)
        np.testing.assert_array_equal(back, labels)


TRAIN = ["train", "d", "-o", "m.safetensors"]
SEGMENT = ["segment", "i.tif", "-o", "out"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        *(([*SEGMENT, f"--diameter={v}"], "--diameter: give pixels from 0.5 to") for v in (
            "0", "-1", "nan", "inf", "1e400", "1e-320", "x", "", "30 mm", "um", "0 um")),
        ([*SEGMENT, "--scale", "1"], "--scale: give the object size instead, for example "),
        ([*TRAIN, "--diameter", "x"], "--diameter: give pixels from 0.5 to"),
        (["evaluate", "d", "--diameter", "9", "--tell-size"], "not allowed with argument"),
        ([*SEGMENT, "--channels", "0,1,2,3"], "--channels: give one to three channels"),
        ([*SEGMENT, "--channels=-1"], "--channels: give one to three channels"),
        ([*SEGMENT, "--channels", ","], "--channels: give one to three channels"),
        *(([*SEGMENT, "--axes", v], "--axes: give one letter") for v in (
            "XX", "YXYX", "QYX", "CSYX", "Z", "YX" * 3000, "")),
        *(([*SEGMENT, f"--also={v}"], "--also: give one or more of roi, geojson") for v in (
            "", ",", "csv", "roi,", "tiff", "ome-tiff", "roi;geojson")),
        ([*SEGMENT, "--device", "gpu"], "--device: invalid choice: 'gpu'"),
        (["segment", "i.tif", "-o", ""], "-o/--output: give a name"),
        (["segment", "i.tif"], "arguments are required: -o/--output"),
        *(([*TRAIN, f"--steps={v}"], "--steps: give a whole number from 1") for v in (
            "0", "-5", "1.5", "1e3", "inf")),
        *(([*TRAIN, f"--batch={v}"], "--batch: give a whole number from 1") for v in (
            "0", "-1", "1000000")),
        *(([*TRAIN, f"--patch={v}"], "--patch: give a multiple of 32") for v in (
            "0", "-32", "100", "1000000000", "x")),
        ([*TRAIN, "--patch=32", "--batch=1"], "--patch of 64 or more"),
        *(([*TRAIN, f"--rate={v}"], "--rate: give a number") for v in (
            "0", "-1", "nan", "inf", "1e9")),
        *(([*TRAIN, f"--seed={v}"], "--seed: give a whole number from 0") for v in (
            "-1", "99999999999999999999", "0.5")),
        ([*TRAIN, "--synthetic=-1"], "--synthetic: give a whole number"),
        ([*TRAIN, "--new-looks=2"], "--new-looks: give a number from 0 to 1"),
        ([*TRAIN, "--new-looks=1", "--classes=a"], "--new-looks draws objects, not c"),
        *(([*TRAIN, "--classes", v], "--classes: give names") for v in (
            ",", "a,a", "background", "a\nb", "x" * 99)),
        *((["demo", f"--seconds={v}"], "--seconds: give a number from 1") for v in (
            "-1", "0", "nan", "inf")),
        (["demo", "-o", "picture.xyz"], "ends in .png"),
    ],
)  # fmt: skip
def test_each_flag_says_what_to_give(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    assert main(arguments) == 1
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert len(said) < 500
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("models", "is a folder"),
        ("m.pt", "does not end in .safetensors"),
        ("file/m.safetensors", "is no folder"),
        ("there.safetensors", "is there already"),
    ],
)
def test_where_the_model_goes_is_looked_at_before_training(
    folder, where, words, monkeypatch, capsys
):
    def started(*arguments):
        raise AssertionError("the training began")

    monkeypatch.setattr(train_files, "train_steps", started)
    (folder / "models").mkdir()
    (folder / "file").write_text("mine")
    (folder / "there.safetensors").write_text("mine")
    assert main(["train", str(folder), "-o", str(folder / where)]) == 1
    assert words in capsys.readouterr().err
    assert (folder / "there.safetensors").read_text() == "mine"


def spoil(folder):
    """Add a pair that cannot be read."""
    for name in ("images", "masks"):
        (folder / name / "bad.tif").write_bytes(b"no picture")


def test_train_goes_on_without_what_it_cannot_read(folder, monkeypatch, capsys):
    spoil(folder)
    seen = []
    monkeypatch.setattr(train_files, "train_steps", lambda *a: seen.extend(a[2]) or [])
    out = folder / "m.safetensors"
    assert main(["train", str(folder), "-o", str(out)]) == 1
    assert len(seen) == 1
    assert out.is_file()
    said = capsys.readouterr().err
    assert "bad.tif' cannot be read as an image" in said
    assert "Skipped 1 of the images" in said


def test_evaluate_goes_on_without_what_it_cannot_read(folder, capsys):
    spoil(folder)
    tifffile.imwrite(folder / "images" / "lonely.tif", square(10))
    assert main(["evaluate", str(folder), "--tell-size"]) == 1
    told = capsys.readouterr()
    assert told.out.splitlines()[-1].split()[:2] == ["all", "1"]
    assert "bad.tif' cannot be read as an image" in told.err
    assert "1 of the images" in told.err
    assert "'lonely.tif'" in told.err


def test_train_and_evaluate_read_a_binary_mask_alike(folder, monkeypatch, capsys):
    mask = folder / "masks" / "one.tif"
    tifffile.imwrite(mask, np.where(read_image(mask) > 0, np.uint8(255), np.uint8(0)))
    (pair,) = find_pairs(folder)
    labels = pair.read().labels
    assert labels.max() > 10
    seen = []
    monkeypatch.setattr(train_files, "train_steps", lambda *a: seen.extend(a[2]) or [])
    assert main(["train", str(folder), "-o", str(folder / "m.safetensors")]) == 0
    np.testing.assert_array_equal(seen[0][1].labels, labels)
    assert f"taken as {labels.max()} objects" in capsys.readouterr().err


def test_a_full_disk_is_a_sentence(folder, monkeypatch, capsys):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    arguments = ["train", str(folder), "-o", str(folder / "m.safetensors"), "--steps", "1"]
    small = ["--batch", "2", "--patch", "32", "--checkpoint", str(folder / "c.safetensors")]
    assert main([*arguments, *small]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(folder.glob("*.safetensors"))


def test_a_reader_that_goes_away_is_no_error():
    command = f"'{sys.executable}' -m napari_resunet.cli segment --help | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("usage")
    assert done.stderr == ""


def test_ctrl_c_is_130(monkeypatch, capsys):
    def interrupted(*arguments, **named):
        raise KeyboardInterrupt

    monkeypatch.setattr("napari_resunet.session.api.load_model", interrupted)
    assert main(["evaluate", "anywhere"]) == 130


def test_the_demo_goes_the_loop_without_a_display(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    picture = tmp_path / "demo.png"
    assert main(["demo", "--seconds", "2", "-o", str(picture)]) == 0
    out = capsys.readouterr().out
    assert "no display" in out
    assert "never corrected part, after" in out
    assert read_image(picture).shape[1] == 4 * 512


def test_planar_colours_are_segmented_and_described(tmp_path, capsys):
    colours = np.random.default_rng(0).integers(0, 255, (3, 64, 70), np.uint8)
    path = tmp_path / "planar.tif"
    tifffile.imwrite(path, colours, photometric="rgb", planarconfig="separate")
    options = ["-o", str(tmp_path / "out"), "--diameter", "24"]
    assert main(["segment", str(path), *options]) == 0
    note = json.loads((tmp_path / "out" / "planar_labels.json").read_text("utf-8"))
    assert note["image"]["axes"] == "CYX"
    assert tifffile.imread(tmp_path / "out" / "planar_labels.tif").shape == (64, 70)
