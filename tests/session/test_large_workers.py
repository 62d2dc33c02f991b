"""Segmenting a large image of a viewer, and correcting parts of its labels, in jobs."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import tifffile
import zarr
from label_stores import write_store
from stores import change, make_store

from napari_resunet.corrections.training_set import Correction
from napari_resunet.engine.device import choose
from napari_resunet.engine.predict import Predictor
from napari_resunet.errors import Cancelled, FileError, ImageError
from napari_resunet.events import CancelToken, Notice, Progress, drain
from napari_resunet.session import segmenter
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.layer_file import channels_in_file
from napari_resunet.session.large.place import place_for_labels
from napari_resunet.session.large.surroundings import open_around
from napari_resunet.session.large.workers import (
    PartRequest,
    WholeRequest,
    WriteRequest,
    read_part,
    segment_whole,
    write_part,
)
from napari_resunet.session.segmenter import Proposal, decode_again, part_of
from napari_resunet.session.workers import (
    CorrectedImage,
    ImageSnapshot,
    SegmentRequest,
    Workers,
)
from napari_resunet.types import Decoding, ObjectSize, RemoteServer, Target

SCALE = 0.8
SIZE = ObjectSize(24 / SCALE)


@pytest.fixture
def source(tmp_path, image, small_blocks):
    tifffile.imwrite(tmp_path / "big.tif", image)
    return tmp_path / "big.tif"


def snapshot(array, axes="YX", channels=None, partners=()):
    return ImageSnapshot("a", (array,), axes, channels, partners)


@pytest.fixture
def request_(source, starter, image):
    return WholeRequest(
        starter,
        "cpu",
        source,
        place_for_labels(source, source.parent),
        snapshot(image),
        SCALE,
        Decoding(),
    )


def test_a_whole_image_is_segmented_into_a_store(request_, whole):
    events = []
    ready = drain(segment_whole(Workers(), request_, CancelToken()), events.append)
    assert ready.folder.name == "big_labels.ome.zarr"
    np.testing.assert_array_equal(ready.levels[0][...], whole)
    assert ready.note.run.scale == SCALE
    assert ready.note.n_objects == whole.max()
    progress = [e for e in events if isinstance(e, Progress) and e.total]
    assert progress[-1].done == progress[-1].total


def test_a_cancelled_run_goes_on_where_it_was(request_, whole, monkeypatch):
    token, save = CancelToken(), BlockFiles.save

    def save_and_cancel(files, block, found):
        save(files, block, found)
        if block.name == "0-0-2":
            token.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(BlockFiles, "save", save_and_cancel)
        with pytest.raises(Cancelled):
            drain(segment_whole(Workers(), request_, token))
    events = []
    ready = drain(segment_whole(Workers(), request_, CancelToken()), events.append)
    said = {event.message for event in events}
    assert "block 3 of 6" not in said
    assert {"block 4 of 6", "block 6 of 6"} <= said
    np.testing.assert_array_equal(ready.levels[0][...], whole)


def test_a_job_that_is_closed_ends_its_thread(request_):
    token = CancelToken()
    steps = segment_whole(Workers(), request_, token)
    while "block" not in next(steps).message:
        pass
    steps.close()
    assert token.cancelled
    assert not request_.target.exists()


def test_labels_go_beside_the_image_or_elsewhere(source, monkeypatch, tmp_path):
    other = tmp_path / "session"
    assert place_for_labels(source, other) == tmp_path / "big_labels.ome.zarr"
    zarr_source = tmp_path / "plate.OME.zarr"
    assert place_for_labels(zarr_source, other).name == "plate_labels.ome.zarr"
    zarr.create_group(tmp_path / "big_labels.ome.zarr")  # of another program
    assert place_for_labels(source, other).name == "big_labels_2.ome.zarr"
    monkeypatch.setattr("os.access", lambda *_: False)
    assert place_for_labels(source, other) == other / "big_labels.ome.zarr"


def test_the_channel_of_a_layer_is_found_in_its_file(tmp_path, image):
    channels = np.stack([image, image.max() - image])
    store = make_store(tmp_path / "two.ome.zarr", [channels], axes="cyx")
    assert channels_in_file(store, snapshot(channels[1])) == (1,)
    assert channels_in_file(store, snapshot(channels, "CYX", (1,))) == (1,)
    assert channels_in_file(store, snapshot(channels, "CYX", ((0, 1),))) == ((0, 1),)


def test_a_layer_of_other_pixels_than_its_file_is_refused(source, image):
    changed = image.copy()
    changed[100:110, 120:140] = 0
    for array in (changed, image[:-1], np.stack([image, image])):
        with pytest.raises(ImageError, match="save the layer as a file"):
            channels_in_file(source, snapshot(array, "ZYX"[-array.ndim :]))
    with pytest.raises(ImageError, match="cannot be combined"):
        channels_in_file(source, snapshot(image, partners=("b",)))


WINDOW = slice(60, 160), slice(70, 200)
WHOLE_PART = slice(0, 100), slice(0, 130)


@pytest.fixture
def ready(request_):
    return drain(segment_whole(Workers(), request_, CancelToken()))


def read(ready, window=WINDOW):
    return drain(read_part(PartRequest(ready.folder, (), window), CancelToken()))


def test_a_part_has_the_pixels_and_labels_of_its_place(ready, image, whole):
    part = read(ready)
    np.testing.assert_array_equal(part.pixels, image[WINDOW])
    np.testing.assert_array_equal(part.labels, whole[WINDOW])
    assert part.axes == "YX"
    assert part.scale == SCALE
    assert part.record.window == WINDOW
    assert part.record.statistics == ready.note.run.statistics
    assert part.review.proposed.all()
    assert not part.review.protected.any()


def propose(part, starter, pixels=None, channels=None, device="cpu"):
    """Segment a part as the dock does; return the proposal and what was said."""
    image = replace(
        snapshot(part.pixels if pixels is None else pixels, part.axes, channels),
        statistics=part.record.statistics,
        around=partial(open_around, part.record),
    )
    target = Target((), WHOLE_PART)
    request = SegmentRequest(starter, device, image, (target,), part.scale, Decoding())
    events = []
    drain(Workers().segment(request, CancelToken()), events.append)
    (proposal,) = (event for event in events if isinstance(event, Proposal))
    return proposal, [event.message for event in events if isinstance(event, Notice)]


def assert_same_objects(labels, others):
    """Compare pixel for pixel, whatever numbers the objects have."""
    assert labels.max() > 3
    np.testing.assert_array_equal(labels > 0, others > 0)
    pairs = np.unique(np.stack([labels.ravel(), others.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(labels)) == len(np.unique(others))


def test_segment_in_a_part_finds_what_the_whole_image_has(ready, starter, whole):
    """All pixels are the same, also at the edge of the part, and after a slider moved."""
    part = read(ready)
    proposal, said = propose(part, starter)
    assert said == []
    assert_same_objects(proposal.labels, whole[WINDOW])
    assert_same_objects(
        decode_again([proposal], Decoding(), CancelToken())[0].labels, whole[WINDOW]
    )
    seen = part_of(proposal, Target((), (slice(20, 60), slice(30, 90))))
    rows, columns = (
        slice(s.start + o.start, s.stop + o.start)
        for s, o in zip(seen.padded_roi, WINDOW, strict=True)
    )
    assert_same_objects(
        decode_again([seen], Decoding(), CancelToken())[0].labels, whole[rows, columns]
    )


def test_the_pixels_of_a_part_are_those_of_its_layer(ready, starter):
    part = read(ready)
    proposal, _ = propose(part, starter, np.zeros_like(part.pixels))
    assert not proposal.labels[20:80, 20:110].any()


def test_a_part_is_segmented_alone_if_its_image_is_gone(ready, starter, source):
    part = read(ready)
    source.unlink()
    proposal, said = propose(part, starter)
    assert proposal.labels.max() > 3
    assert "Nothing beyond the edge of this part is seen." in said[0]
    assert "is not there: put it back" in said[0]


def test_a_server_segments_a_part_alone(ready, starter, monkeypatch):
    monkeypatch.setattr(segmenter, "predictor_on", lambda m, d: Predictor(m, choose("cpu")))
    server = RemoteServer("http://127.0.0.1:8787", "key")
    proposal, said = propose(read(ready), starter, device=server)
    assert proposal.labels.max() > 3
    assert said == [
        "Nothing beyond the edge of this part is seen: a server segments it alone."
    ]


def test_what_was_corrected_is_written_back_and_learned_from(ready, starter, whole):
    part = read(ready)
    labels = part.labels.copy()
    gone = labels[50, 60] or labels[labels > 0][0]
    labels[labels == gone] = 0
    correction = Correction("a", (), WHOLE_PART, labels, labels > 0, labels > 0)
    corrected = CorrectedImage(
        snapshot(part.pixels), (correction,), part.scale, auto_scale=False
    )
    workers = Workers()
    request = WriteRequest(starter, "cpu", part.record, labels, corrected)
    after = drain(write_part(workers, request, CancelToken()))
    found = after.levels[0][...]
    np.testing.assert_array_equal(found[WINDOW], labels)
    outside = np.ones(whole.shape, bool)
    outside[WINDOW] = False
    np.testing.assert_array_equal(found[outside], whole[outside])
    assert workers.corrections.n_images == 1


def test_a_part_of_earlier_labels_is_not_written_into_new_ones(ready, starter, whole):
    part = read(ready)
    note = ready.folder / "zarr.json", "attributes", "napari-resunet"
    change(*note, "created", to="2031-01-01T00:00:00+00:00")
    request = WriteRequest(starter, "cpu", part.record, np.zeros_like(part.labels))
    with pytest.raises(FileError, match="were made anew"):
        drain(write_part(Workers(), request, CancelToken()))
    np.testing.assert_array_equal(ready.levels[0][...], whole)


@pytest.mark.parametrize("place", ["gone", "//host/share"])
def test_labels_that_are_gone_are_said_and_no_network_is_asked(ready, starter, place):
    part = read(ready)
    elsewhere = str(ready.folder) + place if place == "gone" else place
    record = part.record.model_copy(update={"store": elsewhere})
    request = WriteRequest(starter, "cpu", record, part.labels)
    with pytest.raises(FileError, match="put them back"):
        drain(write_part(Workers(), request, CancelToken()))


def test_channels_and_colours_of_a_part_stay(tmp_path, image, whole):
    three = np.stack([image, image, image[::-1]])
    store = make_store(tmp_path / "three.ome.zarr", [three], axes="cyx")
    tifffile.imwrite(tmp_path / "rgb.tif", np.moveaxis(three, 0, -1), photometric="rgb")
    for source, channels, axes in (
        (store, [0, 2], "CYX"),
        (tmp_path / "rgb.tif", None, "YXS"),
    ):
        folder = tmp_path / f"{axes}.ome.zarr"
        write_store(folder, whole, source=source, channels=channels)
        part = drain(read_part(PartRequest(folder, (), WINDOW), CancelToken()))
        assert part.axes == axes
        first = part.pixels[0] if axes == "CYX" else part.pixels[..., 0]
        np.testing.assert_array_equal(first, image[WINDOW])


def test_an_image_that_is_gone_or_another_is_said(ready, source, image):
    tifffile.imwrite(source, image[:-10])
    with pytest.raises(ImageError, match="segment it again"):
        read(ready)
    source.unlink()
    with pytest.raises(FileError, match="is not there"):
        read(ready)
