"""Two windows on one session: the second one is told."""

from __future__ import annotations

from pathlib import Path

import filelock

from napari_resunet.session.store.layout import LOCK
from napari_resunet.session.store.safety import inside


class SessionLock:
    """Held by the system for as long as the process lives, however it ends.

    Parameters
    ----------
    root : Path
        The session folder.
    """

    def __init__(self, root: Path) -> None:
        # Moving releases it in another thread than opening took it in.
        self._lock = filelock.FileLock(inside(root, LOCK), timeout=0, thread_local=False)

    def acquire(self) -> bool:
        """Take the lock.

        Returns
        -------
        bool
            False where another window has it. True as well where the drive cannot
            lock or be written: then nothing protects, but nothing is in the way.
        """
        try:
            self._lock.acquire()
        except filelock.Timeout:
            return False
        except (OSError, NotImplementedError):
            return True
        return True

    def release(self) -> None:
        """Let go."""
        self._lock.release()
