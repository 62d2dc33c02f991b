import re
import warnings
from dataclasses import replace

import dask.array
import numpy as np
import pytest
import torch

import napari_resunet as nru
from napari_resunet.engine.finetune_result import FineTuneResult
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.normalize import normalize
from napari_resunet.engine.patches import median_diameter, training_image
from napari_resunet.errors import (
    ArgumentError,
    CorrectionError,
    DeviceError,
    ImageError,
    OutOfMemoryError,
    ResunetError,
)
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.session import api
from napari_resunet.session.segmenter import Proposal, Segmenter, SizeFound
from napari_resunet.session.workers import LoadRequest, Workers
from napari_resunet.types import Decoding, Example, ObjectSize, Statistics, Target


@pytest.fixture(scope="module")
def learned(starter, nuclei):
    """The starter, fine-tuned on nuclei of which the pixel size is known."""
    model = nru.fine_tune(starter, [nru.Example(*nuclei, pixel_size=0.5)], steps=4)
    assert model is not starter
    return model


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
        model, [nru.Example(image, truth, verified=mask)], steps=2, seed=0
    )
    better.save(tmp_path / "mine.safetensors")
    again = nru.load_model(tmp_path / "mine.safetensors")
    assert again.info.lineage.model_id == better.info.lineage.model_id


def test_what_a_fine_tuned_model_finds_does_not_depend_on_the_direction(
    starter, learned, nuclei
):
    image = nuclei[0][:160, :160]

    def agreement(model):
        both = image, image[::-1]
        straight, turned = (nru.segment(i, model, diameter=24.0) for i in both)
        return nru.score(straight, turned[::-1]).mean_iou

    assert agreement(learned) > 0.995 > agreement(starter)


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
    assert nru.segment(image, starter, axes=axes, diameter=24.0).shape == expected


def test_planes_of_a_stack_are_segmented_alike(starter, nuclei):
    stack = dask.array.from_array(np.stack([nuclei[0], nuclei[0]]), chunks=(1, 80, 80))
    labels = nru.segment(stack, starter, axes="TYX", diameter=24.0)
    assert np.array_equal(labels[0], labels[1])
    assert np.array_equal(labels[0], nru.segment(nuclei[0], starter, diameter=24.0))


def test_progress_counts_tiles(starter, nuclei):
    events = []
    nru.segment(nuclei[0], starter, diameter=24.0, on_event=events.append)
    assert events[-1] == Progress(1, 1, "tiles")


@pytest.fixture
def learned_from(monkeypatch):
    """Examples and recipe as they reach the engine, which learns nothing here."""
    seen = []

    def no_steps(model, examples, config, compute, token, decoding, others):
        seen.append((examples, config, others))
        return FineTuneResult(model, "not judged", None, None, "nothing learned", 0, 1, 1)
        yield

    monkeypatch.setattr("napari_resunet.engine.finetune.fine_tune_steps", no_steps)
    return seen


def examples_seen(learned_from, starter, example, **options):
    nru.fine_tune(starter, [example], **options)
    return learned_from[-1][0][0]


def test_wrong_input_is_told_in_a_sentence(starter, nuclei):
    image, labels = nuclei
    with pytest.raises(ImageError, match="cannot be used"):
        nru.segment(image.astype(complex), starter)
    with pytest.raises(CorrectionError, match="do not fit together"):
        nru.fine_tune(starter, [nru.Example(image, labels[:-1])])
    with pytest.raises(CorrectionError, match="fractions"):
        nru.fine_tune(starter, [nru.Example(image, labels / 2)])


