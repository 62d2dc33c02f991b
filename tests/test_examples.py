"""The example scripts run, on small real images."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import tifffile

import napari_resunet as nru

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.fixture
def image_folder(nuclei, tmp_path):
    image, truth = (array[:96, :96] for array in nuclei)
    tifffile.imwrite(tmp_path / "cells.tif", image)
    tifffile.imwrite(tmp_path / "cells_labels.tif", truth.astype(np.uint16))
    tifffile.imwrite(tmp_path / "film.tif", np.stack([image] * 2))
    return tmp_path


def run(name, *arguments):
    script = runpy.run_path(str(EXAMPLES / f"{name}.py"))
    script["main"]([str(argument) for argument in arguments])


def test_segment_and_measure_prints_a_row_for_each_image(image_folder, nuclei, capsys):
    run("segment_and_measure", image_folder)
    _, cells, film = capsys.readouterr().out.splitlines()
    name, n_objects, area, intensity = cells.split()
    image, truth = (array[:96, :96] for array in nuclei)
    n_true = len(np.unique(truth)) - 1
    assert name == "cells"
    assert int(n_objects) == pytest.approx(n_true, rel=0.25)
    assert float(area) == pytest.approx((truth > 0).sum() / n_true, rel=0.35)
    assert image.mean() < float(intensity) < image.max()
    assert "film" in film
    assert "skipped" in film


def test_fine_tune_from_masks_saves_a_model_that_segments(image_folder, nuclei, capsys):
    verified = np.zeros((96, 96), np.uint8)
    verified[:, :64] = 1
    tifffile.imwrite(image_folder / "verified.tif", verified)
    target = image_folder / "mine.safetensors"
    run(
        "fine_tune_from_masks",
        image_folder / "cells.tif",
        image_folder / "cells_labels.tif",
        *("--verified", image_folder / "verified.tif"),
        *("--steps", 1, "-o", target),
    )
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines[1:3]] == ["before", "after"]
    labels = nru.segment(nuclei[0][:96, :96], nru.load_model(target))
    assert nru.score(nuclei[1][:96, :96], labels).ap50 > 0.5


def test_every_example_is_described_and_run_here():
    names = sorted(path.name for path in EXAMPLES.glob("*.py"))
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    tests = Path(__file__).read_text(encoding="utf-8")
    assert names
    for name in names:
        assert name in listed
        assert f'"{name.removesuffix(".py")}"' in tests
