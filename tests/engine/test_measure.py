"""Sizes, places, intensities, and shapes, against scikit-image and by hand."""

import numpy as np
import pytest
from skimage.draw import ellipse
from skimage.measure import regionprops_table

from napari_resunet.engine.measure import ToMeasure, measure_steps
from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, drain


def measured(labels, group="basic", **what):
    return drain(measure_steps(ToMeasure(np.asarray(labels), **what), group))


def reads(array):
    return lambda index: array[index]


@pytest.fixture
def ellipses():
    labels = np.zeros((90, 120), np.int32)
    for number, angle in ((3, 0), (8, 0.6), (9, -0.4)):
        rows, columns = ellipse(20 + 3 * number, 12 * number, 9, 15, rotation=angle)
        inside = (rows < 90) & (columns < 120)
        labels[rows[inside], columns[inside]] = number
    return labels


def test_basic_columns_are_those_of_scikit_image(ellipses):
    image = np.random.default_rng(0).random(ellipses.shape).astype(np.float32)
    table = measured(ellipses, channels={"DAPI": reads(image)}, pixel_size=(0.5, 0.25))
    truth = regionprops_table(
        ellipses, image, spacing=(0.5, 0.25),
        properties=("label", "area", "centroid", "bbox", "equivalent_diameter_area",
                    "intensity_mean", "intensity_min", "intensity_max", "intensity_std"),
    )  # fmt: skip
    names = {
        "label": "label", "area_um2": "area", "centroid_y_um": "centroid-0",
        "centroid_x_um": "centroid-1", "box_y_start_px": "bbox-0",
        "box_x_start_px": "bbox-1", "box_y_stop_px": "bbox-2", "box_x_stop_px": "bbox-3",
        "equivalent_diameter_um": "equivalent_diameter_area",
        "mean_intensity_DAPI": "intensity_mean", "min_intensity_DAPI": "intensity_min",
        "max_intensity_DAPI": "intensity_max", "std_intensity_DAPI": "intensity_std",
    }  # fmt: skip
    for ours, theirs in names.items():
        assert table[ours] == pytest.approx(truth[theirs], rel=1e-5), ours
    sums = [image[ellipses == n].sum(dtype=float) for n in (3, 8, 9)]
    assert table["sum_intensity_DAPI"] == pytest.approx(sums)


def test_shape_columns_are_those_of_scikit_image(ellipses):
    table = measured(ellipses, "all", pixel_size=(0.5, 0.5))
    truth = regionprops_table(
        ellipses, spacing=(0.5, 0.5),
        properties=("perimeter", "eccentricity", "axis_major_length", "axis_minor_length",
                    "solidity", "extent", "feret_diameter_max"),
    )  # fmt: skip
    for ours, theirs in (
        ("perimeter_um", "perimeter"),
        ("eccentricity", "eccentricity"),
        ("major_axis_um", "axis_major_length"),
        ("minor_axis_um", "axis_minor_length"),
        ("extent", "extent"),
    ):
        assert table[ours] == pytest.approx(truth[theirs]), ours
    # These are of whole pixels, not of their centres.
    assert table["solidity"] == pytest.approx(truth["solidity"], abs=0.03)
    assert table["feret_diameter_um"] == pytest.approx(truth["feret_diameter_max"], abs=0.5)


def test_sizes_without_a_pixel_size_are_in_pixels(ellipses):
    table = measured(ellipses)
    assert table["area_px"].tolist() == [(ellipses == n).sum() for n in (3, 8, 9)]
    assert not [name for name in table if "um" in name.split("_")]


def test_long_pixels_make_a_long_object():
    square = np.zeros((20, 20), np.int32)
    square[5:15, 5:15] = 1
    table = measured(square, "all", pixel_size=(2.0, 0.5))
    assert table["area_um2"] == [100.0]
    assert table["feret_diameter_um"] == pytest.approx(np.hypot(20, 5))
    assert table["major_axis_um"] / table["minor_axis_um"] == pytest.approx(4, rel=0.05)
    assert table["orientation_deg"] == pytest.approx(90)
    assert np.isnan(table["perimeter_um"])  # of square pixels only
    nearly = measured(square, "all", pixel_size=(0.5, 0.50001))
    assert nearly["perimeter_um"] == pytest.approx(18, rel=1e-3)


@pytest.mark.parametrize(("step", "angle"), [((0, 1), 0), ((-1, 1), 45), ((1, 1), 135)])
def test_the_orientation_is_counted_from_the_x_axis_counter_clockwise(step, angle):
    labels = np.zeros((30, 30), np.int32)
    for k in range(-9, 10):
        labels[15 + k * step[0], 15 + k * step[1]] = 1
    degrees = measured(labels, "all")["orientation_deg"]
    assert degrees == pytest.approx(angle, abs=1e-6)


