"""Versions of the model: listed, kept, renamed, exported, deleted, compared."""

import json

import numpy as np
import pytest
import tifffile
from harness import better_model

from napari_resunet._package import STARTER
from napari_resunet.network.model_file import read_model
from napari_resunet.plugin.messages import score_text, version_from
from napari_resunet.session.store.models import list_versions


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
    assert rows[1][1] == "0.40 → 0.60"
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
    starter_labels = layer.data.copy()
    assert starter_labels.max() > 5
    assert "Starter" in two.find("compared_text").text()
    two.find("flip_versions").click()
    assert "2:" in two.find("compared_text").text()
    assert not np.array_equal(layer.data, starter_labels)
    two.find("flip_versions").click()
    assert np.array_equal(layer.data, starter_labels)
    two.find("compare_versions").click()
    assert layer not in two.viewer.layers
    assert labels.visible
    assert np.array_equal(labels.data, before)


def test_exported_labels_tell_how_they_were_made(two, tmp_path, monkeypatch):
    path = tmp_path / "out"
    section = two.app.view.session
    monkeypatch.setattr(section, "ask_export", lambda suggested: path)
    two.app.review.choose_area("slice")
    two.click("mark_verified")
    two.find("export_labels").click()
    two.until(lambda: two.app.session_jobs.current is None)
    assert np.array_equal(tifffile.imread(tmp_path / "out.tif"), two.labels.data)
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


@pytest.mark.parametrize(
    ("after", "improved", "words"),
    [
        (0.8, True, "better: in use"),
        (0.704, True, "as good: in use"),
        (0.66, True, "lower by no more than chance: in use"),
        (0.66, False, "the old model stays"),
    ],
)
def test_the_score_says_which_model_is_in_use_and_why(after, improved, words):
    text = score_text(0.7, after, improved)
    assert text.startswith(f"Held-out score 0.70 before, {after:.2f} after")
    assert words in text
