"""Propose all, without a network: what is written, what stays, and what fails."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_resunet.engine.blocks import PredictionMaps
from napari_resunet.engine.image_reader import Axis, ImageReader
from napari_resunet.errors import Cancelled, ResunetError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.queue_images import OpenRequest
from napari_resunet.session.queue_workers import (
    FailedItem,
    ImageChoices,
    ItemToPropose,
    ProposeAllRequest,
    ProposedItem,
    ProposedPlane,
    ShownProposal,
    propose_all,
)
from napari_resunet.session.segmenter import Proposal, SizeFound
from napari_resunet.session.store.delta import BlockDiff
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.session.workers import ImageSnapshot, Workers
from napari_resunet.types import Decoding, ModelInfo


class Segmenting(Workers):
    """Proposes what is bright, and remembers what it was asked for."""

    def __init__(self):
        super().__init__()
        self.requests, self.broken = [], ""

    def segment(self, request, token):
        self.requests.append(request)
        if self.broken and self.broken in request.image.image_id:
            raise MemoryError("boom")
        (target,) = request.targets
        yield Progress(1, 2, "tile")
        if request.scale is None:
            yield SizeFound(1.5)
        image = request.image
        reader = ImageReader(image.levels, image.axes, image.channels)
        plane = reader.read(target.index, *target.window)[..., 0]
        labels = (plane > 100).astype(np.int32)
        shape = labels.shape
        axes = Axis(shape[0], shape[0]), Axis(shape[1], shape[1])
        maps = PredictionMaps(np.full((3, *shape), 0.5, np.float32), axes, ModelInfo())
        yield Proposal(target.index, target.window, target.window, labels, maps, 1.5)


@pytest.fixture
def work(random_model, tmp_path, session):
    return Work(random_model, tmp_path, session)


class Work:
    def __init__(self, model, folder, session):
        self.model, self.folder, self.session = model, folder, session
        self.workers, self.token = Segmenting(), CancelToken()
        self.items = []

    def add(self, name, pixels, **choices):
        path = self.folder / f"{name}.tif"
        tifffile.imwrite(path, pixels, photometric="minisblack")
        item = QueueItem(key=name, path=str(path), name=name)
        request = OpenRequest(item, None, self.session)
        self.items.append(ItemToPropose(request, ImageChoices(**choices)))
        return path

    def run(self):
        request = ProposeAllRequest(self.model, "cpu", tuple(self.items), Decoding())
        return propose_all(self.workers, request, self.token)

    def events(self, kind):
        return [event for event in self.run() if isinstance(event, kind)]


def bright(*shape):
    pixels = np.zeros(shape, np.uint8)
    pixels[..., 5:15, 5:15] = 200
    return pixels


def write(session, plane):
    """Write what was proposed, as the main thread does."""
    file = session.file
    if file.image(plane.record.key) is None:
        images = (*file.images, plane.record)
        session.update(file.model_copy(update={"images": images}))
    session.put_deltas(plane.record.key, plane.index, plane.deltas)
    return session.load_plane(plane.record.key, plane.index)


def test_each_image_is_proposed_with_its_record(work):
    work.add("a", bright(30, 40))
    work.add("b", bright(300, 400), scale=2.0, auto=False)
    planes = work.events(ProposedPlane)
    states = [write(work.session, plane) for plane in planes]
    assert [(s.labels == 1).sum() for s in states] == [100, 100]
    assert [p.record.shape for p in planes] == [(30, 40), (300, 400)]
    assert [p.record.source for p in planes] == [i.file.item.path for i in work.items]
    assert planes[0].record.content_hash
    assert all(s.review().proposed.all() for s in states)
    assert not any(s.review().edited.any() for s in states)
    assert [r.scale for r in work.workers.requests] == [None, 2.0]


def test_what_it_found_and_how_unsure_it_was(work):
    work.add("a", bright(2, 30, 40))
    (failed,) = work.events(FailedItem)
    assert "channels or slices" in failed.reason
    work.items.clear()
    work.add("b", bright(6, 30, 40))
    events = list(work.run())
    (found,) = [e for e in events if isinstance(e, ProposedItem)]
    assert (found.objects, found.unsure, found.scale) == (6, 1.0, 1.5)
    assert [e.index for e in events if isinstance(e, ProposedPlane)] == [
        (n,) for n in range(6)
    ]
    done = [e.done / e.total for e in events if isinstance(e, Progress)]
    assert done == sorted(done)
    assert done[-1] < 1


def test_corrected_pixels_stay(work):
    work.add("a", bright(30, 40))
    (plane,) = work.events(ProposedPlane)
    state = write(work.session, plane)
    record = plane.record
    review, labels = state.review(), state.labels.copy()
    labels[0:8, 0:8] = 9  # the user drew there
    labels[20:25, 20:25] = 8
    review.sync(labels)
    (old,) = work.items
    request = OpenRequest(old.file.item, record, work.session)
    work.items = [ItemToPropose(request, old.choices)]
    delta = BlockDiff((30, 40), state).capture((0, 0), labels, review)
    work.session.put_deltas(record.key, (), [delta])
    (again,) = work.events(ProposedPlane)
    after = write(work.session, again)
    assert np.array_equal(after.labels == 9, labels == 9)
    assert np.array_equal(after.labels == 8, labels == 8)
    assert (after.labels == 1).any()


def test_a_failing_image_costs_only_itself(work):
    work.add("a", bright(30, 40)).write_bytes(b"II*\0garbage")
    work.add("b", bright(30, 40)).unlink()
    work.add("c", bright(30, 40))
    work.add("d", bright(30, 40))
    work.workers.broken = "c"
    failed = work.events(FailedItem)
    assert [event.key for event in failed] == ["a", "b", "c"]
    assert "a.tif" in failed[0].reason
    assert "not there" in failed[1].reason
    assert all(event.reason.endswith(".") for event in failed)
    assert [event.key for event in work.events(ProposedItem)] == ["d"]


def test_it_ends_when_it_is_cancelled(work):
    work.add("a", bright(30, 40))
    work.add("b", bright(30, 40))
    running = work.run()
    assert any(isinstance(event, ProposedItem) for event in running)
    work.token.cancel()
    with pytest.raises(Cancelled):
        next(running)


def test_a_model_that_cannot_be_loaded_fails_no_image(work):
    work.add("a", bright(30, 40))
    work.model = "missing.safetensors"
    with pytest.raises(ResunetError):
        list(work.run())


def test_an_image_in_the_viewer_is_not_read(work):
    path = work.add("a", bright(30, 40))
    path.unlink()
    snapshot = ImageSnapshot("a", (bright(30, 40),), "YX", None)
    (old,) = work.items
    work.items = [ItemToPropose(old.file, old.choices, snapshot)]
    events = list(work.run())
    (shown,) = [e for e in events if isinstance(e, ShownProposal)]
    assert (shown.proposal.labels == 1).sum() == 100
    assert [e.objects for e in events if isinstance(e, ProposedItem)] == [1]


def test_channels_are_those_of_the_open_image_or_the_first_one(work):
    path = work.folder / "two.tif"
    tifffile.imwrite(path, bright(2, 30, 40), imagej=True, metadata={"axes": "CYX"})
    item = QueueItem(key="two", path=str(path))
    request = OpenRequest(item, None, work.session)
    for choices in (ImageChoices((1,), 2), ImageChoices((2,), 3)):
        work.items.append(ItemToPropose(request, choices))
    records = [plane.record for plane in work.events(ProposedPlane)]
    assert [r.channels for r in records] == [(1,), (0,)]
    assert [r.axes for r in records] == ["CYX", "CYX"]


def film(n=5):
    """Two squares that move to the right; the third frame is empty below."""
    pixels = np.zeros((n, 30, 40), np.uint8)
    for number in range(n):
        pixels[number, 5:13, 5 + 2 * number : 13 + 2 * number] = 200
    pixels[[0, 1, 3], 18:26, 20:28] = 200
    return pixels


class Numbering(Segmenting):
    """Numbers the objects of each slice anew, the lower one first in every other slice."""

    def segment(self, request, token):
        for event in super().segment(request, token):
            if isinstance(event, Proposal):
                up = event.index[0] % 2
                event.labels[:15] *= 1 + up
                event.labels[15:] *= 2 - up
            yield event


def add_film(work, axes="TYX", **choices):
    path = work.folder / f"{axes}.tif"
    tifffile.imwrite(path, film(), metadata={"axes": axes}, ome=True)
    item = QueueItem(key=axes.lower(), path=str(path), name=axes)
    request = OpenRequest(item, None, work.session)
    work.items.append(ItemToPropose(request, ImageChoices(**choices)))


def proposed(work):
    """Return the labels of the stack as they are in the session at the end."""
    work.workers = Numbering()
    states = {
        plane.index: write(work.session, plane) for plane in work.events(ProposedPlane)
    }
    assert not any(state.review().edited.any() for state in states.values())
    return np.array([states[index].labels for index in sorted(states)])


@pytest.mark.parametrize(("axes", "stack"), [("TYX", "film"), ("ZYX", "volume")])
def test_objects_of_a_stack_have_one_number_as_its_axes_say(work, axes, stack):
    add_film(work, axes)
    labels = proposed(work)
    assert work.session.file.images[0].stack == stack
    assert len(np.unique(labels[:, 5:13])) == len(np.unique(labels[:, 18:26])) == 2
    assert len(np.unique(labels)) == 3
    assert np.array_equal(labels > 0, film() > 0)


def test_what_the_user_said_of_the_open_stack_holds_for_others_with_its_axes(work):
    add_film(work, "TYX", stack="separate", stack_axes=("T",))
    labels = proposed(work)
    assert labels[:, 6, 14].tolist() == [0, 2, 1, 2, 1]
    work.items.clear()
    add_film(work, "ZYX", stack="separate", stack_axes=("T",))
    assert len(np.unique(proposed(work)[-5:, 5:13])) == 2


def test_slices_without_a_name_are_separate_unless_the_user_says_otherwise(work):
    work.add("a", film())
    assert len(np.unique(proposed(work)[:, 5:13])) == 3
    work.items.clear()
    work.add("b", film(), stack="film", stack_axes=("Z",))
    assert len(np.unique(proposed(work)[:, 5:13])) == 2


def test_linked_objects_of_the_user_keep_their_numbers(work):
    add_film(work)
    proposed(work)
    record = work.session.file.images[0]
    state = work.session.load_plane(record.key, (2,))
    diff = BlockDiff(record.plane_shape, state)
    labels, review = np.where(state.labels > 0, 70, 0).astype(np.int32), state.review()
    work.session.put_deltas(record.key, (2,), [diff.capture((0, 0), labels, review)])
    item = work.items[0].file
    again = OpenRequest(item.item, record, work.session)
    work.items = [ItemToPropose(again, ImageChoices())]
    for plane in work.events(ProposedPlane):
        state = write(work.session, plane)
    numbers = [work.session.load_plane(record.key, (n,)).labels[6, 14] for n in (1, 2, 3)]
    assert numbers == [70, 70, 70]


def test_linking_can_be_cancelled_and_what_is_proposed_stays(work):
    add_film(work)
    planes = (event for event in work.run() if isinstance(event, ProposedPlane))
    for plane in planes:
        state = write(work.session, plane)
        if plane.index == (4,):
            work.token.cancel()
            break
    assert (state.labels > 0).any()
    with pytest.raises(Cancelled):
        next(planes)
