"""A session folder from anyone: refused with a sentence, nothing run, nothing followed."""

import json
import os
import pickle
import struct
import zlib

import numpy as np
import pytest
import tifffile

from napari_resunet.corrections.log import Correction, as_example
from napari_resunet.errors import SessionError
from napari_resunet.session.store import models
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.folder import SessionFolder, read_description
from napari_resunet.session.store.patch import Patch
from napari_resunet.session.store.safety import inside
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.session.store.sources import load_image

SHAPE = (300, 320)


@pytest.fixture
def written(session, key):
    """A session with something of each kind in it, closed."""
    full = np.full((20, 20), 4, np.int32)
    session.put_patches(key, (), [Patch(0, 0, full, full, full.astype(np.uint8))])
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
