"""A session folder from anyone: refused with a sentence, nothing run, nothing followed."""

import json
import os
import pickle
import struct
import zlib
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.errors import SessionError
from napari_resunet.files import content_hash
from napari_resunet.session.pixels import read_pixels
from napari_resunet.session.restore import RestoredImage, restore_steps
from napari_resunet.session.store import models, recent
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.delta import LabelDelta
from napari_resunet.session.store.directory import read_description
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.images import load_image
from napari_resunet.session.store.safety import inside, local_file
from napari_resunet.session.store.schema import ImageRecord

SHAPE = (300, 320)


@pytest.fixture
def written(session, key):
    """A session with something of each kind in it, closed."""
    full = np.full((20, 20), 4, np.int32)
    session.put_deltas(key, (), [LabelDelta(0, 0, full, full, full.astype(np.uint8))])
    mask = np.ones((20, 20), bool)
    correction = Correction("x", (), (slice(0, 20), slice(0, 20)), full, mask, mask)
    example = as_example(correction, full.astype(np.uint8)[..., None])
    save_correction(session.root, key, correction, example)
    assert session.close()
    return session.root, key


def edit(root, change):
    path = root / "session.json"
    fields = json.loads(path.read_text("utf-8"))
    change(fields)
    path.write_text(json.dumps(fields), "utf-8")
    path.with_name("session.backup.json").unlink()


def one_sentence(caught):
    text = str(caught.value)
    assert "Traceback" not in text
    assert "\n" not in text
    assert len(text) < 500


@pytest.mark.parametrize(
    "text",
    ["", "null", "[1, 2]", "{}", '{"schema_version": "x"}', "[" * 100_000, "\x00\xff",
     '{"schema_version": 1, "images": [{"key": "../../x", "name": "a", "shape": [3, 3],'
     ' "dtype": "uint8", "axes": "YX"}]}'],
)  # fmt: skip
def test_no_session_at_all(tmp_path, text):
    (tmp_path / "session.json").write_text(text, "utf-8")
    with pytest.raises(SessionError) as caught:
        read_description(tmp_path)
    one_sentence(caught)


@pytest.mark.parametrize(
    "fields",
    [{"shape": [2**40, 2**40]}, {"shape": [0, 3]}, {"shape": [5, 5, 5]},
     {"axes": "QX"}, {"axes": "YY"}, {"shape": [1] * 50, "axes": "Y" * 50},
     {"shape": [2**23, 2**23]}],
)  # fmt: skip
def test_absurd_shapes(written, fields):
    edit(written[0], lambda session: session["images"][0].update(fields))
    with pytest.raises(SessionError) as caught:
        SessionFolder.open(written[0])
    one_sentence(caught)


@pytest.mark.skipif(os.name != "posix", reason="needs links")
@pytest.mark.parametrize("place", ["models", "planes/x", "images/x.tif", "session.lock"])
def test_links_are_not_followed(written, tmp_path, place):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    path = written[0] / place
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    with pytest.raises(SessionError, match="outside") as caught:
        SessionFolder.open(written[0])
    one_sentence(caught)
    assert secret.read_text() == "mine"


@pytest.mark.parametrize("name", ["..", "../x", "/etc/passwd", "a/b", "a\\b", ""])
def test_names_that_lead_out(tmp_path, name):
    with pytest.raises(SessionError):
        inside(tmp_path, "planes", name)


def test_a_picture_of_another_shape(written):
    root, key = written
    (path,) = root.glob("planes/*/plane/labels-*.tif")
    tifffile.imwrite(path, np.zeros((10, 10), np.uint16))
    session = SessionFolder.open(root)
    assert not session.load_plane(key, ()).labels.any()
    assert "cannot be read" in session.plane_damage(key, ())[0]
    session.close()


def test_a_bomb_is_not_unpacked(tmp_path):
    image = ImageRecord(name="x", shape=(40_000, 40_000), dtype="uint8", axes="YX")
    (tmp_path / "sources").mkdir()
    path = tmp_path / "sources" / f"{image.key}.tif"
    strip = zlib.compress(bytes(40_000 * 40), 9)
    tags = [(256, 4, 1, 40_000), (257, 4, 1, 40_000), (258, 3, 1, 8), (259, 3, 1, 8),
            (262, 3, 1, 1), (277, 3, 1, 1), (278, 4, 1, 40)]  # fmt: skip
    n_strips = 1000
    at = 8 + 2 + 12 * 9 + 4
    offsets, counts = at, at + 4 * n_strips
    data = counts + 4 * n_strips
    tags += [(273, 4, n_strips, offsets), (279, 4, n_strips, counts)]
    body = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    body += b"".join(struct.pack("<HHII", *tag) for tag in sorted(tags)) + bytes(4)
    body += struct.pack(f"<{n_strips}I", *[data] * n_strips)
    body += struct.pack(f"<{n_strips}I", *[len(strip)] * n_strips) + strip
    path.write_bytes(body)
    with tifffile.TiffFile(path) as tiff:
        assert tiff.series[0].shape == image.shape
    with pytest.raises(SessionError) as caught:
        load_image(tmp_path, image)
    one_sentence(caught)


