"""Training patches that are drawn again: other pixels, and labels that fit them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage
from skimage.segmentation import find_boundaries

from napari_resunet.engine import cell_shapes, looks
from napari_resunet.engine.looks import draw_growth, new_look
from napari_resunet.engine.patches import TrainingPatch, inner_distance, training_image
from napari_resunet.engine.synthetic import scatter
from napari_resunet.engine.train import TrainConfig, sample_batch
from napari_resunet.network.torch_import import torch
from napari_resunet.types import Example, ModelInfo, Normalization

SIDE = 96
NORMAL = Normalization()


def patch_of(labels):
    return TrainingPatch(
        pixels=torch.zeros(1, SIDE, SIDE),
        labels=torch.from_numpy(labels.astype(np.int64)),
        distance=torch.from_numpy(inner_distance(labels)),
        weight=torch.full((SIDE, SIDE), 0.5),
    )


@pytest.fixture(scope="module")
def masks():
    return scatter((SIDE, SIDE), np.random.default_rng(0), (7, 10), gap=-2, crowding=0.5)


@pytest.fixture(scope="module")
def drawn(masks):
    """Patches that were drawn again, each with its growth."""
    rngs = [np.random.default_rng(seed) for seed in range(60)]
    grown = [(draw_growth(rng), rng) for rng in rngs]
    return [(g, new_look(patch_of(masks), g, NORMAL, rng)) for g, rng in grown]


def test_a_seed_gives_one_patch_and_another_seed_another(masks):
    first, again, other = (
        new_look(patch_of(masks), 1.5, NORMAL, np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert all(map(torch.equal, first, again))
    assert not torch.equal(first.labels, other.labels)


def test_pixels_are_normalized_and_targets_belong_to_the_labels(drawn):
    lowest, highest = (
        (end - NORMAL.mean) / NORMAL.std for end in (NORMAL.clip_low, NORMAL.clip_high)
    )
    for _, patch in drawn:
        assert patch.pixels.dtype == torch.float32
        assert patch.pixels.shape in {(1, SIDE, SIDE), (3, SIDE, SIDE)}
        assert lowest - 1e-3 <= patch.pixels.min() < patch.pixels.max() <= highest + 1e-3
        labels = patch.labels.numpy()
        np.testing.assert_array_equal(patch.distance, inner_distance(labels))
        assert sorted(set(patch.weight.unique().tolist())) in ([0.5], [1.0])


def test_whole_cells_are_wider_than_other_objects(drawn):
    covered = {True: [], False: []}
    for growth, patch in drawn:
        covered[growth > 1].append(float((patch.labels > 0).float().mean()))
    assert min(map(len, covered.values())) > 15
    assert np.mean(covered[True]) > 1.3 * np.mean(covered[False])


@pytest.mark.parametrize("style", looks.STYLES)
def test_outlines_of_each_style_can_be_seen(style, masks, monkeypatch):
    monkeypatch.setattr(looks, "STYLES", {style: looks.STYLES[style]})
    monkeypatch.setattr(looks, "SHARES", (1.0,))
    contrasts = []
    for seed in range(12):
        patch = new_look(patch_of(masks), 1.0, NORMAL, np.random.default_rng(seed))
        labels, pixels = patch.labels.numpy(), patch.pixels.mean(0).numpy()
        outline = find_boundaries(labels)
        away = ~ndimage.binary_dilation(outline, iterations=2)
        edges = ndimage.gaussian_gradient_magnitude(pixels, 1)
        contrasts.append(edges[outline].mean() / edges[away].mean())
    assert np.median(contrasts) > 1.5


def test_every_style_is_drawn(masks, monkeypatch):
    seen = set()

    def flat(name):
        return lambda scene, rng: seen.add(name) or scene.inside

    monkeypatch.setattr(looks, "STYLES", {name: flat(name) for name in looks.STYLES})
    for seed in range(30):
        new_look(patch_of(masks), 1.0, NORMAL, np.random.default_rng(seed))
    assert seen == set(looks.STYLES)


def test_a_patch_without_objects_stays_without(masks):
    empty = patch_of(np.zeros_like(masks))
    patch = new_look(empty, 1.5, NORMAL, np.random.default_rng(0))
    assert not patch.labels.any()
    assert not patch.distance.any()


def test_a_cell_holds_its_nucleus_and_is_one_piece(masks):
    cells = cell_shapes.grown(masks, 1.6, np.random.default_rng(0))
    np.testing.assert_array_equal(cells[masks > 0], masks[masks > 0])
    numbers = np.unique(cells[cells > 0])
    assert all(ndimage.label(cells == number)[1] == 1 for number in numbers)


def test_some_objects_that_touch_become_one(masks, monkeypatch):
    monkeypatch.setattr(cell_shapes, "MERGED", 1.0)
    cells = cell_shapes.grown(masks, 2.0, np.random.default_rng(0))
    joined = cell_shapes.merged(cells, np.random.default_rng(0))
    assert joined.max() < cells.max()
    np.testing.assert_array_equal(joined > 0, cells > 0)


def test_a_crowded_patch_keeps_its_objects_and_has_more(masks):
    crowd = cell_shapes.crowded(masks, np.random.default_rng(0))
    assert crowd.max() > masks.max()
    assert np.all(crowd[masks > 0] > 0)


def test_patches_that_keep_their_look_are_those_of_a_training_without(nuclei):
    pool = [[training_image(Example(*nuclei), ModelInfo())]]
    config = TrainConfig(batch=8, patch=32)
    plain, mixed, all_new = (
        sample_batch(pool, ModelInfo(), replace(config, new_looks=part), 0).pixels
        for part in (0, 0.5, 1)
    )
    same = [torch.equal(one, other) for one, other in zip(plain, mixed, strict=True)]
    assert 1 <= sum(same) <= 7
    assert not any(map(torch.equal, plain, all_new))
