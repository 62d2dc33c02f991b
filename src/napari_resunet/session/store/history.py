"""Scores and losses of every fine-tuning: one JSON object in each line, only added to."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_resunet.files import cannot_write
from napari_resunet.session.store.layout import HISTORY
from napari_resunet.session.store.safety import inside, read_bytes

MAX_BYTES = 2**28
Entry = dict[str, Any]


def append_history(root: Path, entries: Sequence[Entry]) -> None:
    """Add entries and see them safely on the disk.

    Parameters
    ----------
    root : Path
        The session folder.
    entries : sequence of dict
        What JSON can hold.

    Raises
    ------
    FileError
        If they cannot be written; the file is as it was.
    """
    path = inside(root, HISTORY)
    lines = "".join(json.dumps(entry) + "\n" for entry in entries).encode()
    try:
        with path.open("ab") as stream:
            before = stream.tell()
            torn = before > 0 and not _ends_whole(path)
            try:
                stream.write(b"\n" + lines if torn else lines)
                stream.flush()
                os.fsync(stream.fileno())
            except OSError:
                os.truncate(path, before)
                raise
    except OSError as error:
        raise cannot_write(path, error) from error


def read_history(root: Path) -> list[Entry]:
    """Read all entries; a line that a crash tore is left out.

    Returns
    -------
    list of dict

    Raises
    ------
    SessionError
        If the file cannot be read.
    """
    path = inside(root, HISTORY)
    if not path.exists():
        return []
    found = (_parsed(line) for line in read_bytes(path, MAX_BYTES).splitlines())
    return [entry for entry in found if entry is not None]


def last_run(entries: Sequence[Entry]) -> list[tuple[int, float, float | None]]:
    """Find the points of the latest fine-tuning: (step, loss, held-out score)."""
    points: list[tuple[int, float, float | None]] = []
    for entry in entries:
        if entry.get("event") == "begin":
            points = []
        elif entry.get("event") == "go on":
            points = [point for point in points if point[0] <= int(entry["step"])]
        elif entry.get("event") == "step":
            held_out = entry.get("held_out")
            points.append(
                (
                    int(entry["step"]),
                    float(entry["loss"]),
                    None if held_out is None else float(held_out),
                )
            )
    return points


def _parsed(line: bytes) -> Entry | None:
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
