"""Images that fine-tuning looks at: only their middle, whatever they are."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress, drain
from napari_resunet.session import queue_images
from napari_resunet.session.beside import MAX_SIDE
from napari_resunet.session.other_images import Slices, read_others
from napari_resunet.session.queue_images import OpenRequest
from napari_resunet.session.queue_workers import ImageChoices, ItemToPropose
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.session.workers import ImageSnapshot
from napari_resunet.types import ModelInfo


def noise(*shape):
    return np.random.default_rng(0).integers(0, 255, shape, np.uint8)


@pytest.fixture
def listed(tmp_path):
    """Makes an image of the list."""

    def made(name, pixels, **choices):
        path = tmp_path / f"{name}.tif"
        if pixels is not None:
            tifffile.imwrite(path, pixels, photometric="minisblack")
        item = QueueItem(key=name, path=str(path), name=name)
        return ItemToPropose(OpenRequest(item), ImageChoices(**choices))

    return made


def read(*items, stack=None, scale=2.0, on_event=None):
    events = read_others(items, stack, ModelInfo(), scale, CancelToken())
    return [other for _, other in drain(events, on_event)]


def test_the_middle_is_read_at_the_scale_that_is_known(listed):
    wide, told = noise(300, 700), []
    first, second = read(
        listed("a", wide), listed("b", wide, scale=0.5), on_event=told.append
    )
    assert np.array_equal(first.image[..., 0], wide[46:254, 246:454])  # 416 / 2
    assert second.image.shape == (300, 700, 1)
    assert [(o.name, o.scale) for o in (first, second)] == [("a", 2.0), ("b", 0.5)]
    assert first.statistics == second.statistics  # of the whole image
    assert told == [Progress(0, 0, "reading other images")] * 2


def test_of_a_stack_it_is_the_middle_slice_and_of_channels_the_chosen_ones(listed):
    stack, channels = noise(9, 20, 30), noise(3, 20, 30)
    deep = read(listed("a", stack))[0]
    assert np.array_equal(deep.image[..., 0], stack[4])
    chosen = {"channels": (2,), "n_channels": 3, "planes": 3, "are_channels": True}
    green = read(listed("b", channels, **chosen))[0]
    assert np.array_equal(green.image[..., 0], channels[2])


def test_what_cannot_be_read_is_left_out_without_a_word(listed, tmp_path, monkeypatch):
    (tmp_path / "broken.tif").write_bytes(b"II*\0nothing")
    items = listed("gone", None), listed("broken", None), listed("unclear", noise(3, 9, 9))
    told = []
    (left,) = read(*items, listed("good", noise(20, 30)), on_event=told.append)
    assert left.name == "good"
    assert {type(event) for event in told} == {Progress}
    monkeypatch.setattr(queue_images, "MAX_FILE", 100)
    assert read(listed("large", noise(20, 30))) == []


class Counted:
    """An array that notes how many pixels are read of it."""

    def __init__(self, *shape):
        self.shape, self.dtype, self.most = shape, np.dtype(np.uint8), 0

    def __getitem__(self, where):
        spans = (
            range(n)[part] for n, part in zip(self.shape, where, strict=True)
            if isinstance(part, slice)
        )  # fmt: skip
        block = np.zeros([len(span) for span in spans], np.uint8)
        self.most = max(self.most, block.size)
        return block


def test_of_an_open_stack_the_other_slices_are_read_and_never_as_a_whole():
    huge = Counted(40, 50_000, 60_000)
    snapshot = ImageSnapshot("x", (huge,), "ZYX", None)
    slices = read(stack=Slices("brain", "x", snapshot, 0.01, {(3,)}))
    names = [f"brain, slice {n}" for n in (10, 16, 23, 30, 36)]
    assert [other.name for other in slices] == names
    assert slices[0].scale == 0.01
    assert huge.most == MAX_SIDE**2


def test_it_can_be_cancelled(listed):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        drain(read_others((listed("a", None),), None, ModelInfo(), 1.0, token))
