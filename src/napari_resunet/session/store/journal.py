"""An append-only file of records, each of which can be found and checked by itself.

If a record is damaged, only that record is lost: the reader searches for the mark of the
next one, and counts the lost ones. A record that a crash cut off at the end was never
confirmed: it is ignored, and removed before the next one is written.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from napari_resunet.files import cannot_write

MAGIC, OLD_MAGIC = b"NRUJ0002", b"NRUJ0001"
MARK = b"\xf5NRU-REC"
"""Precedes each record."""

MAX_RECORD = 2**31
CHUNK = 2**20
_TOTAL = struct.Struct("<8sII")
"""Head of the file: magic, number of confirmed records, CRC-32 of that number."""

_HEAD = struct.Struct("<8sIIII")
"""Head of a record: mark, number, length and CRC-32 of its content, CRC-32 of these."""

_OLD_HEAD = struct.Struct("<II")


class Journal:
    """One journal file, which is created with its first record."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.end = 0
        """Position after the last intact record, in bytes."""
        self.count = 0
        """Number of the last record."""
        self.good = 0
        """Number of records that could be read."""
        self.lost = 0
        """Number of confirmed records that could not be read."""
        self.is_old = False
        """Whether it has the older format, which is read but not appended to."""
        self._head = b""

    def records(self) -> Iterator[bytes]:
        """Read all intact records, and set the attributes.

        Raises
        ------
        OSError
            If the file exists and cannot be read.
        """
        self.end = self.count = self.good = self.lost = 0
        self.is_old, self._head = False, b""
        if not self.path.exists():
            return
        with self.path.open("rb") as stream:
            self._head = stream.read(_TOTAL.size)
            newer = self._head.startswith(MAGIC) or _find(stream, MARK, 0) >= 0
            self.is_old = not newer
            yield from self._old_records(stream) if self.is_old else self._records(stream)

    def append(self, record: bytes) -> None:
        """Append a record, and sync it to the disk.

        Raises
        ------
        FileError
            If it cannot be written; then the file is as good as before.
        """
        number = self.count + 1
        head = _total(number)
        try:
            with self.path.open("rb+" if self.end else "wb") as stream:
                if not self.end:
                    stream.write(_total(0))
                start = self.end or _TOTAL.size
                # Remove what a failed attempt left behind.
                stream.truncate(start)
                stream.seek(start)
                stream.write(_head(number, record) + record)
                stream.flush()
                os.fsync(stream.fileno())
                # Now the record is confirmed: if it is cut off later, it counts as lost.
                stream.seek(0)
                stream.write(head)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self.end = start + _HEAD.size + len(record)
        self.count, self.good, self._head = number, self.good + 1, head

    def is_whole(self) -> bool:
        """Return whether the file is as it was last read or written."""
        try:
            with self.path.open("rb") as stream:
                size = os.fstat(stream.fileno()).st_size
                head = stream.read(_TOTAL.size)
        except FileNotFoundError:
            return not self._head
        except OSError:
            return False
        # A first attempt that failed leaves a head without a record.
        begun = not self.end and head in (b"", _total(0))
        return size >= self.end and (head == self._head or begun)

    def _records(self, stream: BinaryIO) -> Iterator[bytes]:
        size = os.fstat(stream.fileno()).st_size
        at = _find(stream, MARK, 0)
        while 0 <= at < size:
            number, record = _read_record(stream, at, size)
            if record is not None:
                at += _HEAD.size + len(record)
                self.end, self.good = at, self.good + 1
                self.count = max(self.count, number)
                yield record
            else:
                at += 1
            at = _find(stream, MARK, at)
        self.count = max(self.count, self.good, _confirmed(self._head))
        self.lost = self.count - self.good

    def _old_records(self, stream: BinaryIO) -> Iterator[bytes]:
        at, size = len(OLD_MAGIC), os.fstat(stream.fileno()).st_size
        while size - at >= _OLD_HEAD.size:
            stream.seek(at)
            length, checksum = _OLD_HEAD.unpack(stream.read(_OLD_HEAD.size))
            if length > min(size - at - _OLD_HEAD.size, MAX_RECORD):
                break
            record = stream.read(length)
            at += _OLD_HEAD.size + length
            self.count += 1
            if zlib.crc32(record) == checksum:
                self.end, self.good = at, self.good + 1
                yield record
        # Cut off by a crash, or damaged: this format cannot tell which.
        self.count += at < size
        self.lost = self.count - self.good


def _read_record(stream: BinaryIO, at: int, size: int) -> tuple[int, bytes | None]:
    """Read the number and the content of the record at a mark; None if it is damaged."""
    stream.seek(at)
    head = stream.read(_HEAD.size)
    if len(head) < _HEAD.size:
        return 0, None
    _, number, length, checksum, own = _HEAD.unpack(head)
    if zlib.crc32(head[:-4]) != own or length > min(size - at - _HEAD.size, MAX_RECORD):
        return 0, None
    record = stream.read(length)
    return number, record if zlib.crc32(record) == checksum else None


def _find(stream: BinaryIO, mark: bytes, start: int) -> int:
    """Find a mark at or after a position; -1 if there is none."""
    stream.seek(start)
    seen = b""
    while chunk := stream.read(CHUNK):
        seen = seen[-(len(mark) - 1) :] + chunk
        found = seen.find(mark)
        if found >= 0:
            return stream.tell() - len(seen) + found
    return -1


def _total(number: int) -> bytes:
    return _TOTAL.pack(MAGIC, number, zlib.crc32(struct.pack("<I", number)))


def _confirmed(head: bytes) -> int:
    """Read the number of confirmed records; 0 if it is damaged."""
    if len(head) < _TOTAL.size:
        return 0
    _, number, checksum = _TOTAL.unpack(head)
    return int(number) if checksum == zlib.crc32(struct.pack("<I", number)) else 0


def _head(number: int, record: bytes) -> bytes:
    known = struct.pack("<8sIII", MARK, number, len(record), zlib.crc32(record))
    return known + struct.pack("<I", zlib.crc32(known))
