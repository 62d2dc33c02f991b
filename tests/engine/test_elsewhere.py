"""What a fine-tuning changes on images without labels: counted, told, never in the way."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from samples import moved, squares, with_weights

from napari_resunet.engine import elsewhere, finetune
from napari_resunet.engine.changes import (
    MAX_IMAGES,
    Changes,
    Elsewhere,
    ImageChanges,
    changes_text,
    evenly,
)
from napari_resunet.engine.device import choose
from napari_resunet.engine.elsewhere import compare_elsewhere, compare_labels
from napari_resunet.engine.finetune import fine_tune_steps
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.outcome import minutes_needed, more_to_verify, too_short_text
from napari_resunet.errors import Cancelled
from napari_resunet.events import CancelToken, Progress, drain
from napari_resunet.network.model_file import with_new_maps
from napari_resunet.types import (
    Decoding,
    Example,
    Lineage,
    ModelInfo,
    OtherImage,
    Statistics,
)

CPU = choose("cpu")


def test_objects_are_new_gone_changed_or_the_same():
    old, new = squares(), squares()
    new[new == 1] = 0  # gone
    new[20:35, 50:55] = 0  # narrower: the IoU is 0.8
    new[20:35, 48:50] = 0
    new[2:4, 40:50] = 9
    assert compare_labels(old, new, classes=False) == Changes(1, 1, 1, 1)


def test_slivers_at_the_edge_do_not_count():
    old, new = squares(), squares()
    new[0:2, 40:50] = 9
    old[10:20, 0:2] = 8
    assert compare_labels(old, new, classes=False) == Changes(same=3)
    old[10:20, 0:2] = new[10:20, 0:2] = 8  # both have it
    assert compare_labels(old, new, classes=False) == Changes(same=4)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (Changes(3, 1, 12, 196), "3 new, 1 gone, 12 changed of 209."),
        (Changes(3, 1, 0, 1208), "3 new, 1 gone of 1,209."),
        (Changes(4, 0, 0, 0), "4 new, none before."),
        (Changes(0, 0, 0, 14), "all 14 the same."),
        (Changes(), "no objects, as before."),
        (Changes(pixels=0.042), "4% of the pixels changed."),
    ],
)
def test_it_is_told_in_one_sentence(changes, words):
    assert changes_text(changes) == f"On your other images: {words}"


def changed_by(*fractions, n=20):
    """As many images, named by letters, of whose objects these fractions are new."""
    each = [Changes(new=round(n * f), same=round(n * (1 - f))) for f in fractions]
    return Elsewhere(tuple(map(ImageChanges, "abcdefg", each)))


def test_images_that_changed_much_are_named_the_worst_first():
    assert changed_by(0.2, 0.1).look_text == ""
    assert changed_by(0.3, 0.1, 0.7).look_text == "Look at c and a."
    assert changed_by(0.3, 0.5, 0.4).look_text == "Look at b and 2 more."
    many = changed_by(0.3, 0.5, 0.4, 0.6)
    assert many.text.endswith("of 44. Look at d and 3 more.")
    assert changed_by(0.5, n=4).look_text == ""  # too few to tell


def test_images_are_chosen_evenly():
    assert evenly("abc", 6) == ["a", "b", "c"]
    assert evenly(range(60), 6) == [5, 15, 25, 35, 45, 55]


def test_too_few_steps_and_objects_are_told_with_numbers():
    words = "Only 5 steps in 1 minute: too short to learn much. Give it 6 minutes."
    assert too_short_text(5, 60.0) == words
    assert too_short_text(1, 6.0).endswith("1 step in 6 seconds: too short to learn much. "
                                           "Give it 3 minutes.")  # fmt: skip
    assert "in 1.5 minutes" in too_short_text(20, 90.0)
    assert minutes_needed(29, 60.0) == 2
    assert [more_to_verify(n) for n in (0, 4, 7, 9)] == [40, 25, 10, 5]


@pytest.fixture(scope="module")
def others(nuclei):
    image = nuclei[0]
    small = [image[:96, :96], image[64:, 80:], image[:96, 80:]]
    return [OtherImage(f"img_{n}", part, 1.1) for n, part in enumerate(small)]


def compared(starter, new, others, token=None, on_event=None):
    events = compare_elsewhere(starter, new, others, CPU, Decoding(), token)
    return drain(events, on_event)


def test_each_image_is_compared_where_it_is(starter, others):
    wider, told = with_weights(starter, moved(starter, 6.0)), []
    same = compared(starter, starter, others[:1])
    assert same.total.same == same.total.n_objects > 5
    found = compared(starter, wider, others, on_event=told.append)
    assert [image.name for image in found.images] == ["img_0", "img_1", "img_2"]
    assert found.total.changed + found.total.gone + found.total.new > 0
    assert found.total.n_objects == sum(i.changes.n_objects for i in found.images)
    assert told[0] == Progress(0, 3, "comparing on your other images")
    assert len(told) == 3


def test_only_the_middle_of_a_few_images_is_looked_at(starter, monkeypatch, others):
    seen = []

    class Blind:
        def __init__(self, model, compute):
            self.model = model

        def maps(self, request, token):
            seen.append((request.reader.pixels, request.statistics))
            rows, columns = request.axes
            return np.zeros((3, rows.n_network, columns.n_network), np.float16)
            yield

    monkeypatch.setattr(elsewhere, "Predictor", Blind)
    large = np.zeros((3000, 400), np.uint8)
    large[1084:1916] = 7
    known = Statistics((1.0,), (9.0,))
    many = [OtherImage("x", large, 0.5, known)] * 40
    found = compared(starter, starter, many)
    assert len(found.images) == MAX_IMAGES
    assert (seen[0][0].shape, seen[0][0].min()) == ((832, 400, 1), 7)
    assert seen[0][1] == known
    assert compared(starter, starter, []) is None


def test_the_user_can_cancel_it(starter, others):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        compared(starter, starter, others, token)


def test_classes_are_compared_by_their_pixels(random_model, others):
    info = ModelInfo(task="classes", class_names=("background", "cell"))
    untaught = with_new_maps(random_model, info)
    assert compared(untaught, untaught, others) is None
    taught = replace(untaught, info=replace(info, lineage=Lineage(steps=9)))
    assert compared(taught, taught, others[:1]).total == Changes(pixels=0.0)


QUICK = FineTuneConfig(steps=1, batch=1, patch=64)


@pytest.fixture
def corner(nuclei, monkeypatch):
    """What is learned from, in no time."""
    monkeypatch.setattr(finetune, "train_step", lambda *arguments: torch.zeros(()))
    return Example(nuclei[0][:40, :40], nuclei[1][:40, :40], scale=0.5)


def test_fine_tuning_looks_at_other_images(random_model, corner, others, monkeypatch):
    asked = []

    def compare(start, new, given, *rest):
        asked.append((start, new, given))
        yield Progress(0, 1, "comparing")
        return changed_by(0.5)

    monkeypatch.setattr(finetune, "compare_elsewhere", compare)
    events = fine_tune_steps(random_model, [corner], QUICK, CPU, others=others)
    result = drain(events)
    assert asked == [(random_model, result.model, others)]
    assert result.model is not random_model
    assert result.elsewhere.total.new == 10
    assert result.summary.endswith("10 new of 10. Look at a.")
    assert result.seconds is None  # it ended by its steps


def test_what_was_learned_is_not_lost_if_other_images_fail(
    random_model, corner, others, monkeypatch
):
    def fail(*arguments):
        raise MemoryError
        yield

    monkeypatch.setattr(finetune, "compare_elsewhere", fail)
    config = replace(QUICK, steps=None, seconds=0.05)
    result = drain(fine_tune_steps(random_model, [corner], config, CPU, others=others))
    assert result.improved
    assert result.elsewhere is None
    assert result.summary == result.message
    assert result.seconds == 0.05
    assert replace(result, steps=2).too_short.startswith("Only 2 steps in")
    assert replace(result, steps=30).too_short == ""


def test_who_stops_it_is_not_told_that_it_was_too_short(random_model, corner):
    token = CancelToken()
    token.stop()
    events = fine_tune_steps(random_model, [corner], FineTuneConfig(), CPU, token)
    assert drain(events).too_short == ""
