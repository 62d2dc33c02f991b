import json
import pickle
import zipfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from reference_unet import ReferenceUNet
from safetensors.torch import load_file, save_file

from napari_resunet._package import STARTER_DIGEST, starter_path
from napari_resunet.errors import ArgumentError, FileError, ModelFileError
from napari_resunet.network import model_file
from napari_resunet.network.model_file import (
    HEADER_KEY,
    Model,
    new_model,
    read_model,
)
from napari_resunet.types import Lineage, ModelInfo, ObjectSize


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


def unhashed(path, saved, change_header=None, change_weights=None):
    """Write a file as an older version did: without a hash."""
    with model_file.safe_open(saved, framework="pt") as stream:
        header = json.loads(stream.metadata()[HEADER_KEY])
    weights = load_file(saved)
    if change_header is not None:
        change_header(header)
    if change_weights is not None:
        change_weights(weights)
    save_file(weights, path, {HEADER_KEY: json.dumps(header)})


def with_header(path, saved, change):
    unhashed(path, saved, change_header=change)


def bad_weights(path, saved, change):
    unhashed(path, saved, change_weights=change)


def described(path, text):
    """Write a small file with a description: it is looked at before the weights."""
    save_file({"a": torch.ones(1)}, path, {HEADER_KEY: text})


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
    "negative variance": lambda path, saved: bad_weights(
        path, saved, lambda w: w["base_model.bn1.running_var"].fill_(-1.0)
    ),
    "bool weights": lambda path, saved: bad_weights(
        path, saved, lambda w: w.update({"conv_last.bias": torch.ones(3, dtype=torch.bool)})
    ),
    "whole weights": lambda path, saved: bad_weights(
        path, saved, lambda w: w.update({"conv_last.bias": torch.ones(3, dtype=torch.int)})
    ),
}


BAD_INFO = {
    "version inf": {"format_version": float("inf")},
    "version true": {"format_version": True},
    "version text": {"format_version": "1"},
    "diameter inf": {"diameter": float("inf")},
    "diameter 0": {"diameter": 0},
    "object size 0": {"object_size": {"pixels": 0, "um": 5}},
    "object size NaN": {"object_size": {"pixels": float("nan"), "um": None}},
    "object size of 2 m": {"object_size": {"pixels": 40, "um": 2e6}},
    "object size text": {"object_size": "42 px"},
    "std NaN": {"normalization__std": float("nan")},
    "std 0": {"normalization__std": 0.0},
    "mean inf": {"normalization__mean": float("-inf")},
    "percentile -1": {"normalization__low_percentile": -1},
    "percentile NaN": {"normalization__high_percentile": float("nan")},
    "percentiles exchanged": {"normalization__low_percentile": 99.9},
    "clips exchanged": {"normalization__clip_low": 2.0},
    "foreground NaN": {"levels__foreground": float("nan")},
    "certainty 2": {"levels__certainty": 2},
    "smoothing -1": {"levels__smoothing": -1},
    "smallest NaN": {"smallest": float("nan")},
    "tile of 10 million": {"tile": 32 * 10**7},
    "many classes": {"task": "classes", "class_names": ["a"] * 5000},
    "no class": {"task": "classes", "class_names": ["background"]},
    "two maps of objects": {"class_names": ["foreground", "distance"]},
}


@pytest.mark.parametrize("kind", BAD_INFO)
def test_a_description_out_of_range_is_refused(kind, model, tmp_path):
    header = {"format_version": 1, **asdict(model.info)}
    for name, value in BAD_INFO[kind].items():
        *parts, last = name.split("__")
        place = header
        for part in parts:
            place = place[part]
        place[last] = value
    described(tmp_path / "bad.safetensors", json.dumps(header))
    with pytest.raises(ModelFileError, match="The description inside"):
        read_model(tmp_path / "bad.safetensors")


@pytest.mark.parametrize(
    "text", ["[1]", "[" * 100_000, "null", '{"format_version": 1e400}']
)
def test_a_description_that_is_none_is_refused(text, tmp_path):
    described(tmp_path / "bad.safetensors", text)
    with pytest.raises(ModelFileError, match="The description inside"):
        read_model(tmp_path / "bad.safetensors")


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


def expanded_state():
    """A state_dict of the right shapes but one, which says that it holds 8 GB."""
    return {"conv_last.bias": torch.zeros(1).expand(2 * 10**9)}


def compressed_zip(path):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 10_000_000)
        archive.writestr("archive/version", b"3")


PLAIN = {
    "bomb": lambda path: path.write_bytes(pickle.dumps(Bomb())),
    "list": lambda path: torch.save([1, 2], path),
    "foreign": lambda path: torch.save({"a": torch.ones(1)}, path),
    "8 GB": lambda path: torch.save(expanded_state(), path),
    "8 GB of the old kind": lambda path: torch.save(
        expanded_state(), path, _use_new_zipfile_serialization=False
    ),
    "one class": lambda path: torch.save({"conv_last.bias": torch.zeros(1)}, path),
    "no numbers": lambda path: torch.save(
        {"conv_last.bias": torch.zeros(3, device="meta")}, path
    ),
    "compressed": compressed_zip,
}


