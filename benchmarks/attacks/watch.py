"""Detects when an input makes the program run code or read files of others.

An audit hook sees each file that is opened, each program that is started, and each piece of
code that is run, also by libraries. It cannot be removed, so it is for worker processes
only.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

STARTS = ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system", "os.spawn",
          "pty.spawn", "os.startfile", "socket.connect")  # fmt: skip

RUN_THINGS = ("os", "posix", "nt", "subprocess")


class Watch:
    """Records what should not happen while it is armed.

    Parameters
    ----------
    outside : Path
        A folder that no input may cause to be opened.
    inputs : Path
        The folder of the inputs: no code in it may run.
    """

    def __init__(self, outside: Path, inputs: Path) -> None:
        self.outside, self.inputs = str(outside), str(inputs)
        self.armed = False
        self.seen: list[str] = []
        sys.addaudithook(self._hook)

    def take(self) -> str:
        """Return what was recorded since the last call."""
        seen, self.seen = self.seen, []
        return "; ".join(seen)

    def _hook(self, event: str, args: tuple[Any, ...]) -> None:
        if not self.armed:
            return
        if event in STARTS:
            self._note(f"{event} {args[0]!r} {args[1:2]!r}")
        elif event == "open" and isinstance(args[0], (str, bytes)):
            if os.fsdecode(args[0]).startswith(self.outside):
                self._note(f"opened {args[0]!r}")
        elif event in ("exec", "compile"):
            name = getattr(args[0], "co_filename", None) or args[-1]
            if isinstance(name, str) and name.startswith(self.inputs):
                self._note(f"{event} of {name}")
        elif event == "pickle.find_class" and args[0] in RUN_THINGS:
            self._note(f"unpickled {args[0]}.{args[1]}")

    def _note(self, text: str) -> None:
        if len(self.seen) < 5:
            self.seen.append(text[:300])
