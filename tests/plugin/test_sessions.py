"""What a user did comes back in the next window."""

import numpy as np
import pytest
import tifffile
from harness import on_disk

from napari_resunet._package import STARTER
from napari_resunet.session.store.models import list_versions
from napari_resunet.session.store.recent import recent_sessions


@pytest.mark.parametrize("from_file", [False, True])
def test_tomorrow_goes_on_where_today_stopped(
    dock, make_window_dock, nuclei, tmp_path, monkeypatch, from_file, sure_fine_tuning
):
    pixels = nuclei[0]
    place = {"scale": (0.5, 0.25), "translate": (3, 4), "units": ("um", "um"),
             "axis_labels": ("y", "x")}  # fmt: skip
    if from_file:
        tifffile.imwrite(tmp_path / "cells.tif", pixels)
        (image,) = dock.viewer.open(tmp_path / "cells.tif", plugin="napari", **place)
    else:
        image = dock.viewer.add_image(pixels, name="cells", **place)
    dock.segment()
    dock.labels.data = nuclei[1].copy()  # the user corrected everything
    dock.find("foreground").setValue(0.45)
    dock.wait()
    dock.fine_tune()
    assert len(dock.app.state.versions.listed()) == 2
    dock.view.fine_tune.minutes = 200
    dock.app.segment.choose_scope("stack")
    dock.labels.paint((5, 5), 999)
    dock.find("auto_fine_tune").click()
    binding = dock.app.layers.binding(str(image.unique_id))
    before = {"labels": dock.labels.data.copy(), "review": binding.review.plane(())}
    result, version = dock.find("result_text").text(), dock.app.state.versions.current
    examples = dock.app.workers.corrections.examples()
    root, later = dock.end(), make_window_dock()
    (listed,) = recent_sessions()
    assert listed.folder == root
    assert listed.checked_objects > 10
    assert listed.thumbnail is not None
    if from_file:
        (tmp_path / "cells.tif").rename(tmp_path / "moved.tif")
        other = tmp_path / "other.tif"
        tifffile.imwrite(other, pixels[::-1])
        answers = [other, tmp_path / "moved.tif"]
        monkeypatch.setattr(later.app.view.session, "ask_image", lambda *_: answers.pop(0))
    later.open_session(root)
    assert later.find("auto_fine_tune").isChecked()
    assert later.state.learn_while_correcting
    assert later.binding.edits == binding.edits > 0
    layer = later.viewer.layers["cells"]
    assert np.array_equal(layer.data, pixels)
    assert np.allclose(layer.scale, place["scale"])
    assert np.allclose(layer.translate, place["translate"])
    assert layer.axis_labels == image.axis_labels
    assert np.array_equal(later.labels.data, before["labels"])
    found = later.app.layers.binding(later.app.state.image_key).review.plane(())
    for name in ("verified", "edited", "proposed", "last_written"):
        assert np.array_equal(getattr(found, name), getattr(before["review"], name)), name
    assert later.app.state.versions.current.key == version.key
    assert later.find("result_text").text() == result
    assert later.app.state.scope == "stack"
    assert later.find("foreground").value() == 0.45
    assert later.view.fine_tune.minutes == 200
    again = later.app.workers.corrections.examples()
    assert [e.labels.sum() for e in again] == [e.labels.sum() for e in examples]
    # The model comes from its file, and everything goes on.
    later.labels.paint((100, 100), 1000)
    assert not later.app.state.image(later.app.state.image_key).has_maps
    later.click("go_back")
    later.wait()
    assert later.app.state.image(later.app.state.image_key).has_maps  # proposed again
    assert not later.find("result_text").text()
    assert later.message.startswith("Gone back to 'Starter'.")
    later.app.versions.choose(version.key)
    assert later.find("result_text").text() == result
    later.segment()
    assert later.app.state.versions.current.model is not None
    assert later.labels.data[100, 100] == 1000
    assert later.app.autosave.flush(60)
    assert on_disk(later.app.autosave.folder)[100, 100] == 1000


def test_a_session_in_use_is_continued_as_a_copy(
    dock, make_dock, image_of_nuclei, monkeypatch
):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    layer = dock.app.layers.make_binding(image).layer
    layer.paint((30, 30), 77)
    assert dock.app.autosave.flush(60)
    root = dock.app.autosave.folder.root
    second = make_dock()
    sentences = []
    monkeypatch.setattr(
        second.view.session,
        "ask_copy",
        lambda sentence: sentences.append(sentence) is None,
    )
    second.open_session(root)
    assert "another window" in sentences[0]
    assert second.app.autosave.folder.root != root
    assert second.labels.data[30, 30] == 77


def test_what_was_removed_from_the_viewer_comes_back_from_its_own_session(
    dock, image_of_nuclei
):
    image = dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.app.layers.make_binding(image).layer.paint((30, 30), 77)
    assert dock.app.autosave.flush(60)
    root = dock.app.autosave.folder.root
    dock.open_session(root)
    assert "open in this window already" in dock.message
    dock.viewer.layers.clear()
    dock.open_session(root)
    assert dock.viewer.layers["cells"].data.shape == image_of_nuclei.shape
    assert dock.viewer.layers["cells labels"].data[30, 30] == 77
    assert dock.app.autosave.folder.root == root


def test_a_hostile_session_is_refused_with_a_sentence(dock, tmp_path):
    (tmp_path / "session.json").write_text('{"schema_version": 1, "images": 3}')
    dock.open_session(tmp_path)
    assert "not a session" in dock.message
    assert not list(dock.viewer.layers)


@pytest.mark.parametrize("decision", ["use_candidate", "keep_old"])
def test_a_choice_that_is_left_open_comes_back(
    dock, make_dock, nuclei, sure_fine_tuning, decision
):
    sure_fine_tuning.sure = False
    dock.viewer.add_image(nuclei[0], name="cells")
    dock.segment()
    dock.fine_tune()
    dock.wait()  # both are compared
    assert any(layer.name.startswith("compare") for layer in dock.viewer.layers)
    words = [dock.find(name).text() for name in ("candidate_text", "result_text")]
    assert words[0] == "Too close to call: before 7 of 14 right, now 6."
    candidate = dock.state.versions.candidate
    root, later = dock.end(), make_dock()
    later.open_session(root)
    versions = later.state.versions
    assert versions.current.key == STARTER
    assert versions.candidate.key == candidate.key
    again = [later.find(name).text() for name in ("candidate_text", "result_text")]
    assert again == words
    assert "learned from" in versions.candidate.title
    later.click(decision)
    later.wait()
    assert not later.find("candidate_text").text()
    assert versions.candidate is None
    used = decision == "use_candidate"
    assert versions.current.key == (candidate.key if used else STARTER)
    assert later.app.autosave.flush(60)
    records = list(list_versions(root).values())
    assert [record.candidate for record in records] == [False] * used
    assert len(list(root.glob("models/*.safetensors"))) == used
    last = make_dock()
    last.open_session(later.end())
    assert last.state.versions.current.key == versions.current.key
    assert last.state.versions.candidate is None
    assert last.find("result_text").text() == later.find("result_text").text()
