"""Going through a list of images: only one is open, and the labels of all are safe."""

from __future__ import annotations

import csv
import json
from types import SimpleNamespace
from unittest.mock import call

import numpy as np
import pandas as pd
import pytest
import tifffile
from harness import Headless
from napari.layers import Image, Labels

from napari_resunet._package import STARTER
from napari_resunet.corrections.training_set import CorrectionLog
from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.engine.changes import Changes, Elsewhere, ImageChanges
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.errors import ImageError
from napari_resunet.events import CancelToken, Progress, drain
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.messages import NO_TRACKS
from napari_resunet.session.segmenter import Proposal
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.types import ModelInfo

SHAPES = (40, 50), (64, 30), (3, 20, 24)


class FakeWorkers:
    """Records what was verified, and what is learned from."""

    def __init__(self):
        self.recorded, self.requests = [], []
        self.corrections = CorrectionLog()

    def record(self, request, token):
        self.recorded.append(request.corrected)
        for correction in request.corrected.corrections:
            self.corrections.restore(correction, None)
        yield from ()

    def fine_tune(self, request, token):
        self.requests.append(request)
        yield "begun"


class Bench(Headless):
    def __init__(self, folder):
        super().__init__(FakeWorkers())
        self.app.queue_layers._workers = self.workers
        self.viewer.layers.clear()
        self.folder = folder
        self.now = 0.0
        self.app.queue._clock = lambda: self.now
        self.app.queue._last = 0.0

    def run_all(self):
        """Let every job but the long one run to its end; let napari remove layers."""
        for _ in range(50):
            waiting = [r for r in (self.app.adds, self.app.opens, self.app.records)
                       if r.current is not None]  # fmt: skip
            if not waiting:
                self.app.queue_layers.remove_left()
                return
            for runner in waiting:
                runner._running.step()

    def add(self, paths, **options):
        self.view.queue.paths_chosen.emit(paths, *options.values())
        self.run_all()

    def go(self, number):
        self.view.queue.item_chosen.emit(self.items[number].key)
        self.run_all()

    def done(self):
        self.view.correct.done_clicked.emit()
        self.run_all()

    @property
    def items(self):
        return self.state.queue.items

    @property
    def states(self):
        return [item.state for item in self.items]

    @property
    def shown(self):
        """The names of the images and labels in the viewer."""
        kinds = (Image, Labels)
        return [layer.name for layer in self.viewer.layers if isinstance(layer, kinds)]

    @property
    def open_name(self):
        return self.app.layers.image(self.state.image_key).name

    def paint(self, value=7, where=(slice(5, 15), slice(5, 15))):
        """Draw an object on the open image, as a stroke does."""
        image = self.app.layers.image(self.state.image_key)
        layer = self.app.layers.make_binding(image).layer
        place = np.zeros(layer.data.shape, bool)
        place[(..., *where)] = True
        layer.data_setitem(np.nonzero(place), value)
        return layer.data.copy()

    def session(self):
        """Close the dock and open its session as another program would."""
        assert self.app.autosave.flush(60)
        root = self.app.autosave.folder.root
        self.app.shut_down()
        return SessionFolder.open(root)


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "plate"
    folder.mkdir()
    for number, shape in enumerate(SHAPES):
        pixels = rng.integers(0, 255, shape, np.uint8)
        tifffile.imwrite(folder / f"t{9 + number}.tif", pixels, photometric="minisblack")
    return folder


@pytest.fixture
def bench(files):
    bench = Bench(files)
    yield bench
    bench.app.shut_down()


@pytest.fixture
def plate(bench):
    bench.add([bench.folder])
    return bench


# The list ------------------------------------------------------------------------------


def test_a_folder_is_added_in_natural_order_and_its_first_image_opens(plate):
    assert [item.name for item in plate.items] == ["t9", "t10", "t11"]
    assert plate.shown == ["t9"]
    assert plate.states == ["new", "new", "new"]
    assert plate.view.queue.set_position.call_args.args == (1, 3)
    assert plate.message == "3 images added."


def test_files_are_added_once(plate):
    plate.add([plate.folder / "t9.tif"])
    assert len(plate.items) == 3
    assert plate.message == "1 image in the list already."


def test_a_pattern_and_what_is_not_found_are_said(bench):
    bench.add([bench.folder], pattern="t1*", recursive=False)
    assert [item.name for item in bench.items] == ["t10", "t11"]
    bench.add([bench.folder], pattern="z*", recursive=False)
    assert "'z*'" in bench.message


