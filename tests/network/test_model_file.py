import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from reference_unet import ReferenceUNet
from safetensors.torch import load_file, save_file

from napari_resunet.errors import FileError, ModelFileError
from napari_resunet.network import model_file
from napari_resunet.network.model_file import HEADER_KEY, new_model, read_model
from napari_resunet.types import Lineage, ModelInfo


@pytest.fixture(scope="module")
def model():
    lineage = Lineage(parent_id="abc", corrected_objects=7, steps=11, seed=3)
    return new_model(ModelInfo(diameter=20.0, lineage=lineage), seed=1)


@pytest.fixture(scope="module")
def saved(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "mine.safetensors"
    model.save(path)
    return path


def outputs(model):
    with torch.no_grad():
        return model.network(torch.linspace(-2, 2, 3 * 64 * 64).view(1, 3, 64, 64))


def test_a_saved_model_comes_back_the_same(model, saved):
    again = read_model(saved)
    assert again.info == model.info
    assert torch.equal(outputs(again), outputs(model))


def test_shared_tensors_are_stored_once(saved):
    names = load_file(saved).keys()
    assert not [n for n in names if n.startswith(("layer0.", "layer4."))]


def test_half_precision_is_small_and_loads(model, tmp_path):
    path = tmp_path / "half.safetensors"
    model.save(path, half=True)
    assert path.stat().st_size <= 40e6
    assert torch.allclose(outputs(read_model(path)), outputs(model), atol=2e-2)


def test_the_reference_state_dict_loads_with_its_output(tmp_path):
    reference = ReferenceUNet(4).eval()
    torch.save(reference.state_dict(), tmp_path / "plain.pth")
    model = read_model(tmp_path / "plain.pth")
    assert model.info.task == "classes"
    assert model.info.n_maps == 4
    images = torch.randn(1, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(model.network(images), reference(images))


class Bomb:
    def __reduce__(self):
        return Path.touch, (Path("exploded"),)


def with_header(path, saved, change):
    header = {"format_version": 1}
    with model_file.safe_open(saved, framework="pt") as stream:
        header = json.loads(stream.metadata()[HEADER_KEY])
    change(header)
    save_file(load_file(saved), path, {HEADER_KEY: json.dumps(header)})


def bad_weights(path, saved, change):
    weights = load_file(saved)
    change(weights)
    with model_file.safe_open(saved, framework="pt") as stream:
        save_file(weights, path, stream.metadata())


BAD = {
    "missing": lambda path, saved: None,
    "folder": lambda path, saved: path.mkdir(),
    "empty": lambda path, saved: path.write_bytes(b""),
    "truncated": lambda path, saved: path.write_bytes(saved.read_bytes()[:5_000_000]),
    "text": lambda path, saved: path.write_text("not a model"),
    "huge header": lambda path, saved: path.write_bytes(b"\xff" * 64),
    "foreign": lambda path, saved: save_file({"a": torch.ones(2)}, path),
    "newer": lambda path, saved: with_header(
        path, saved, lambda h: h.update(format_version=99)
    ),
    "broken header": lambda path, saved: save_file(
        load_file(saved), path, {HEADER_KEY: "{"}
    ),
    "odd tile": lambda path, saved: with_header(path, saved, lambda h: h.update(tile=100)),
    "wrong task": lambda path, saved: with_header(
        path, saved, lambda h: h.update(task="magic")
    ),
    "wrong shape": lambda path, saved: bad_weights(
        path, saved, lambda w: w.update({"conv_last.bias": torch.ones(9)})
    ),
    "lacking": lambda path, saved: bad_weights(
        path, saved, lambda w: w.pop("conv_last.bias")
    ),
    "nan": lambda path, saved: bad_weights(
        path, saved, lambda w: w["conv_last.bias"].fill_(float("nan"))
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_gives_one_plain_sentence(kind, saved, tmp_path):
    path = tmp_path / "bad.safetensors"
    BAD[kind](path, saved)
    with pytest.raises(ModelFileError) as caught:
        read_model(path)
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert sentence.endswith(".")
    assert "Error" not in sentence


@pytest.mark.parametrize("content", ["bomb", "list", "foreign"])
def test_a_pickle_is_never_executed(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    if content == "bomb":
        path.write_bytes(pickle.dumps(Bomb()))
    else:
        torch.save([1, 2] if content == "list" else {"a": torch.ones(1)}, path)
    with pytest.raises(ModelFileError):
        read_model(path)
    assert not (tmp_path / "exploded").exists()


def test_a_failed_save_keeps_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "mine.safetensors"
    model.save(path)
    old = path.read_bytes()

    def full_disk(weights, target, metadata):
        Path(target).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(model_file, "save_file", full_disk)
    with pytest.raises(FileError, match="No space left"):
        replace(model).save(path)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["mine.safetensors"]
