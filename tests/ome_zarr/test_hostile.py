"""Stores from somebody else: one sentence each, and nothing run, allocated, or followed."""

import json
import os
import sys

import numpy as np
import pytest
from stores import change, make_store, write_group

from napari_resunet.errors import FileError
from napari_resunet.ome_zarr.image import read_level
from napari_resunet.ome_zarr.metadata import images_in

IMAGE = np.arange(400, dtype=np.uint16).reshape(20, 20)


@pytest.fixture
def v3(tmp_path):
    return make_store(tmp_path / "x.ome.zarr", [IMAGE])


@pytest.fixture
def v2(tmp_path):
    return make_store(tmp_path / "x.ome.zarr", [IMAGE], version="0.4")


def refused(store):
    with pytest.raises(FileError) as caught:
        read_level(store).array[...]
    sentence = str(caught.value)
    assert "\n" not in sentence
    assert len(sentence) < 500
    return sentence


ARRAY = [
    (("shape",), [2**39, 2**39], "states far more pixels than its files can hold"),
    (("shape",), [10**30, 20], "states no shape that an image can have"),
    (("shape",), ["20", 20], "states no shape"),
    (("shape",), None, "states no shape"),
    (("shape",), [0, 2**39], "states no shape"),
    (("data_type",), "string", "are 'string', not numbers"),
    (("data_type",), {"name": "struct"}, "not numbers"),
    (("chunk_grid", "configuration", "chunk_shape"), [2**20, 2**20], "impossible size"),
    (("chunk_grid", "configuration", "chunk_shape"), [0, 16], "states no shape"),
    (("chunk_grid",), "none", "states no shape"),
    (("codecs",), [{"name": "numcodecs.pickle"}], "codec 'numcodecs.pickle' is not known"),
    (("codecs",), None, "codec 'None' is not known"),
    (
        ("codecs",),
        [{"name": "sharding_indexed", "configuration": {"codecs": [{"name": "evil"}]}}],
        "codec 'evil' is not known",
    ),
    (("codecs",), [{"name": "bytes", "configuration": {"endian": "odd"}}], "be opened"),
]


@pytest.mark.parametrize(("keys", "to", "words"), ARRAY)
def test_hostile_arrays_of_zarr_3(v3, keys, to, words):
    change(v3 / "0" / "zarr.json", *keys, to=to)
    assert words in refused(v3)


@pytest.mark.parametrize(
    ("key", "to", "words"),
    [
        ("filters", [{"id": "pickle"}], "codec 'pickle' is not known"),
        ("compressor", {"id": "json2"}, "codec 'json2' is not known"),
        ("dtype", "|O", "not numbers"),
        ("dtype", [["a", "<i4"]], "not numbers"),
    ],
)
def test_hostile_arrays_of_zarr_2(v2, key, to, words):
    change(v2 / "0" / ".zarray", key, to=to)
    assert words in refused(v2)


IN_DATASET = ("attributes", "ome", "multiscales", 0, "datasets", 0)


@pytest.mark.parametrize(
    "path",
    ["../secret", "/etc", "0/../../secret", "https://example.org/x", "s3://bucket/0", "",
     "..\\secret", "C:/x"],
)  # fmt: skip
def test_paths_out_of_the_store_are_not_followed(v3, path):
    make_store(v3.parent / "secret", [IMAGE])
    make_store(v3 / "C:" / "x", [IMAGE])
    change(v3 / "zarr.json", *IN_DATASET, "path", to=path)
    assert "cannot be read as an OME-Zarr" in refused(v3)


@pytest.mark.parametrize(
    ("keys", "to", "words"),
    [
        (("attributes", "ome", "version"), "0.6", "is of NGFF version 0.6"),
        (("attributes", "ome", "multiscales"), {}, "says nothing of an image"),
        (("attributes", "ome", "multiscales", 0), 7, "not that of NGFF 0.5"),
        (("attributes", "ome", "multiscales", 0, "axes"), [], "not that of NGFF 0.5"),
        (("attributes",), [], "says nothing of an image"),
        ((*IN_DATASET, "coordinateTransformations", 0, "scale"), [1e999, 1], "positive"),
        ((*IN_DATASET, "coordinateTransformations", 0, "scale"), [0, 1], "positive"),
        ((*IN_DATASET, "path"), "7", "No such file"),
    ],
)
def test_hostile_metadata(v3, keys, to, words):
    change(v3 / "zarr.json", *keys, to=to)
    assert words in refused(v3)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[" * 10**5, "\xff"])
def test_damaged_json(v3, text):
    for path in (v3 / "zarr.json", v3 / "0" / "zarr.json"):
        path.write_text(text, "latin-1")
        assert "cannot be read as an OME-Zarr ('zarr.json' is no JSON" in refused(v3)
        (v3 / "zarr.json").write_text(json.dumps(GOOD))


GOOD = {
    "zarr_format": 3,
    "node_type": "group",
    "attributes": {
        "ome": {
            "version": "0.5",
            "multiscales": [
                {
                    "axes": [{"name": n, "type": "space"} for n in "yx"],
                    "datasets": [
                        {
                            "path": "0",
                            "coordinateTransformations": [
                                {"type": "scale", "scale": [1, 1]}
                            ],
                        }
                    ],
                }
            ],
        }
    },
}


def test_a_store_that_was_not_copied_whole(v3):
    for chunk in (v3 / "0" / "c").rglob("*"):
        if chunk.is_file():
            chunk.unlink()
    assert "its pixels are missing" in refused(v3)


def test_a_damaged_chunk_is_one_sentence(v3):
    (v3 / "0" / "c" / "0" / "0").write_bytes(b"no zstd")
    assert "cannot be read, for some are damaged or gone" in refused(v3)


@pytest.mark.parametrize(
    "make", [lambda p: os.mkfifo(p), lambda p: p.symlink_to("/dev/zero")]
)
def test_a_pipe_or_a_device_is_not_read(v3, make):
    chunk = v3 / "0" / "c" / "0" / "0"
    chunk.unlink()
    make(chunk)
    assert "damaged or gone" in refused(v3)


def test_a_chunk_far_larger_than_its_pixels_is_not_unpacked(v3):
    with (v3 / "0" / "c" / "0" / "0").open("wb") as stream:
        stream.truncate(10**8)
    assert "damaged or gone" in refused(v3)


def test_a_plate_names_no_wells_elsewhere(tmp_path):
    write_group(tmp_path / "p.zarr", {"plate": {"wells": [{"path": "../other"}]}})
    with pytest.raises(FileError, match="which is not inside it"):
        images_in(tmp_path / "p.zarr")


@pytest.mark.parametrize("missing", ["zarr", "yaozarrs"])
def test_without_the_libraries_it_says_how_to_install_them(v3, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert refused(v3) == (
        'OME-Zarr needs two more packages: run pip install "napari-resunet[zarr]".'
    )
