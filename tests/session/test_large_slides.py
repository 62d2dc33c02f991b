"""Slides as sources: block by block, they have the labels of the undivided level."""

import json

import numpy as np
import pytest
import tifffile
import zarr

from napari_resunet.engine import synthetic
from napari_resunet.session.api import segment
from napari_resunet.session.large.run import LargeRun, segment_large
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.slides import image as slides
from napari_resunet.types import ObjectSize

APERIO = "Aperio Image Library v12\n|AppMag = 40|MPP = 0.25"


def test_the_level_of_a_slide_has_the_labels_of_the_undivided_level(
    tmp_path, monkeypatch, starter
):
    grey = synthetic.nuclei((150, 200), np.random.default_rng(3))[0]
    tissue = np.stack([(grey / (grey.max() / 255)).astype(np.uint8)] * 3, -1)
    fine = np.kron(tissue, np.ones((2, 2, 1), np.uint8))
    with tifffile.TiffWriter(tmp_path / "slide.svs") as writer:
        for page in (fine, tissue[::8, ::8], tissue):
            writer.write(
                page, tile=(64, 64), photometric="rgb", description=APERIO, metadata=None
            )
    monkeypatch.setattr(slides, "HARMLESS_BYTES", 0)
    options = SegmentOptions(output=None, device="cpu", diameter=ObjectSize(um=15.0))
    run = LargeRun(tmp_path / "slide.svs", tmp_path / "labels.ome.zarr", starter, options)
    n = segment_large(run, lambda event: None)
    expected = segment(tissue, starter, "YXS", diameter=ObjectSize(30.0), device="cpu")
    found = zarr.open_group(tmp_path / "labels.ome.zarr", mode="r")
    np.testing.assert_array_equal(found["0"][...], expected)
    assert n == expected.max() > 5
    about = json.loads((tmp_path / "labels.ome.zarr/zarr.json").read_text())["attributes"]
    assert about["napari-resunet"]["run"]["asked"]["level"] == 1
    scales = about["ome"]["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert scales[0]["scale"] == pytest.approx([0.5, 0.5])