BAD_ARGUMENTS = {
    "axes": [["Y", "X"], True, {"Y": 0}, 5, "", "Y", "YXYX", "YXYXYXYXYXYX" * 9, "ÄX"],
    "channels": [[0.0], ["0"], {"a": 1}, "0", 0, [True], [-1], [None], [0, 1, 2, 3]],
    "diameter": [
        0,
        -1,
        float("nan"),
        float("inf"),
        1e-320,
        1e5,
        False,
        [1],
        1j,
        "x",
        "0 px",
        "30 mm",
        "12 um",
        "inf",
        b"24",
        "",
    ],
    "pixel_size": [0, -1, float("nan"), float("inf"), 1e9, True, [1], 1j, "0.5"],
    "decoding": ["x", 5, (0.5, 0.5), Decoding(1j), Decoding(0.5, "x"), Decoding(2.0)],
    "device": [["cpu"], {}, 0, "CPU", "tpu", None],
    "on_event": [3, "print"],
}
CASES = [(name, value) for name, values in BAD_ARGUMENTS.items() for value in values]


def sentence_of(caught):
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    assert len(text) < 400
    return text


@pytest.mark.parametrize(("name", "value"), CASES)
def test_segment_checks_its_arguments(name, value, starter):
    image = np.zeros((2, 8, 9) if name == "channels" else (8, 9), np.uint8)
    arguments = {"axes": "CYX"} if name == "channels" else {}
    with pytest.raises((ArgumentError, ImageError)) as caught:
        nru.segment(image, starter, **{**arguments, name: value})
    text = sentence_of(caught)
    assert name in text.lower() or text.startswith("The image")


def knowing(model, size):
    """Make a model that learned this object size."""
    return replace(model, info=replace(model.info, object_size=size))


@pytest.mark.parametrize(
    "diameter", [36, 36.0, "36", "36 px", "18um", "18 \N{MICRO SIGN}m"]
)
def test_the_object_size_is_given_in_pixels_or_micrometres(diameter, starter, nuclei):
    image = nuclei[0]
    found = nru.segment(image, starter, diameter=diameter, pixel_size=0.5)
    scale = starter.info.diameter / 36
    expected, used = segment_at(image, starter, scale)
    assert used == [scale]
    assert np.array_equal(found, expected)


def segment_at(image, model, scale):
    """Segment a plane at a rescale factor, without the API; return the factors used."""
    planes = ImageReader([image])
    events = Segmenter(model, "cpu").propose(
        planes, [Target((), planes.window)], scale=scale, decoding=Decoding()
    )
    proposals = [event for event in events if isinstance(event, Proposal)]
    return proposals[0].labels, [proposal.scale for proposal in proposals]


def test_micrometres_need_the_pixel_size(starter, nuclei):
    with pytest.raises(ArgumentError, match="pixel size of the image is not known") as none:
        nru.segment(nuclei[0], starter, diameter="12 um")
    with pytest.raises(ArgumentError, match="120000 pixels of this image") as huge:
        nru.segment(nuclei[0], starter, diameter="12 um", pixel_size=1e-4)
    for caught in (none, huge):
        sentence_of(caught)


def test_a_model_segments_other_images_at_the_size_that_it_learned(learned, nuclei):
    (image, truth), model = nuclei, learned
    size = model.info.object_size
    assert size.pixels == pytest.approx(median_diameter(truth))
    assert size.um == pytest.approx(size.pixels / 2)
    # Another image, whose objects are half as large: it is not estimated.
    small = np.ascontiguousarray(image[::2, ::2])
    at_learned = nru.segment(small, model, diameter=size)
    assert np.array_equal(nru.segment(small, model), at_learned)
    # Its pixels are twice as large, so its objects have the size that was learned.
    halved = nru.segment(small, model, pixel_size=1.0)
    assert np.array_equal(halved, nru.segment(small, model, diameter=size.pixels / 2))
    assert not np.array_equal(halved, at_learned)


def test_a_size_in_micrometres_alone_is_estimated_where_pixels_are_unknown(starter, nuclei):
    model = knowing(starter, ObjectSize(um=5.0))
    assert np.array_equal(nru.segment(nuclei[0], model), nru.segment(nuclei[0], starter))