def test_images_opened_in_the_viewer_are_in_the_list_and_stay(plate):
    plate.viewer.add_image(np.ones((9, 9)), name="mine")
    assert [item.name for item in plate.items][-1] == "mine"
    plate.go(1)
    assert sorted(plate.shown) == ["mine", "t10"]
    plate.go(3)
    assert plate.open_name == "mine"
    assert plate.shown == ["mine"]
    plate.view.queue.remove_clicked.emit([plate.items[3].key])
    assert plate.message == "'mine' was opened in napari: remove its layer there."
    plate.viewer.layers.remove("mine")
    assert [item.name for item in plate.items] == ["t9", "t10", "t11"]


def test_a_removed_image_is_off_the_list_and_its_labels_stay(plate):
    plate.paint()
    plate.view.queue.remove_clicked.emit([plate.items[0].key])
    plate.run_all()
    assert [item.name for item in plate.items] == ["t10", "t11"]
    assert plate.shown == []
    folder = plate.session()
    (record,) = folder.file.images
    assert (folder.load_plane(record.key, ()).labels == 7).sum() == 100
    folder.close()


def test_skipped_images_are_passed_over(plate):
    plate.view.queue.skip_clicked.emit([plate.items[1].key])
    plate.done()
    assert plate.open_name == "t11"
    assert plate.states == ["done", "skipped", "new"]
    plate.view.queue.skip_clicked.emit([plate.items[1].key])
    assert plate.states[1] == "new"
    plate.go(1)
    plate.paint()
    plate.go(2)
    for state in ("skipped", "in work"):
        plate.view.queue.skip_clicked.emit([plate.items[1].key])
        assert plate.states[1] == state


# Only one is open ----------------------------------------------------------------------


def test_labels_and_what_was_verified_come_back_exactly(plate):
    layer = plate.paint()
    plate.app.review.choose_area("slice")
    plate.app.review.mark_verified()
    before = plate.labels.review.plane(()).verified.copy()
    plate.go(1)
    assert plate.shown == ["t10"]
    plate.paint(3)
    plate.go(0)
    assert plate.shown == ["t9", "t9 labels"]
    assert np.array_equal(plate.labels.layer.data, layer)
    review = plate.labels.review.plane(())
    assert np.array_equal(review.verified, before)
    assert (review.edited_now(layer) == (layer == 7)).all()
    assert plate.labels.edits == 1
    plate.go(1)
    assert (plate.labels.layer.data == 3).sum() == 100


def test_a_proposal_does_not_overwrite_what_was_corrected_before(plate):
    before = plate.paint()
    plate.go(2)
    plate.go(0)
    whole = slice(0, 40), slice(0, 50)
    proposal = np.zeros((40, 50), np.int32)
    proposal[10:30, 10:30] = 1
    plate.labels.apply((), whole, whole, proposal, "instances")
    after = plate.labels.layer.data
    assert np.array_equal(after == 7, before == 7)
    assert (after > 0).sum() > 100


def test_a_stack_keeps_the_labels_of_each_slice(plate):
    plate.go(2)
    image = plate.app.layers.image(plate.state.image_key)
    image_layers.settle_axis(image, are_channels=False)
    layer = plate.app.layers.make_binding(image).layer
    layer.data_setitem((np.array([2]), np.array([4]), np.array([5])), 9)
    plate.go(0)
    plate.go(2)
    assert plate.labels.layer.data[2, 4, 5] == 9
    assert np.count_nonzero(plate.labels.layer.data) == 1


def test_the_arrows_stop_at_the_ends(plate):
    plate.view.queue.previous_clicked.emit()
    assert plate.message == "This is the first image."
    plate.view.queue.next_clicked.emit()
    plate.run_all()
    assert plate.open_name == "t10"
    assert plate.reason("previous_image") == ""
    plate.go(2)
    assert plate.reason("next_image") == "This is the last image."


def test_the_latest_click_wins(plate):
    plate.view.queue.item_chosen.emit(plate.items[1].key)
    plate.go(2)
    assert plate.shown == ["t11"]


def test_a_job_that_segments_the_image_ends_without_a_word(plate):
    plate.app.segment._workers = plate.workers
    plate.workers.segment = lambda request, token: iter(["never"])
    plate.app.segment.segment()
    assert plate.app.jobs.kind == "segment"
    plate.go(1)
    assert plate.app.jobs.current is None
    assert "cancelled" not in plate.message


def test_what_the_user_chose_for_one_image_holds_for_the_next(plate):
    plate.app.image.set_object_size(12)
    plate.go(1)
    assert plate.state.chosen.scale == 2.0
    assert not plate.state.chosen.auto


# Fine-tune -----------------------------------------------------------------------------


def verify_slice(bench, where=(slice(5, 15), slice(5, 15))):
    bench.paint(where=where)
    bench.app.review.choose_area("slice")
    bench.app.review.mark_verified()


def others_of(bench):
    """What fine-tuning reads of images that were not corrected, by key."""
    bench.app.fine_tune.fine_tune()
    bench.step()
    others = bench.workers.requests[-1].others
    return drain(others(ModelInfo(), 1.5, CancelToken()))


