"""A store of zarr that reads regular files only; imports zarr, so it is imported late."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from zarr.storage import LocalStore

if TYPE_CHECKING:
    from zarr.abc.store import ByteRequest
    from zarr.core.buffer import Buffer, BufferPrototype


class RegularFiles(LocalStore):
    """Refuses pipes and devices, which may never end, and files larger than any chunk."""

    most_bytes = 2**31

    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        """Read a file, or a part of it; None if there is none."""
        try:
            about = (self.root / key).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        if stat.S_ISDIR(about.st_mode):
            return None
        if not stat.S_ISREG(about.st_mode) or about.st_size > self.most_bytes:
            raise ValueError(f"{key} is not a chunk")
        return await super().get(key, prototype, byte_range)