@pytest.mark.parametrize(
    "head",
    [(1, 290, 0, 20, 20), (1, 0, 0, 2**20, 2**20), (1, 0, 0, 0, 5), (2**31, 0, 0, 20, 20)],
)
def test_a_journal_that_leads_out_of_its_plane(session, key, head):
    folder = session.root / "planes" / key / "plane"
    folder.mkdir(parents=True)
    packed = zlib.compress(bytes(9 * 400))
    count, *rest = head
    record = struct.pack("<IIIIII", count, *rest, len(packed)) + packed
    whole = b"NRUJ0001" + struct.pack("<II", len(record), zlib.crc32(record)) + record
    (folder / "journal-0.bin").write_bytes(whole)
    assert not session.load_plane(key, ()).labels.any()
    assert "damaged" in session.plane_damage(key, ())[0]


def test_a_journal_that_unpacks_to_more_than_it_says(session, key):
    folder = session.root / "planes" / key / "plane"
    folder.mkdir(parents=True)
    packed = zlib.compress(bytes(10**8))
    record = struct.pack("<IIIIII", 1, 0, 0, 20, 20, len(packed)) + packed
    whole = b"NRUJ0001" + struct.pack("<II", len(record), zlib.crc32(record)) + record
    (folder / "journal-0.bin").write_bytes(whole)
    assert not session.load_plane(key, ()).labels.any()
    assert "damaged" in session.plane_damage(key, ())[0]


@pytest.mark.parametrize(
    "change",
    [{"window": [0, 2**30, 0, 2**30]}, {"window": [5, 0, 0, 20]},
     {"window": [0, 30, 0, 20]}, {"channels": 4}, {"image": "../x"}, {"index": ["a"]}],
)  # fmt: skip
def test_a_correction_that_is_not_what_it_says(written, change):
    (path,) = written[0].glob("corrections/*/record.json")
    fields = {k: v for k, v in json.loads(path.read_text()).items() if k != "checksum"}
    path.write_text(json.dumps(fields | change))
    found, (damage,) = load_corrections(written[0])
    assert not found
    assert "not learned from" in damage


def test_pickles_are_neither_listed_nor_read(written):
    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(written[0] / "executed"),)

    folder = written[0] / "models"
    folder.mkdir()
    for name in ("v001.pt", "v001.pkl", "v001.safetensors"):
        (folder / name).write_bytes(pickle.dumps(Evil()))
    assert not models.list_versions(written[0])
    record = models.VersionRecord(number=1, sha256="0" * 64)
    (folder / "v001.json").write_text(record.model_dump_json())
    with pytest.raises(SessionError):
        models.model_path(written[0], record)
    assert not models.recovered_versions(written[0])
    assert not (written[0] / "executed").exists()


def test_labels_of_planes_that_the_image_does_not_have(written):
    root, key = written
    (root / "planes" / key / "0003").mkdir()
    session = SessionFolder.open(root)
    with pytest.raises(SessionError):
        session.load_plane(key, (3,))
    session.close()


def test_a_stored_image_reads_no_file_outside_the_session(tmp_path):
    """An OME-TIFF may say that its pixels lie in another file."""
    secret = tmp_path / "secret.tif"
    tifffile.imwrite(secret, np.full((2, 8, 9), 77, np.uint8), ome=True)
    image = ImageRecord(name="x", shape=(2, 8, 9), dtype="uint8", axes="ZYX")
    root = tmp_path / "session"
    path = root / "sources" / f"{image.key}.tif"
    path.parent.mkdir(parents=True)
    xml = """<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"
      UUID="urn:uuid:1"><Image ID="Image:0"><Pixels DimensionOrder="XYZCT" ID="Pixels:0"
      SizeX="9" SizeY="8" SizeZ="2" SizeC="1" SizeT="1" Type="uint8">
      <TiffData FirstZ="0" IFD="0" PlaneCount="2">
      <UUID FileName="../../secret.tif">urn:uuid:2</UUID></TiffData></Pixels></Image>
      </OME>"""
    tifffile.imwrite(path, np.zeros((8, 9), np.uint8), description=xml, metadata=None)
    with pytest.raises(SessionError):
        load_image(root, image)
    # With planes of its own, these are read, whatever its description says.
    tifffile.imwrite(path, np.zeros((2, 8, 9), np.uint8), description=xml, metadata=None)
    assert not load_image(root, image)[0].any()


