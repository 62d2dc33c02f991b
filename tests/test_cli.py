import json

import numpy as np
import pytest
import tifffile

from napari_resunet.cli import main
from napari_resunet.files import read_image
from napari_resunet.resources import starter_path
from napari_resunet.session.api import load_model
from napari_resunet.session.store.models import file_hash


@pytest.fixture
def folder(tmp_path, nuclei):
    for name, array in zip(("images", "masks"), nuclei, strict=True):
        (tmp_path / name).mkdir()
        tifffile.imwrite(tmp_path / name / "one.tif", array.astype(np.uint16))
    return tmp_path


def test_segment_writes_labels_beside_the_name(folder, capsys):
    image = folder / "images" / "one.tif"
    assert main(["segment", str(image), "-o", str(folder / "out"), "--scale", "1"]) == 0
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
    assert main([*arguments, "--steps", "2", "--checkpoint", str(checkpoint)]) == 0
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
