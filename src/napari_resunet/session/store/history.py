"""Losses and scores of every fine-tuning: one JSON object per line, append-only.

Each line has a checksum, so that damaged ones are found, counted, and left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from napari_resunet.files import cannot_write
from napari_resunet.session.store.safety import (
    inside,
    read_bytes,
    sealed_line,
    set_aside,
    unsealed,
)
from napari_resunet.session.store.schema import HISTORY

MAX_BYTES = 2**28
Entry = dict[str, Any]
_Number = Annotated[float, Field(allow_inf_nan=False)] | None


class _Known(BaseModel):
    """Types of the fields that are read; other fields are kept unchecked."""

    model_config = ConfigDict(strict=True, extra="ignore")

    event: str = ""
    step: Annotated[int, Field(ge=0)] | None = None
    loss: _Number = None
    held_out: _Number = None
    before: _Number = None
    after: _Number = None
    improved: bool | None = None
    model_id: str | None = None


def append_history(root: Path, entries: Sequence[Entry]) -> None:
    """Append entries, and sync them to the disk.

    Parameters
    ----------
    root : Path
        The session folder.
    entries : sequence of dict
        Values that JSON can hold.

    Raises
    ------
    FileError
        If they cannot be written; then the file is as it was.
    """
    path = inside(root, HISTORY)
    lines = "".join(sealed_line(entry) + "\n" for entry in entries).encode()
    try:
        if path.is_dir():
            set_aside(path)
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


def read_history(root: Path) -> tuple[list[Entry], int]:
    """Read all entries but the damaged ones.

    Returns
    -------
    entries : list of dict
        The oldest first.
    lost : int
        Number of damaged lines, without a last line that a crash cut off.

    Raises
    ------
    SessionError
        If the file cannot be read.
    """
    path = inside(root, HISTORY)
    if not path.exists():
        return [], 0
    lines = read_bytes(path, MAX_BYTES).split(b"\n")
    found = [_parsed(line) for line in lines if line]
    lost = found.count(None) - (bool(lines[-1]) and found[-1] is None)
    return [entry for entry in found if entry is not None], lost


def last_run(entries: Sequence[Entry]) -> list[tuple[int, float, float | None]]:
    """List the points of the latest fine-tuning: (step, loss, held-out score)."""
    points: list[tuple[int, float, float | None]] = []
    for entry in entries:
        event, step, loss = entry.get("event"), entry.get("step"), entry.get("loss")
        if event == "begin":
            points = []
        elif event == "go on" and step is not None:
            points = [point for point in points if point[0] <= step]
        elif event == "step" and step is not None and loss is not None:
            points.append((step, loss, entry.get("held_out")))
    return points


def _parsed(line: bytes) -> Entry | None:
    try:
        entry, intact = unsealed(line.decode())
        _Known.model_validate(entry)
    except (ValueError, ValidationError):
        return None
    return entry if intact else None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