@pytest.mark.parametrize(
    "source",
    ["\\\\host\\share\\x.tif", "//host/share/x.tif", "\\\\?\\UNC\\host\\x.tif",
     "/\\host/x.tif",
     "https://host/x.tif", "file:///x.tif", "x.tif", "", None, "/dev/zero", "/tmp",
     "/" + "x" * 5000, "/a\0b.tif"],
)  # fmt: skip
def test_a_source_is_an_ordinary_file_here_or_nothing(source, monkeypatch):
    asked = []
    monkeypatch.setattr(Path, "is_file", lambda path: asked.append(path) or False)
    assert local_file(source) is None
    assert not [path for path in asked if "host" in str(path)]


@pytest.mark.skipif(os.name != "posix", reason="needs pipes")
def test_a_pipe_is_no_image(tmp_path):
    os.mkfifo(tmp_path / "x.tif")
    assert local_file(str(tmp_path / "x.tif")) is None
    image = ImageRecord(name="x", shape=(8, 9), dtype="uint8", axes="YX")
    assert read_pixels(tmp_path / "x.tif", image) == ()


def test_a_file_is_only_shown_if_its_pixels_are_known(session, key, tmp_path):
    """Whoever made the folder may have guessed a path, but not the pixels."""
    pixels = np.arange(72, dtype=np.uint8).reshape(8, 9)
    tifffile.imwrite(tmp_path / "mine.tif", pixels)
    known = {"name": "x", "shape": (8, 9), "dtype": "uint8", "axes": "YX",
             "source": str(tmp_path / "mine.tif")}  # fmt: skip
    hashes = (content_hash(pixels), "", content_hash(pixels + 1))
    images = tuple(ImageRecord(**known, content_hash=h) for h in hashes)
    session.update(session.file.model_copy(update={"images": images}))
    found = [e.levels for e in restore_steps(session) if isinstance(e, RestoredImage)]
    assert np.array_equal(found[0][0], pixels)
    assert found[1] == found[2] == ()


def test_folders_deeper_than_any_session_has(written):
    root = written[0]
    (root / "/".join("d" * 1 for _ in range(40))).mkdir(parents=True)
    with pytest.raises(SessionError) as caught:
        SessionFolder.open(root)
    one_sentence(caught)


@pytest.mark.parametrize("name", ["x" * 300, "a/" * 3000])
def test_a_path_that_is_too_long(tmp_path, name):
    with pytest.raises(SessionError) as caught:
        SessionFolder.open(tmp_path / name)
    one_sentence(caught)


@pytest.mark.parametrize(
    "text",
    [
        '{"schema_version": Infinity}',
        '{"schema_version": 1e400}',
        '{"schema_version": 1, "images": [' + "[]," * 20_000 + "[]]}",
    ],
)
def test_absurd_descriptions_are_refused_at_once(tmp_path, text):
    (tmp_path / "session.json").write_text(text)
    with pytest.raises(SessionError) as caught:
        SessionFolder.open(tmp_path)
    one_sentence(caught)


@pytest.mark.parametrize("name", ["con", "NUL.tif", "com1", "a:b", "a\0"])
def test_names_that_are_devices_or_streams_elsewhere(tmp_path, name):
    with pytest.raises(SessionError):
        inside(tmp_path, "planes", name)


@pytest.mark.parametrize(
    "changed", ["garbage", "", "2026-99-99", "0001-01-01T00:00:00", 5, None]
)
def test_one_bad_date_does_not_break_the_list(written, monkeypatch, changed):
    root, _ = written
    monkeypatch.setenv("NAPARI_RESUNET_SESSIONS", str(root.parent))
    edit(root, lambda file: file.update(changed=changed))
    (listed,) = recent.recent_sessions()
    assert datetime.fromisoformat(listed.changed).astimezone()


def test_a_damaged_list_is_an_empty_one(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_RESUNET_SESSIONS", str(tmp_path))
    (tmp_path / "recent.json").write_text("[" * 100_000)
    assert recent.recent_sessions() == []
