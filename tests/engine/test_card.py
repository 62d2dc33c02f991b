"""On a graphics card every tensor is there: shown without one, by tensors without memory.

A fake tensor knows on which device it is, and refuses to meet one of another device.
"""

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from napari_resunet.engine import augment, losses, predict, prepare
from napari_resunet.engine.augment import vary_intensity
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.losses import loss_of
from napari_resunet.engine.patches import (
    Geometry,
    PatchSource,
    cut_patch,
    stack_patches,
    training_image,
)
from napari_resunet.engine.predict import Blender, tile_grid
from napari_resunet.engine.prepare import PredictionRequest, TileReader
from napari_resunet.types import Example, ModelInfo, Normalization

CARD = torch.device("cuda")


class ComingDown:
    """Counts the columns of maps that come down from the card."""

    def __init__(self):
        self.n = 0

    def __call__(self, maps, finite):
        assert maps.is_cuda
        assert finite.is_cuda
        self.n += maps.shape[2]
        return self

    def wait(self):
        """Return no columns, for fake maps hold nothing."""
        return torch.empty(1, device="cpu"), True


@pytest.fixture
def coming_down(monkeypatch):
    """Pixels go up without page-locked memory, which needs a card."""
    for module in (prepare, augment, losses):
        monkeypatch.setattr(
            module, "upload", lambda array, device: torch.empty(array.shape, device=device)
        )
    columns = ComingDown()
    monkeypatch.setattr(predict, "Download", columns)
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield columns


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_tiles_are_made_and_blended_there(coming_down, nuclei, scale):
    grey = nuclei[0]
    reader = ImageReader([np.stack([grey, 255 - grey], -1)], "YXC", (0, 1))
    measured = reader.measure(Normalization())
    plane = PredictionRequest(reader, (), reader.window, scale, measured)
    rows, columns = (tile_grid(axis.n_network, 96) for axis in plane.axes)
    maps = np.zeros((3, rows.n, columns.n), np.float16)
    tiles = TileReader(plane, Normalization(), CARD)
    part = slice(0, rows.n), slice(0, columns.n)
    blender = Blender(maps, part, (rows, columns), CARD)
    for column in range(len(columns.starts)):
        for row in range(len(rows.starts)):
            tile = tiles.read(rows.span(row), columns.span(column))
            assert tile.is_cuda
            blender.add(tile, (row, column))
    blender.finish()
    assert coming_down.n == columns.n


def test_patches_are_cut_varied_and_judged_there(coming_down, nuclei):
    colours = np.stack([nuclei[0]] * 3, -1)
    image = training_image(Example(colours, nuclei[1], scale=1.0), ModelInfo())
    rng = np.random.default_rng(0)
    source = PatchSource.of(image, CARD)
    patches = []
    for _ in range(6):
        patch = cut_patch(source, (150, 9), 64, Geometry(), rng)
        pixels = vary_intensity(patch.pixels, Normalization(), rng, 0.5)
        patches.append(patch._replace(pixels=pixels))
    batch = stack_patches(patches)
    logits = torch.zeros(6, 3, 64, 64, device=CARD)
    assert batch.pixels.is_cuda
    assert loss_of("instances", logits, *batch[1:]).is_cuda
