"""What is damaged, deleted or exchanged in a session is told, and all else is saved."""

import errno
import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import tifffile
from safetensors.numpy import save_file

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.errors import SessionError
from napari_resunet.files import content_hash
from napari_resunet.session.restore import Restored, restore_steps
from napari_resunet.session.store import manifest
from napari_resunet.session.store.corrections import save_correction
from napari_resunet.session.store.delta import LabelDelta
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import append_history
from napari_resunet.session.store.images import store_image
from napari_resunet.session.store.journal import MAGIC, Journal
from napari_resunet.session.store.models import (
    CheckpointRecord,
    VersionRecord,
    save_checkpoint,
    save_version,
)
from napari_resunet.session.store.schema import ImageRecord

OLD_SESSIONS = Path(__file__).with_name("data")
"""Written by older programs: ``session_v1.zip``, and ``session_v2.zip`` with checksums."""

FLAT, STACK = "a" * 12, "b" * 12


def stroke(row, column, value, size=10):
    labels = np.full((size, size), value, np.int32)
    return LabelDelta(row, column, labels, labels // 2, np.full((size, size), 12, np.uint8))


def write_weights(path):
    lineage = {"model_id": "m1", "parent_id": None, "created": "2026-01-01T00:00:00+00:00"}
    header = {"task": "instances", "lineage": lineage}
    metadata = {"napari_resunet": json.dumps(header)}
    save_file({"w": np.zeros(10, np.float32)}, path, metadata)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A session with something of each kind, as a kill leaves it."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("whole") / "cells"
    folder = SessionFolder.create(root)
    flat = rng.integers(0, 200, (400, 400)).astype(np.uint8)
    stack = rng.integers(0, 200, (3, 40, 50)).astype(np.uint8)
    images = (
        ImageRecord(key=FLAT, name="cells", shape=flat.shape, dtype="uint8", axes="YX",
                    stored=True, content_hash=content_hash(flat)),
        ImageRecord(key=STACK, name="stack", shape=stack.shape, dtype="uint8", axes="ZYX",
                    stored=True, content_hash=content_hash(stack)),
    )  # fmt: skip
    folder.update(folder.file.model_copy(update={"images": images}))
    for image, pixels in zip(images, (flat, stack), strict=True):
        store_image(root, image, pixels)
    noise = rng.integers(1, 60_000, (400, 400)).astype(np.int32)
    marks = np.full(noise.shape, 12, np.uint8)
    folder.put_deltas(FLAT, (), [LabelDelta(0, 0, noise, noise // 2, marks)])
    folder.put_deltas(STACK, (1,), [stroke(5, 5, 7)])
    assert folder.flush(60)
    folder.put_often("compact", lambda _: folder.compact())
    for value in range(1, 6):
        folder.put_deltas(FLAT, (), [stroke(20 * value, 5, value)])
        assert folder.flush(60)
    folder.put_deltas(STACK, (2,), [stroke(5, 5, 9)])
    box, mask = (slice(0, 20), slice(0, 20)), np.ones((20, 20), bool)
    edited = np.eye(20) > 0
    correction = Correction("x", (), box, np.full((20, 20), 3, np.int32), mask, edited)
    example = as_example(correction, flat[:20, :20, None], scale=1.5)
    folder.note(manifest.with_correction(save_correction(root, FLAT, correction, example)))
    save_version(root, VersionRecord(number=1, model_id="m1"), write_weights)
    folder.note(manifest.with_version(1))
    save_checkpoint(root, CheckpointRecord(base=1, image=FLAT), write_weights)
    folder.note(manifest.with_training(interrupted=True))
    steps = [{"event": "step", "step": n, "loss": 0.5} for n in range(4)]
    append_history(root, steps)
    folder.note(manifest.with_history(len(steps)))
    assert folder.flush(60)
    killed = root.with_name("killed")
    shutil.copytree(root, killed)
    folder.close()
    return killed


@pytest.fixture
def root(whole, tmp_path):
    return Path(shutil.copytree(whole, tmp_path / "cells"))


class Found:
    """What comes back of a session, and what is told."""

    def __init__(self, root):
        self.folder = SessionFolder.open(root)
        self.images, steps = {}, restore_steps(self.folder)
        while True:
            try:
                event = next(steps)
            except StopIteration as end:
                self.rest: Restored = end.value
                break
            if hasattr(event, "record"):
                self.images[event.record.name] = event
        assert self.folder.close()

    @property
    def told(self):
        return " ".join(self.rest.notices)

    def state(self, name="cells", index=()):
        return self.images[name].states[index]


def file_in(root, name):
    (found,) = root.glob(name)
    return found


def test_a_whole_session_has_nothing_to_tell(root):
    found = Found(root)
    assert not found.rest.notices
    assert found.rest.interrupted is not None
    assert len(found.rest.corrections) == len(found.rest.versions) == 1
    assert found.state("stack", (2,)).labels[6, 6] == 9


def test_a_session_of_the_first_format_opens_and_goes_on(tmp_path):
    with zipfile.ZipFile(OLD_SESSIONS / "session_v1.zip") as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "session_v1"
    found = Found(root)
    assert not found.rest.notices
    labels = found.state().labels
    assert [labels[row, 6] for row in (6, 21, 31)] == [3, 4, 5]
    assert found.state("stack", (1,)).labels[6, 6] == 70_000
    assert found.state("stack", (2,)).labels[6, 6] == 9
    assert len(found.rest.corrections) == len(found.rest.versions) == 1
    assert found.rest.interrupted is not None
    assert len(found.rest.history) == 3
    assert all(image.fingerprint for image in found.images.values())
    folder = SessionFolder.open(root)
    folder.put_deltas(FLAT, (), [stroke(40, 5, 6)])
    assert folder.close()
    labels = Found(root).state().labels
    assert [labels[row, 6] for row in (6, 21, 31, 41)] == [3, 4, 5, 6]


def test_a_session_with_the_old_names_on_disk_opens_and_goes_on(tmp_path):
    with zipfile.ZipFile(OLD_SESSIONS / "session_v2.zip") as archive:
        archive.extractall(tmp_path)
    root = tmp_path / "session_v2"
    found = Found(root)
    assert not found.rest.notices
    state = found.state()
    assert [state.labels[20 * value + 1, 6] for value in range(1, 6)] == [1, 2, 3, 4, 5]
    assert state.review().verified[21, 6]
    assert found.state("stack", (2,)).labels[6, 6] == 9
    (correction,) = found.rest.corrections
    assert correction.example.scale == 1.5
    assert correction.example.edited.sum() == 20
    assert len(found.rest.versions) == 1
    assert found.rest.interrupted.base == 1
    folder = SessionFolder.open(root)
    folder.put_deltas(FLAT, (), [stroke(140, 5, 6)])
    assert folder.close()
    assert Found(root).state().labels[141, 6] == 6


# A journal -----------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(0, 100, 14))
def test_a_flipped_bit_in_a_journal_costs_its_record_alone(root, place):
    journal = file_in(root, f"planes/{FLAT}/plane/journal-1.bin")
    data = bytearray(journal.read_bytes())
    at = place * len(data) // 100
    data[at] ^= 1 << (place % 8)
    journal.write_bytes(data)
    found = Found(root)
    labels = found.state().labels
    good = [int(labels[20 * v + 2, 7]) == v for v in range(1, 6)]
    assert sum(good) >= 4
    assert ("1 of 5 changes" in found.told) == (sum(good) == 4)
    # Work goes on, and the damaged file stays.
    folder = SessionFolder.open(root)
    folder.put_deltas(FLAT, (), [stroke(300, 300, 77)])
    assert folder.close()
    after = Found(root)
    assert not after.told
    assert after.state().labels[305, 305] == 77
    kept = [p.read_bytes() for p in root.glob(f"planes/{FLAT}/plane/files.damaged-1/*.bin")]
    assert kept == ([bytes(data)] if sum(good) == 4 else [])


@pytest.mark.parametrize(
    "damage",
    [lambda p: p.write_bytes(p.read_bytes()[: p.stat().st_size // 2]),
     lambda p: p.write_bytes(b""), lambda p: p.write_bytes(bytes(p.stat().st_size)),
     lambda p: p.write_text("text " * 99), lambda p: p.unlink(),
     lambda p: (p.unlink(), p.mkdir())],
    ids=["cut", "empty", "zeros", "text", "deleted", "a folder"],
)  # fmt: skip
@pytest.mark.parametrize(
    "name",
    [f"planes/{FLAT}/plane/journal-1.bin", f"planes/{FLAT}/plane/labels-1.tif",
     f"planes/{FLAT}/plane/before-1.tif", f"planes/{FLAT}/plane/marks-1.tif",
     f"planes/{STACK}/0002/journal-0.bin", f"sources/{STACK}.tif", "history.jsonl",
     "models/v001.json", "models/v001.safetensors", "training/checkpoint.json",
     f"corrections/{FLAT}-plane-r1/record.json", f"corrections/{FLAT}-plane-r1/checked.tif",
     "session.json"],
)  # fmt: skip
def test_no_damaged_file_goes_without_a_word_or_takes_others_with_it(root, name, damage):
    damage(root / name)
    found = Found(root)
    assert found.told
    assert found.state("stack", (1,)).labels[6, 6] == 7
    assert len(found.rest.versions) + len(found.rest.corrections) + len(found.images) >= 3


@pytest.mark.parametrize("name", ["planes", f"planes/{FLAT}", f"planes/{FLAT}/plane",
                                  "corrections", f"corrections/{FLAT}-plane-r1", "models",
                                  "training", "sources"])  # fmt: skip
@pytest.mark.parametrize("instead", ["nothing", "a file"])
def test_no_folder_goes_without_a_word_and_work_goes_on(root, name, instead):
    shutil.rmtree(root / name)
    if instead == "a file":
        (root / name).write_text("not a folder")
    assert Found(root).told
    folder = SessionFolder.open(root)
    folder.put_deltas(FLAT, (), [stroke(300, 300, 77)])
    assert folder.close()
    assert Found(root).state().labels[305, 305] == 77


@pytest.mark.parametrize(
    ("one", "other"),
    [(f"corrections/{FLAT}-plane-r1/touched.tif", f"masks/{FLAT}-plane-r1.tif"),
     (f"planes/{FLAT}/plane/labels-1.tif", f"planes/{FLAT}/plane/before-1.tif"),
     ("models/v001.json", f"planes/{FLAT}/plane/journal-1.bin"),
     (f"planes/{STACK}/0001", f"planes/{STACK}/0002")],
)  # fmt: skip
def test_exchanged_parts_are_noticed(root, one, other):
    (root / one).rename(root / "third")
    (root / other).rename(root / one)
    (root / "third").rename(root / other)
    assert Found(root).told


def test_a_damaged_strip_costs_its_rows_alone_and_nothing_there_counts_as_verified(root):
    path = file_in(root, f"planes/{FLAT}/plane/labels-1.tif")
    with tifffile.TiffFile(path) as tiff:
        page = tiff.pages.first
        offset, rows = page.dataoffsets[1], page.rowsperstrip
        before = page.asarray()
    assert rows < 400
    data = bytearray(path.read_bytes())
    data[offset + 50] ^= 4
    path.write_bytes(data)
    file_in(root, f"planes/{FLAT}/plane/journal-1.bin").unlink()
    found = Found(root)
    assert f"{400 - rows} of 400 rows" in found.told
    state = found.state()
    assert np.array_equal(state.labels[:rows], before[:rows])
    assert not state.labels[rows:].any()
    assert not state.marks[rows:].any()
    assert state.review().verified[:rows].all()


def test_labels_without_marks_are_the_users_own(root):
    file_in(root, f"planes/{FLAT}/plane/marks-1.tif").unlink()
    state = Found(root).state()
    assert state.labels[300, 300]
    assert state.review().edited[300, 300]
    assert not state.review().verified[300, 300]


# Versions ------------------------------------------------------------------------------


def test_a_model_whose_record_is_damaged_is_offered_from_its_own_header(root):
    (root / "models" / "v001.json").write_text("{")
    weights = (root / "models" / "v001.safetensors").read_bytes()
    found = Found(root)
    ((record, path),) = found.rest.versions
    assert (record.number, record.model_id, path.read_bytes()) == (1, "m1", weights)
    assert found.rest.last_version == 1


def test_a_number_is_never_given_twice(root):
    (root / "models" / "v001.json").unlink()
    (root / "models" / "v001.safetensors").unlink()
    assert Found(root).rest.last_version == 1
    assert Found(root).rest.last_version == 1


def test_a_version_is_never_written_over(root):
    before = (root / "models" / "v001.safetensors").read_bytes()
    save_version(root, VersionRecord(number=1), lambda path: path.write_bytes(b"other"))
    kept = root / "models" / "v001.safetensors.damaged-1"
    assert kept.read_bytes() == before


# The description -----------------------------------------------------------------------


def change(root, edit, name="session.json"):
    fields = json.loads((root / name).read_text("utf-8"))
    edit(fields)
    (root / name).write_text(json.dumps(fields), "utf-8")


INFINITE = float("inf")


@pytest.mark.parametrize(
    "fields",
    [{"scale": [0, 0]}, {"scale": [INFINITE, 1]}, {"scale": [1e308, 1e308]},
     {"units": ["9**9**9", "um"]}, {"units": ["um"]}, {"object_scale": float("nan")},
     {"object_scale": 1e-9}, {"look": {"colors": [[float("nan")] * 4]}}, {"rgb": True},
     {"translate": "x"}, {"affine": [[1]]}, {"shear": [INFINITE]}, {"axis_labels": 5},
     {"affine": [[0] * 3] * 3},
     {"content_hash": "blake2b:="}, {"channels": [-1]}, {"checked_objects": "many"},
     {"channels": [[0, -1]]}, {"partners": ["../x"]}, {"channel_names": [7]},
     {"source": 7}, {"labels_look": []}],
)  # fmt: skip
def test_a_damaged_field_costs_that_field(root, fields):
    change(root, lambda file: file["images"][0].update(fields))
    (root / "session.backup.json").unlink()
    found = Found(root)
    assert "'cells'" in found.told
    assert "could not be read" in found.told
    assert found.state().labels.any()
    assert json.loads((root / "session.json.damaged-1").read_text())


@pytest.mark.parametrize(
    "fields",
    [{"dtype": "nonsense"}, {"dtype": "complex64"}, {"dtype": "O"}, {"dtype": "float128"},
     {"shape": [2**40, 2**40]}, {"key": "../x"}, {"axes": "QX"}],
)  # fmt: skip
def test_an_image_that_cannot_be_shown_costs_itself_alone(root, fields):
    change(root, lambda file: file["images"][0].update(fields))
    (root / "session.backup.json").unlink()
    found = Found(root)
    assert "left out" in found.told
    assert list(found.images) == ["stack"]
    assert (root / "planes" / FLAT / "plane" / "labels-1.tif").exists()


def test_the_copy_is_read_where_the_description_is_damaged(root):
    change(root, lambda file: file["images"][0].update(dtype="uint9"))
    found = Found(root)
    assert "its copy was read" in found.told
    assert found.state().labels.any()


def test_a_flipped_bit_in_a_valid_description_is_told(root):
    path = root / "session.json"
    path.write_text(path.read_text("utf-8").replace('"cells"', '"cellz"'))
    assert "changed by another program or is damaged" in Found(root).told


@pytest.mark.parametrize(
    "line",
    ["{}x", '{"event": "step"', '{"event": "step", "step": "x", "loss": 1}',
     '{"event": "step", "step": 3, "loss": Infinity}', "[" * 9000],
)  # fmt: skip
def test_a_damaged_line_of_the_history_costs_that_line(root, line):
    path = root / "history.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], line, *lines[2:]]) + "\n")
    found = Found(root)
    assert "1 entries of the history" in found.told
    assert len(found.rest.history) == 3


# While it is open ----------------------------------------------------------------------


def test_a_journal_that_vanished_is_begun_anew_and_told(root):
    folder = SessionFolder.open(root)
    folder.load_plane(FLAT, ())
    file_in(root, f"planes/{FLAT}/plane/journal-1.bin").unlink()
    folder.put_deltas(FLAT, (), [stroke(300, 300, 77)])
    assert folder.flush(60)
    assert folder.take_vanished() == [(FLAT, ())]
    folder.put_deltas(FLAT, (), [stroke(20 * v, 5, v) for v in range(1, 6)])
    assert folder.close()
    labels = Found(root).state().labels
    assert [labels[20 * v + 2, 7] for v in range(1, 6)] == [1, 2, 3, 4, 5]
    assert labels[305, 305] == 77


def test_two_windows_do_not_write_into_one_folder(root):
    """The lock was deleted, or the drive has none."""
    first = SessionFolder.open(root)
    (root / "session.lock").unlink()
    second = SessionFolder.open(root)
    first.put_deltas(FLAT, (), [stroke(300, 300, 77)])
    second.put_deltas(FLAT, (), [stroke(330, 300, 78)])
    assert second.flush(60)
    assert not first.flush(0.5)
    assert not first.is_owned
    assert "another window" in first.trouble
    assert second.close()
    assert not first.close(0.1)
    labels = Found(root).state().labels
    assert (labels[305, 305] == 77, labels[335, 305] == 78) == (False, True)


# Moving --------------------------------------------------------------------------------


def other_drive(monkeypatch):
    def refused(self, target):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    real = Path.rename
    monkeypatch.setattr(
        Path, "rename", lambda p, t: refused(p, t) if p.name == "cells" else real(p, t)
    )


def test_a_session_moves_to_another_drive_whole(root, tmp_path, monkeypatch):
    before = {str(p.relative_to(root)) for p in root.rglob("*")}
    folder = SessionFolder.open(root)
    other_drive(monkeypatch)
    folder.move(tmp_path / "there" / "moved")
    assert folder.close()
    assert not root.exists()
    found = {str(p.relative_to(folder.root)) for p in folder.root.rglob("*")}
    assert {n for n in before if "journal" not in n} <= found | {"session.owner"}
    assert not Found(folder.root).told


@pytest.mark.parametrize("number", [1, 9])
def test_a_move_that_is_killed_leaves_no_half_session(root, tmp_path, monkeypatch, number):
    folder = SessionFolder.open(root)
    assert folder.flush(60)
    real, copied = shutil.copy2, []

    def killed(source, target):
        copied.append(source)
        if len(copied) == number:
            raise KeyboardInterrupt
        return real(source, target)

    other_drive(monkeypatch)
    monkeypatch.setattr(shutil, "copy2", killed)
    with pytest.raises(KeyboardInterrupt):
        folder.move(tmp_path / "moved")
    monkeypatch.undo()
    (left,) = tmp_path.glob("moved*")
    with pytest.raises(SessionError):
        SessionFolder.open(left)
    folder.close()
    assert not Found(root).told


def test_records_of_a_journal_carry_their_number(tmp_path):
    journal = Journal(tmp_path / "j.bin")
    for content in (b"one", b"two", b"three"):
        journal.append(content)
    data = (tmp_path / "j.bin").read_bytes()
    assert data.startswith(MAGIC)
    (tmp_path / "j.bin").write_bytes(data.replace(b"two", b"TWO"))
    read = Journal(tmp_path / "j.bin")
    assert list(read.records()) == [b"one", b"three"]
    assert (read.lost, read.count) == (1, 3)
