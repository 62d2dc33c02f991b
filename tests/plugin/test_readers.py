"""Files of the list of images, read by napari's reader plugins."""

from __future__ import annotations

from types import SimpleNamespace

import npe2
import numpy as np
import pytest

from napari_resunet.errors import FileError
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.image_layers import Origin
from napari_resunet.plugin.layers.readers import make_layer, read_file

PLANE = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.fixture
def reads(tmp_path, monkeypatch):
    """Provide a function that lets a plugin return some layers for a file."""

    def plugin(*layers):
        reader = SimpleNamespace(plugin_name="microscope")
        monkeypatch.setattr(
            npe2.io_utils, "read_get_reader", lambda path, stack: (list(layers), reader)
        )
        path = tmp_path / "cells.czi"
        path.write_bytes(b"x")
        return read_file(path)

    return plugin


def layer_of(image):
    return make_layer(image, Origin("item", "/x/cells.czi", image.reader))


def test_each_image_that_a_plugin_returns_is_one(reads):
    first, second = reads(
        (PLANE, {"name": "scene 1", "scale": (0.5, 0.5)}, "image"),
        (PLANE.astype(int), {}, "labels"),
        (PLANE + 1,),
    )
    assert (first.name, second.name) == ("scene 1", "cells [2]")
    layer = layer_of(first)
    assert tuple(layer.scale) == (0.5, 0.5)
    assert image_layers.layer_id_of(layer) == "item"
    assert image_layers.source_of(layer) == ("/x/cells.czi", "microscope")


def test_channels_that_a_plugin_would_split_stay_one_image(reads):
    meta = {"channel_axis": 1, "name": ["DAPI", "GFP"], "colormap": ["blue", "green"]}
    (image,) = reads((np.stack([PLANE] * 6).reshape(3, 2, 20, 30), meta, "image"))
    layer = layer_of(image)
    assert image.axes == "ZCYX"
    assert image_layers.axes_of(layer) == "ZCYX"
    assert image_layers.n_channels(layer) == 2


def test_levels_of_resolution_are_kept(reads):
    (image,) = reads(([PLANE, PLANE[::2, ::2]], {}, "image"))
    layer = layer_of(image)
    assert layer.multiscale
    assert image_layers.finest(layer).shape == PLANE.shape


@pytest.mark.parametrize("name", ["evil.py", "notes.txt"])
def test_only_files_of_pixels_are_given_to_plugins(tmp_path, monkeypatch, name):
    monkeypatch.setattr(npe2.io_utils, "read_get_reader", None)
    (tmp_path / name).write_text("raise SystemExit")
    with pytest.raises(FileError, match="no reader plugin"):
        read_file(tmp_path / name)


def test_what_a_plugin_cannot_read_and_what_is_no_image_are_said(
    reads, tmp_path, monkeypatch
):
    with pytest.raises(FileError, match="holds no image"):
        reads((PLANE.astype(int), {}, "labels"))
    path = tmp_path / "broken.nd2"
    path.write_bytes(b"x")
    monkeypatch.setattr(npe2.io_utils, "read_get_reader", lambda path, stack: 1 / 0)
    with pytest.raises(FileError, match="no reader plugin"):
        read_file(path)


def test_arguments_that_napari_rejects_are_said(reads):
    (image,) = reads((PLANE, {"nonsense": 1}, "image"))
    with pytest.raises(FileError, match="cannot be shown"):
        layer_of(image)
