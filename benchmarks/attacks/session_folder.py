"""A small real session, and what is restored from one; only this module knows its API."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from attacks import program

FLAT, STACK = (96, 110), (3, 80, 90)
NOT_COMPARED = {"changed", "programs", "contents", "schema_version", "images", "checksum"}
"""Parts of ``session.json`` that opening it rewrites, and the images."""


@dataclass
class Content:
    """What was restored from a session.

    Attributes
    ----------
    parts : dict of str to str
        Each thing that the user made, with a hash or description.
    words : list of str
        Messages to the user.
    """

    parts: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)

    def differences(self, right: Content) -> list[str]:
        """Name the parts that are not as they should be."""
        names = sorted({*self.parts, *right.parts})
        return [n for n in names if self.parts.get(n) != right.parts.get(n)]


def base_session(base: Path) -> Path:
    """Make a session once: labels, verified areas, a version, a correction, a history."""
    root = base / "session"
    if not root.exists():
        _make(base / "first", root, base)
    return root


def _make(first: Path, root: Path, base: Path) -> None:
    from napari_resunet.session.store.folder import SessionFolder

    rng = np.random.default_rng(5)
    folder = SessionFolder.create(first, "an attacked session")
    flat, stack = _images(folder, base, rng)
    for round_ in range(3):
        for key, index in ((flat, ()), (stack, (0,)), (stack, (2,))):
            folder.put_deltas(key, index, [stroke(rng) for _ in range(2)])
            assert folder.flush(20)
        if round_ == 1:  # a snapshot; what follows stays in a journal, as after a crash
            folder.put_often("compact", lambda root: folder.compact())
            assert folder.flush(20)
    _learned(folder, flat, rng)
    assert folder.flush(20)
    shutil.copytree(first, root, ignore=shutil.ignore_patterns("*.lock", "*owner*"))
    assert folder.close(20)
    # The next run of the program opens it and records what is there.
    again = SessionFolder.open(root)
    assert again.close(20)


def _images(folder: Any, base: Path, rng: np.random.Generator) -> tuple[str, str]:
    from napari_resunet.files import content_hash
    from napari_resunet.session.store.images import store_image
    from napari_resunet.session.store.schema import ImageRecord

    image = program.crop(rng, *FLAT)[0]
    stack = np.stack([program.crop(rng, *STACK[1:])[0] for _ in range(STACK[0])])
    source = base / "cells one.tif"
    tifffile.imwrite(source, image)
    records = (
        ImageRecord(key="flat", name="cells one", shape=FLAT, dtype="uint8", axes="YX",
                    checked_objects=3,
                    source=str(source), content_hash=content_hash(image), object_scale=0.9,
                    auto=False, labels_name="cells one labels"),
        ImageRecord(key="stack", name="stack two", shape=STACK, dtype="uint8", axes="ZYX",
                    stored=True,
                    content_hash=content_hash(stack), scale=(2.0, 0.5, 0.5),
                    units=("micrometer",) * 3),
    )  # fmt: skip
    changes = {"images": records, "current_image": records[0].key, "current_version": 1}
    folder.update(folder.file.model_copy(update=changes))
    store_image(folder.root, records[1], stack)
    return records[0].key, records[1].key


def stroke(rng: np.random.Generator, value: int = 0) -> Any:
    """Paint a square that was verified."""
    from napari_resunet.session.store.delta import LabelDelta

    size = int(rng.integers(12, 30))
    row, column = int(rng.integers(48)), int(rng.integers(48))
    labels = np.full((size, size), value or int(rng.integers(1, 999)), np.int32)
    labels[::3] = 0
    marks = np.full(labels.shape, int(rng.choice([1, 4, 12])), np.uint8)
    return LabelDelta(row, column, labels, labels // 2, marks)


def _learned(folder: Any, key: str, rng: np.random.Generator) -> None:
    from napari_resunet.corrections.training_set import Correction, as_example
    from napari_resunet.session.store.corrections import save_correction
    from napari_resunet.session.store.history import append_history
    from napari_resunet.session.store.models import (
        CheckpointRecord,
        VersionRecord,
        save_checkpoint,
        save_version,
    )
    from napari_resunet.types import Statistics

    image, labels = program.crop(rng, 50, 60)
    checked = np.zeros(labels.shape, bool)
    checked[5:40, 5:50] = True
    window = slice(10, 60), slice(20, 80)
    correction = Correction("x", (), window, labels, checked, labels > 2)
    known = Statistics((1.0,), (200.0,))
    example = as_example(correction, image[..., None], scale=0.9, statistics=known)
    save_correction(folder.root, key, correction, example)
    record = VersionRecord(number=1, name="mine", before=0.4, after=0.6, objects=3)
    save_version(folder.root, record, _small_weights)
    save_checkpoint(folder.root, CheckpointRecord(base=1, image=key, steps=40, share=0.5),
                    _small_weights)  # fmt: skip
    steps = [
        {"event": "step", "step": n, "loss": 1 / n, "held_out": None} for n in (1, 2, 3)
    ]
    append_history(folder.root, [{"event": "begin"}, *steps,
                                 {"event": "end", "before": 0.4,
                                  "after": 0.6}])  # fmt: skip


def _small_weights(path: Path) -> None:
    """Write a version without its 70 MB of weights, because only their hash is read."""
    import safetensors
    import safetensors.numpy

    from napari_resunet._package import starter_path

    with safetensors.safe_open(starter_path(), framework="numpy") as stream:
        described = stream.metadata()
    temporary = path.with_suffix(".part")
    tensors = {"w": np.arange(500, dtype=np.float32)}
    safetensors.numpy.save_file(tensors, temporary, described)
    temporary.replace(path)


def open_session(root: Path) -> Any:
    """Open a session as *Open session…* does."""
    from napari_resunet.session.store.folder import SessionFolder

    return SessionFolder.open(root)


def content_of(folder: Any) -> Content:
    """Read everything of an open session, by the functions of *Open session…*."""
    from napari_resunet.session.restore import RestoredImage, restore_steps

    found = Content(words=list(getattr(folder, "notices", [])))
    _put_file(found.parts, folder.file)
    steps = restore_steps(folder)
    while True:
        try:
            event = next(steps)
        except StopIteration as stop:
            restored = stop.value
            break
        if isinstance(event, RestoredImage):
            _put_image(found.parts, event)
            if not event.levels:
                # The dock asks for each of them.
                found.words.append(f"Where is the image '{event.record.name}' now?")
    found.words += [str(notice) for notice in restored.notices]
    _put_rest(found.parts, restored)
    return found


def _put_file(parts: dict[str, str], file: Any) -> None:
    for name, value in file.model_dump(mode="json").items():
        if name not in NOT_COMPARED:
            parts[f"file {name}"] = _text(value)


def _put_image(parts: dict[str, str], image: Any) -> None:
    record = image.record
    parts[f"image {record.key}"] = _text(record.model_dump(mode="json"))
    if image.levels:
        parts[f"pixels {record.key}"] = digest(image.levels[0])
    for index, state in image.states.items():
        if state.labels.any() or state.marks.any():
            for name in ("labels", "before", "marks"):
                parts[f"{name} {record.key} {index}"] = digest(getattr(state, name))


def _put_rest(parts: dict[str, str], restored: Any) -> None:
    for record, path in restored.versions:
        file = hashlib.sha256(path.read_bytes()).hexdigest()
        parts[f"version {record.number}"] = _text(record.model_dump(mode="json")) + file
    for saved in restored.corrections:
        example, record = saved.example, saved.record
        arrays = [
            digest(getattr(example, n)) for n in ("image", "labels", "verified", "edited")
        ]
        text = _text(record.model_dump(mode="json")) + "".join(arrays)
        parts[f"correction {record.image} {record.index}"] = text
    for number, entry in enumerate(restored.history):
        parts[f"history {number}"] = _text(entry)
    if restored.interrupted is not None:
        parts["interrupted"] = _text(restored.interrupted.model_dump(mode="json"))


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        value = {k: v for k, v in value.items() if k != "checksum"}
    return json.dumps(value, sort_keys=True, default=repr)


def digest(array: Any) -> str:
    """Hash an array."""
    plain = np.ascontiguousarray(array)
    return f"{plain.dtype}{plain.shape}" + hashlib.sha256(plain.tobytes()).hexdigest()


def list_sessions() -> int:
    """List the sessions as the dock does; count them."""
    from napari_resunet.session.store.recent import recent_sessions

    found = recent_sessions()
    for session in found:  # what the dock shows of each
        datetime.fromisoformat(session.changed).astimezone()
    return len(found)
