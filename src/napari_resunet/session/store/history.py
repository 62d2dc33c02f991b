"""Losses and scores of every fine-tuning: one JSON object per line, append-only.

Each line has a checksum, so that damaged ones are found, counted, and left out.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from napari_resunet.engine.changes import CHANGES
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
    right: Annotated[int, Field(ge=0)] | None = None
    right_before: Annotated[int, Field(ge=0)] | None = None
    objects: Annotated[int, Field(ge=0)] | None = None
    before: _Number = None
    after: _Number = None
    improved: bool | None = None
    outcome: str | None = None
    elsewhere: Annotated[Any, AfterValidator(CHANGES.validate_python)] = None
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


@dataclass(frozen=True)
class Run:
    """The latest fine-tuning.

    Attributes
    ----------
    points : list of (int, float, float or None)
        Step, loss, and if the weights were evaluated after it, their number of right
        objects, or their score if objects are not counted.
    before : float or None
        The same of the start; None if unknown.
    objects : int or None
        Number of held-out objects; None if they are not counted.
    """

    points: list[tuple[int, float, float | None]]
    before: float | None = None
    objects: int | None = None


def last_run(entries: Sequence[Entry]) -> Run:
    """Find what there is to draw of the latest fine-tuning."""
    run = Run([])
    for entry in entries:
        event, step, loss = entry.get("event"), entry.get("step"), entry.get("loss")
        if event == "begin":
            run = Run([])
        elif event == "before":
            objects = entry.get("objects")
            counted = entry.get("right_before")
            run = Run(
                run.points, entry.get("before") if objects is None else counted, objects
            )
        elif event == "go on" and step is not None:
            run.points[:] = [point for point in run.points if point[0] <= step]
        elif event == "step" and step is not None and loss is not None:
            held_out = entry.get("held_out" if run.objects is None else "right")
            run.points.append((step, loss, held_out))
    return run


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