def test_fine_tune_takes_the_object_size_of_its_examples(starter, nuclei, learned_from):
    image, labels = nuclei
    known = [nru.Example(image, labels), nru.Example(image, labels, scale=2.0)]
    nru.fine_tune(starter, known, diameter=36)
    assert [example.scale for example in learned_from[-1][0]] == [24 / 36, 2.0]
    nru.fine_tune(starter, known)
    assert [example.scale for example in learned_from[-1][0]] == [None, 2.0]
    with pytest.raises(ArgumentError, match="diameter must be"):
        nru.fine_tune(starter, known, diameter=0)


def test_other_images_are_read_like_the_examples(starter, nuclei, learned_from):
    image, labels = nuclei
    colours = np.stack([image] * 3 + [image // 2], axis=-1)
    example = nru.Example(image, labels, scale=2.0)
    nru.fine_tune(starter, [example], others=[image[:50], colours[:20]])
    first, second = learned_from[-1][2]
    assert (first.name, first.scale, second.name) == ("others[0]", 2.0, "others[1]")
    assert np.array_equal(first.image[..., 0], image[:50])
    assert second.image.shape == (20, 176, 3)
    nru.fine_tune(starter, [example], diameter=36, others=(image,))
    assert learned_from[-1][2][0].scale == 24 / 36


@pytest.mark.parametrize("others", [None, "x", 5, np.zeros((9, 9, 9))])
def test_other_images_must_be_a_list_of_planes(others, starter, nuclei, learned_from):
    for wrong in (others, [np.zeros((2, 4, 9, 9))]):
        with pytest.raises(ArgumentError, match=r"^others") as caught:
            nru.fine_tune(starter, [nru.Example(*nuclei)], others=wrong)
        sentence_of(caught)


@pytest.mark.parametrize("model", [None, "starter", 5, torch.nn.Linear(1, 1)])
def test_a_model_of_another_type_is_refused(model, nuclei):
    for use in (lambda: nru.segment(nuclei[0], model), lambda: nru.fine_tune(model, [])):
        with pytest.raises(ArgumentError, match="load_model"):
            use()


class Pretends:
    """What says that it is an array, and is none."""

    def __init__(self, **claims):
        self.__dict__.update(claims)


class Broken(Pretends):
    def __getitem__(self, where):
        raise OSError("drive gone")


class Lies(Pretends):
    def __getitem__(self, where):
        return np.zeros((3, 3), self.gives)


BAD_IMAGES = {
    "None": None,
    "text": "image.tif",
    "ragged": [[1, 2], [3]],
    "objects": np.full((5, 5), None),
    "words": np.full((5, 5), "a"),
    "dates": np.zeros((5, 5), "M8[s]"),
    "records": np.zeros((5, 5), [("r", "u1")]),
    "masked": np.ma.masked_less(np.arange(25.0).reshape(5, 5), 5),
    "masked and lazy": dask.array.from_array(
        np.ma.masked_less(np.arange(25.0).reshape(5, 5), 5), asarray=False
    ),
    "half tensor": torch.zeros(5, 5, dtype=torch.bfloat16),
    "unknown chunks": dask.array.from_array(np.arange(40).reshape(8, 5))[
        dask.array.from_array(np.arange(8)) > 3
    ],
    "no shape": Pretends(dtype=np.dtype("u1")),
    "no pixels": Pretends(dtype=np.dtype("u1"), shape=(8, 9)),
    "nonsense dtype": Pretends(dtype="nonsense", shape=(8, 9)),
    "shape of no numbers": Pretends(dtype=np.dtype("u1"), shape=5),
    "broken": Broken(dtype=np.dtype("u1"), shape=(8, 9)),
    "other pixels": Lies(dtype=np.dtype("u1"), shape=(8, 9), gives="u1"),
    "other dtype": Lies(dtype=np.dtype("u1"), shape=(3, 3), gives="c8"),
    "steps lost": 2**64 - 1 - np.arange(64, dtype=np.uint64).reshape(8, 8),
}


@pytest.mark.parametrize("kind", BAD_IMAGES)
def test_what_is_no_image_is_refused_in_a_sentence(kind, starter):
    with pytest.raises(ImageError) as caught:
        nru.segment(BAD_IMAGES[kind], starter)
    sentence_of(caught)


def test_a_file_that_was_cut_short_is_not_read(starter, tmp_path):
    path = tmp_path / "image.dat"
    whole = np.memmap(path, np.uint8, "w+", offset=5000, shape=(300, 400))
    nru.segment(whole[:40, :50], starter, diameter=24.0)
    with path.open("r+b") as stream:
        stream.truncate(60_000)
    for image in (whole, whole[200:], np.asarray(whole)):
        with pytest.raises(ImageError, match="shorter"):
            nru.segment(image, starter, diameter=24.0)


def test_arrays_of_other_libraries_give_the_same_labels(starter, nuclei):
    image = nuclei[0]
    expected = nru.segment(image, starter, diameter=24.0)
    assert expected.max() > 5
    big = image.astype(np.float64)
    others = [
        torch.from_numpy(image),
        torch.from_numpy(image).float().requires_grad_(),
        image.tolist(),
        (2 * big / big.max() - 1) * 1.7e308,
        big * 1e-320,
        big.astype(np.float32) * np.float32(1e-40),
        image.astype(np.uint64) * 2**55,
    ]
    for other in others:
        agreement = nru.score(expected, nru.segment(other, starter, diameter=24.0))
        assert agreement.mean_iou > 0.95
        assert agreement.ap50 > 0.9


@pytest.mark.parametrize("axes", ["XY", "YXZ", "ZXY", "XQY", "XCZY", "EYX"])
def test_labels_come_in_the_order_of_the_images_axes(starter, nuclei, axes):
    # 160 x 176: rows and columns can be told.
    plane = nuclei[0]
    expected = nru.segment(plane, starter, diameter=24.0)
    image = plane
    for axis in axes:
        if axis not in "YX":
            image = image[None]
    order = [a for a in axes if a not in "YX"] + ["Y", "X"]
    image = np.moveaxis(image, [order.index(a) for a in axes], range(len(axes)))
    labels = nru.segment(image, starter, axes, diameter=24.0)
    kept = [a for a in axes if a not in "CE"]
    assert labels.shape == tuple({"Y": 160, "X": 176}.get(a, 1) for a in kept)
    rows, columns = kept.index("Y"), kept.index("X")
    turned = np.moveaxis(labels, [rows, columns], [-2, -1]).reshape(plane.shape)
    assert np.array_equal(turned, expected)


@pytest.mark.parametrize("n", [1, 2])
def test_the_last_of_three_axes_holds_channels_where_it_is_short(starter, nuclei, n):
    image = np.stack([nuclei[0], np.full_like(nuclei[0], 255)][:n], -1)
    labels = nru.segment(image, starter, diameter=24.0)
    assert np.array_equal(labels, nru.segment(nuclei[0], starter, diameter=24.0))


def test_a_stack_that_begins_empty_has_the_scale_of_what_it_holds(starter, nuclei):
    large = np.kron(nuclei[0][:110, :110], np.ones((2, 2), np.uint8))
    noise = np.random.default_rng(0).integers(0, 9, large.shape, dtype=np.uint8)
    stack = np.stack([np.zeros_like(large), noise, large])
    segmenter = api.Segmenter(starter, "cpu")

    def scale_of(image, *indices):
        planes = ImageReader([image], "ZYX" if image.ndim == 3 else "YX")
        targets = [Target(index, planes.window) for index in indices]
        events = segmenter.propose(planes, targets, scale=None, decoding=Decoding())
        return next(event.scale for event in events if isinstance(event, SizeFound))

    expected = scale_of(large, ())
    assert expected < 0.7
    # Of the whole stack, and where only an empty plane is asked for.
    for indices in ([(0,), (1,), (2,)], [(0,)]):
        assert scale_of(stack, *indices) == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("channels", [None, (0, 2)])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7])
