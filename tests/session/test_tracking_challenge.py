"""Tracks as a folder of the Cell Tracking Challenge, and over nothing of others."""

import json

import numpy as np
import pytest
import tifffile

import napari_resunet as nru
from napari_resunet._package import sample_data_folder
from napari_resunet.cli import main
from napari_resunet.engine.metrics import links_kept
from napari_resunet.errors import FileError
from napari_resunet.session import api
from napari_resunet.session.formats import tracking_challenge
from napari_resunet.session.formats.layout import LabelsLayout
from napari_resunet.session.formats.tracking_challenge import mask_name, write_tracks
from napari_resunet.session.segmenter import Proposal, Segmenter


@pytest.fixture
def film():
    """Object 7 in all frames, 9 in frames 0 and 2, 4 in the last."""
    labels = np.zeros((3, 10, 12), np.int32)
    labels[:, :4, :4] = 7
    labels[::2, 6:9, :4] = 9
    labels[2, 6:9, 6:9] = 4
    return labels


def tracks(folder):
    lines = (folder / "res_track.txt").read_text("utf-8").splitlines()
    return [tuple(map(int, line.split(" "))) for line in lines]


def masks(folder):
    return np.stack([tifffile.imread(path) for path in sorted(folder.glob("mask*.tif"))])


def test_each_frame_is_a_mask_and_each_track_a_line(tmp_path, film):
    nru.save_labels(tmp_path / "f_ctc", film, "TYX")
    names = sorted(path.name for path in (tmp_path / "f_ctc").iterdir())
    assert names == ["mask000.tif", "mask001.tif", "mask002.tif", "res_track.txt"]
    # After its gap, 9 goes on as the child of what it was before.
    assert tracks(tmp_path / "f_ctc") == [
        (1, 0, 2, 0),
        (2, 0, 0, 0),
        (3, 2, 2, 0),
        (4, 2, 2, 2),
    ]
    found = masks(tmp_path / "f_ctc")
    assert found.dtype == np.uint16
    assert found[:, 0, 0].tolist() == [1, 1, 1]
    assert found[:, 7, 0].tolist() == [2, 0, 4]
    assert np.array_equal(found > 0, film > 0)
    assert [path.name for path in tmp_path.iterdir()] == ["f_ctc"]


def test_daughters_have_the_line_of_their_parent(tmp_path):
    labels = np.zeros((4, 12, 24), np.int32)
    labels[[0, 2], 2:10, 4:20] = 8  # missing in frame 1
    labels[3, 2:10, 4:11] = 3
    labels[3, 2:10, 13:20] = 5
    nru.save_labels(tmp_path / "f_ctc", labels, "TYX")
    assert tracks(tmp_path / "f_ctc") == [
        (1, 0, 0, 0),
        (2, 2, 2, 1),
        (3, 3, 3, 2),
        (4, 3, 3, 2),
    ]


def test_every_track_is_in_each_of_its_frames(tmp_path):
    labels = tifffile.imread(sample_data_folder() / "timeseries_labels.tif").astype(
        np.int32
    )
    nru.save_labels(tmp_path / "f_ctc", labels, "TYX")
    found = masks(tmp_path / "f_ctc")
    assert links_kept(labels, found) == (325, 325)
    for label, begin, end, _ in tracks(tmp_path / "f_ctc"):
        there = np.flatnonzero((found == label).any(axis=(1, 2)))
        assert there.tolist() == list(range(begin, end + 1))


@pytest.mark.parametrize(
    ("axes", "shape"),
    [
        ("TZYX", (3, 2, 10, 12)),
        ("ZTYX", (2, 3, 10, 12)),
        ("PTZYX", (1, 3, 2, 10, 12)),
    ],
)
def test_frames_may_be_volumes(tmp_path, film, axes, shape):
    volumes = np.stack([film, film], 1)  # TZYX
    order = [axes.replace("P", "").index(axis) for axis in "TZYX"]
    labels = volumes.transpose(np.argsort(order)).reshape(shape)
    write_tracks(tmp_path / "f_ctc", labels, LabelsLayout(axes))
    assert np.array_equal(masks(tmp_path / "f_ctc") > 0, volumes > 0)
    assert len(tracks(tmp_path / "f_ctc")) == 4


