"""Damaged and hostile session folders: everything is restored, or the loss is named."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from attacks import program, session_folder
from attacks.session_folder import Content
from attacks.verdict import Called, Result, call, flaw, where

Rng = np.random.Generator
CONTENT = ("labels", "before", "marks", "pixels", "version", "correction", "history")
"""Parts outside ``session.json``, which editing that file must not destroy."""


def attack(rng: Rng, room: Any) -> Result:
    """Damage a copy of a session before or while it is open."""
    base = session_folder.base_session(room.base)
    right = _original(str(base), str(room.base / "untouched"))
    root = room.folder / "sessions" / "mine"
    shutil.copytree(base, root)
    if rng.random() < 0.15:
        return _while_open(rng, room, root)
    kinds = (_damage, _damage, _damage, _edit_description, _edit_records)
    kind = kinds[int(rng.integers(len(kinds)))]
    what = kind(rng, root, room)
    room.tell(what)
    result = _continue(what, root, right, edited=kind in (_edit_description, _edit_records))
    room.watch.armed = False
    return result


@cache
def _original(base: str, copy: str) -> Content:
    shutil.copytree(base, copy)
    folder = session_folder.open_session(Path(copy))
    content = session_folder.content_of(folder)
    folder.close(5)
    assert not content.words, content.words
    return content


# Open ----------------------------------------------------------------------------------


def _continue(what: str, root: Path, right: Content, *, edited: bool) -> Result:
    with program.environment(NAPARI_RESUNET_SESSIONS=str(root.parent)):
        listed = call(session_folder.list_sessions)
    if listed.error is not None:
        return Result("traceback", what, f"the list of sessions: {where(listed.error)}")
    opened = call(lambda: session_folder.open_session(root))
    if opened.error is not None:
        return _refused(what, opened, root, edited)
    folder = opened.value
    found = call(lambda: session_folder.content_of(folder))
    if found.error is not None:
        folder.close(0.5)
        return _refused(what, found, root, edited)
    result = _judged(what, found.value, right, edited)
    if result.verdict in ("right", "sentence"):
        return _goes_on(what, folder, root, found.value, result)
    folder.close(0.5)
    return result


def _refused(what: str, called: Called, root: Path, edited: bool) -> Result:
    error = called.error
    assert error is not None
    if not isinstance(error, program.errors()):
        return Result("traceback", what, where(error))
    if found := flaw(str(error)):
        return Result("poor", what, found)
    spoiled = any(word in what for word in ("session.json", "a link", "a pipe"))
    if not spoiled and not edited:
        return Result("poor", what, f"the whole session is refused: {error}")
    return Result("sentence", what)


def _judged(what: str, found: Content, right: Content, edited: bool) -> Result:
    flaws = [bad for word in found.words if (bad := flaw(word))]
    if flaws:
        return Result("poor", what, flaws[0])
    lost = found.differences(right)
    if edited:  # an edited part differs, which is not a loss
        lost = [n for n in lost if n.startswith(CONTENT) and n not in found.parts]
        if "record" in what:
            lost = []
    if lost and not found.words:
        return Result("silent", what, f"no word of: {', '.join(lost)[:200]}")
    return Result("sentence" if lost else "right", what)


def _goes_on(what: str, folder: Any, root: Path, found: Content, result: Result) -> Result:
    """Paint one more stroke, close, and open again: everything must be there."""
    images = folder.file.images
    image = next((i for i in images if not i.stack_shape and min(i.plane_shape) > 90), None)
    if image is None:
        folder.close(0.5)
        return result
    patch = session_folder.stroke(np.random.default_rng(1), 12345)
    folder.put_deltas(image.key, (), [patch])
    done = call(lambda: folder.close(5))
    if done.error is not None:
        return Result("traceback", what, f"closing: {where(done.error)}")
    if not done.value:
        trouble = folder.trouble or "nothing was said"
        return Result("silent", what, f"a stroke was not kept: {trouble}")
    again = call(lambda: _reopened(root, image.key))
    if again.error is not None:
        return Result("silent", what, f"cannot be opened again: {where(again.error)}")
    content, labels = again.value
    if labels is None or not np.array_equal(labels[patch.window], patch.labels):
        return Result("silent", what, "a stroke after opening is gone")
    later = [n for n in found.parts
             if n not in content.parts and not n.endswith(f"{image.key} ()")]  # fmt: skip
    if later:
        return Result("silent", what, f"gone at the second opening: {', '.join(later)}")
    return result


def _reopened(root: Path, key: str) -> tuple[Content, Any]:
    folder = session_folder.open_session(root)
    try:
        content = session_folder.content_of(folder)
        return content, folder.load_plane(key, ()).labels
    finally:
        folder.close(1)


# Damage --------------------------------------------------------------------------------


def _damage(rng: Rng, root: Path, room: Any) -> str:
    first = _damage_once(rng, root, room)
    return f"{first}; {_damage_once(rng, root, room)}" if rng.random() < 0.15 else first


def _damage_once(rng: Rng, root: Path, room: Any) -> str:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    folders = sorted(p for p in root.rglob("*") if p.is_dir())
    path = files[int(rng.integers(len(files)))]
    place = folders[int(rng.integers(len(folders)))]
    name, part = str(path.relative_to(root)), str(place.relative_to(root))
    kinds: dict[str, Callable[[], Any]] = {
        f"one bit of {name}": lambda: _flip(path, rng),
        f"a bit of {name} flipped": lambda: _flip(path, rng),
        f"{name} cut": lambda: _cut(path, rng),
        f"{name} empty": lambda: path.write_bytes(b""),
        f"{name} of zeros": lambda: path.write_bytes(bytes(path.stat().st_size)),
        f"{name} of text": lambda: path.write_bytes(b"no such thing\n" * 9),
        f"{name} deleted": path.unlink,
        f"folder {part} deleted": lambda: shutil.rmtree(place),
        f"a folder instead of {name}": lambda: (path.unlink(), path.mkdir()),
        f"a file instead of folder {part}": lambda: (shutil.rmtree(place), place.touch()),
        f"{name} swapped": lambda: _swap(path, files[int(rng.integers(len(files)))]),
        f"a link instead of {name}": lambda: _link(path, room.outside),
        f"a pipe instead of {name}": lambda: (path.unlink(), os.mkfifo(path)),
        f"litter in {part}": lambda: _litter(place, rng),
    }
    chosen = str(rng.choice(list(kinds)))
    kinds[chosen]()
    return chosen


def _flip(path: Path, rng: Rng) -> None:
    data = bytearray(path.read_bytes())
    if data:
        data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        path.write_bytes(data)


def _cut(path: Path, rng: Rng) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(rng.integers(len(data) + 1))])


def _swap(path: Path, other: Path) -> None:
    mine, theirs = path.read_bytes(), other.read_bytes()
    path.write_bytes(theirs)
    other.write_bytes(mine)


def _link(path: Path, outside: Path) -> None:
    secret = outside / "secret"
    if not secret.exists():
        secret.write_bytes(path.read_bytes())
    path.unlink()
    path.symlink_to(secret)


def _litter(place: Path, rng: Rng) -> None:
    names = ["._labels-1.tif", ".DS_Store", "labels-99.tif", "notes.txt", "v002.json",
             "journal-99.bin", "record.json~", "x.py"]  # fmt: skip
    (place / str(rng.choice(names))).write_bytes(rng.bytes(50))


# Edits ---------------------------------------------------------------------------------

ODD = (float("nan"), float("inf"), -1, 0, 1e308, 2**70, "", "x", "../../x", "a\nb", None,
       True,
       [], {}, [[]], {"a": {}}, "x" * 5000, "9**9**9", "2026-99-99", ["um"], [0, 0],
       [1e-300] * 9,
       "/etc/passwd", "\x00", "é" * 50)  # fmt: skip
DTYPES = ("nonsense", "float128", "complex64", "O", "U5", "bool", "V8", "M8[s]", "u1,u1")


def _edit_description(rng: Rng, root: Path, room: Any) -> str:
    """Write an impossible value into ``session.json``, with a valid checksum."""
    path = root / "session.json"
    fields = json.loads(path.read_text("utf-8"))
    fields.pop("checksum", None)
    for spare in root.glob("session*.json*"):
        if spare != path:
            spare.unlink()  # the attacker leaves no good copy
    where_ = [fields, fields["images"][int(rng.integers(len(fields["images"])))],
              fields["settings"]][int(rng.choice([0, 1, 1, 2]))]  # fmt: skip
    name = str(rng.choice(list(where_)))
    odd = DTYPES if name == "dtype" else ODD
    value = odd[int(rng.integers(len(odd)))]
    where_[name] = value
    times = int(rng.choice([2, 3000])) if rng.random() < 0.1 else 1
    if isinstance(fields["images"], list):
        fields["images"] = fields["images"] * times
    path.write_text(json.dumps(fields), "utf-8")
    more = f", its images {times} times" if times > 1 else ""
    return f"session.json: {name} = {str(value)[:40]!r}{more}"


def _edit_records(rng: Rng, root: Path, room: Any) -> str:
    """Write an impossible value into another record, or into the history."""
    paths = [p for p in root.rglob("*.json*") if not p.name.startswith("session")]
    path = sorted(paths)[int(rng.integers(len(paths)))]
    lines = path.read_text("utf-8").splitlines() if path.suffix == ".jsonl" else []
    number = int(rng.integers(len(lines))) if lines else 0
    fields = json.loads(lines[number] if lines else path.read_text("utf-8"))
    fields.pop("checksum", None)
    name = str(rng.choice(list(fields)))
    value = ODD[int(rng.integers(len(ODD)))]
    fields[name] = value
    text = json.dumps(fields)
    if lines:
        lines[number] = text
    path.write_text("\n".join(lines) + "\n" if lines else text, "utf-8")
    return f"record {path.relative_to(root)}: {name} = {str(value)[:40]!r}"


# While it is open ----------------------------------------------------------------------


def _while_open(rng: Rng, room: Any, root: Path) -> Result:
    """Delete or change files while the session is open; later strokes must survive."""
    folder = session_folder.open_session(root)
    key = folder.file.images[0].key
    right = folder.load_plane(key, ())
    patches = [session_folder.stroke(rng, value) for value in (7001, 7002, 7003)]
    folder.put_deltas(key, (), patches[:1])
    folder.flush(5)
    what = "while open: " + _spoil(rng, root, key)
    room.tell(what)
    for patch in patches[1:]:
        folder.put_deltas(key, (), [patch])
        folder.flush(2)
    words = [w for w in (folder.trouble, *folder.take_lost()) if w]
    # The dock then writes these planes again, from memory.
    words += [f"{gone} vanished" for gone in getattr(folder, "take_vanished", list)()]
    closed = call(lambda: folder.close(5))
    room.watch.armed = False
    if closed.error is not None:
        return Result("traceback", what, where(closed.error))
    if not closed.value:  # the session that could not be closed keeps its lock
        words.append("not closed")
        shutil.copytree(root, room.folder / "copy", ignore=shutil.ignore_patterns("*.lock"))
        root = room.folder / "copy"
    for patch in patches:
        right.put(patch)
    again = call(lambda: _reopened(root, key))
    return _kept(what, again, words, right.labels, patches[-1])


def _kept(what: str, again: Called, words: list[str], right: Any, last: Any) -> Result:
    """Judge what is on disk after the damage."""
    if again.error is not None:
        if not isinstance(again.error, program.errors()):
            return Result("traceback", what, where(again.error))
        verdict = "sentence" if words else "poor"
        return Result(verdict, what, f"the whole session is refused: {again.error}")
    content, labels = again.value
    if np.array_equal(labels, right):
        return Result("right", what)
    is_last = labels is not None and np.array_equal(labels[last.window], last.labels)
    if words or (is_last and content.words):
        return Result("sentence", what)
    return Result("silent", what, f"strokes are gone; said: {content.words}")


def _spoil(rng: Rng, root: Path, key: str) -> str:
    journals = sorted(root.glob(f"planes/{key}/plane/journal-*"))
    journal = journals[-1]
    kinds: dict[str, Callable[[], Any]] = {
        "the journal deleted": journal.unlink,
        "a bit of the journal flipped": lambda: _flip(journal, rng),
        "the journal cut": lambda: _cut(journal, rng),
        "the journal empty": lambda: journal.write_bytes(b""),
        "the plane's folder deleted": lambda: shutil.rmtree(journal.parent),
        "the lock deleted": lambda: [p.unlink() for p in root.glob("*.lock")],
        "session.json deleted": (root / "session.json").unlink,
        "models deleted": lambda: shutil.rmtree(root / "models"),
    }
    chosen = str(rng.choice(list(kinds)))
    kinds[chosen]()
    return chosen