def test_fine_tuning_learns_the_pixels_that_segment_sees(
    n, channels, starter, nuclei, learned_from, monkeypatch
):
    if channels and n < 3:
        channels = (0,)
    rng = np.random.default_rng(0)
    image = rng.integers(0, 2 ** rng.integers(3, 8, n), (*nuclei[0].shape, n))
    image = image.astype(np.uint8)
    example = examples_seen(
        learned_from, starter, nru.Example(image, nuclei[1]), channels=channels
    )
    learned = training_image(example, starter.info)
    seen = []
    monkeypatch.setattr(
        api.Segmenter,
        "propose",
        lambda self, planes, *_, **__: seen.append(planes) or iter(()),
    )
    nru.segment(image, starter, "YXS" if n in (3, 4) else "YXC", channels=channels)
    contract = starter.info.normalization
    (planes,) = seen
    pixels = normalize(planes.read((), *planes.window), planes.measure(contract), contract)
    expected = np.moveaxis(pixels, -1, 0).astype(np.float16)
    assert np.array_equal(learned.pixels, expected)


VERIFIED = {
    "uint8 0/1": lambda m: m.astype(np.uint8),
    "uint8 0/255": lambda m: m.astype(np.uint8) * 255,
    "int64 0/1": lambda m: m.astype(np.int64),
    "float 0/1": lambda m: m.astype(np.float32),
    "list": lambda m: m.tolist(),
    "tensor": torch.from_numpy,
}


