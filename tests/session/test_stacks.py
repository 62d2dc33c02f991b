import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from skimage.measure import label

import napari_resunet as nru
from napari_resunet.cli import main
from napari_resunet.errors import ArgumentError, Cancelled, ImageError
from napari_resunet.events import CancelToken, drain
from napari_resunet.network.model_file import new_model
from napari_resunet.session.segmenter import Proposal, Segmenter
from napari_resunet.session.stacks import number_stack, stack_of
from napari_resunet.types import ModelInfo


def moving(*stack: int, step: int = 2) -> np.ndarray:
    """Two squares that move to the right along every axis of a stack, numbered anew."""
    labels = np.zeros((*stack, 24, 60), np.int32)
    for index in np.ndindex(stack):
        left = 4 + step * sum(index)
        numbers = (1, 2) if sum(index) % 2 else (2, 1)
        labels[index][4:12, left : left + 8] = numbers[0]
        labels[index][14:22, left : left + 8] = numbers[1]
    return labels


def numbers(labels: np.ndarray) -> list[int]:
    return [int(n) for n in np.unique(labels) if n]


@pytest.mark.parametrize(
    ("axes", "stack", "n_objects", "same"),
    [
        ("T", "film", 2, [(0,), (1,), (2,)]),
        ("Z", "volume", 2, [(0,), (1,), (2,)]),
        ("Z", "film", 2, [(0,), (2,)]),  # one axis: the user knows better what it is
        ("P", "volume", 2, [(0,), (2,)]),
        ("T", "separate", 6, [(0,)]),
        ("TZ", "volume", 6, [(1, 0), (1, 1), (1, 2)]),
        ("ZT", "volume", 6, [(0, 1), (1, 1), (2, 1)]),
        ("TZ", "film", 2, [(0, 0), (1, 1), (2, 2)]),
        ("ZT", "film", 2, [(0, 0), (1, 1), (2, 2)]),
        ("PT", "film", 6, [(1, 0), (1, 2)]),
        ("TP", "film", 6, [(0, 1), (2, 1)]),
        ("TZ", "separate", 18, [(2, 1)]),
        ("TPZ", "volume", 18, [(1, 2, 0), (1, 2, 2)]),
        ("TPZ", "film", 6, [(0, 2, 0), (2, 2, 2)]),
    ],
)
def test_objects_have_one_number_along_what_the_user_says(axes, stack, n_objects, same):
    labels = moving(*[3] * len(axes))
    numbered = drain(number_stack(labels, tuple(axes), stack))
    assert numbers(numbered) == list(range(1, n_objects + 1))
    assert np.array_equal(numbered > 0, labels > 0)
    upper = {tuple(numbers(numbered[index][:12])) for index in same}
    assert len(upper) == 1
    assert numbers(numbered[same[0]]) != numbers(numbered[same[0]][:12])


@pytest.mark.parametrize(
    ("axes", "guess"),
    [("T", "film"), ("ZT", "film"), ("Z", "volume"), ("PZ", "volume"), ("P", "separate")],
)
def test_what_the_slices_are_is_guessed_from_the_axes(axes, guess):
    assert stack_of(None, axes, "instances") == guess
    assert stack_of("separate", axes, "instances") == "separate"
    assert stack_of(None, axes, "classes") is None
    assert stack_of("film", "", "instances") is None


def test_a_film_without_time_and_classes_in_a_volume_are_refused(starter):
    with pytest.raises(ImageError, match=r"axes of the stack \(P, Z\) is T, which a film"):
        nru.segment(np.zeros((2, 2, 8, 8)), starter, axes="PZYX", stack="film")
    with pytest.raises(ArgumentError, match="'separate', 'volume', 'film', not 'movie'"):
        nru.segment(np.zeros((2, 8, 8)), starter, stack="movie")
    model = new_model(ModelInfo(task="classes", class_names=("background", "axon")))
    with pytest.raises(ArgumentError, match="A model of classes gives no objects"):
        nru.segment(np.zeros((2, 8, 8)), model, stack="volume")


@pytest.mark.parametrize("shape", [(0, 8, 8), (2, 0, 8)])
def test_a_stack_without_pixels_has_no_objects(starter, shape):
    assert nru.segment(np.zeros(shape), starter, stack="volume").shape == shape


def test_cancelling_ends_the_linking():
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        drain(number_stack(moving(3), "T", "film", token))


def test_segment_links_a_stack_and_keeps_its_axes(starter, nuclei):
    image = np.stack([nuclei[0], np.roll(nuclei[0], 2, axis=1)])
    film = nru.segment(image, starter, axes="TYX", diameter=24.0)
    apart = nru.segment(image, starter, axes="TYX", diameter=24.0, stack="separate")
    assert np.array_equal(film > 0, apart > 0)
    ids = [set(numbers(frame)) for frame in film]
    assert len(ids[0] & ids[1]) > 0.8 * len(ids[0])
    assert not set(numbers(apart[0])) & set(numbers(apart[1]))
    turned = nru.segment(image.transpose(2, 1, 0), starter, axes="XYT", diameter=24.0)
    assert np.array_equal(turned.transpose(2, 1, 0), film)


@pytest.mark.parametrize(
    ("flags", "axes", "stack", "n"),
    [
        ((), "ZYX", "volume", 2),
        ((), "TYX", "film", 2),
        (("--stack", "separate"), "TYX", "separate", 6),
        (("--stack", "film"), "ZYX", "film", 2),
    ],
)
def test_the_command_line_links_and_its_note_says_so(
    tmp_path, starter, monkeypatch, flags, axes, stack, n
):
    monkeypatch.setattr(Segmenter, "propose", proposed_by_brightness)
    image = (100 * (moving(3) > 0)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "s.tif", image, imagej=True, metadata={"axes": axes})
    assert main(["segment", str(tmp_path / "s.tif"), "-o", str(tmp_path), *flags]) == 0
    note = json.loads((tmp_path / "s_labels.json").read_text("utf-8"))
    assert (note["stack"], note["n_objects"]) == (stack, n)
    assert note["request"]["stack"] == (flags[1] if flags else None)
    labels = tifffile.imread(tmp_path / "s_labels.tif")
    assert len(numbers(labels)) == n


def test_a_plane_is_neither(tmp_path, starter, monkeypatch):
    monkeypatch.setattr(Segmenter, "propose", proposed_by_brightness)
    Image.fromarray((100 * (moving() > 0)).astype(np.uint8)).save(tmp_path / "p.png")
    flags = ["-o", str(tmp_path), "--stack", "film"]
    assert main(["segment", str(tmp_path / "p.png"), *flags]) == 0
    assert json.loads((tmp_path / "p_labels.json").read_text("utf-8"))["stack"] is None


def proposed_by_brightness(self, reader, targets, **named):
    """Bright pieces are objects."""
    for target in targets:
        bright = reader.read(target.index, *reader.window)[..., 0] > 50
        window = target.window
        yield Proposal(target.index, window, window, label(bright), None, 1.0)
