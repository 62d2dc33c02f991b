"""`measure` as users call it: every channel, any order of axes, planes and volumes."""

import dask.array
import numpy as np
import pandas as pd
import pytest

import napari_resunet as nru
from napari_resunet.errors import ArgumentError, CorrectionError, ImageError
from napari_resunet.events import Progress


@pytest.fixture
def labels():
    found = np.zeros((20, 30), np.int32)
    found[2:6, 3:13] = 1
    found[10:14, 3:8] = 5
    return found


def test_all_channels_are_measured_under_their_names(labels):
    image = np.stack([labels * 2, labels * 0 + 7])
    table = nru.measure(labels, image, axes="CYX", channel_names=["DAPI", " Act in\n"])
    assert table["label"].tolist() == [1, 5]
    assert table["mean_intensity_DAPI"].tolist() == [2, 10]
    assert table["mean_intensity_Act_in"].tolist() == [7, 7]
    numbered = nru.measure(labels, image, axes="CYX")
    assert {"mean_intensity_ch0", "mean_intensity_ch1"} <= set(numbered)
    alike = nru.measure(labels, image, axes="CYX", channel_names=["a", "a"])
    assert {"mean_intensity_a_ch0", "mean_intensity_a_ch1"} <= set(alike)
    three = nru.measure(
        labels, np.zeros((3, 20, 30)), axes="CYX", channel_names=["a", "a", "a_ch0"]
    )
    assert sum(name.startswith("mean") for name in three) == 3


def test_colours_have_names_and_more_than_three_channels_are_measured(labels):
    table = nru.measure(labels, np.ones((20, 30, 4), np.uint8))
    assert [n for n in table if n.startswith("mean")] == [
        "mean_intensity_red", "mean_intensity_green", "mean_intensity_blue",
    ]  # fmt: skip
    many = nru.measure(labels, np.ones((6, 20, 30)), axes="CYX")
    assert sum(name.startswith("mean") for name in many) == 6


def test_labels_alone_have_sizes_and_no_intensities(labels):
    table = nru.measure(labels, pixel_size=0.5)
    assert table["area_um2"].tolist() == [10, 5]
    assert not [name for name in table if "intensity" in name]
    narrow = np.zeros((20, 3), int)  # three columns are no channels here
    narrow[3:5] = 1
    stack = nru.measure(np.stack([narrow] * 4), stack="separate")
    assert stack["plane"].tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("axes", ["TCYX", "CTYX", "TYXC", "XTYC"])
def test_any_order_of_axes_and_a_lazy_image_give_the_same(labels, axes):
    stack = np.stack([labels, labels * 0, labels])
    image = np.random.default_rng(0).random((3, 2, 20, 30))
    truth = nru.measure(stack, image, axes="TCYX")
    assert truth["plane"].tolist() == [0, 0, 2, 2]
    lazy = dask.array.from_array(image, chunks=(1, 1, 20, 30))
    moved = lazy.transpose(["TCYX".index(a) for a in axes])
    places = ["TYX".index(a) for a in axes if a != "C"]
    table = nru.measure(stack.transpose(places), moved, axes=axes)
    assert list(table) == list(truth)
    for name, column in truth.items():
        assert table[name] == pytest.approx(column), name


def test_an_object_of_a_volume_is_measured_once(labels):
    stack = np.zeros((4, 2, 20, 30), np.int32)
    stack[1:3, 1] = labels
    table = nru.measure(
        stack, stack * 3.0, axes="ZTYX", stack="volume", pixel_size=0.5, z_step=2.0
    )
    assert table["label"].tolist() == [1, 5]
    assert table["volume_um3"].tolist() == [40, 20]
    assert table["plane_t"].tolist() == [1, 1]
    assert table["centroid_z_um"].tolist() == [3, 3]
    assert table["mean_intensity"].tolist() == [3, 15]
    assert table["box_z_start_px"].tolist() == [1, 1]


def test_without_the_distance_of_slices_a_volume_is_measured_in_voxels(labels):
    stack = np.stack([labels, labels])
    for known in ({"pixel_size": 0.5}, {"z_step": 2.0}):
        table = nru.measure(stack, axes="TYX", stack="volume", **known)
        assert table["volume_px"].tolist() == [80, 40]
        assert table["centroid_y_px"].tolist() == [3.5, 11.5]


