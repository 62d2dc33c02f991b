"""Labels in the formats of other programs, read by the library of each format, and back."""

import json
import uuid
import warnings
import zipfile

import numpy as np
import pytest
import roifile
import tifffile

import napari_resunet as nru
from napari_resunet._package import sample_data_folder
from napari_resunet.errors import ArgumentError, CorrectionError, FileError
from napari_resunet.files import read_image, read_stored
from napari_resunet.session.formats.geojson import VERIFIED, write_geojson
from napari_resunet.session.formats.layout import LabelsLayout, layout_of
from napari_resunet.session.formats.ome_tiff import CLASSES, write_ome_tiff

CLASS_NAMES = ("background", "axon", "my/elin & more")
SUFFIXES = [".zip", ".geojson"]


@pytest.fixture(scope="module")
def film():
    return read_image(sample_data_folder() / "timeseries_labels.tif").astype(np.int32)


def classes():
    return np.random.default_rng(0).integers(0, 3, (2, 9, 11)).astype(np.int32)


def features(path):
    collection = json.loads(path.read_text("utf-8"))
    assert collection["type"] == "FeatureCollection"
    return collection["features"]


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", ["nuclei", "cells_phase"])
def test_every_object_of_a_sample_comes_back_equal(tmp_path, suffix, name):
    labels = read_image(sample_data_folder() / f"{name}_labels.tif")
    path = tmp_path / f"a{suffix}"
    nru.save_labels(path, labels)
    np.testing.assert_array_equal(nru.read_labels(path, labels.shape), labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("axes", ["TYX", "ZYX", "PYX", "TZYX", "ZTYX", "PTZYX"])
def test_stacks_come_back_equal(tmp_path, film, suffix, axes):
    planes = film[:, :64, :64]
    n_more = len(axes) - 3
    labels = np.stack([planes, planes[::-1]]) if n_more else planes
    labels = labels[None] if n_more == 2 else labels
    nru.save_labels(tmp_path / f"a{suffix}", labels, axes)
    back = nru.read_labels(tmp_path / f"a{suffix}", labels.shape, axes)
    np.testing.assert_array_equal(back, labels)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_without_an_image_labels_are_as_large_as_the_outlines_reach(tmp_path, suffix):
    labels = np.zeros((3, 20, 30), np.int32)
    labels[1, 2:5, 3:9] = 7
    nru.save_labels(tmp_path / f"a{suffix}", labels, "TYX")
    back = nru.read_labels(tmp_path / f"a{suffix}")
    assert back.shape == (2, 5, 9)
    np.testing.assert_array_equal(back, labels[:2, :5, :9])


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_classes_come_back_equal_by_their_names(tmp_path, suffix):
    nru.save_labels(tmp_path / f"a{suffix}", classes(), "TYX", class_names=CLASS_NAMES)
    back = nru.read_labels(
        tmp_path / f"a{suffix}", (2, 9, 11), "TYX", class_names=CLASS_NAMES
    )
    np.testing.assert_array_equal(back, classes())


def test_the_sides_of_an_object_may_lie_in_any_row_of_a_plane(tmp_path):
    labels = np.zeros((2, 70_000), np.int32)
    labels[:, 69_990:69_995] = 3  # beyond what ImageJ stores as whole numbers
    nru.save_labels(tmp_path / "a.zip", labels)
    np.testing.assert_array_equal(nru.read_labels(tmp_path / "a.zip", labels.shape), labels)


# --- ImageJ


def test_rois_are_named_by_numbers_and_know_their_slices(tmp_path, film):
    nru.save_labels(tmp_path / "a.zip", film, "TYX")
    rois = roifile.roiread(tmp_path / "a.zip")
    third = [roi for roi in rois if roi.position == 3]
    numbers = [n for n in np.unique(film[2]) if n]
    assert [roi.name for roi in third] == [f"{n:04d}-T3" for n in numbers]
    # Where these are set, ImageJ does not show the ROI in its frame of a plain film.
    assert {(r.c_position, r.z_position, r.t_position) for r in rois} == {(0, 0, 0)}


def test_rois_of_two_stack_axes_have_both_positions(tmp_path):
    labels = np.zeros((2, 3, 4, 4), int)
    labels[1, 2, 1:3, 1:3] = 5
    nru.save_labels(tmp_path / "a.zip", labels)
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert (roi.t_position, roi.z_position, roi.position) == (2, 3, 0)


def test_holes_and_pieces_are_one_composite_roi(tmp_path):
    labels = np.zeros((9, 9), int)
    labels[1:5, 1:5], labels[2:4, 2:4], labels[6:8, 6:8] = 4, 0, 4
    nru.save_labels(tmp_path / "a.zip", labels)
    (roi,) = roifile.roiread(tmp_path / "a.zip")
    assert roi.name == "0004"
    assert roi.composite
    assert (roi.left, roi.top, roi.right, roi.bottom) == (1, 1, 8, 8)
    assert len(roi.coordinates(multi=True)) == 3


def test_pieces_of_classes_are_rois_in_groups(tmp_path):
    nru.save_labels(tmp_path / "a.zip", classes()[0], class_names=CLASS_NAMES)
    rois = roifile.roiread(tmp_path / "a.zip")
    axons = [roi for roi in rois if roi.group == 1]
    assert axons[0].name == "axon-0001"
    assert {roi.group for roi in rois} == {1, 2}
    assert not any("/" in roi.name for roi in rois)
    assert len({roi.name for roi in rois}) == len(rois)


def roi_of(points, **known):
    roi = roifile.ImagejRoi.frompoints(points)
    for name, value in known.items():
        setattr(roi, name, value)
    return roi


SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


def zipped(path, rois):
    with zipfile.ZipFile(path, "w") as archive:
        for number, roi in enumerate(rois):
            name = roi.name if isinstance(roi, roifile.ImagejRoi) else "x"
            data = roi.tobytes() if isinstance(roi, roifile.ImagejRoi) else roi
            archive.writestr(f"{number}/{name}.roi", data)


def test_corrections_of_fiji_keep_old_numbers_and_get_new_ones(tmp_path):
    drawn = roi_of(np.array(SQUARE, float) + 5, name="0007-0123")
    oval = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.OVAL, top=0, left=10, bottom=6, right=18, name="new"
    )
    box = roifile.ImagejRoi(
        roitype=roifile.ROI_TYPE.RECT, top=10, left=0, bottom=12, right=3, name="box"
    )
    zipped(tmp_path / "a.zip", [roi_of(SQUARE, name="0012"), drawn, oval, box])
    labels = nru.read_labels(tmp_path / "a.zip", (12, 20))
    assert np.unique(labels).tolist() == [0, 12, 13, 14, 15]
    assert (labels[1:4, 1:4] == 12).all()
    assert (labels[6:9, 6:9] == 13).all()
    rows, columns = np.indices(labels.shape) + 0.5
    inside = ((rows - 3) / 3) ** 2 + ((columns - 14) / 4) ** 2 <= 1
    np.testing.assert_array_equal(labels == 14, inside)
    assert (labels[10:12, :3] == 15).all()