@pytest.mark.parametrize("ndim", [2, 3])
def test_a_pixel_and_a_line_are_measured_as_far_as_that_is_defined(ndim):
    labels = np.zeros((8,) * ndim, np.int32)
    labels[(2,) * ndim] = 1
    labels[(4,) * (ndim - 1)] = 2
    image = np.full(labels.shape, 5, np.uint8)
    table = measured(labels, "all", channels={"": reads(image)})
    assert table["mean_intensity"].tolist() == [5, 5]
    assert table["std_intensity"].tolist() == [0, 0]
    assert np.isnan(table["major_axis_px"]).tolist() == [True, False]
    assert table["minor_axis_px"][1] == 0
    assert table["solidity"] == pytest.approx(1)
    assert table["feret_diameter_px"][0] == pytest.approx(np.sqrt(ndim))
    if ndim == 2:
        assert np.isnan(table["perimeter_px"]).tolist() == [True, False]
        assert np.isnan(table["eccentricity"]).tolist() == [True, False]
        assert np.isnan(table["orientation_deg"][0])
        assert table["orientation_deg"][1] == 0  # along x


def test_a_round_object_has_no_orientation():
    square = np.zeros((9, 9), np.int32)
    square[2:7, 2:7] = 1
    assert np.isnan(measured(square, "all")["orientation_deg"])


def test_each_plane_of_a_stack_has_rows_of_its_own():
    stack = np.zeros((2, 3, 6, 6), np.int64)
    stack[0, 1, :2, :2] = 4
    stack[1, 2, 3:, 3:] = 4
    image = np.arange(6)[:, None, None].repeat(36, 1).reshape(2, 3, 6, 6)
    table = measured(stack, stack=("t", "z"), channels={"a": reads(image)})
    assert table["label"].tolist() == [4, 4]
    assert (table["t"].tolist(), table["z"].tolist()) == ([0, 1], [1, 2])
    assert table["area_px"].tolist() == [4, 9]
    assert table["mean_intensity_a"].tolist() == [1, 5]


def test_a_volume_is_one_object_through_its_slices():
    stack = np.zeros((2, 5, 12, 12), np.int32)
    stack[1, 1:4, 2:8, 2:8] = 7
    table = measured(stack, "all", stack=("t",), pixel_size=(2.0, 0.5, 0.5))
    assert table["volume_um3"] == [3 * 2 * 3 * 3]
    assert (table["t"], table["centroid_z_um"]) == ([1], [4.0])
    assert (table["box_z_start_px"], table["box_z_stop_px"]) == ([1], [4])
    assert table["solidity"] == pytest.approx(1)
    assert table["feret_diameter_um"] == pytest.approx(np.sqrt(36 + 9 + 9))
    assert "perimeter_um" not in table


def test_verified_is_the_share_inside_the_verified_area():
    labels = np.zeros((4, 8), np.int32)
    labels[0] = 1
    labels[2] = 2
    verified = np.zeros(labels.shape, bool)
    verified[0, :2] = True
    assert measured(labels, verified=reads(verified))["verified"].tolist() == [0.25, 0]


def test_pieces_of_classes_are_measured():
    classes = np.zeros((10, 10), np.int32)
    classes[:2, :2] = classes[6:9, 6:9] = 2
    classes[9, 9] = 2  # touches at a corner
    classes[0:3, 8:] = 1
    table = measured(classes, class_names=("background", "axon", "myelin"))
    found = zip(table["class"], table["area_px"], table["label"], strict=True)
    assert sorted(found) == [("axon", 6, 1), ("myelin", 4, 2), ("myelin", 10, 2)]
    assert table["piece"].tolist() == [1, 2, 3]


def test_huge_labels_cost_nothing_and_negative_ones_are_no_objects():
    labels = np.zeros((5, 5), np.int64)
    labels[0, 0], labels[1, 1:3], labels[4] = 2**62, 7, -3
    table = measured(labels, "all")
    assert table["label"].tolist() == [7, 2**62]
    assert table["area_px"].tolist() == [2, 1]
    assert measured(np.array([[2**64 - 1]], np.uint64))["label"].tolist() == [2**64 - 1]


def test_not_a_number_stays_in_its_object():
    labels = np.array([[1, 1, 2, 2]])
    image = np.array([[np.nan, 1, np.inf, 1]])
    table = measured(labels, channels={"": reads(image)})
    assert np.isnan(table["mean_intensity"][0])
    assert table["max_intensity"][1] == np.inf


@pytest.mark.parametrize("shape", [(6, 6), (3, 6, 6), (0, 6, 6), (3, 0, 6)])
def test_without_objects_there_are_the_same_columns(shape):
    stack = ("z",) * (len(shape) - 2)
    image = {"x": reads(np.ones(shape))}
    empty = measured(np.zeros(shape, np.int32), "all", stack=stack, channels=image)
    assert all(len(column) == 0 for column in empty.values())
    ones = np.ones((2,) * len(shape), int)
    full = measured(ones, "all", stack=stack, channels={"x": reads(ones)})
    assert list(empty) == list(full)


def test_many_objects_show_progress_and_can_be_cancelled():
    labels = np.arange(1, 901).reshape(30, 30)
    token = CancelToken()
    steps = measure_steps(ToMeasure(labels), "all", token)
    done = [next(steps).done for _ in range(3)]
    assert done == [0, 0, 222]
    token.cancel()
    with pytest.raises(Cancelled):
        next(steps)