def test_fine_tuning_looks_at_images_that_were_not_corrected(plate):
    verify_slice(plate)
    ((key, other),) = others_of(plate)  # the third one has planes of an unknown kind
    assert (key, other.name, other.scale) == (plate.items[1].key, "t10", 1.5)
    assert np.array_equal(other.image[..., 0], tifffile.imread(plate.folder / "t10.tif"))


def test_fine_tuning_looks_at_other_slices_of_an_open_stack(plate):
    plate.view.queue.remove_clicked.emit([plate.items[1].key])
    plate.go(1)
    image = plate.app.layers.image(plate.state.image_key)
    image_layers.settle_axis(image, are_channels=False)
    plate.viewer.dims.set_point(0, 1)
    verify_slice(plate, (1, slice(5, 15), slice(5, 15)))
    found = others_of(plate)
    assert [x.name for _, x in found] == ["t9", "t11, slice 0", "t11, slice 2"]
    assert [key for key, _ in found] == [plate.items[n].key for n in (0, 1, 1)]
    plate.view.queue.skip_clicked.emit([plate.items[0].key])
    plate.app.jobs.abandon()
    assert len(others_of(plate)) == 2


def test_images_that_change_much_say_so_in_the_list_until_they_are_opened(plate):
    key = plate.items[1].key
    changed = Elsewhere((ImageChanges("t10", Changes(new=4, same=6), key),))
    result = SimpleNamespace(
        model=SimpleNamespace(info=ModelInfo()), outcome="worse", improved=False,
        candidate=None, before=None, after=None, elsewhere=changed, steps=99,
        seconds=None, too_short="", summary="",
    )  # fmt: skip

    def fine_tune(request, token):
        yield Progress(0, 1, "comparing")
        return result

    plate.workers.fine_tune = fine_tune
    verify_slice(plate)
    plate.app.fine_tune.fine_tune()
    plate.step(2)

    def cells():
        return [row.cells[1] for row in plate.view.queue.set_rows.call_args.args[0]]

    assert cells() == ["in work", "40% changed", "new"]
    told = plate.view.fine_tune.set_result_text.call_args.args[0]
    assert told.endswith("On your other images: 4 new of 6. Look at t10.")
    plate.go(1)
    plate.state.changed.emit()
    assert cells()[1] == "new"


# Done & next ---------------------------------------------------------------------------


def test_done_and_next_verifies_nothing(plate):
    plate.paint()
    plate.timers.fire()
    assert plate.states[0] == "in work"
    plate.done()
    assert plate.states == ["done", "new", "new"]
    assert plate.open_name == "t10"
    assert plate.workers.recorded == []
    plate.go(0)
    assert not plate.labels.review.verified_planes()


def test_edits_per_object_are_told_until_it_is_enough(plate):
    plate.paint(1, (slice(0, 4), slice(0, 4)))
    plate.done()
    assert plate.message == "Edits per object: 1.00."
    for _ in range(2):
        image = plate.app.layers.image(plate.state.image_key)
        binding = plate.app.layers.make_binding(image)
        height, width = binding.review.shape
        labels = np.arange(height * width, dtype=np.int32).reshape(height, width)
        whole = slice(0, height), slice(0, width)
        index = (0,) * (len(binding.shape) - 2)
        binding.apply(index, whole, whole, labels, "instances")
        plate.state.changed.emit()
        plate.done()
    assert plate.message.startswith("All images are done")
    said = [c.args[0] for c in plate.view.set_message.call_args_list]
    assert "Edits per object: 1.00, 0.00." in said
    assert plate.states == ["done"] * 3


def test_minutes_are_those_of_work(plate):
    plate.now = 50.0
    plate.paint()
    plate.now = 1000.0  # the user was away
    plate.paint()
    plate.go(1)
    assert plate.items[0].seconds == 110.0
    rows = plate.view.queue.set_rows.call_args.args[0]
    assert rows[0].cells == ("t9", "in work", "1", "2")


# Files ---------------------------------------------------------------------------------


def test_a_damaged_file_fails_with_its_sentence_and_the_others_open(plate):
    (plate.folder / "t10.tif").write_bytes(b"II*\0garbage")
    plate.go(1)
    assert plate.open_name == "t9"
    assert plate.states[1] == "failed"
    assert "'t10.tif'" in plate.message or "t10.tif" in plate.message
    row = plate.view.queue.set_rows.call_args.args[0][1]
    assert row.tooltip.endswith(plate.message)
    plate.done()
    assert plate.open_name == "t11"