def test_lines_points_and_damage_are_left_out_with_a_word(tmp_path):
    line = roifile.ImagejRoi(roitype=roifile.ROI_TYPE.LINE, x2=5.0, y2=5.0, name="l")
    curve = roi_of(SQUARE, name="c")
    curve.roitype, curve.integer_coordinates = roifile.ROI_TYPE.RECT, None
    curve.multi_coordinates = np.array([0, 1, 1, 3, 1, 2, 3, 4, 5, 6, 4], np.float32)
    curve.shape_roi_size = 11
    zipped(tmp_path / "a.zip", [roi_of(SQUARE, name="0001"), line, curve, b"Iout damaged"])
    with pytest.warns(UserWarning, match="3 of the 4 ROIs are no areas, or damaged"):
        labels = nru.read_labels(tmp_path / "a.zip", (5, 5))
    assert np.count_nonzero(labels) == 9


def test_a_position_without_axes_counts_slices(tmp_path):
    zipped(tmp_path / "a.zip", [roi_of(SQUARE, name="0003", position=5)])
    labels = nru.read_labels(tmp_path / "a.zip", (2, 3, 6, 6), "TZYX")
    assert np.argwhere(labels.any(axis=(2, 3))).tolist() == [[1, 1]]
    assert nru.read_labels(tmp_path / "a.zip", (6, 6, 6), "TYX")[4].any()
    assert nru.read_labels(tmp_path / "a.zip").shape == (5, 4, 4)


