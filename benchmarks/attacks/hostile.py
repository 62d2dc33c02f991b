"""Hostile files that try to run code or read other files; none may succeed.

The worker's `Watch` records each program that is started, each outside file that is opened,
and each piece of code that runs.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from attacks import files, files_tiff, models, program, session_folder
from attacks.expected import Expected
from attacks.files_other import EPS, FOREIGN
from attacks.verdict import Result, call, flaw, where

Rng = np.random.Generator


def attack(rng: Rng, room: Any) -> Result:
    """Try one trick."""
    tricks: tuple[Callable[[Rng, Any], Result], ...] = (
        source_of_session, source_of_session, stored_ome, bait_in_image, bait_in_model,
        names_in_session, delegate,
    )  # fmt: skip
    _bait(room.outside)
    return tricks[int(rng.integers(len(tricks)))](rng, room)


def _bait(outside: Path) -> None:
    """Write files outside that nothing may open."""
    if (outside / "bait.tif").exists():
        return
    tifffile.imwrite(
        outside / "bait.tif", program.crop(np.random.default_rng(0), 96, 110)[0]
    )
    shutil.copy(outside / "bait.tif", outside / "bait.ome.tif")
    for name, data in (("bait.py", FOREIGN["python"]), ("bait.txt", b"secret\n"),
                       ("bait.eps", EPS), ("bait.json", b"{}")):  # fmt: skip
        (outside / name).write_bytes(data)
    tool = outside / "tool.sh"
    tool.write_text("#!/bin/sh\ntouch ran\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)


def _continued(what: str, root: Path, room: Any) -> Result:
    """Open a session: it opens, or is refused with a sentence."""
    room.tell(what)
    opened = call(lambda: session_folder.open_session(root))
    error = opened.error
    if error is None:
        found = call(lambda: session_folder.content_of(opened.value))
        opened.value.close(2)
        error = found.error
    room.watch.armed = False
    if error is None:
        return Result("right", what)
    if not isinstance(error, program.errors()):
        return Result("traceback", what, where(error))
    found_flaw = flaw(str(error))
    return Result("poor" if found_flaw else "sentence", what, found_flaw)


def _session(room: Any) -> tuple[Path, dict[str, Any]]:
    base = session_folder.base_session(room.base)
    root = room.folder / "session"
    shutil.copytree(base, root)
    fields = json.loads((root / "session.json").read_text("utf-8"))
    fields.pop("checksum", None)
    for spare in root.glob("session*.json*"):
        if spare.name != "session.json":
            spare.unlink()
    return root, fields


def _write(root: Path, fields: dict[str, Any]) -> None:
    (root / "session.json").write_text(json.dumps(fields), "utf-8")


def source_of_session(rng: Rng, room: Any) -> Result:
    """Name a program, a secret, or a device as the source of an image."""
    root, fields = _session(room)
    names = ["bait.py", "bait.txt", "bait.eps", "bait.json", "tool.sh", ""]
    outside = [str(room.outside / name) for name in names]
    local = root / "notes.py"
    local.write_bytes(FOREIGN["python"])
    eps = root / "image.png"
    eps.write_bytes(EPS)
    pipe = root / "pipe.tif"
    sources = [*outside, str(local), str(eps), "notes.py", "http://127.0.0.1:9/x.tif",
               "file:///etc/passwd", "/dev/zero", "/proc/self/environ",
               "\\\\host\\share\\x.tif",
               "~/x.tif", "..", str(root), "a\x00b", "x" * 9000]  # fmt: skip
    if rng.random() < 0.1:
        os.mkfifo(pipe)
        sources = [str(pipe)]
    source = sources[int(rng.integers(len(sources)))]
    image = fields["images"][int(rng.integers(2))]
    image |= {"source": source, "stored": bool(rng.random() < 0.3)}
    if rng.random() < 0.5:
        image["content_hash"] = ""
        shutil.rmtree(root / "sources", ignore_errors=True)
    image["reader"] = str(rng.choice(["builtins", "napari", "nonsense"]))
    _write(root, fields)
    return _continued(f"source {Path(source).name[:30]!r} of a session", root, room)


def stored_ome(rng: Rng, room: Any) -> Result:
    """Name a file outside as the other half of a stored TIFF."""
    root, fields = _session(room)
    bait = room.outside / "bait.ome.tif"
    (path,) = root.glob("sources/*.tif")
    elsewhere = files_tiff.tiff_data(1, os.path.relpath(bait, path.parent), "urn:uuid:2")
    here = '<TiffData FirstZ="0" IFD="0" PlaneCount="1"/>'
    xml = files_tiff.ome_xml("urn:uuid:1", session_folder.STACK, here + elsewhere)
    places = [
        path,
        *root.glob("planes/*/*/labels-*.tif"),
        *root.glob("corrections/*/*.tif"),
    ]
    place = sorted(places)[int(rng.integers(len(places)))]
    shape = tifffile.imread(place).shape
    pixels = np.zeros(shape[-2:], np.uint8)
    tifffile.imwrite(place, pixels, description=xml, metadata=None)
    if rng.random() < 0.5:
        for image in fields["images"]:
            image["content_hash"] = ""
        _write(root, fields)
    return _continued(f"an OME companion outside of {place.name}", root, room)


def names_in_session(rng: Rng, room: Any) -> Result:
    """Names in the records lead out of the folder."""
    root, fields = _session(room)
    out = os.path.relpath(room.outside / "bait", root / "planes")
    image = fields["images"][int(rng.integers(2))]
    kind = str(
        rng.choice(["key", "current_image", "checkpoint", "correction", "session_id"])
    )
    if kind == "key":
        image["key"] = out
    elif kind in ("current_image", "session_id"):
        fields[kind] = out
    else:
        patterns = {
            "checkpoint": "training/*.json",
            "correction": "corrections/*/record.json",
        }
        (path,) = root.glob(patterns[kind])
        record = json.loads(path.read_text("utf-8"))
        record.pop("checksum", None)
        record["file" if kind == "checkpoint" else "image"] = out + ".safetensors"
        path.write_text(json.dumps(record), "utf-8")
    _write(root, fields)
    return _continued(f"{kind} leads out", root, room)


def bait_in_image(rng: Rng, room: Any) -> Result:
    """Programs and scripts under the name of an image, on the command line."""
    data = {"EPS": EPS, "python": FOREIGN["python"], "PDF": FOREIGN["PDF"],
            "SVG": FOREIGN["SVG"],
            "NumPy": FOREIGN["NumPy"], "link": b""}  # fmt: skip
    kind = str(rng.choice(list(data)))
    suffix = str(rng.choice([".png", ".jpg", ".tif", ".PNG", ".py", ".eps"]))
    path = room.folder / f"bait{suffix}"
    path.write_bytes(data[kind])
    output = room.folder / "out"
    what = f"{kind} in {path.suffix}"
    room.tell(what)
    done = program.run(["segment", path, "-o", output])
    room.watch.armed = False
    return files.judge_file(
        what, done, path, output, Expected(must="refuse"), None, exact=True
    )


def bait_in_model(rng: Rng, room: Any) -> Result:
    """Pickles in all that ``--model``, ``--start`` and ``--checkpoint`` take."""
    import torch

    tifffile.imwrite(room.folder / "image.tif", program.crop(rng)[0])
    what, path, _ = models.pickled(rng, room.folder, models.good_file(room.base))
    flag = str(rng.choice(["--model", "--start", "--checkpoint"]))
    if flag == "--model":
        argv = ["segment", "image.tif", "-o", "out", "--model", path]
    else:
        from attacks import masks

        masks.write_pair(room.folder / "pairs", "a", *program.crop(rng, 72, 80))
        argv = ["train", "pairs", "-o", "x.safetensors", *masks.TRAIN, flag, path]
    os.chdir(room.folder)
    assert torch.__version__
    what = f"{what} as {flag}"
    room.tell(what)
    done = program.run(argv)
    room.watch.armed = False
    if (room.folder / "executed").exists():
        return Result("outside", what, "the pickle ran")
    failed = program.judge_failure(what, done, must="refuse")
    return failed or Result("silent", what, "accepted")


def delegate(rng: Rng, room: Any) -> Result:
    """Put programs and modules of known names into a session and its folder."""
    root, fields = _session(room)
    names = ["numpy.py", "tifffile.py", "napari.py", "sitecustomize.py", "gs", "torch.py"]
    name = str(rng.choice(names))
    for place in (root, root / "models", room.folder):
        (place / name).write_bytes(FOREIGN["python"])
        (place / name).chmod(0o755)
    os.chdir(root)
    _write(root, fields)
    return _continued(f"{name} lies in the session", root, room)