def test_a_file_that_moved_is_asked_for(plate):
    plate.paint()
    plate.go(1)
    moved = plate.folder / "elsewhere.tif"
    (plate.folder / "t9.tif").rename(moved)
    plate.go(0)
    assert plate.open_name == "t10"
    assert "was not found" in plate.message
    plate.view.session.ask_image.return_value = plate.folder / "t11.tif"
    asked = plate.view.session.ask_image

    def once(name, before):
        asked.side_effect = lambda name, before: moved
        return plate.folder / "t11.tif"

    asked.side_effect = once  # first another image, then the right one
    plate.go(0)
    assert plate.open_name == "t9"
    assert (plate.labels.layer.data == 7).sum() == 100
    assert plate.items[0].path == str(moved)


def test_several_images_in_one_file_are_items_of_their_own(plate, monkeypatch):
    npe2 = pytest.importorskip("npe2")
    pixels = [np.full((8, 9), n, np.uint8) for n in range(3)]
    layers = [(p, {"name": f"scene {n}"}, "image") for n, p in enumerate(pixels)]
    reader = type("Reader", (), {"plugin_name": "microscope"})
    monkeypatch.setattr(
        npe2.io_utils, "read_get_reader", lambda path, stack: (layers, reader)
    )
    path = plate.folder / "scenes.czi"
    path.write_bytes(b"x")
    plate.add([path])
    plate.go(3)
    names = ["t9", "t10", "t11", "scene 0", "scene 1", "scene 2"]
    assert [item.name for item in plate.items] == names
    plate.paint(4, (slice(0, 2), slice(0, 2)))
    plate.go(5)
    assert plate.shown == ["scene 2"]
    assert plate.app.layers.image(plate.state.image_key).data[0, 0] == 2
    plate.go(3)
    assert (plate.labels.layer.data == 4).sum() == 4


def test_propose_all_proposes_every_image_that_a_plugin_finds_in_a_file(
    proposing, monkeypatch
):
    npe2 = pytest.importorskip("npe2")
    layers = [(np.full((8, 9), n, np.uint8), {"name": f"scene {n}"}) for n in range(3)]
    reader = type("Reader", (), {"plugin_name": "microscope"})
    monkeypatch.setattr(
        npe2.io_utils, "read_get_reader", lambda path, stack: (layers, reader)
    )
    bench, path = proposing, proposing.folder / "scenes.czi"
    path.write_bytes(b"x")
    bench.view.queue.remove_clicked.emit([bench.items[2].key])
    bench.add([path])
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    names = ["t9", "t10", "scene 0", "scene 1", "scene 2"]
    assert [item.name for item in bench.items] == names
    assert bench.states == ["proposed"] * 5
    assert bench.message == "5 images proposed."


def test_several_images_in_a_tiff_are_items_of_their_own(proposing, files, tmp_path):
    bench = proposing
    path = files / "s.tif"
    pixels = [np.full((20 + n, 30), n, np.uint8) for n in range(3)]
    with tifffile.TiffWriter(path, ome=True) as writer:
        for image in pixels:
            writer.write(image)
    bench.add([path])
    assert [item.name for item in bench.items[3:]] == ["s [1]", "s [2]", "s [3]"]
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    assert bench.states[3:] == ["proposed"] * 3
    bench.go(4)
    before = bench.paint()
    assert before.shape == (21, 30)
    bench.view.results.ask_formats.return_value = ("ome-tiff",)
    bench.view.queue.ask_folder.return_value = tmp_path / "out"
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    written = {p.name for p in (tmp_path / "out").glob("s*.tif")}
    assert written == {"s_labels.tif", "s_2_labels.tif", "s_3_labels.tif"}
    later = reopened(bench, files)
    assert later.shown == ["s [2]", "s [2] labels"]
    assert np.array_equal(later.labels.layer.data, before)
    assert not any(record.stored for record in later.app.autosave.folder.file.images)
    moved = path.rename(files / "moved.tif")
    later.go(0)
    later.view.session.ask_image.return_value = moved
    later.go(4)
    assert np.array_equal(later.labels.layer.data, before)
    assert later.items[4].path == str(moved / "2")
    later.app.shut_down()


# Learning ------------------------------------------------------------------------------


def verify(bench):
    bench.app.review.choose_area("slice")
    bench.app.review.mark_verified()


def test_fine_tune_learns_from_what_was_verified_on_images_that_left(plate):
    plate.paint()
    verify(plate)
    plate.view.correct.done_clicked.emit()
    plate.app.opens._running.step()
    plate.app.opens._running.step()
    assert plate.open_name == "t10"
    plate.timers.fire()
    text = plate.view.fine_tune.set_data_text.call_args.args[0]
    assert "1 object in 1 area on 1 image" in text
    plate.paint()
    verify(plate)
    plate.app.fine_tune.fine_tune()
    plate.step()
    (request,) = plate.workers.requests
    assert [x.corrections[0].labels.shape for x in request.images] == [(40, 50), (64, 30)]
    plate.run_all()
    (recorded,) = plate.workers.recorded
    assert recorded is request.images[0]
    assert not plate.state.unlearned


