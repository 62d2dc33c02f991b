"""An append-only file of records, each with its length and checksum.

Whatever happens while a record is written, those before it stay readable: a torn or
damaged tail is left out when reading and cut off before the next record is written.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from napari_resunet.errors import FileError
from napari_resunet.files import cannot_write

MAGIC = b"NRUJ0001"
MAX_RECORD = 2**31
_HEAD = struct.Struct("<II")


class Journal:
    """One journal file.

    Parameters
    ----------
    path : Path
        The file; made with the first record.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        """Bytes up to the end of the last good record."""

    def records(self) -> Iterator[bytes]:
        """Read all good records; afterwards `end` is known.

        Yields
        ------
        bytes

        Raises
        ------
        OSError
            If the file is there and cannot be read.
        """
        self.end = 0
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC:
                return
            self.end = len(MAGIC)
            size = os.fstat(stream.fileno()).st_size
            while (record := _read_record(stream, size - self.end)) is not None:
                self.end += _HEAD.size + len(record)
                yield record

    def append(self, record: bytes) -> None:
        """Write a record and see it safely on the disk.

        Parameters
        ----------
        record : bytes
            Its content.

        Raises
        ------
        FileError
            If it cannot be written; the file is as good as before.
        """
        try:
            with self.path.open("rb+" if self.end else "wb") as stream:
                if os.fstat(stream.fileno()).st_size < self.end:
                    raise FileError(
                        f"'{self.path}' was changed by another program: choose another "
                        "place for the session by 'Move…'."
                    )
                # What a failed attempt left behind must not stand before this record.
                stream.truncate(self.end)
                stream.seek(self.end)
                head = b"" if self.end else MAGIC
                whole = head + _HEAD.pack(len(record), zlib.crc32(record)) + record
                stream.write(whole)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.end += len(whole)


def _read_record(stream: BinaryIO, left: int) -> bytes | None:
    """Read the next record; None at the end or where it is torn."""
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return None
    length, checksum = _HEAD.unpack(head)
    if length > min(left, MAX_RECORD):
        return None
    record: bytes = stream.read(length)
    whole = len(record) == length and zlib.crc32(record) == checksum
    return record if whole else None