@pytest.mark.parametrize("kind", VERIFIED)
@pytest.mark.parametrize("name", ["verified", "edited"])
def test_masks_of_whole_numbers_mean_the_pixels(name, kind, starter, nuclei):
    image, labels = nuclei
    mask = np.zeros(labels.shape, bool)
    mask[:50, :60] = True
    weights = [
        training_image(Example(image, labels, **{name: m}), starter.info, 3.0).weight
        for m in (mask, VERIFIED[kind](mask))
    ]
    assert np.array_equal(*weights)
    assert len(np.unique(weights[0])) == 2


BAD_MASKS = {
    "True": True,
    "three numbers": np.arange(160 * 176).reshape(160, 176) % 3,
    "probabilities": np.linspace(0, 1, 160 * 176).reshape(160, 176),
    "NaN": np.full((160, 176), np.nan),
    "words": np.full((160, 176), "a"),
    "ragged": [[True], [True, False]],
    "smaller": np.ones((50, 50), bool),
    "transposed": np.ones((176, 160), bool),
    "masked": np.ma.masked_equal(np.ones((160, 176), bool), True),
}


@pytest.mark.parametrize("kind", BAD_MASKS)
@pytest.mark.parametrize("name", ["verified", "edited"])
def test_a_mask_that_does_not_say_which_pixels_is_refused(name, kind, starter, nuclei):
    with pytest.raises(CorrectionError, match=name) as caught:
        nru.fine_tune(starter, [nru.Example(*nuclei, **{name: BAD_MASKS[kind]})])
    sentence_of(caught)


def half(image, labels):
    """An example of which the rest of the fields is to be said."""
    return {"image": image[:40, :40], "labels": labels[:40, :40]}