def test_what_is_in_the_training_set_already_is_not_read_again(plate):
    plate.paint()
    verify(plate)
    plate.done()
    assert list(plate.state.unlearned.values()) == [None]
    plate.app.fine_tune.fine_tune()
    plate.step()
    assert plate.workers.requests[0].images == ()
    plate.view.fine_tune.ask_what_is_right.assert_not_called()


def test_what_did_not_change_since_is_not_learned_from_again(plate):
    plate.paint()
    verify(plate)
    plate.done()
    plate.app.fine_tune.fine_tune()
    plate.step()
    plate.app.jobs.abandon()
    plate.go(0)
    plate.go(1)
    assert len(plate.workers.recorded) == 1
    assert not plate.state.unlearned
    plate.go(0)
    plate.paint(8, (slice(30, 35), slice(30, 35)))
    plate.go(1)
    assert len(plate.workers.recorded) == 2


def test_an_image_that_cannot_be_learned_from_does_not_stop_the_others(plate):
    broken = plate.items[0].key
    works = plate.workers.record

    def record(request, token):
        if request.corrected.image.image_id == broken:
            raise ImageError("Its channels do not fit.")
        yield from works(request, token)

    plate.workers.record = record
    for _ in range(2):
        plate.paint()
        verify(plate)
        plate.view.correct.done_clicked.emit()
        while plate.app.opens.current is not None:
            plate.app.opens._running.step()
    plate.run_all()
    said = [c.args[0] for c in plate.view.set_message.call_args_list]
    assert "Its channels do not fit." in said
    assert plate.state.unlearned == {plate.items[1].key: None}
    assert len(plate.workers.recorded) == 1


# Propose all ---------------------------------------------------------------------------