def test_what_slices_are_is_guessed_as_for_segment(labels):
    stack = np.stack([labels, labels])
    assert "volume_px" in nru.measure(stack, axes="ZYX")
    assert nru.measure(stack, axes="TYX")["track"].tolist() == [1, 5, 1, 5]
    assert nru.measure(stack, axes="PYX")["plane"].tolist() == [0, 0, 1, 1]
    classes = nru.measure(stack, axes="ZYX", class_names=["background", "axon"])
    assert "area_px" in classes
    pieces = nru.measure(
        stack, axes="ZYX", class_names=["background", "axon"], stack="volume"
    )
    assert pieces["volume_px"].tolist() == [80, 40]


def test_a_film_has_a_row_for_each_frame_of_a_track(labels):
    moved = np.roll(labels, 2, axis=1)
    film = np.stack([labels, np.where(moved == 5, 0, moved)])
    table = nru.measure(film, film, axes="TYX", stack="film", pixel_size=0.5)
    assert list(table)[:3] == ["plane", "label", "track"]
    one = pd.DataFrame(table).pivot(index="plane", columns="track", values="centroid_x_um")
    assert one[1].tolist() == [3.75, 4.75]
    assert one[5].isna().tolist() == [False, True]


def test_frames_of_a_film_may_be_volumes(labels):
    film = np.stack([np.stack([labels, labels]), np.stack([labels, labels * 0])])
    table = nru.measure(film, axes="TZYX")
    assert table["volume_px"].tolist() == [80, 40, 40, 20]
    assert table["plane_t"].tolist() == [0, 0, 1, 1]
    assert table["track"].tolist() == [1, 5, 1, 5]


def test_the_verified_share_follows_the_labels_axes(labels):
    mask = np.zeros((2, 20, 30), bool)
    mask[1, :4] = True
    table = nru.measure(np.stack([labels] * 2), axes="TYX", verified=mask)
    assert table["verified"].tolist() == [0, 0, 0.5, 0]


def test_pieces_of_classes_have_the_name_of_their_class(labels):
    table = nru.measure(labels, class_names=["background", "axon"])
    assert table["class"].tolist() == ["axon", ""]  # 5 is no class of the model
    assert table["piece"].tolist() == [1, 2]


def test_progress_reaches_the_caller(labels):
    events = []
    nru.measure(labels, group="all", on_event=events.append)
    assert all(isinstance(event, Progress) for event in events)


@pytest.mark.parametrize(
    ("arguments", "kind", "words"),
    [
        ({"labels": np.zeros((4, 4))}, CorrectionError, "not whole numbers"),
        ({"labels": np.zeros((4, 4), bool)}, CorrectionError, "skimage.measure.label"),
        ({"image": np.zeros((4, 4))}, CorrectionError, "name the axes as they are"),
        ({"image": np.zeros((2, 20, 30))}, CorrectionError, "axes='CYX'"),
        ({"axes": "QQ"}, ImageError, "cannot be used"),
        ({"pixel_size": 0}, ArgumentError, "pixel_size must be a number from 1e-06"),
        ({"pixel_size": (1, 1, 1)}, ArgumentError, "or two in the order y, x, not 3"),
        ({"z_step": 0}, ArgumentError, "z_step must be a number"),
        ({"pixel_size": "1"}, ArgumentError, "pixel_size must be a number"),
        ({"group": "everything"}, ArgumentError, "'basic' or 'all'"),
        ({"group": ["all"]}, ArgumentError, "'basic' or 'all'"),
        ({"stack": True}, ArgumentError, "stack must be one of 'separate', 'volume'"),
        ({"class_names": ["b", "c"], "stack": "film"}, ArgumentError, "have no tracks"),
        ({"channel_names": "DAPI"}, ArgumentError, "must be a list of names"),
        ({"class_names": [1]}, ArgumentError, "must be a list of names"),
        ({"verified": np.zeros((3, 3))}, CorrectionError, "The mask 'verified' has"),
        ({"on_event": 3}, ArgumentError, "must be a function"),
    ],
)
def test_each_argument_is_checked(labels, arguments, kind, words):
    with pytest.raises(kind, match=words.replace("(", r"\(")):
        nru.measure(**{"labels": labels, **arguments})


def test_a_volume_needs_an_axis_of_depth():
    with pytest.raises(ImageError, match="is Z, which a volume needs"):
        nru.measure(np.zeros((2, 2, 4, 4), int), axes="PTYX", stack="volume")


def test_names_of_channels_must_be_as_many_as_channels(labels):
    with pytest.raises(ArgumentError, match="has 2 channels, but 1 names"):
        nru.measure(labels, np.zeros((2, 20, 30)), axes="CYX", channel_names=["a"])