@pytest.mark.parametrize("content", PLAIN)
def test_a_pickle_is_never_executed_nor_believed(content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "weights.pt"
    PLAIN[content](path)
    assert path.stat().st_size < 20_000
    with pytest.raises(ModelFileError):
        read_model(path)
    assert not (tmp_path / "exploded").exists()


def test_a_flipped_bit_anywhere_is_noticed(model, saved, tmp_path):
    content = saved.read_bytes()
    n_header = int.from_bytes(content[:8], "little")
    info = content.index(b"diameter")
    # In the description, in the first, a middle and the last of the numbers.
    for place in (info + 13, 8 + n_header, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[place] ^= 1
        path = tmp_path / "damaged.safetensors"
        path.write_bytes(damaged)
        with pytest.raises(ModelFileError):
            read_model(path)
    zeros = tmp_path / "zeros.safetensors"
    middle = len(content) // 2
    zeros.write_bytes(content[:middle] + bytes(4096) + content[middle + 4096 :])
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(zeros)


OLD_HEADER = (
    '{"format_version": 1, "task": "instances", "class_names": ["foreground", "distance", '
    '"boundary"], "channels": "as they are", "normalization": {"low_percentile": 1.0, '
    '"high_percentile": 99.8, "clip_low": -0.25, "clip_high": 1.5, "mean": 0.45, "std": '
    '0.225}, "diameter": 20.0, "tile": 256, "smallest": 0.05, "levels": {"foreground": '
    '0.6, "seed": 0.2, "smoothing": 1.0, "certainty": 0.86}, "mirrored": true, "lineage": '
    '{"model_id": "5712225049aa", "parent_id": null, "created": '
    '"2026-11-26T06:43:17+00:00", "corrected_objects": 3, "corrected_pixels": 900, '
    '"steps": 10500, "seed": 4, "versions": {"python": "3.12.3"}}}'
)
"""As the version before the hashes wrote it."""


def test_a_file_of_an_older_version_loads_with_a_word(model, saved, tmp_path):
    path = tmp_path / "older.safetensors"
    save_file(load_file(saved), path, {"napari_resunet": OLD_HEADER})
    again = read_model(path)
    assert (again.info.diameter, again.info.tta) == (20.0, True)
    assert again.info.object_size is None
    assert again.info.lineage.model_id == "5712225049aa"
    assert torch.equal(outputs(again), outputs(model))
    assert "holds no checksum" in again.notice
    newer = tmp_path / "newer.safetensors"
    again.save(newer)
    assert read_model(newer).notice == ""
    assert read_model(newer).info == again.info
    # Versions before can read it, too.
    with model_file.safe_open(newer, framework="pt") as stream:
        header = json.loads(stream.metadata()[HEADER_KEY])
    assert set(json.loads(OLD_HEADER)) - set(header) == {"channels"}


def test_a_hash_with_a_damaged_name_is_not_taken_for_an_older_file(saved, tmp_path):
    data = saved.read_bytes()
    assert data.count(model_file.DIGEST_KEY.encode()) == 1
    path = tmp_path / "damaged.safetensors"
    path.write_bytes(data.replace(model_file.DIGEST_KEY.encode(), b"napari_resunet_sha25v"))
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(path)


@pytest.mark.parametrize("size", [ObjectSize(42.0, 27.5), ObjectSize(um=12.0), None])
def test_the_object_size_is_in_the_file(model, size, tmp_path):
    info = replace(model.info, object_size=size)
    replace(model, info=info).save(tmp_path / "mine.safetensors")
    assert read_model(tmp_path / "mine.safetensors").info.object_size == size


def test_the_starter_is_known_by_its_hash(tmp_path):
    assert read_model(starter_path(), STARTER_DIGEST).notice == ""
    damaged = bytearray(starter_path().read_bytes())
    damaged[-1] ^= 1
    path = tmp_path / "starter.safetensors"
    path.write_bytes(damaged)
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(path, STARTER_DIGEST)


@pytest.mark.parametrize("name", [None, 5, b"x", [], 1.5, "", "x" * 5000, "\udcff", "\0"])
def test_a_path_that_is_none_is_told_in_a_sentence(name, model):
    for use in (read_model, model.save):
        with pytest.raises(ModelFileError) as caught:
            use(name)
        assert len(str(caught.value)) < 250


@pytest.mark.parametrize("suffix", [".pt", ".PTH"])
def test_what_would_not_load_again_is_not_saved(suffix, model, tmp_path):
    with pytest.raises(ModelFileError, match=r"x\.safetensors"):
        model.save(tmp_path / f"x{suffix}")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("value", "half"), [(float("nan"), False), (1e6, True)])
def test_weights_that_are_no_numbers_are_not_saved(value, half, model, tmp_path):
    spoiled = Model(new_model(model.info).network, model.info)
    with torch.no_grad():
        spoiled.network.conv_last.bias[0] = value
    with pytest.raises(ModelFileError, match="was not written"):
        spoiled.save(tmp_path / "x.safetensors", half=half)
    assert not list(tmp_path.iterdir())


def test_a_file_in_a_closed_folder_is_told(tmp_path, monkeypatch):
    def closed(self, **options):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", closed)
    monkeypatch.setattr(Path, "is_file", closed)
    with pytest.raises(ModelFileError, match="Permission denied"):
        read_model(tmp_path / "m.safetensors")


def test_half_is_true_or_false(model, tmp_path):
    with pytest.raises(ArgumentError, match="half must be"):
        model.save(tmp_path / "m.safetensors", half="no")


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    path = tmp_path / "sparse.pt"
    with path.open("wb") as stream:
        stream.truncate(8 * 10**9)
    with pytest.raises(ModelFileError, match="larger than any model"):
        read_model(path)


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
