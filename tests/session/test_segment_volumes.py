import json

import numpy as np
import pytest
import tifffile

import napari_resunet as nru
from napari_resunet.cli import main
from napari_resunet.engine.image_reader import read_resampled
from napari_resunet.engine.metrics import score
from napari_resunet.engine.patches import inner_distance
from napari_resunet.engine.predict import Predictor
from napari_resunet.errors import ArgumentError, ImageError
from napari_resunet.events import Progress

BRIGHT = 100


@pytest.fixture(autouse=True)
def sees_the_brightness(monkeypatch):
    """A network that knows the objects of each plane: they differ in brightness."""
    monkeypatch.setattr(Predictor, "maps", maps_of_brightness)


def maps_of_brightness(self, request, token=None, *, tta=False):
    axes = request.axes
    whole = [(0, axis.n_network) for axis in axes]
    shown = read_resampled(
        lambda rows, columns: request.reader.read(request.index, rows, columns),
        axes,
        *whole,
    )
    objects = np.round(shown[..., 0] / BRIGHT).astype(np.int32)
    yield Progress(1, 1, "tiles")
    return np.stack([objects > 0, inner_distance(objects), objects < 0]).astype(np.float16)


def above_one_another(radius: float = 9.0, side: int = 22) -> np.ndarray:
    """Two balls that touch along Z, labelled 1 and 2."""
    z, y, x = np.indices((2 * side, side, side)) + 0.5
    labels = np.zeros(z.shape, np.int32)
    for number, centre in ((1, side - 0.9 * radius), (2, side + 0.9 * radius)):
        away = (z - centre) ** 2 + (y - side / 2) ** 2 + (x - side / 2) ** 2
        half = (z < side) if number == 1 else (z >= side)
        labels[(away < radius**2) & half] = number
    return labels


def shown(labels: np.ndarray) -> np.ndarray:
    return (BRIGHT * labels).astype(np.uint8)


def test_nuclei_above_one_another_stay_apart(starter):
    truth = above_one_another(12.0, 28)
    how = {"axes": "ZYX", "diameter": 24.0, "stack": "volume"}
    linked = nru.segment(shown(truth), starter, **how)
    assert linked.max() == 1  # in the slices, they look like one
    found = nru.segment(shown(truth), starter, **how, directions=3, slice_step=1)
    assert set(np.unique(found)) == {0, 1, 2}
    assert score(truth, found).ap75 == 1.0


@pytest.mark.parametrize("diameter", [18.0, 36.0, 12.0])
def test_slices_that_are_further_apart(starter, diameter):
    truth = above_one_another(diameter / 2, 2 * round(diameter / 2) + 4)
    few = truth[::2]
    found = nru.segment(
        shown(few), starter, axes="ZYX", diameter=diameter, directions=3, slice_step=2
    )
    assert found.shape == few.shape
    assert score(few, found).ap75 == 1.0


def test_each_volume_is_found_by_itself_and_axes_stay(starter):
    truth = above_one_another(6.0, 14)
    image = np.stack([shown(truth), shown(truth[::-1])])
    how = {"diameter": 12.0, "stack": "volume", "directions": 3, "slice_step": 1.0}
    found = nru.segment(image, starter, axes="TZYX", **how)
    assert [set(np.unique(one)) for one in found] == [{0, 1, 2}, {0, 3, 4}]
    turned = nru.segment(image.transpose(3, 1, 0, 2), starter, axes="XZTY", **how)
    assert np.array_equal(turned.transpose(2, 1, 3, 0), found)


def test_progress_counts_the_planes_of_all_directions(starter):
    image, events = shown(above_one_another(6.0, 14)), []
    nru.segment(
        image, starter, axes="ZYX", diameter=24.0, directions=3, slice_step=1,
        on_event=events.append,
    )  # fmt: skip
    assert [(e.done, e.total) for e in events] == [(k, 56) for k in range(1, 57)]
    assert events[-1].message == "plane 56 of 56"


@pytest.mark.parametrize("shape", [(0, 8, 8), (2, 0, 8)])
def test_a_volume_without_pixels_has_no_objects(starter, shape):
    how = {"axes": "ZYX", "directions": 3, "slice_step": 1}
    assert nru.segment(np.zeros(shape), starter, **how).shape == shape


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ({"directions": 2}, ArgumentError, "directions must be 1 or 3, not '2'"),
        (
            {"directions": 3},
            ArgumentError,
            "need the distance of the slices: give slice_st",
        ),
        ({"directions": 3, "slice_step": 0}, ArgumentError, "slice_step must be a number"),
        ({"directions": 3, "stack": "film"}, ImageError, "is not taken as one"),
    ],
)
def test_what_three_directions_need(starter, how, error, words):
    with pytest.raises(error, match=words):
        nru.segment(np.zeros((2, 8, 8)), starter, axes="ZYX", **how)


def test_the_command_line_reads_the_distance_of_slices(tmp_path, starter):
    image, stated = tmp_path / "v.tif", {"axes": "ZYX", "unit": "um", "spacing": 0.5}
    tifffile.imwrite(
        image,
        shown(above_one_another()),
        imagej=True,
        resolution=(2, 2),
        metadata=stated,
    )
    flags = ["-o", str(tmp_path / "out"), "--diameter", "18", "--directions", "3"]
    assert main(["segment", str(image), *flags]) == 0
    labels = tifffile.imread(tmp_path / "out" / "v_labels.tif")
    assert score(above_one_another(), labels).ap75 == 1.0
    note = json.loads((tmp_path / "out" / "v_labels.json").read_text("utf-8"))
    assert note["request"]["directions"] == 3


def test_the_command_line_asks_for_the_distance_of_slices(tmp_path, starter, capsys):
    image = tmp_path / "v.tif"
    tifffile.imwrite(
        image, shown(above_one_another()), imagej=True, metadata={"axes": "ZYX"}
    )
    flags = ["-o", str(tmp_path), "--diameter", "18", "--directions", "3"]
    assert main(["segment", str(image), *flags]) == 1
    assert "v.tif' does not say how far its slices are apart" in capsys.readouterr().err
    assert main(["segment", str(image), *flags, "--slice-step", "1"]) == 0
    assert tifffile.imread(tmp_path / "v_labels.tif").max() == 2