def proposal_of(image, target):
    """Propose the lower right quarter."""
    reader = ImageReader(image.levels, image.axes, image.channels)
    height, width = reader.height, reader.width
    labels = np.zeros((height, width), np.int32)
    labels[height // 2 :, width // 2 :] = 1
    axes = Axis(height, height), Axis(width, width)
    maps = PredictionMaps(np.full((3, height, width), 0.5, np.float32), axes, ModelInfo())
    return Proposal(target.index, target.window, target.window, labels, maps, 1.0)


class Proposing(FakeWorkers):
    def loaded(self, model, device):
        yield from ()
        return model

    def segment(self, request, token):
        for target in request.targets:
            yield proposal_of(request.image, target)

    def forget(self, key):
        pass


@pytest.fixture
def proposing(plate):
    workers = Proposing()
    plate.app.propose_all._workers = plate.app.queue_layers._workers = workers
    plate.app.autosave.resume()
    return plate


def run_job(bench):
    while bench.app.jobs.current is not None:
        bench.app.jobs._running.step()


def test_propose_all_proposes_what_nobody_edited(proposing):
    bench = proposing
    bench.paint()
    bench.done()
    bench.go(1)
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    assert bench.states == ["done", "proposed", "failed"]  # 3 planes: channels or slices?
    assert bench.message == "1 image proposed. 1 image failed: their tooltips say why."
    assert bench.items[1].objects == 1
    assert bench.items[1].unsure == 1.0
    assert (bench.labels.layer.data == 1).sum() == 32 * 15
    bench.go(0)
    assert set(np.unique(bench.labels.layer.data)) == {0, 7}


@pytest.mark.parametrize("are_channels", [False, True])
def test_what_the_planes_are_is_said_once_for_images_with_as_many(proposing, are_channels):
    bench = proposing
    for number in range(2):
        path = bench.folder / f"u{number}.tif"
        tifffile.imwrite(path, np.ones((3, 12, 14), np.uint8), photometric="minisblack")
        bench.add([path])
    bench.go(2)
    bench.app.image.answer_axis(are_channels)
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    assert bench.states == ["proposed"] * 5
    bench.go(3)
    image = bench.app.layers.image(bench.state.image_key)
    assert image_layers.axes_of(image) == ("CYX" if are_channels else "ZYX")
    assert bench.labels.layer.data.shape == ((12, 14) if are_channels else (3, 12, 14))
    assert bench.labels.layer.data.any()
    path = bench.folder / "v.tif"
    tifffile.imwrite(path, np.ones((3, 12, 14), np.uint8), photometric="minisblack")
    bench.add([path])
    bench.go(5)
    question = bench.view.image.set_axis_question.call_args.args
    assert question == (3, are_channels)  # it can be taken back


def test_what_was_proposed_in_the_background_opens_with_its_labels(proposing):
    bench = proposing
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    assert bench.states == ["proposed", "proposed", "failed"]
    bench.go(1)
    assert (bench.labels.layer.data == 1).sum() == 32 * 15
    assert bench.labels.review.plane(()).proposed.all()
    assert not bench.labels.review.plane(()).protected.any()
    assert bench.states[1] == "proposed"


def numbered_anew(workers):
    """Let each slice number its object anew, as a model does."""
    segment = workers.segment

    def renumbered(request, token):
        for proposal in segment(request, token):
            proposal.labels[:] *= 1 + sum(proposal.index)
            yield proposal

    workers.segment = renumbered


@pytest.fixture
def films(proposing):
    """Two films in the list, the first of them open."""
    bench = proposing
    numbered_anew(bench.app.propose_all._workers)
    for name in ("f0", "f1"):
        path = bench.folder / f"{name}.tif"
        pixels = np.ones((4, 12, 14), np.uint8)
        tifffile.imwrite(path, pixels, metadata={"axes": "TYX"}, ome=True)
        bench.add([path])
    bench.go(3)
    return bench


def numbers(bench):
    return [int(plane.max()) for plane in bench.labels.layer.data]


def test_propose_all_links_films_that_are_open_and_those_that_are_not(films):
    films.view.queue.propose_all_clicked.emit()
    run_job(films)
    assert numbers(films) == [1, 1, 1, 1]
    films.go(4)
    assert numbers(films) == [1, 1, 1, 1]
    assert films.state.chosen.stack == "film"
    assert not films.labels.edited()


def test_what_the_slices_of_the_open_image_are_holds_for_the_next(films):
    films.view.segment.stack_chosen.emit("separate")
    films.view.queue.propose_all_clicked.emit()
    run_job(films)
    assert numbers(films) == [1, 2, 3, 4]
    films.go(4)
    assert numbers(films) == [1, 2, 3, 4]
    assert films.state.chosen.stack == "separate"
    films.view.segment.set_stack.assert_called_with("separate")


def test_a_new_image_that_is_opened_inherits_what_its_slices_are(films):
    films.view.segment.stack_chosen.emit("volume")
    films.go(4)
    films.view.segment.set_stack.assert_called_with("volume")
    films.go(2)  # 3 planes without a name
    films.app.image.answer_axis(False)
    films.view.segment.set_stack.assert_called_with("volume")  # guessed: it is Z now


def test_an_image_that_is_opened_and_edited_meanwhile_keeps_its_labels(proposing):
    bench = proposing
    bench.view.queue.propose_all_clicked.emit()
    for _ in range(3):
        bench.app.jobs._running.step()
    bench.go(1)
    before = bench.paint(5)
    bench.go(0)
    run_job(bench)
    bench.go(1)
    assert np.array_equal(bench.labels.layer.data, before)
    assert bench.states[1] == "in work"


def test_what_is_proposed_is_on_disk_and_in_the_session(proposing, files):
    bench = proposing
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    later = reopened(bench, files)
    assert later.states == ["proposed", "proposed", "failed"]
    later.go(1)
    assert (later.labels.layer.data == 1).sum() == 32 * 15
    later.app.shut_down()


def test_without_anything_to_propose_it_says_so(proposing):
    for item in proposing.items:
        proposing.state.queue.update(item.key, state="done")
    proposing.view.queue.propose_all_clicked.emit()
    assert proposing.message.startswith("Every image of the list was edited")
    assert proposing.app.jobs.current is None


def test_small_pictures_are_drawn_of_files_and_layers(plate):
    (plate.folder / "t10.tif").unlink()
    plate.view.queue.pictures_wanted.emit([item.key for item in plate.items])
    while plate.app.pictures.current is not None:
        plate.app.pictures._running.step()
    drawn = {c.args[0]: c.args[1].shape for c in plate.view.queue.set_picture.mock_calls}
    keys = [item.key for item in plate.items]
    assert drawn == {keys[0]: (20, 25, 3), keys[2]: (20, 24, 3)}


def test_export_all_writes_the_labels_of_every_image(proposing, tmp_path):
    bench, target = proposing, tmp_path / "out"
    (bench.folder / "other").mkdir()
    tifffile.imwrite(bench.folder / "other" / "t9.tif", np.ones((9, 9), np.uint8))
    bench.add([bench.folder / "other" / "t9.tif"])
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    painted = bench.paint()
    bench.view.results.ask_formats.return_value = ("ome-tiff",)
    bench.view.queue.ask_folder.return_value = target
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    assert bench.message == "The labels of 3 images were exported."
    names = sorted(path.name for path in target.glob("*.tif"))
    assert names == ["other_t9_tif_labels.tif", "plate_t9_tif_labels.tif", "t10_labels.tif"]
    written = tifffile.imread(target / "plate_t9_tif_labels.tif")
    assert np.array_equal(written, painted)
    note = json.loads((target / "t10_labels.json").read_text())
    assert note["image"]["source"] == str(bench.folder / "t10.tif")
    assert note["n_objects"] == 1


def test_export_all_measures_all_images_too(proposing, tmp_path):
    bench, target = proposing, tmp_path / "out"
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    bench.view.results.ask_formats.return_value = ("measurements",)
    bench.view.queue.ask_folder.return_value = target
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    assert bench.view.results.ask_formats.call_args == call(NO_TRACKS, measure=True)
    assert not list(target.glob("*.tif"))
    with (target / "summary.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["image"], row["objects"]) for row in rows] == [("t9", "1"), ("t10", "1")]
    assert float(rows[0]["mean_intensity"]) > 0
    assert len((target / "measurements.csv").read_text("utf-8").splitlines()) == 3


@pytest.mark.parametrize(("stack", "tracks"), [("film", ""), ("volume", NO_TRACKS)])
def test_export_all_knows_what_the_slices_are(proposing, tmp_path, stack, tracks):
    bench, target = proposing, tmp_path / "out"
    bench.paint()
    bench.go(2)
    bench.state.chosen.stack = stack
    bench.paint()
    bench.view.results.ask_formats.return_value = ("geojson", "ctc", "measurements")
    bench.view.queue.ask_folder.return_value = target
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    assert bench.view.results.ask_formats.call_args.args == (tracks,)
    of = "1 image" if stack == "film" else "2 images"
    assert bench.message == (
        f"The labels of 2 images were exported. No tracks of {of}: only a film has some."
    )
    table = pd.read_csv(target / "t11_measurements.csv")
    features = json.loads((target / "t9_labels.geojson").read_text("utf-8"))["features"]
    assert features[0]["properties"]["measurements"]["area_px"] == 100
    if stack == "film":
        assert (target / "t11_ctc" / "res_track.txt").read_text() == "1 0 2 0\n"
        assert table["track"].tolist() == [7, 7, 7]
    else:
        assert not list(target.glob("*_ctc"))
        assert table["volume_px"].tolist() == [300]


def test_export_all_replaces_only_what_it_wrote(proposing, tmp_path):
    bench = proposing
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    mine = np.full((5, 5), 7, np.uint8)
    tifffile.imwrite(tmp_path / "t9_labels.tif", mine)
    bench.view.results.ask_formats.return_value = ("ome-tiff",)
    bench.view.queue.ask_folder.return_value = tmp_path
    for _ in range(2):
        bench.view.queue.export_all_clicked.emit()
        run_job(bench)
        assert bench.message.startswith("The labels of 1 image were exported. 't9': ")
        assert "not as it was exported before" in bench.message
    assert np.array_equal(tifffile.imread(tmp_path / "t9_labels.tif"), mine)


def test_one_that_cannot_be_written_does_not_stop_the_export(proposing, tmp_path):
    bench = proposing
    bench.view.queue.propose_all_clicked.emit()
    run_job(bench)
    (tmp_path / "t9_labels.json").write_text("somebody's")
    bench.view.results.ask_formats.return_value = ("ome-tiff",)
    bench.view.queue.ask_folder.return_value = tmp_path
    bench.view.queue.export_all_clicked.emit()
    run_job(bench)
    assert bench.message.startswith("The labels of 1 image were exported. ")
    assert "does not describe labels" in bench.message
    assert (tmp_path / "t10_labels.tif").exists()
    assert not (tmp_path / "t9_labels.tif").exists()


# Ready before it is opened -------------------------------------------------------------


@pytest.fixture
def ahead(proposing):
    """The model is loaded, and the next images are ready."""
    bench = proposing
    model = SimpleNamespace(info=ModelInfo(), notice="")
    bench.state.versions.loaded(STARTER, model)
    bench.app.read_ahead._workers = bench.app.propose_all._workers
    bench.state.changed.emit()
    read_ahead(bench)
    return bench


def read_ahead(bench):
    bench.app.read_ahead.start()
    while bench.app.aheads.current is not None:
        bench.app.aheads._running.step()


def names_ahead(bench):
    names = {item.key: item.name for item in bench.items}
    return [names[key] for key in bench.app.queue_layers.ahead]


def test_the_next_two_are_shown_at_once_with_a_proposal(ahead):
    assert names_ahead(ahead) == ["t10", "t11"]
    ahead.view.correct.done_clicked.emit()  # no job runs
    assert ahead.app.opens.current is None
    assert ahead.open_name == "t10"
    assert (ahead.labels.layer.data == 1).sum() == 32 * 15
    assert ahead.state.chosen.has_maps
    assert ahead.states == ["done", "proposed", "new"]
    ahead.run_all()
    assert ahead.shown == ["t10", "t10 labels"]


def test_a_stack_is_read_ahead_but_not_proposed(ahead):
    ahead.go(2)
    assert ahead.open_name == "t11"
    assert ahead.labels is None


def test_what_is_ready_is_dropped_when_the_model_changes(ahead):
    ahead.app.segment.move_foreground(0.3)
    ahead.state.changed.emit()
    assert names_ahead(ahead) == []
    read_ahead(ahead)
    assert names_ahead(ahead) == ["t10", "t11"]
    ahead.view.queue.propose_all_clicked.emit()
    assert names_ahead(ahead) == []


def test_only_two_are_kept(ahead):
    for number in range(3):
        path = ahead.folder / f"u{number}.tif"
        tifffile.imwrite(path, np.ones((9, 9), np.uint8))
        ahead.add([path])
    ahead.go(1)
    read_ahead(ahead)
    assert names_ahead(ahead) == ["t11", "u0"]


def test_a_damaged_file_does_not_keep_the_next_one_from_being_read(proposing):
    (proposing.folder / "t10.tif").write_bytes(b"II*\0garbage")
    proposing.state.versions.loaded(STARTER, SimpleNamespace(info=ModelInfo()))
    proposing.app.read_ahead._workers = proposing.app.propose_all._workers
    proposing.state.changed.emit()
    read_ahead(proposing)
    assert names_ahead(proposing) == ["t11"]


# Tomorrow ------------------------------------------------------------------------------


def test_the_list_is_saved_with_the_session(plate):
    plate.paint()
    plate.done()
    plate.now = 45.0
    folder = plate.session()
    assert [item.state for item in folder.file.queue] == ["done", "new", "new"]
    assert folder.file.queue[1].seconds == 45
    assert folder.file.current_item == folder.file.queue[1].key
    assert folder.file.queue[0].image == folder.file.images[0].key
    assert folder.file.images[0].source == str(plate.folder / "t9.tif")
    assert not folder.file.images[0].stored
    folder.close()


def reopened(bench, files):
    """Open the session of a dock in another one."""
    root = bench.session()
    root.close()
    later = Bench(files)
    later.app.sessions.open(root.root)
    while later.app.session_jobs.current is not None:
        later.app.session_jobs._running.step()
    later.run_all()
    return later


def test_a_session_opens_the_image_that_was_open_and_lists_the_others(plate, files):
    plate.paint()
    verify(plate)
    plate.done()
    before = plate.paint(3)
    later = reopened(plate, files)
    assert later.shown == ["t10", "t10 labels"]
    assert np.array_equal(later.labels.layer.data, before)
    assert later.states == ["done", "in work", "new"]
    later.go(0)
    assert (later.labels.layer.data == 7).sum() == 100
    assert later.labels.review.plane(()).verified.all()
    assert later.shown == ["t9", "t9 labels"]
    later.go(2)
    assert later.shown == ["t11"]
    later.app.shut_down()


def test_a_session_opens_the_image_that_was_open_without_labels(plate, files):
    plate.paint()
    plate.done()
    later = reopened(plate, files)
    assert later.shown == ["t10"]
    assert later.states == ["done", "new", "new"]
    later.app.shut_down()


def test_what_was_verified_before_a_crash_is_learned_from(plate, files):
    plate.paint()
    verify(plate)
    plate.timers.fire()
    plate.done()  # the stand-in keeps nothing of it
    later = reopened(plate, files)
    (recorded,) = later.workers.recorded
    (correction,) = recorded.corrections
    assert correction.n_objects == 1
    assert correction.verified.all()
    assert np.array_equal(recorded.image.levels[0], tifffile.imread(files / "t9.tif"))
    assert list(later.state.unlearned) == [later.items[0].key]
    later.app.shut_down()


def test_a_session_opens_no_file_of_another_kind_by_itself(plate, files):
    script = files / "evil.py"
    script.write_text("raise SystemExit")
    plate.state.queue.update(plate.items[1].key, path=str(script))
    plate.state.queue.update(plate.items[2].key, path="//host/share/x.tif")
    later = reopened(plate, files)
    for number in (1, 2):
        later.go(number)
        assert "was not found" in later.message
    assert later.view.session.ask_image.call_count == 2
    later.app.shut_down()


def test_layers_of_the_user_keep_their_place_in_the_list(plate, files):
    plate.viewer.add_image(np.ones((9, 9), np.uint8), name="mine")
    plate.go(3)
    plate.paint(2, (slice(0, 3), slice(0, 3)))
    plate.state.queue.update(plate.items[3].key, state="done")
    later = reopened(plate, files)
    assert [item.name for item in later.items] == ["t9", "t10", "t11", "mine"]
    assert later.states[3] == "done"
    assert later.open_name == "mine"
    later.app.shut_down()
