"""ROIs and GeoJSON from anyone: refused with a sentence or left out, nothing allocated."""

import json
import os
import struct
import zipfile

import numpy as np
import pytest
import roifile

import napari_resunet as nru
from napari_resunet.errors import FileError
from napari_resunet.session.formats import geojson, roi
from napari_resunet.session.formats.labels_file import read_outlines

SQUARE = [[1, 1], [4, 1], [4, 4], [1, 4]]


def feature(coordinates, kind="Polygon", **more):
    return {"type": "Feature", "geometry": {"type": kind, "coordinates": coordinates},
            **more}  # fmt: skip


def write(path, found):
    text = found if isinstance(found, str) else json.dumps(found)
    path.write_text(text, "utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is no GeoJSON"),
        ("[" * 200_000, "is no GeoJSON"),
        ('{"features": ' + "9" * 10_000 + "}", "is no GeoJSON"),
        ("\xff\x00", "is no GeoJSON"),
        ("{}", "holds no outlines"),
        ("null", "holds no outlines"),
        ('{"features": {"a": 1}}', "holds no outlines"),
        ('{"type": "FeatureCollection", "features": []}', "holds no outlines"),
    ],
)
def test_what_is_no_geojson_is_refused(tmp_path, text, words):
    path = tmp_path / "a.geojson"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(FileError, match=words):
        read_outlines(path)


BAD_RINGS = {
    "NaN": "[[NaN, 0], [4, 0], [4, 4]]",
    "infinite": "[[1e999, 0], [4, 0], [4, 4]]",
    "far away": "[[1e300, 0], [4, 0], [4, 4]]",
    "huge whole number": f"[[1{'0' * 400}, 0], [4, 0], [4, 4]]",
    "words": '[["a", "b"], [4, 0], [4, 4]]',
    "nothing": "[[null, 0], [4, 0], [4, 4]]",
    "two corners": "[[0, 0], [4, 4]]",
    "no corners": "[]",
    "one number each": "[[0], [4], [4]]",
    "ragged": "[[0, 0], [4], [4, 4]]",
    "nested": "[[[0, 0]], [[4, 0]], [[4, 4]]]",
    "deep": "[" * 100 + "]" * 100,
    "a mapping": '[{"x": 1}, {"x": 2}, {"x": 3}]',
}


@pytest.mark.parametrize("ring", BAD_RINGS.values(), ids=BAD_RINGS)
def test_rings_that_are_no_areas_are_left_out(tmp_path, ring):
    text = json.dumps([feature(["RING"]), feature([SQUARE])]).replace('"RING"', ring)
    found = read_outlines(write(tmp_path / "a.geojson", text), (6, 6))
    assert found.notices == ("1 of the 2 features are no areas, or damaged: left out.",)
    assert np.count_nonzero(found.labels) == 9


@pytest.mark.parametrize(
    "strange",
    [
        None, 3, "feature", [], {}, {"geometry": None}, {"geometry": {"type": "Point"}},
        feature([1.0, 2.0], "Point"), feature([SQUARE], "Circle"), feature("text"),
        feature(7, "MultiPolygon"), feature([[1]], "MultiPolygon"), feature([]),
    ],
)  # fmt: skip
def test_features_of_other_kinds_are_left_out(tmp_path, strange):
    path = write(tmp_path / "a.geojson", [strange, feature([SQUARE])])
    found = read_outlines(path, (6, 6))
    assert len(found.notices) == 1
    assert np.count_nonzero(found.labels) == 9


@pytest.mark.parametrize(
    "properties",
    [
        None, 3, {"name": 5}, {"name": "9" * 10_000}, {"classification": 3},
        {"name": "1-T1" * 10**6}, {"classification": {"name": None}},
        {"classification": {"names": [1, None]}},
        {"name": "0001-T99999999999"},
    ],
)  # fmt: skip
def test_strange_names_count_as_none(tmp_path, properties):
    path = write(tmp_path / "a.geojson", [feature([SQUARE], properties=properties)])
    assert read_outlines(path, (6, 6)).labels.max() == 1


@pytest.mark.parametrize(
    "plane", [3, {"t": -1, "z": "x"}, {"t": 1.5}, {"t": True}, {"t": None}, {"z": 10**30}]
)
def test_planes_that_are_no_numbers_count_as_none(tmp_path, plane):
    one = feature([SQUARE])
    one["geometry"]["plane"] = plane
    found = read_outlines(write(tmp_path / "a.geojson", [one]), (2, 6, 6), "ZYX")
    assert found.labels[0].any()


def test_an_image_is_not_as_large_as_a_file_says(tmp_path):
    far = (np.array(SQUARE) * 1e8).tolist()
    path = write(tmp_path / "a.geojson", [feature([far])])
    with pytest.raises(FileError, match="say what shape the image has"):
        read_outlines(path)
    deep = feature([SQUARE])
    deep["geometry"]["plane"] = {"z": 99_999_999, "t": 99_999_999}
    with pytest.raises(FileError, match="say what shape the image has"):
        read_outlines(write(tmp_path / "a.geojson", [deep]))
    assert not read_outlines(path, (6, 6)).labels[2:].all()