BAD_EXAMPLES = {
    "labels None": {"labels": None},
    "labels complex": {"labels": np.zeros((40, 40), complex)},
    "labels negative": {"labels": np.full((40, 40), -1)},
    "labels masked": {"labels": np.ma.masked_equal(np.zeros((40, 40), int), 0)},
    "image None": {"image": None},
    "image complex": {"image": np.zeros((40, 40), complex)},
    "image of words": {"image": np.full((40, 40), "a")},
    "image 4D": {"image": np.zeros((2, 3, 40, 40))},
    "scale text": {"scale": "1"},
    "scale list": {"scale": [1]},
    "scale 0": {"scale": 0},
    "scale inf": {"scale": float("inf")},
    "pixel size 0": {"pixel_size": 0},
    "pixel size text": {"pixel_size": "0.5"},
    "statistics text": {"statistics": "x"},
    "statistics of two": {"statistics": Statistics((0.0, 0.0), (1.0, 1.0))},
    "statistics NaN": {"statistics": Statistics((float("nan"),), (1.0,))},
    "statistics inf": {"statistics": Statistics((0.0,), (float("inf"),))},
    "held_out text": {"held_out": "x"},
    "held_out number": {"held_out": 5},
    "held_out slice": {"held_out": (slice(0, 5),)},
    "held_out half": {"held_out": ((slice(0.5, 20), slice(0, 20)),)},
    "held_out beyond": {"held_out": ((slice(0, 41), slice(0, 20)),)},
    "held_out open": {"held_out": ((slice(None), slice(None)),)},
}


@pytest.mark.parametrize("kind", BAD_EXAMPLES)
def test_an_example_is_verified(kind, starter, nuclei):
    with pytest.raises(ResunetError) as caught:
        nru.fine_tune(starter, [nru.Example(**half(*nuclei) | BAD_EXAMPLES[kind])])
    sentence_of(caught)


@pytest.mark.parametrize("examples", [None, "x", 5, [None], {}])
def test_examples_must_be_a_list_of_examples(examples, starter, nuclei):
    for wrong in (examples, [nuclei[0]], nru.Example(*nuclei)):
        with pytest.raises(ArgumentError, match="examples") as caught:
            nru.fine_tune(starter, wrong)
        sentence_of(caught)


BAD_RECIPES = {
    "steps": [0, -1, 1.5, 2.0, float("inf"), "2", [2], True, np.True_, 10**30],
    "seconds": [0, -1, float("inf"), float("nan"), "5", True, 1j, 1e12],
    "seed": [0.5, "x", float("nan"), -1, 10**30, True, None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, values in BAD_RECIPES.items() for v in values]
)
def test_fine_tune_checks_its_numbers(name, value, starter, nuclei, learned_from):
    with pytest.raises(ArgumentError, match=f"^{name} must be") as caught:
        nru.fine_tune(starter, [nru.Example(*nuclei)], **{name: value})
    sentence_of(caught)


def test_numbers_of_numpy_are_numbers(starter, nuclei, learned_from):
    example = nru.Example(*nuclei, scale=np.float32(0.5))
    seen = examples_seen(
        learned_from, starter, example, steps=np.int64(2), seed=np.uint8(3),
        seconds=np.float32(4),
    )  # fmt: skip
    assert seen.scale == 0.5
    assert (learned_from[0][1].steps, learned_from[0][1].seed) == (2, 3)
    assert learned_from[0][1].seconds == 4.0


def test_masks_of_other_tools_are_learned_from_as_objects(starter, nuclei, learned_from):
    image, labels = nuclei
    binary = np.where(labels > 0, 255, 0).astype(np.uint8)
    told = []
    seen = examples_seen(
        learned_from, starter, nru.Example(image, binary), on_event=told.append
    )
    assert seen.labels.max() > 10
    assert "pieces" in told[0].message
    assert isinstance(told[0], Notice)
    with pytest.warns(UserWarning, match="pieces"):
        nru.fine_tune(starter, [nru.Example(image, binary)])
    floats = np.where(labels > 0, labels, np.nan)
    seen = examples_seen(learned_from, starter, nru.Example(image, floats))
    assert np.array_equal(seen.labels, labels)


