"""Kill a program that keeps a session, again and again, and see what is left.

Each round forks a child that paints, compacts, saves corrections and models, and changes
versions as fast as it can, tells over a pipe what it asked for and what was confirmed,
and is killed at a random moment after it began one of these. The folder must then open
with everything confirmed.

    python kill_rounds.py FOLDER ROUNDS SECONDS_PER_ROUND
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import time
from pathlib import Path

import numpy as np
import safetensors.numpy

from napari_resunet.corrections.training_set import Correction, as_example
from napari_resunet.session.store import manifest
from napari_resunet.session.store.corrections import load_corrections, save_correction
from napari_resunet.session.store.delta import PROPOSED, VERIFIED, LabelDelta
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.history import append_history, read_history
from napari_resunet.session.store.models import (
    CheckpointRecord,
    VersionRecord,
    delete_checkpoint,
    find_checkpoint,
    list_versions,
    model_path,
    save_checkpoint,
    save_version,
)
from napari_resunet.session.store.schema import ImageRecord

SHAPE = (192, 256)
SIDE = 32
DANGER = "painted", "compacting", "correcting", "learning", "choosing"
"""What a child is in the midst of when it is killed: each in turn."""

LOST = 1.0
"""Seconds of work that a kill may cost."""


def patch_of(number: int) -> LabelDelta:
    """Make the stroke of a number: where and what follows from the number."""
    row = number * 37 % (SHAPE[0] // SIDE) * SIDE
    column = number * 53 % (SHAPE[1] // SIDE) * SIDE
    labels = np.full((SIDE, SIDE), number, np.int32)
    labels[::2, number % SIDE] = 0
    marks = np.full((SIDE, SIDE), VERIFIED if number % 3 else PROPOSED, np.uint8)
    return LabelDelta(row, column, labels, labels // 2, marks)


def canvas(number: int) -> np.ndarray:
    """Compute the labels after all strokes up to a number."""
    labels = np.zeros(SHAPE, np.int32)
    # Each stroke covers a whole cell: of each cell only the latest counts.
    n_cells = SHAPE[0] // SIDE * (SHAPE[1] // SIDE)
    for k in range(max(1, number - 4 * n_cells), number + 1):
        delta = patch_of(k)
        labels[delta.window] = delta.labels
    return labels


class Child:
    """What a window with a session does, without the window."""

    def __init__(self, root: Path, tell: int) -> None:
        self.folder = SessionFolder.open(root)
        self.key = self.folder.file.images[0].key
        self.tell = tell
        self.painted = int(self.folder.load_plane(self.key, ()).labels.max())
        versions = [r.number for r in list_versions(root).values()]
        self.version = max(versions, default=0)

    def say(self, word: str, number: int) -> None:
        os.write(self.tell, f"{word} {number} {time.monotonic()}\n".encode())

    def run(self, first: str, rng: random.Random) -> None:
        """Paint, and do all else in a random order, beginning with one of it."""
        while True:
            for _ in range(rng.randrange(1, 6)):
                self.painted += 1
                self.say("painted", self.painted)
                self.folder.put_deltas(self.key, (), [patch_of(self.painted)])
                time.sleep(rng.random() * 0.004)
            what, first = first or rng.choice((*DANGER, "confirm")), ""
            if what == "compacting":
                self.folder.put_often("compact", self.compact)
            elif what == "correcting":
                self.folder.put_large("correction", self.correct)
            elif what in ("learning", "choosing"):
                self.fine_tune()
            elif what == "confirm" and self.folder.flush(5):
                self.say("confirmed", self.painted)

    def compact(self, root: Path) -> None:
        self.say("compacting", 0)
        self.folder.compact()

    def correct(self, root: Path) -> None:
        number = self.painted
        self.say("correcting", number)
        box = slice(0, 40), slice(0, 40)
        labels = np.full((40, 40), number, np.int32)
        mask = np.ones((40, 40), bool)
        correction = Correction("x", (), box, labels, mask, mask)
        image = np.full((40, 40, 1), number % 250, np.uint8)
        name = save_correction(root, self.key, correction, as_example(correction, image))
        self.folder.note(manifest.with_correction(name))
        self.say("corrected", number)

    def fine_tune(self) -> None:
        number = self.version + 1
        record = VersionRecord(number=number, model_id=f"m{number}")

        def learn(root: Path) -> None:
            self.say("learning", number)
            for step in (number, number + 1):
                here = CheckpointRecord(base=number - 1, steps=step)
                save_checkpoint(root, here, lambda p, n=step: weights(p, n))
                self.folder.note(manifest.with_training(interrupted=True))
            append_history(root, [{"event": "step", "step": number, "loss": 0.5}])
            self.folder.note(manifest.with_history(1))
            save_version(root, record, lambda p: weights(p, number))
            self.folder.note(manifest.with_version(number))
            self.folder.note_first(manifest.with_training(interrupted=False))
            delete_checkpoint(root)
            self.say("learned", number)

        self.version = number
        self.folder.put_large("learn", learn)
        self.folder.flush(5)
        self.say("choosing", number)
        file = self.folder.file.model_copy(update={"current_version": number})
        self.folder.update(file)
        if self.folder.flush(5):
            self.say("chosen", number)


def weights(path: Path, number: int) -> None:
    temporary = path.with_suffix(".part")
    safetensors.numpy.save_file({"w": np.full(2000, number, np.float32)}, temporary)
    temporary.replace(path)


def check(root: Path, told: list[str], killed: float) -> None:
    """Open what is left and compare it with what was told."""
    latest: dict[str, int] = {}
    for line in told:
        word, number, when = line.split()
        if word != "painted" or float(when) < killed - LOST:
            latest[word] = max(latest.get(word, 0), int(number))
    folder = SessionFolder.open(root)
    key = folder.file.images[0].key
    assert not folder.notices, folder.notices
    state = folder.load_plane(key, ())
    assert not folder.plane_damage(key, ()), folder.plane_damage(key, ())
    found = int(state.labels.max())
    assert found >= latest.get("painted", 0), (found, latest)
    assert found >= latest.get("confirmed", 0), (found, latest)
    assert np.array_equal(state.labels, canvas(found)), "not the state of any moment"
    versions = list_versions(root)
    for stem, record in versions.items():
        model_path(root, record, stem)
    numbers = {record.number for record in versions.values()}
    interrupted = find_checkpoint(root)
    assert interrupted is None or interrupted.base in numbers | {0}
    assert latest.get("learned", 0) in numbers | {0}, (numbers, latest)
    assert folder.file.current_version in numbers | {0}, folder.file.current_version
    assert folder.file.current_version >= latest.get("chosen", 0)
    steps = {entry["step"] for entry in read_history(root)[0]}
    assert latest.get("learned", 0) in steps | {0}
    corrections, damage = load_corrections(root)
    assert not damage, damage
    for saved in corrections:
        value = saved.example.labels[0, 0]
        assert (saved.example.labels == value).all()
        assert (saved.example.image == value % 250).all()
        assert value >= latest.get("corrected", 0)
    assert folder.close()


def heard(ear: int, word: str) -> bytes:
    """Listen to a child until it says a word."""
    told = b""
    while f"{word} ".encode() not in told:
        told += (more := os.read(ear, 4096))
        assert more, "the child ended by itself"
    return told


def one_round(root: Path, seconds: float, number: int) -> None:
    """Start a child, kill it at a random moment, look at what is left."""
    rng, word = random.Random(number), DANGER[number % len(DANGER)]
    ear, tell = os.pipe()
    child = os.fork()
    if not child:
        os.close(ear)
        Child(root, tell).run(word, rng)
    os.close(tell)
    try:
        told = heard(ear, word)
        time.sleep(rng.random() * seconds)
    finally:
        os.kill(child, signal.SIGKILL)
        killed = time.monotonic()
        os.waitpid(child, 0)
    with os.fdopen(ear, "rb") as stream:
        lines = (told + stream.read()).decode().splitlines()
    check(root, [line for line in lines if len(line.split()) == 3], killed)


def main(root: Path, rounds: int, seconds: float) -> None:
    """Go all rounds in one folder, which grows older with each."""
    folder = SessionFolder.create(root)
    image = ImageRecord(name="cells", shape=SHAPE, dtype="uint8", axes="YX")
    folder.update(folder.file.model_copy(update={"images": (image,)}))
    assert folder.close()
    for number in range(rounds):
        one_round(root, seconds, number)
        if number % 100 == 99:
            print(f"{number + 1} kills survived", flush=True)
    state = SessionFolder.open(root)
    strokes = int(state.load_plane(state.file.images[0].key, ()).labels.max())
    versions = state.file.current_version
    state.close()
    print(f"{rounds} kills survived; {strokes} strokes, {versions} versions")


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    shutil.rmtree(folder, ignore_errors=True)
    main(folder, int(sys.argv[2]), float(sys.argv[3]))