def test_outlines_that_would_take_hours_are_refused(tmp_path):
    zigzag = np.tile([[0, 0], [1, 3000]], (20_000, 1)).tolist()
    path = write(tmp_path / "a.geojson", [feature([zigzag])])
    with pytest.raises(FileError, match="far longer than those of objects"):
        read_outlines(path, (1000, 1000))


def test_large_outlines_over_each_other_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("napari_resunet.session.formats.outlines.HARMLESS_COST", 0)
    whole = feature([[[0, 0], [200, 0], [200, 200], [0, 200]]])
    path = write(tmp_path / "a.geojson", [whole] * 40)
    with pytest.raises(FileError, match="far longer than those of objects"):
        read_outlines(path, (200, 200))


def test_a_hundred_thousand_corners_are_read(tmp_path):
    angles = np.linspace(0, 2 * np.pi, 10**5, endpoint=False)
    circle = 50 + 40 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    path = write(tmp_path / "a.geojson", [feature([circle.tolist()])])
    labels = read_outlines(path, (100, 100)).labels
    assert np.count_nonzero(labels) == pytest.approx(np.pi * 1600, rel=0.01)


# --- ZIP


def zipped(path, *entries, **options):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in entries:
            archive.writestr(name, data)
    return path


def square_roi(**known):
    made = roifile.ImagejRoi.frompoints(SQUARE, name="0001")
    for name, value in known.items():
        setattr(made, name, value)
    return made.tobytes()


def test_a_zip_bomb_is_not_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(roi, "MAX_ROI", 2**16)
    monkeypatch.setattr(roi, "MAX_ROIS", 2**18)
    bombs = [("a.roi", bytes(2**17))], [(f"{n}.roi", bytes(2**15)) for n in range(20)]
    for number, entries in enumerate(bombs):
        path = zipped(tmp_path / f"{number}.zip", *entries)
        assert path.stat().st_size < 2**14
        with pytest.raises(FileError, match="larger than those of objects can be"):
            read_outlines(path, (6, 6))


def test_a_zip_that_lies_about_its_sizes_is_refused(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", ("a.roi", bytes(2**17)))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 2**17), struct.pack("<I", 64)))
    with pytest.raises(FileError, match="is no ZIP of ROIs, or damaged"):
        read_outlines(path, (6, 6))


@pytest.mark.parametrize("cut", [0, 10, 60, 200])
def test_a_damaged_zip_is_refused(tmp_path, cut):
    path = zipped(
        tmp_path / "a.zip", ("0001.roi", square_roi()), ("0002.roi", square_roi())
    )
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(FileError, match="is no ZIP of ROIs, or damaged"):
        read_outlines(path, (6, 6))


def test_names_in_a_zip_lead_nowhere(tmp_path):
    path = zipped(tmp_path / "a.zip", ("../../0007.roi", square_roi()), ("x.txt", b"x"))
    assert read_outlines(path, (6, 6)).labels.max() == 7
    assert os.listdir(tmp_path) == ["a.zip"]


def damaged_rois():
    good = square_roi()
    composite = bytearray(square_roi())
    composite[6] = 1  # a rectangle, and so a composite one
    composite[36:40] = struct.pack(">i", 2**30)
    many = bytearray(good)
    many[16:18] = b"\xff\xff"
    nan = roifile.ImagejRoi.frompoints(np.array(SQUARE, float), name="n")
    nan.subpixel_coordinates[0] = np.nan
    return {
        "empty": b"", "cut off": good[:70], "another file": b"PK" * 100,
        "endless composite": bytes(composite), "too many corners": bytes(many),
        "NaN": nan.tobytes(), "a text": square_roi(subtype=roifile.ROI_SUBTYPE.TEXT),
        "without area": roifile.ImagejRoi().tobytes(),
    }  # fmt: skip


@pytest.mark.parametrize("data", damaged_rois().values(), ids=damaged_rois())
def test_damaged_rois_are_left_out(tmp_path, data):
    path = zipped(tmp_path / "a.zip", ("bad.roi", data), ("0003.roi", square_roi()))
    found = read_outlines(path, (6, 6))
    assert found.notices == ("1 of the 2 ROIs are no areas, or damaged: left out.",)
    assert np.unique(found.labels).tolist() == [0, 3]


@pytest.mark.parametrize("suffix", [".zip", ".geojson", ".roi"])
def test_a_file_that_is_none_is_refused_in_a_sentence(tmp_path, suffix, monkeypatch):
    (tmp_path / f"folder{suffix}").mkdir()
    os.mkfifo(tmp_path / f"pipe{suffix}")
    for name in ("folder", "pipe", "none"):
        with pytest.raises(FileError) as told:
            nru.read_labels(tmp_path / f"{name}{suffix}")
        assert str(told.value).endswith(".")


def test_a_file_larger_than_allowed_is_not_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(geojson, "MAX_BYTES", 2**20)
    path = write(tmp_path / "a.geojson", " " * 2**21)
    with pytest.raises(FileError, match="is larger than 1 MB: save fewer objects"):
        read_outlines(path)