def test_a_roi_that_was_moved_to_another_slice_is_there(tmp_path):
    moved = roi_of(SQUARE, name="0003-T1", position=2)
    zipped(tmp_path / "a.zip", [moved, roi_of(SQUARE, name="0004-T1-Z1", t_position=3)])
    labels = nru.read_labels(tmp_path / "a.zip", (3, 2, 6, 6), "TZYX")
    assert [np.unique(plane).tolist() for plane in labels[:, 0]] == [[0], [0, 3], [0, 4]]
    assert not labels[:, 1].any()


def test_a_single_roi_file_is_read(tmp_path):
    (tmp_path / "0009.roi").write_bytes(roi_of(SQUARE, name="0009").tobytes())
    assert nru.read_labels(tmp_path / "0009.roi", (5, 5)).max() == 9


# --- QuPath


def test_features_are_what_qupath_imports(tmp_path, film):
    values = {1: {"Area": 12.5, "Mean": np.float32(2), "Solidity": float("nan")}}
    nru.save_labels(tmp_path / "a.geojson", film, "TYX", measurements=values)
    found = features(tmp_path / "a.geojson")
    assert len({uuid.UUID(feature["id"]) for feature in found}) == len(found)
    assert {feature["properties"]["objectType"] for feature in found} == {"detection"}
    assert {f["geometry"]["plane"]["t"] for f in found} == set(range(len(film)))
    assert {f["geometry"]["plane"]["c"] for f in found} == {-1}
    first = found[0]["properties"]
    assert first["name"] == "0001-T1"
    assert first["measurements"] == {"Area": 12.5, "Mean": 2.0}
    for feature in found:
        for outer, *_ in [feature["geometry"]["coordinates"]]:
            assert outer[0] == outer[-1]


def test_an_object_in_pieces_is_a_multipolygon_and_a_plane_is_only_in_stacks(tmp_path):
    labels = np.array([[1, 0, 1], [2, 2, 2]])
    nru.save_labels(tmp_path / "a.geojson", labels)
    one, two = features(tmp_path / "a.geojson")
    assert one["geometry"] == {
        "type": "MultiPolygon",
        "coordinates": [
            [[[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]]],
            [[[2, 0], [3, 0], [3, 1], [2, 1], [2, 0]]],
        ],
    }
    assert two["geometry"]["type"] == "Polygon"


def test_classes_are_classifications_and_verified_areas_annotations(tmp_path):
    verified = np.zeros((2, 9, 11), bool)
    verified[1, 2:6, 3:8] = True
    layout = LabelsLayout("TYX", class_names=CLASS_NAMES)
    write_geojson(tmp_path / "a.geojson", classes(), layout, verified=verified)
    area, *others = features(tmp_path / "a.geojson")
    assert area["properties"] == {"objectType": "annotation", "name": VERIFIED}
    assert area["geometry"]["plane"]["t"] == 1
    kinds = {f["properties"]["classification"]["name"] for f in others}
    assert kinds == set(CLASS_NAMES[1:])
    assert all(len(f["properties"]["classification"]["color"]) == 3 for f in others)
    back = nru.read_labels(
        tmp_path / "a.geojson", (2, 9, 11), "TYX", class_names=CLASS_NAMES
    )
    np.testing.assert_array_equal(back, classes())


def polygon(*rings, name=None, **properties):
    known = {"name": name, **properties} if name else properties
    geometry = {"type": "Polygon", "coordinates": [*rings]}
    return {"type": "Feature", "geometry": geometry, "properties": known}


def write_features(path, *found):
    path.write_text(json.dumps(list(found)), "utf-8")  # QuPath may write a bare list


def test_corrections_of_qupath_get_free_numbers(tmp_path):
    drawn = polygon([[5.2, 5.1], [8.9, 5.3], [9.1, 8.8], [5.0, 9.0], [5.2, 5.1]])
    write_features(tmp_path / "a.geojson", polygon(SQUARE, name="0004"), drawn)
    labels = nru.read_labels(tmp_path / "a.geojson", (12, 12))
    assert (labels[1:4, 1:4] == 4).all()
    assert (labels[5:9, 5:9] == 5).all()
    assert np.count_nonzero(labels) == 9 + 16