def test_long_films_have_names_that_sort():
    names = [mask_name(number, 1001) for number in range(1001)]
    assert names == sorted(names)
    assert (names[0], mask_name(0, 1000)) == ("mask0000.tif", "mask000.tif")


def test_what_is_no_film_is_refused(tmp_path, film, monkeypatch):
    with pytest.raises(FileError, match=r"has no axis of time \(T\)"):
        nru.save_labels(tmp_path / "f_ctc", film[0], "YX")
    with pytest.raises(FileError, match="has several positions"):
        nru.save_labels(tmp_path / "f_ctc", film[None].repeat(2, 0), "PTYX")
    monkeypatch.setattr(tracking_challenge, "MOST_TRACKS", 3)
    with pytest.raises(
        FileError, match="cannot hold 4 tracks, because the format ctc ends"
    ):
        nru.save_labels(tmp_path / "f_ctc", film, "TYX")
    assert not list(tmp_path.iterdir())


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path, film, monkeypatch):
    nru.save_labels(tmp_path / "f_ctc", film, "TYX")
    before = tracks(tmp_path / "f_ctc")

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(tracking_challenge, "write_text", full)
        with pytest.raises(FileError):
            nru.save_labels(tmp_path / "f_ctc", film[:2], "TYX")
    assert tracks(tmp_path / "f_ctc") == before
    nru.save_labels(tmp_path / "f_ctc", film[:1], "TYX")
    assert len(masks(tmp_path / "f_ctc")) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["f_ctc"]


@pytest.fixture
def segment(tmp_path, film, starter, monkeypatch):
    """Run the command line on a film whose bright pieces are objects."""
    from skimage.measure import label

    def propose(self, reader, targets, **named):
        for t in targets:
            bright = reader.read(t.index, *reader.window)[..., 0] > 50
            yield Proposal(t.index, t.window, t.window, label(bright), None, 1.0)

    monkeypatch.setattr(Segmenter, "propose", propose)
    monkeypatch.setattr(api, "load_model", lambda name: starter)
    image = (100 * (film > 0)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "f.tif", image, imagej=True, metadata={"axes": "TYX"})
    out = tmp_path / "out"
    return lambda *flags: main(
        ["segment", str(tmp_path / "f.tif"), "-o", str(out), "--also", "ctc", *flags]
    )


def test_the_command_line_writes_tracks_and_replaces_only_its_own(
    tmp_path, segment, capsys
):
    assert segment() == 0
    folder = tmp_path / "out" / "f_ctc"
    assert tracks(folder) == [(1, 0, 2, 0), (2, 0, 0, 0), (3, 2, 2, 2), (4, 2, 2, 0)]
    note = json.loads((tmp_path / "out" / "f_labels.json").read_text("utf-8"))
    assert list(note["other_formats_sha256"]) == ["f_ctc"]
    (folder / ".DS_Store").write_bytes(b"made by a file manager")
    assert segment() == 0
    assert segment("--skip-existing") == 0
    assert "labels are there already" in capsys.readouterr().err
    (folder / "mask001.tif").write_bytes(b"corrected by hand")
    assert segment() == 1
    assert "f_ctc' is there already" in capsys.readouterr().err
    assert (folder / "mask001.tif").read_bytes() == b"corrected by hand"
    assert segment("--overwrite") == 0
    assert masks(folder).shape == (3, 10, 12)


def test_tracks_of_what_is_no_film_are_refused_before_any_work(tmp_path, segment, capsys):
    assert segment("--stack", "separate") == 1
    assert "is not taken as a film, so it has no tracks" in capsys.readouterr().err
    assert not list((tmp_path / "out").iterdir())
