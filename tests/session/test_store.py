"""What is asked for is on the disk, whatever the disk does, and comes back as it was."""

import errno
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
import tifffile

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.engine.changes import Changes
from napari_resunet.engine.dataset import find_pairs
from napari_resunet.errors import SessionError
from napari_resunet.files import atomic_path, content_hash
from napari_resunet.session.store import labels as label_store
from napari_resunet.session.store import recent, schema
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.delta import LabelDelta, LabelsSnapshot, marks_of
from napari_resunet.session.store.directory import copy_session
from napari_resunet.session.store.folder import SessionFolder, SessionInUse
from napari_resunet.session.store.history import (
    Run,
    append_history,
    last_run,
    read_history,
)
from napari_resunet.session.store.images import load_image, store_image
from napari_resunet.session.store.models import (
    VersionRecord,
    list_versions,
    model_path,
    recovered_versions,
    save_version,
)
from napari_resunet.session.store.recent import new_folder
from napari_resunet.types import ObjectSize, Statistics

SHAPE = (300, 320)
ROUNDS = Path(__file__).with_name("kill_rounds.py")


def stroke(row, column, value, size=20):
    """Paint a verified square over labels that were half as high before."""
    labels = np.full((size, size), value, np.int32)
    return LabelDelta(row, column, labels, labels // 2, np.full((size, size), 12, np.uint8))


def again(session):
    """Close a session and open it as the next run of the program does."""
    assert session.close()
    return SessionFolder.open(session.root)


@pytest.mark.skipif(os.name != "posix", reason="kills by a signal")
def test_kills_at_dangerous_moments_lose_nothing(tmp_path):
    out = subprocess.run(
        [sys.executable, str(ROUNDS), str(tmp_path / "killed é"), "40", "0.04"],
        capture_output=True,
        text=True,
        timeout=170,
    )
    assert "40 kills survived" in out.stdout, out.stderr[-3000:]


def test_strokes_come_back_with_all_that_is_known_of_them(session, key):
    session.put_deltas(key, (), [stroke(10, 10, 4), stroke(250, 290, 70_000)])
    session.put_deltas(key, (), [stroke(20, 20, 6)])
    reopened = again(session)
    state = reopened.load_plane(key, ())
    assert state.labels[15, 15] == 4
    assert state.labels[25, 25] == 6
    assert state.labels[260, 300] == 70_000
    review = state.review()
    assert review.verified[15, 15]
    assert not review.verified[100, 100]
    assert review.last_written[15, 15] == 2
    reopened.close()


def test_a_review_mask_survives_with_what_it_has_not_taken_note_of(session, key):
    rng = np.random.default_rng(0)
    review = ReviewMask.empty(SHAPE)
    for mask in (review.proposed, review.edited, review.verified):
        mask[:] = rng.random(SHAPE) < 0.5
    review.last_written[:] = rng.integers(0, 5, SHAPE)
    labels = rng.integers(0, 5, SHAPE).astype(np.int32)
    window = slice(0, 300), slice(0, 320)
    marks = marks_of(review, window, labels)
    before = np.where(labels != review.last_written, review.last_written, 0)
    session.put_deltas(key, (), [LabelDelta(0, 0, labels, before, marks)])
    reopened = again(session)
    state = reopened.load_plane(key, ())
    found = state.review()
    assert np.array_equal(state.labels, labels)
    for name in ("last_written", "proposed", "edited", "verified"):
        assert np.array_equal(getattr(found, name), getattr(review, name)), name
    reopened.close()


def test_a_torn_record_is_left_out_and_work_goes_on_after_it(session, key):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    (journal,) = session.root.glob("planes/*/plane/journal-0.bin")
    whole = journal.read_bytes()
    session.put_deltas(key, (), [stroke(10, 10, 5)])
    assert session.flush(60)
    torn = journal.read_bytes()[: len(whole) + 30]
    copied = session.root.with_name("after the crash")
    shutil.copytree(session.root, copied)
    next(copied.glob("planes/*/plane/journal-0.bin")).write_bytes(torn)
    reopened = SessionFolder.open(copied)
    assert reopened.load_plane(key, ()).labels[15, 15] == 4
    reopened.put_deltas(key, (), [stroke(10, 10, 6)])
    reopened = again(reopened)
    assert reopened.load_plane(key, ()).labels[15, 15] == 6
    reopened.close()


def test_half_written_files_are_swept_up(session, key):
    assert session.close()
    with atomic_path(session.root / "models" / "v001.safetensors") as part:
        part.write_bytes(b"half")
        shutil.copy(part, part.with_name("kept"))
        name = part
    (session.root / "models" / "kept").rename(name)  # as a kill would have left it
    reopened = SessionFolder.open(session.root)
    assert reopened.flush(60)
    assert not list(session.root.rglob(".*"))
    reopened.close()


@pytest.mark.parametrize("kind", ["labels", "marks"])
def test_a_compaction_that_breaks_off_costs_nothing(session, key, monkeypatch, kind):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    real = label_store.write_tiff

    def broken(path, array, **options):
        if path.name.startswith(kind):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(path, array, **options)

    monkeypatch.setattr(label_store, "write_tiff", broken)
    session.compact()
    monkeypatch.undo()
    session.put_deltas(key, (), [stroke(40, 10, 5)])
    reopened = again(session)
    labels = reopened.load_plane(key, ()).labels
    assert labels[15, 15] == 4
    assert labels[45, 15] == 5
    reopened.close()


def test_what_waits_is_bounded_by_the_plane(session, key, monkeypatch):
    def full(self, record):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("napari_resunet.session.store.journal.Journal.append", full)
    for value in range(1, 300):
        session.put_deltas(key, (), [stroke(0, 0, value), stroke(20, 0, value)])
    assert len(session._waiting[key, ()]) <= 2
    monkeypatch.undo()
    assert session.flush(60)


# The disk ------------------------------------------------------------------------------


def wait_for(condition):
    """Wait until it is so; pytest's timeout ends a test that waits in vain."""
    pause = Event()
    while not condition():
        pause.wait(0.02)


def test_a_full_disk_is_told_and_nothing_is_lost(session, key, monkeypatch):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    real = os.fsync

    def full(handle):
        os.write(handle, b"half a rec")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    session.put_deltas(key, (), [stroke(40, 10, 5)])
    wait_for(lambda: "No space left" in session.trouble)
    session.put_deltas(key, (), [stroke(70, 10, 6)])
    monkeypatch.setattr(os, "fsync", real)
    assert session.flush(60)
    assert not session.trouble
    reopened = again(session)
    labels = reopened.load_plane(key, ()).labels
    assert [labels[row, 15] for row in (15, 45, 75)] == [4, 5, 6]
    reopened.close()


def test_a_folder_that_is_gone_is_told_and_writing_resumes_when_it_is_back(session, key):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    away = session.root.with_name("unplugged")
    session.root.rename(away)
    session.root.mkdir()  # what is left of a drive that was unmounted
    session.put_deltas(key, (), [stroke(40, 10, 5)])
    wait_for(lambda: "not there" in session.trouble)
    assert not list(session.root.iterdir())
    session.root.rmdir()
    away.rename(session.root)
    assert session.flush(60)
    reopened = again(session)
    labels = reopened.load_plane(key, ()).labels
    assert (labels[15, 15], labels[45, 15]) == (4, 5)
    reopened.close()


@pytest.mark.skipif(os.name != "posix", reason="needs modes of files")
def test_a_read_only_folder_is_told(tmp_path, monkeypatch):
    session = SessionFolder.create(tmp_path / "s")
    key = with_one_image(session)
    assert session.flush(60)
    real = Path.open

    def read_only(self, mode="r", *rest, **options):
        if set(mode) & set("wa+"):
            raise PermissionError(errno.EROFS, "Read-only file system", str(self))
        return real(self, mode, *rest, **options)

    monkeypatch.setattr(Path, "open", read_only)
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    wait_for(lambda: "Read-only" in session.trouble)
    monkeypatch.undo()
    assert session.flush(60)
    session.close()


def test_a_stalled_drive_is_reported_and_the_window_goes_on(session, key, monkeypatch):
    answers = Event()
    monkeypatch.setattr("napari_resunet.session.store.writer.STALLED", 0.1)
    monkeypatch.setattr(os, "fsync", lambda handle: answers.wait())
    session.put_deltas(key, (), [stroke(10, 10, 4)])  # it does not wait for the drive
    wait_for(lambda: "does not answer" in session.trouble)
    monkeypatch.undo()
    answers.set()
    assert session.flush(60)
    assert not session.trouble


def test_an_error_that_nobody_foresaw_is_told_not_swallowed(session):
    session.put_large("bad", lambda root: 1 / 0)
    assert session.flush(60)
    assert "ZeroDivisionError" in session.take_lost()[0]
    assert not session.take_lost()


@pytest.mark.parametrize("name", ["with spaces and ä ö 細胞", "long " + "x" * 100, "a.b'c"])
def test_names_of_folders(tmp_path, name):
    session = SessionFolder.create(tmp_path / name / ("y" * 100) / name)
    key = with_one_image(session)
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    reopened = again(session)
    assert reopened.load_plane(key, ()).labels[15, 15] == 4
    reopened.close()


def with_one_image(session, **fields):
    known = {"name": "cells", "shape": SHAPE, "dtype": "uint8", "axes": "YX"} | fields
    image = schema.ImageRecord(**known)
    session.update(session.file.model_copy(update={"images": (image,)}))
    return image.key


def test_moving_keeps_everything_and_work_goes_on(session, key, tmp_path):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    old, new = session.root, tmp_path / "other" / "place"
    session.move(new)
    assert not old.exists()
    session.put_deltas(key, (), [stroke(40, 10, 5)])
    reopened = again(session)
    assert reopened.root == new
    labels = reopened.load_plane(key, ()).labels
    assert (labels[15, 15], labels[45, 15]) == (4, 5)
    with pytest.raises(SessionError, match="exists already"):
        reopened.move(tmp_path)
    reopened.close()


# Two windows ---------------------------------------------------------------------------


def test_a_second_window_is_told_and_can_have_a_copy(session, key):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    with pytest.raises(SessionInUse, match="another window"):
        SessionFolder.open(session.root)
    target = session.root.with_name("a copy")
    copy_session(session.root, target)
    copy = SessionFolder.open(target)
    copy.put_deltas(key, (), [stroke(10, 10, 9)])
    copy = again(copy)
    assert copy.file.session_id != session.file.session_id
    assert copy.load_plane(key, ()).labels[15, 15] == 9
    assert session.load_plane(key, ()).labels[15, 15] == 4
    copy.close()


# Corrections, versions, history, images ------------------------------------------------


def correction_of(value=3, channels=1, index=()):
    rng = np.random.default_rng(value)
    labels = rng.integers(0, 9, (50, 60)).astype(np.int32)
    verified = np.zeros((50, 60), bool)
    verified[10:40, 5:45] = True
    box = slice(100, 150), slice(20, 80)
    correction = Correction("layer id", index, box, labels, verified, labels > 5)
    image = rng.integers(0, 60_000, (50, 60, channels)).astype(np.uint16)
    known = Statistics((1.5,) * channels, (900.25,) * channels)
    sizes = {"scale": 0.7, "pixel_size": 0.25}
    return correction, as_example(correction, image, statistics=known, **sizes)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_corrections_come_back_as_they_were(session, key, channels):
    correction, example = correction_of(channels=channels, index=(2, 5))
    save_correction(session.root, key, correction, example)
    ((saved,), _) = load_corrections(session.root)
    found = saved.correction("another id")
    assert (found.image_id, found.index, found.window) == (
        "another id", (2, 5), correction.window,
    )  # fmt: skip
    for name in ("image", "labels", "verified", "edited"):
        expected = getattr(example, name)
        assert np.array_equal(getattr(saved.example, name), expected), name
    assert (saved.example.scale, saved.example.pixel_size) == (0.7, 0.25)
    assert saved.example.statistics == example.statistics


def test_pairs_can_be_read_by_any_tool(session, key):
    for value in (3, 4):  # the second round on the same plane takes the first one's place
        save_correction(session.root, key, *correction_of(value))
    save_correction(session.root, key, *correction_of(5, channels=3, index=(1,)))
    pairs = {p.image.stem: p.read() for p in find_pairs(session.root)}
    assert len(pairs) == 2
    for pair in pairs.values():
        assert pair.labels.shape == (30, 40)
    correction, example = correction_of(4)
    gray = next(p for p in pairs.values() if p.image.ndim == 2)
    assert np.array_equal(gray.labels, correction.labels[10:40, 5:45])
    assert np.array_equal(gray.image, example.image[10:40, 5:45, 0])


def write_weights(path):
    path.write_bytes(b"weights")


def test_versions_count_once_their_weights_are_there(session):
    changes = Changes(new=3, changed=12, same=200)
    record = VersionRecord(number=2, name="naïve", after=0.6, elsewhere=changes)
    saved = save_version(session.root, record, write_weights)
    assert list_versions(session.root) == {"v002": saved}
    assert saved.elsewhere == changes
    assert model_path(session.root, saved).read_bytes() == b"weights"

    def killed(path):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        save_version(session.root, VersionRecord(number=3), killed)
    assert list(list_versions(session.root)) == ["v002"]
    (session.root / "models" / "v002.safetensors").write_bytes(b"exchanged")
    with pytest.raises(SessionError, match="exchanged"):
        model_path(session.root, saved)


def test_a_version_without_its_record_keeps_its_object_size(session, random_model):
    info = replace(random_model.info, object_size=ObjectSize(42.0, 27.5))
    (session.root / "models").mkdir()
    replace(random_model, info=info).save(session.root / "models" / "v001.safetensors")
    random_model.save(session.root / "models" / "v002.safetensors")
    found = recovered_versions(session.root)
    assert found["v001"].object_size == ObjectSize(42.0, 27.5)
    assert found["v002"].object_size is None


def test_the_history_outlives_a_torn_line(session):
    append_history(
        session.root,
        [{"event": "begin"}, {"event": "step", "step": 1, "loss": 0.5, "held_out": None}],
    )
    path = session.root / "history.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event": "st')
    append_history(
        session.root, [{"event": "step", "step": 2, "loss": 0.4, "held_out": 0.7}]
    )
    run = last_run(read_history(session.root)[0])
    assert run.points == [(1, 0.5, None), (2, 0.4, 0.7)]
    assert run.objects is None  # an older program did not count them


def test_the_last_run_of_the_history_counts_right_objects():
    def step(number, right):
        return {
            "event": "step",
            "step": number,
            "loss": 0.5,
            "held_out": 0.1,
            "right": right,
        }

    start = {"event": "before", "before": 0.2, "right_before": 5, "objects": 12}
    entries = [{"event": "begin"}, step(1, None), {"event": "begin"}, start]
    entries += [step(1, None), step(2, 7), step(3, 9), {"event": "go on", "step": 2}]
    assert last_run(entries) == Run([(1, 0.5, None), (2, 0.5, 7)], 5, 12)


@pytest.mark.parametrize(
    "elsewhere", [5, {"new": -1}, {"new": "many"}, {"pixels": 7}, {"new": 10**50}]
)
def test_a_line_of_the_history_with_impossible_changes_is_lost(session, elsewhere):
    good = {"event": "end", "elsewhere": {"new": 3, "same": 9, "pixels": None}}
    append_history(session.root, [good, {"event": "end", "elsewhere": elsewhere}])
    assert read_history(session.root) == ([good], 1)


@pytest.mark.parametrize(
    ("dtype", "shape", "axes", "rgb"),
    [("uint8", (30, 40), "YX", False), ("bool", (30, 40), "YX", False),
     ("float32", (3, 2, 30, 40), "TCYX", False), ("uint8", (4, 30, 40, 3), "ZYXS", True),
     ("uint8", (5, 20, 1), "ZYX", False), ("float64", (20, 1), "YX", False),
     ("int16", (2, 3, 1, 1), "TZYX", False), ("uint8", (2, 20, 1, 4), "ZYXS", True)],
)  # fmt: skip
def test_images_from_memory_come_back_with_the_same_hash(session, dtype, shape, axes, rgb):
    array = (np.random.default_rng(0).random(shape) * 200).astype(dtype)
    image = schema.ImageRecord(name="x", shape=shape, dtype=dtype, axes=axes, rgb=rgb)
    store_image(session.root, image, array)
    found, _ = load_image(session.root, image)
    assert found.dtype == array.dtype
    assert content_hash(found) == content_hash(array)
    changed = array.copy()
    changed.flat[5] = ~changed.flat[5] if dtype == "bool" else changed.flat[5] + 1
    assert content_hash(changed) != content_hash(array)


# The description -----------------------------------------------------------------------


def test_unknown_fields_of_a_newer_program_are_kept(session, key):
    assert session.flush(60)
    path = session.root / "session.json"
    fields = json.loads(path.read_text("utf-8"))
    fields["novelty"] = {"a": 1}
    fields["images"][0]["shade"] = "blue"
    fields["settings"]["taste"] = 3
    session.close()
    path.write_text(json.dumps(fields), "utf-8")
    reopened = SessionFolder.open(session.root)
    reopened.update(reopened.file.model_copy(update={"current_version": 7}))
    assert reopened.close()
    kept = json.loads(path.read_text("utf-8"))
    assert kept["novelty"] == {"a": 1}
    assert kept["images"][0]["shade"] == "blue"
    assert kept["settings"]["taste"] == 3
    assert kept["current_version"] == 7


def test_an_older_schema_is_migrated_and_a_newer_one_is_not_edited(session, monkeypatch):
    session.close()
    path = session.root / "session.json"
    monkeypatch.setattr(schema, "SCHEMA_VERSION", 3)
    steps = {1: lambda old: old | {"name": old["name"] + " once"},
             2: lambda old: old | {"name": old["name"] + " twice"}}  # fmt: skip
    monkeypatch.setattr(schema, "MIGRATIONS", steps)
    reopened = SessionFolder.open(session.root)
    assert reopened.file.name == "my session once twice"
    assert reopened.file.schema_version == 3
    assert reopened.close()
    monkeypatch.undo()
    before = path.read_bytes()
    with pytest.raises(SessionError, match="newer"):
        SessionFolder.open(session.root)
    assert path.read_bytes() == before


# The list ------------------------------------------------------------------------------


def test_recent_sessions_are_listed_the_latest_first(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_RESUNET_SESSIONS", str(tmp_path / "sessions"))
    first = SessionFolder.create(new_folder("cells: a/b", tmp_path / "sessions"))
    far = SessionFolder.create(tmp_path / "far away")
    for number, folder in enumerate((first, far)):
        recent.remember(folder.root)
        image = schema.ImageRecord(name="x", shape=(5, 5), dtype="uint8", axes="YX",
                                   checked_objects=number + 3)  # fmt: skip
        changed = f"2030-01-0{number + 1}T00:00:00+00:00"
        folder.update(folder.file.model_copy(update={"images": (image,),
                                                     "changed": changed}))  # fmt: skip
        assert folder.close()
    assert [s.folder for s in recent.recent_sessions()] == [far.root, first.root]
    assert [s.checked_objects for s in recent.recent_sessions()] == [4, 3]
    assert first.root.name.endswith("cells a b")
    shutil.rmtree(far.root)
    (first.root.parent / "no session").mkdir()
    assert [s.folder for s in recent.recent_sessions()] == [first.root]


def test_snapshots_open_with_other_tools(session, key):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.close()
    (path,) = session.root.glob("planes/*/plane/labels-*.tif")
    labels = tifffile.imread(path)
    assert labels.dtype == np.uint16
    assert labels[15, 15] == 4
    (path,) = session.root.glob("planes/*/plane/marks-*.tif")
    assert tifffile.imread(path).shape == (4, *SHAPE)


@pytest.mark.parametrize("shape", [(20, 1), (1, 20), (1, 1)])
def test_labels_of_planes_with_one_column_come_back(tmp_path, shape):
    session = SessionFolder.create(tmp_path / "narrow")
    key = with_one_image(session, shape=shape)
    ones = np.ones(shape, np.int32)
    session.put_deltas(
        key, (), [LabelDelta(0, 0, ones, ones * 2, ones.astype(np.uint8) * 8)]
    )
    reopened = again(session)
    state = reopened.load_plane(key, ())
    assert (state.labels == 1).all()
    assert (state.before == 2).all()
    assert not reopened.plane_damage(key, ())
    reopened.close()


def test_an_empty_state_takes_patches():
    state = LabelsSnapshot.empty(SHAPE)
    state.put(stroke(0, 0, 2))
    assert state.labels[:20, :20].min() == 2


def test_labels_that_wait_to_be_written_are_read(session, key, monkeypatch):
    session.put_deltas(key, (), [stroke(10, 10, 4)])
    assert session.flush(60)
    monkeypatch.setattr(SessionFolder, "is_there", False)  # the drive is away
    session.put_deltas(key, (), [stroke(40, 10, 5)])
    other = with_one_image(session, shape=(3, *SHAPE), axes="ZYX")
    session.put_deltas(other, (2,), [stroke(10, 10, 6)])
    assert session.planes(other) == [(2,)]
    assert session.load_plane(other, (2,)).labels[15, 15] == 6