def test_an_annotation_around_several_objects_is_none(tmp_path):
    tissue = polygon([[0, 0], [12, 0], [12, 12], [0, 12]], objectType="annotation")
    one = polygon(SQUARE, name="0004", objectType="detection")
    other = polygon(np.add(SQUARE, 5).tolist(), name="0005", objectType="detection")
    drawn = polygon([[8, 0], [11, 0], [11, 3], [8, 3]], objectType="annotation")
    write_features(tmp_path / "a.geojson", one, tissue, other, drawn)
    with pytest.warns(UserWarning, match="1 of the 4 outlines hold several others"):
        labels = nru.read_labels(tmp_path / "a.geojson", (12, 12))
    assert np.unique(labels).tolist() == [0, 4, 5, 6]
    assert (labels[:3, 8:11] == 6).all()


def test_what_overlaps_reaches_out_or_names_no_slice_is_told(tmp_path):
    far = [[50, 50], [60, 50], [60, 60]]
    found = [polygon(SQUARE), polygon(np.add(SQUARE, 2).tolist()), polygon(far)]
    found += [polygon([[8, 8], [20, 8], [20, 20], [8, 20]])]
    write_features(tmp_path / "a.geojson", *found)
    told = []
    labels = nru.read_labels(
        tmp_path / "a.geojson", (2, 10, 10), on_event=lambda e: told.append(e.message)
    )
    assert told == [
        "1 of the 4 outlines reach out of the image: they were cut off at its edge.",
        "1 of the 4 outlines lie outside of the image: they were left out.",
        "4 of the 4 outlines name no slice: they were drawn into the first one.",
        "1 of the 4 outlines overlap others: each covers those before it in the file.",
    ]
    assert labels[0, 3, 3] == 2
    assert (labels[0, 8:, 8:] == 4).all()
    assert not labels[1].any()


def test_a_class_of_another_model_is_left_out_with_a_word(tmp_path):
    known = polygon(SQUARE, classification={"name": "axon"})
    other = polygon(np.add(SQUARE, 4).tolist(), classification="Tumor")
    write_features(tmp_path / "a.geojson", known, other)
    with pytest.warns(UserWarning, match="1 of the 2 outlines are of none of the classes"):
        labels = nru.read_labels(
            tmp_path / "a.geojson", (9, 9), class_names=("background", "axon")
        )
    assert np.unique(labels).tolist() == [0, 1]


# --- OME-TIFF


STEPS = {"X": 0.5, "Y": 0.25, "Z": 2.0, "T": 30.0}


@pytest.mark.parametrize(
    ("axes", "shape"),
    [("YX", (20, 30)), ("TYX", (3, 20, 30)), ("ZYX", (4, 20, 30)), ("ZTYX", (2, 3, 20, 30)),
     ("PTZYX", (2, 3, 4, 20, 30))],
)  # fmt: skip
def test_an_ome_tiff_states_axes_and_steps(tmp_path, axes, shape):
    labels = np.random.default_rng(0).integers(0, 70_000, shape, np.int32)
    write_ome_tiff(tmp_path / "a.tif", labels, LabelsLayout(axes, STEPS))
    stored = read_stored(tmp_path / "a.tif")
    assert stored.axes == axes
    np.testing.assert_array_equal(stored.array, labels)
    assert stored.steps == STEPS
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        assert tiff.is_ome
        assert tiff.series[0].axes == axes.replace("P", "")
        page = tiff.pages.first
        assert (page.compression.name, page.predictor) == ("ADOBE_DEFLATE", 1)
        assert page.photometric == tifffile.PHOTOMETRIC.MINISBLACK
        assert page.get_resolution("MICROMETER") == (2.0, 4.0)


def test_columns_come_last_in_an_ome_tiff(tmp_path):
    labels = np.arange(2 * 5 * 7).reshape(7, 5, 2)
    write_ome_tiff(tmp_path / "a.tif", labels, LabelsLayout("YXZ"))
    assert read_stored(tmp_path / "a.tif").axes == "ZYX"
    np.testing.assert_array_equal(
        tifffile.imread(tmp_path / "a.tif").T, labels.swapaxes(0, 1)
    )


