import dask.array
import numpy as np
import pytest

import napari_resunet as nru
from napari_resunet.errors import CorrectionError, ImageError
from napari_resunet.types import Progress


def test_the_snippet_of_the_readme(nuclei, tmp_path):
    image, truth = nuclei
    model = nru.load_model("starter")
    labels = nru.segment(image, model, axes="YX")
    assert labels.dtype == np.int32
    assert labels.shape == image.shape
    report = nru.score(truth, labels)
    assert report.ap50 > 0.5
    assert len(report.matched) <= report.n_true
    mask = np.zeros(image.shape, bool)
    mask[:, :60] = True
    better = nru.fine_tune(
        model, [nru.Example(image, truth, checked=mask)], steps=2, seed=0
    )
    better.save(tmp_path / "mine.safetensors")
    again = nru.load_model(tmp_path / "mine.safetensors")
    assert again.info.lineage.model_id == better.info.lineage.model_id


def test_what_a_fine_tuned_model_finds_does_not_depend_on_the_direction(starter, nuclei):
    image, truth = nuclei[0][:160, :160], nuclei[1][:160, :160]
    example = nru.Example(image, truth, scale=1.0)
    model = nru.fine_tune(starter, [example], steps=4)
    assert model is not starter

    def agreement(model):
        straight, turned = (nru.segment(i, model, scale=1.0) for i in (image, image[::-1]))
        return nru.score(straight, turned[::-1]).mean_iou

    assert agreement(model) > 0.995 > agreement(starter)


@pytest.mark.parametrize("shape", [(1, 1), (1, 90), (33, 1), (0, 7), (45, 61)])
def test_odd_shapes(starter, shape):
    labels = nru.segment(np.random.default_rng(0).random(shape), starter)
    assert labels.shape == shape


@pytest.mark.parametrize("value", [0, 3.5, np.nan, np.inf])
def test_a_constant_image_has_no_objects(starter, value):
    assert nru.segment(np.full((50, 60), value), starter).max() == 0


@pytest.mark.parametrize(
    ("axes", "shape", "expected"),
    [
        ("TZYX", (2, 2, 40, 50), (2, 2, 40, 50)),
        ("CYX", (2, 40, 50), (40, 50)),
        ("TCYX", (2, 3, 40, 50), (2, 40, 50)),
        (None, (40, 50, 3), (40, 50)),
        (None, (40, 50, 4), (40, 50)),
    ],
)
def test_stacks_and_channels(starter, axes, shape, expected):
    image = (255 * np.random.default_rng(0).random(shape)).astype(np.uint8)
    assert nru.segment(image, starter, axes=axes, scale=1).shape == expected


def test_planes_of_a_stack_are_segmented_alike(starter, nuclei):
    stack = dask.array.from_array(np.stack([nuclei[0], nuclei[0]]), chunks=(1, 80, 80))
    labels = nru.segment(stack, starter, axes="TYX", scale=1.0)
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], nru.segment(nuclei[0], starter, scale=1.0))


def test_progress_counts_tiles(starter, nuclei):
    events = []
    nru.segment(nuclei[0], starter, scale=1.0, on_event=events.append)
    assert events[-1] == Progress(1, 1, "tiles")


def test_wrong_input_is_told_in_a_sentence(starter, nuclei):
    image, labels = nuclei
    with pytest.raises(ImageError, match="cannot be used"):
        nru.segment(image.astype(complex), starter)
    with pytest.raises(CorrectionError, match="do not fit together"):
        nru.fine_tune(starter, [nru.Example(image, labels[:-1])])
    with pytest.raises(CorrectionError, match="whole numbers"):
        nru.fine_tune(starter, [nru.Example(image, labels / 2)])


def test_a_large_noisy_label_does_not_matter(starter, nuclei):
    image, labels = nuclei
    huge = np.where(labels == 1, 2**20, labels)
    model = nru.fine_tune(starter, [nru.Example(image, huge)], steps=1)
    assert model.info.task == "instances"
