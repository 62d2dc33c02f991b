"""A process that runs one input after another, and may hang or die."""

from __future__ import annotations

import importlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from attacks.verdict import Result, where

KINDS = (
    "files", "masks", "flags", "api", "models", "sessions", "hostile", "layers", "large"
)  # fmt: skip
MEMORY = 5 * 2**30
"""Address space that inputs may allocate, in bytes, in addition to that at the start."""

LARGEST_FILE = 2 * 2**30
START = 180.0
"""Seconds that a worker may take to import torch and load the starter."""


@dataclass
class Room:
    """The surroundings of one input.

    Attributes
    ----------
    folder : Path
        Empty; for the input and its output.
    base : Path
        Permanent: a model file and a session, whose copies are damaged.
    outside : Path
        Files that nothing may open.
    watch : Watch
        Records what should not happen.
    supervisor : Connection
        Receives the description of the input, in case it hangs or kills the worker.
    programs : bool
        Whether some commands run as programs of their own.
    """

    folder: Path
    base: Path
    outside: Path
    watch: Any
    supervisor: Connection
    programs: bool = True

    def tell(self, what: str) -> None:
        """Report the input; from now on nothing outside may be run or read."""
        self.supervisor.send(("what", what))
        self.watch.armed = True


def attack_once(room: Room, kind: str, seed: int) -> Result:
    """Make an input from its seed, run it, and judge the outcome."""
    rng = np.random.default_rng([zlib.crc32(kind.encode()), seed])
    attack = importlib.import_module(f"attacks.{kind}").attack
    result: Result = attack(rng, room)
    room.watch.armed = False
    seen = room.watch.take()
    return Result("outside", result.what, seen) if seen else result


def serve(pipe: Connection, root: str, programs: bool) -> None:
    """Run the supervisor's requests until it closes the connection."""
    room = _prepare(pipe, Path(root))
    room.programs = programs
    with suppress(EOFError, BrokenPipeError):  # the supervisor is gone
        pipe.send(("ready", None))
        while True:
            kind, seed = pipe.recv()
            pipe.send(("result", _served(room, kind, seed)))


def _served(room: Room, kind: str, seed: int) -> Result:
    """Run one input in an empty folder."""
    shutil.rmtree(room.folder, ignore_errors=True)
    room.folder.mkdir(parents=True)
    os.chdir(room.folder)
    try:
        return attack_once(room, kind, seed)
    except Exception as error:  # noqa: BLE001 a fault of this benchmark
        return Result("traceback", "the attack itself", f"{where(error)} {error!r}")
    finally:
        room.watch.armed = False


def _prepare(pipe: Connection, root: Path) -> Room:
    from attacks import program
    from attacks.watch import Watch

    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        os.environ.pop(name, None)
    folders = [root / name for name in ("input", "base", "outside")]
    for folder in folders:
        folder.mkdir(exist_ok=True)
    os.environ["NAPARI_RESUNET_SESSIONS"] = str(root / "sessions")
    # The log of the session store is for developers.
    logging.getLogger("napari_resunet").addHandler(logging.NullHandler())
    program.labels_of(np.zeros((64, 64), np.uint8))
    _limit()
    return Room(*folders, Watch(folders[2], folders[0]), pipe)


def _limit() -> None:
    """Make absurd allocations fail at once instead of freezing the machine."""
    try:
        import resource
    except ImportError:  # Windows
        return
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if _has_proc() else 0
    if pages:
        most = pages * resource.getpagesize() + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def _has_proc() -> bool:
    return Path("/proc/self/statm").exists()


class Worker:
    """The supervisor's side: restarts the process when it hangs or dies.

    Parameters
    ----------
    limit : float
        Seconds for one input.
    programs : bool
        Whether some commands run as programs of their own.
    """

    def __init__(self, limit: float, programs: bool = True) -> None:
        self.limit, self.programs = limit, programs
        self._process: Any = None
        self._root = ""

    def attack(self, kind: str, seed: int) -> Result:
        """Run one input."""
        if self._process is None:
            self._start()
        self._pipe.send((kind, seed))
        what, end = "", time.monotonic() + self.limit
        while self._pipe.poll(max(0.0, end - time.monotonic())):
            try:
                word, value = self._pipe.recv()
            except (EOFError, ConnectionResetError):
                self._process.join()
                detail = f"exit status {self._process.exitcode}"
                self.stop()
                return Result("death", what, detail)
            if word == "result":
                return value
            what = value
        self.stop()
        return Result("hang", what, f"no end after {self.limit:g} s")

    def stop(self) -> None:
        """Kill the process."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        shutil.rmtree(self._root, ignore_errors=True)

    def _start(self) -> None:
        self._root = tempfile.mkdtemp(prefix="attack-")
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # Not a daemon, because daemons cannot have children, which DataLoader may need.
        self._process = context.Process(
            target=serve, args=(theirs, self._root, self.programs)
        )
        self._process.start()
        theirs.close()
        if not self._pipe.poll(START) or self._pipe.recv()[0] != "ready":
            self.stop()
            sys.exit("The worker process did not start.")