def test_an_ome_tiff_names_classes_and_no_pixel_size_that_is_not_known(tmp_path):
    names = ("background", "my <elin> & µ")
    layout = LabelsLayout("YX", class_names=names, name="nerve")
    write_ome_tiff(tmp_path / "a.tif", np.eye(9, dtype=int), layout)
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        stated = tifffile.xml2dict(tiff.ome_metadata)["OME"]
        assert not tiff.pages.first.get_resolution(None)[0] > 1
    note = stated["StructuredAnnotations"]["MapAnnotation"]
    assert note["Namespace"] == CLASSES
    assert [item["value"] for item in note["Value"]["M"]] == list(names)
    assert stated["Image"]["Name"] == "nerve"
    assert "PhysicalSizeX" not in stated["Image"]["Pixels"]


@pytest.mark.parametrize(
    ("most", "kind"), [(9, "uint16"), (70_000, "uint32"), (-1, "int32")]
)
def test_an_ome_tiff_has_the_smallest_numbers_that_are_enough(tmp_path, most, kind):
    labels = np.array([[0, most]])
    nru.save_labels(tmp_path / "a.tif", labels)
    stored = tifffile.imread(tmp_path / "a.tif")
    assert stored.dtype == kind
    np.testing.assert_array_equal(stored, labels)


def test_an_ome_tiff_refuses_numbers_that_it_cannot_hold(tmp_path):
    with pytest.raises(FileError, match="number the objects from 1"):
        nru.save_labels(tmp_path / "a.tif", np.array([[0, 2**40]]))
    assert not list(tmp_path.iterdir())


# --- what axes mean


@pytest.mark.parametrize(
    ("arguments", "axes", "steps"),
    [
        (("ZYX", ("t", "y", "x"), (2, 0.5, 0.5), ("minute", "um", "nm")),
         "TYX", {"T": 120.0, "Y": 0.5, "X": 0.0005}),
        (("ZYX", ("depth", "row", "column"), (1, 1, 1), ("pixel",) * 3), "ZYX", {}),
        (("ZYX", ("axis -3", "axis -2", "axis -1")), "ZYX", {}),
        (("TZYX", ("z", "t", "y", "x"), (1, 3, -2, 1), ("µm", "s", "micrometer", "pixel")),
         "ZTYX", {"Z": 1.0, "T": 3.0, "Y": 2.0}),
        (("TZYX", ("t", "t", "y", "x")), "TZYX", {}),
    ],
)  # fmt: skip
def test_a_layer_tells_what_its_axes_mean(arguments, axes, steps):
    layout = layout_of(*arguments)
    assert (layout.axes, layout.steps) == (axes, steps)


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (lambda p: nru.save_labels(p / "a.png", np.eye(3, dtype=int)), FileError),
        (lambda p: nru.save_labels(p / "a.tif", np.eye(3)), CorrectionError),
        (lambda p: nru.save_labels(p / "a.tif", np.zeros(3, int)), FileError),
        (lambda p: nru.save_labels(p / "a.tif", np.zeros((0, 3), int)), FileError),
        (lambda p: nru.save_labels(p / "a.tif", np.eye(3, dtype=int), "YZ"), ArgumentError),
        (lambda p: nru.save_labels(p / "a.tif", np.eye(3, dtype=int), z_step=0),
         ArgumentError),
        (lambda p: nru.save_labels(p / "a.tif", np.eye(3, dtype=int), measurements={1: 2}),
         ArgumentError),
        (lambda p: nru.read_labels(3), ArgumentError),
        (lambda p: nru.read_labels(p / "a.zip", (0, 4)), ArgumentError),
        (lambda p: nru.read_labels(p / "a.zip", (2**31 - 1,) * 3), ArgumentError),
        (lambda p: nru.read_labels(p / "a.zip", class_names="ab"), ArgumentError),
        (lambda p: nru.read_labels(p / "a.tif"), FileError),
        (lambda p: nru.read_labels(p / "a.zip"), FileError),
    ],
)  # fmt: skip
def test_wrong_arguments_are_refused_in_a_sentence(tmp_path, call, kind):
    with warnings.catch_warnings(), pytest.raises(kind) as told:
        call(tmp_path)
    assert str(told.value).endswith((".", "…"))