@pytest.mark.parametrize("huge", [2**31 - 1, 2**32, 2**53])
def test_the_number_of_a_label_takes_no_memory(huge, starter, nuclei, learned_from):
    image, labels = nuclei
    large = np.where(labels == 3, huge, labels.astype(np.int64))
    seen = examples_seen(learned_from, starter, nru.Example(image, large))
    assert nru.score(labels, seen.labels).mean_iou == 1.0
    # Strokes come without the API's boundary.
    direct = training_image(
        Example(image, np.minimum(large, 2**31 - 1).astype(np.int32)), starter.info
    )
    assert direct.labels.max() <= labels.max() + 1
    assert nru.score(large, labels).ap75 == 1.0


def test_many_objects_are_scored():
    labels = np.arange(1, 300 * 300 + 1).reshape(300, 300)
    result = nru.score(labels, np.roll(labels, 150, 0) + 10**9)
    assert (result.ap50, result.n_found) == (1.0, 90_000)
    assert nru.score(labels, labels * 0 + 1).edits == 90_001


BAD_PAIRS = {
    "shapes differ": (np.ones((32, 32), int), np.ones((5, 32), int)),
    "None": (None, None),
    "words": ("x", "x"),
    "stacks": (np.ones((2, 8, 8), int),) * 2,
    "fractions": (np.full((8, 8), 0.5),) * 2,
    "negative": (np.full((8, 8), -1),) * 2,
}


@pytest.mark.parametrize("kind", BAD_PAIRS)
def test_score_refuses_what_is_no_labels_image(kind):
    with pytest.raises(CorrectionError) as caught:
        nru.score(*BAD_PAIRS[kind])
    sentence_of(caught)


def test_score_takes_lists_and_masks_of_other_tools():
    assert nru.score([[1, 0, 2]], [[1.0, 0.0, 2.0]]).ap50 == 1.0
    binary = np.zeros((9, 9), np.uint8)
    binary[1:3, 1:3] = binary[5:8, 5:8] = 255
    truth = np.where(binary > 0, 1, 0)
    truth[5:8, 5:8] *= 2
    with pytest.warns(UserWarning, match="pieces"):
        assert nru.score(truth, binary).ap50 == 1.0


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 18.0 MiB"),
        RuntimeError("can't start new thread"),
        OSError(12, "Cannot allocate memory"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_short_memory_is_told_in_a_sentence(error, starter, nuclei, monkeypatch):
    def fails(*arguments, **options):
        raise error

    monkeypatch.setattr(api.Segmenter, "propose", fails)
    monkeypatch.setattr("napari_resunet.engine.finetune.fine_tune_steps", fails)
    monkeypatch.setattr(api.metrics, "score", fails)
    for use in (
        lambda: nru.segment(nuclei[0], starter),
        lambda: nru.fine_tune(starter, [nru.Example(*nuclei)]),
        lambda: nru.score(nuclei[1], nuclei[1]),
    ):
        with pytest.raises(OutOfMemoryError, match="not enough memory"):
            use()


def test_a_model_of_an_older_version_warns_and_the_starter_does_not(monkeypatch, starter):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nru.load_model("starter")
    monkeypatch.setattr(api, "STARTER_DIGEST", None)
    with pytest.warns(UserWarning, match="holds no checksum"):
        nru.load_model()


def test_the_dock_is_told_of_a_model_without_a_checksum(monkeypatch):
    monkeypatch.setattr(api, "STARTER_DIGEST", None)
    events = list(Workers().load(LoadRequest("starter", "cpu"), CancelToken()))
    assert "holds no checksum" in events[-1].message


def test_loading_a_model_measures_how_fast_it_is():
    ready = drain(Workers().load(LoadRequest("starter", "cpu"), CancelToken()))
    # From the slowest laptop to the fastest card.
    assert 1e3 < ready.speed < 1e9


def test_errors_of_the_users_own_function_pass(starter, nuclei):
    def mine(event):
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        nru.segment(nuclei[0], starter, diameter=24.0, on_event=mine)


def test_a_device_that_is_not_there_is_told(starter, nuclei, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match=re.escape("'cuda'")):
        nru.segment(nuclei[0], starter, device="cuda")
