"""Versions of the model: listed, kept, renamed, exported, deleted, compared."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from harness import better_model

from napari_resunet._package import STARTER
from napari_resunet.network.model_file import read_model
from napari_resunet.plugin.messages import score_cell, version_from, version_of
from napari_resunet.plugin.result_texts import result_text, score_of
from napari_resunet.session.labels_api import read_labels
from napari_resunet.session.settings import MAX_LEARNED
from napari_resunet.session.store.models import VersionRecord, list_versions
from napari_resunet.types import Lineage, ObjectSize


@pytest.fixture
def two(dock, image_of_nuclei, starter, random_model):
    """A dock with an image, proposals, and two versions, the second in use."""
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    for number in (1, 2):
        result = better_model(random_model.network, starter)
        dock.app.state.versions.add(version_from(result.model, number, result))
    dock.app.state.changed.emit()
    assert dock.app.autosave.flush(60)
    return dock


def choose(dock, position):
    tree = dock.view.versions.list
    tree.setCurrentItem(tree.topLevelItem(position))
    return dock.app.state.versions.all()[position].key


def cells(dock):
    tree = dock.view.versions.list
    return [
        [tree.topLevelItem(row).text(column) for column in range(4)]
        for row in range(tree.topLevelItemCount())
    ]


def test_versions_are_listed_and_on_disk(two):
    rows = cells(two)
    assert [row[0] for row in rows] == ["0", "1", "2"]
    assert rows[1][1] == "7 → 12 of 14"
    assert rows[1][2] == "9 obj, 2 reg, 1 img"
    item = two.view.versions.list.topLevelItem(1)
    assert "9 objects, 2 regions, 1 image" in item.toolTip(2)
    folder = two.app.autosave.folder
    assert list(list_versions(folder.root)) == ["v001", "v002"]
    assert json.loads((folder.root / "session.json").read_text())["current_version"] == 2


def test_a_name_and_a_note_are_kept(two, monkeypatch):
    choose(two, 1)
    monkeypatch.setattr(two.view.versions, "ask_text", lambda *_: "für Zellen")
    two.find("rename_version").click()
    two.find("note_version").click()
    assert "1: für Zellen" in [title for _, title, _ in two.app.state.versions.listed()]
    autosave = two.app.autosave
    assert autosave.flush(60)
    record = list_versions(autosave.folder.root)["v001"]
    assert (record.name, record.note) == ("für Zellen", "für Zellen")
    assert record.sha256


def test_the_starter_and_the_version_in_use_cannot_be_deleted(two):
    for position, allowed in ((0, False), (1, True), (2, False)):
        choose(two, position)
        assert two.find("delete_version").isEnabled() == allowed
        two.app.versions.delete(two.app.state.versions.current.key)
        two.app.versions.delete(STARTER)
    assert len(cells(two)) == 3
    choose(two, 1)
    two.find("delete_version").click()
    assert [row[0] for row in cells(two)] == ["0", "2"]
    autosave = two.app.autosave
    assert autosave.flush(60)
    assert list(list_versions(autosave.folder.root)) == ["v002"]
    assert two.app.state.versions.next_number() == 3


def test_a_version_is_exported(two, tmp_path, monkeypatch):
    key = choose(two, 1)
    path = tmp_path / "mine.safetensors"
    monkeypatch.setattr(two.view, "ask_save_path", lambda suggested: path)
    two.find("export_version").click()
    assert read_model(path).info.lineage.model_id == key


def test_two_versions_are_compared_without_touching_the_labels(two):
    labels = two.labels
    before = labels.data.copy()
    choose(two, 0)
    two.find("compare_versions").click()
    two.wait()
    (layer,) = [x for x in two.viewer.layers if x.name.startswith("compare")]
    assert not labels.visible
    assert not layer.editable
    starter_picture = layer.data.copy()
    assert starter_picture.any()
    assert "Starter" in two.find("compared_text").text()
    two.find("flip_versions").click()
    assert "2:" in two.find("compared_text").text()
    assert not np.array_equal(layer.data, starter_picture)
    two.find("flip_versions").click()
    assert np.array_equal(layer.data, starter_picture)
    two.find("compare_versions").click()
    assert layer not in two.viewer.layers
    assert labels.visible
    assert np.array_equal(labels.data, before)


def compare_with_edits(dock, monkeypatch):
    """Compare the starter with itself, but without some of its objects and with others."""
    segment, calls = dock.app.workers.segment, []

    def changed(request, token):
        for event in segment(request, token):
            if hasattr(event, "padded_roi"):
                calls.append(event)
                if len(calls) == 2:
                    labels = calls[0].labels.copy()
                    labels[labels == labels.max()] = 0
                    free = np.argwhere(labels == 0)[0]
                    labels[free[0] : free[0] + 3, free[1] : free[1] + 3] = 900
                    event = replace(calls[0], labels=labels)
            yield event

    monkeypatch.setattr(dock.app.workers, "segment", changed)
    choose(dock, 0)
    dock.find("compare_versions").click()
    dock.wait()
    (layer,) = [x for x in dock.viewer.layers if x.name.startswith("compare")]
    return layer, calls[0].labels


def test_what_is_the_same_keeps_its_colour_and_differences_are_counted(two, monkeypatch):
    own = two.labels
    layer, starter = compare_with_edits(two, monkeypatch)
    text = two.find("differences_text").text()
    assert "1 more" in text
    assert "1 gone" in text
    assert f"{len(np.unique(starter)) - 2} the same" in text
    kept = (starter > 0) & (starter < starter.max())
    edge = np.argwhere((own.data > 0) & (layer.data > 0) & kept)
    assert len(edge)
    for place in map(tuple, edge):
        assert np.allclose(
            layer.get_color(layer.data[place]), own.get_color(own.data[place]), atol=1e-3
        )
    gone = np.argwhere(starter == starter.max())
    colours = {tuple(layer.get_color(layer.data[tuple(place)])) for place in gone}
    assert len(colours) == 1
    assert colours.pop()[0] == 1


def test_each_difference_is_visited_in_turn(two, monkeypatch):
    compare_with_edits(two, monkeypatch)
    centres, texts = [], []
    for _ in range(3):
        two.find("next_difference").click()
        centres.append(two.viewer.scene.camera.center[-2:])
        texts.append(two.find("compared_text").text())
        assert len(two.app.versions.frame.lines) == 1
    assert centres[0] == centres[2] != centres[1]
    assert texts[0].startswith("Difference 1 of 2")
    assert "only 'Starter' finds it" in texts[0]
    two.find("compare_versions").click()
    assert not two.app.versions.frame.lines


def test_each_version_is_compared_at_its_own_size(two, starter, monkeypatch):
    estimated = two.state.chosen.scale
    info = replace(starter.info, object_size=ObjectSize(30.0), lineage=Lineage())
    two.state.versions.add(version_from(replace(starter, info=info), 3))
    two.state.changed.emit()
    requests, compare = [], two.app.workers.compare
    monkeypatch.setattr(
        two.app.workers, "compare", lambda r, t: requests.append(r) or compare(r, t)
    )
    choose(two, 0)
    two.find("compare_versions").click()
    two.wait()
    assert requests[0].scales == (estimated, 24 / 30)


def test_exported_labels_tell_how_they_were_made(two, tmp_path, monkeypatch):
    section = two.app.view.results
    monkeypatch.setattr(
        section, "ask_formats", lambda no_tracks: ("ome-tiff", "roi", "geojson")
    )
    monkeypatch.setattr(section, "ask_export", lambda suggested: tmp_path / "out")
    two.app.review.choose_area("slice")
    two.click("mark_verified")
    two.find("export_labels").click()
    two.until(lambda: two.app.session_jobs.current is None)
    labels = two.labels.data
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), labels)
    for name in ("out_rois.zip", "out.geojson"):
        assert np.array_equal(read_labels(tmp_path / name, labels.shape), labels)
    found = json.loads((tmp_path / "out.geojson").read_text("utf-8"))["features"]
    assert found[0]["properties"] == {"objectType": "annotation", "name": "Verified area"}
    about = json.loads((tmp_path / "out.json").read_text("utf-8"))
    autosave = two.app.autosave
    record = list_versions(autosave.folder.root)["v002"]
    assert about["model"]["sha256"] == record.sha256
    assert about["model"]["model_id"] == two.app.state.versions.current.key
    assert about["checked_share"] == 1.0
    assert about["settings"]["foreground"] == 0.5
    assert about["image"]["name"] == "cells"
    assert "torch" in about["programs"]


def test_a_model_is_saved_and_loaded(dock, image_of_nuclei, monkeypatch, tmp_path):
    dock.viewer.add_image(image_of_nuclei, name="cells")
    dock.segment()
    path = tmp_path / "mine.safetensors"
    monkeypatch.setattr(dock.view, "ask_save_path", lambda suggested: path)
    monkeypatch.setattr(dock.view, "ask_open_path", lambda: path)
    dock.click("save")
    assert "Saved" in dock.message
    dock.click("load")
    dock.wait()
    assert len(dock.app.state.versions.listed()) == 2
    path.write_bytes(b"damaged")
    dock.click("load")
    dock.wait()
    assert "damaged" in dock.message
    assert len(dock.app.state.versions.listed()) == 2


def test_the_oldest_versions_without_a_name_are_deleted(bench, random_model):
    state, deleted = bench.state, []
    state.version_deleted.connect(lambda record: deleted.append(record.number))

    def learn(*numbers):
        for n in numbers:
            record = VersionRecord(number=n, model_id=f"m{n}", name="kept" * (n == 2))
            state.versions.add(version_of(record, random_model))

    learn(*range(1, MAX_LEARNED + 4))
    state.training_over.emit()
    assert deleted == [1, 3]
    left = [version.number for version in state.versions.all()]
    assert left == [0, 2, *range(4, MAX_LEARNED + 4)]
    learn(MAX_LEARNED + 4, MAX_LEARNED + 5)
    state.versions.choose("m5")  # in use, and 4 is the one to go back to
    state.training_over.emit()
    assert deleted == [1, 3]


def test_versions_of_older_sessions_tell_their_score():
    record = VersionRecord(number=3, model_id="x", objects=9, before=0.7, after=0.8)
    version = version_of(record)
    assert version.title == "3: learned from 9 objects, score 0.80"
    assert score_cell(record) == "0.70 → 0.80"
    assert score_of(version) == "Score on the held-out part: 0.80 (before: 0.70)."
    empty = VersionRecord(number=3, after=1.0, right_after=0, held_out=0, objects=2)
    assert (score_cell(empty), version_of(empty).title) == ("", "3: learned from 2 objects")
    nothing = version_of(VersionRecord(number=4, objects=1))
    assert nothing.title == "4: learned from 1 object"
    assert score_of(nothing) == "Nothing could be held out: too few to judge."


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ({"improved": True, "before": 0.7, "after": 0.66}, "0.66 (before: 0.70)."),
        ({"improved": False, "before": 0.7, "after": 0.66}, "the old model stays: score"),
        ({"improved": True, "outcome": "not judged"}, "Nothing could be held out"),
        (
            {"outcome": "too close", "before": 0.0, "after": 1.0, "right_before": 0,
             "right": 0, "objects": 0},
            "Too close to call: there is no object in the held-out part: too few to judge.",
        ),
        ({"outcome": "worse", "before": 0.7}, "Not better: the old model stays."),
        (
            {"outcome": "too close", "before": 0.5, "after": 0.4, "right_before": 5,
             "right": 4, "objects": 12},
            "Too close to call: before 5 of 12 held-out objects right, now 4.",
        ),
        (
            {"outcome": "better", "before": 0.5, "after": 0.6, "right_before": 2,
             "right": 3, "objects": 4},
            "Finds 3 of the 4 held-out objects right (before: 2): too few to judge; verify "
            "about 25 more.",
        ),
        (
            {"outcome": "better", "before": 0.5, "after": 0.6, "right_before": 7,
             "right": 12, "objects": 14, "elsewhere": {"new": 3, "gone": 1, "same": 99}},
            "Finds 12 of the 14 held-out objects right (before: 7). On your other images: "
            "3 new, 1 gone of 100.",
        ),
    ],
)  # fmt: skip
def test_the_end_of_a_fine_tuning_is_told_as_it_was(entry, words):
    assert words in result_text(entry)
    assert "in use" not in result_text(entry)
