"""Runs Qt's event loop in a benchmark, and measures how long its timers have to wait."""

from __future__ import annotations

import time

import numpy as np
from qtpy.QtCore import QEventLoop, QTimer


class Clock:
    """Records how long a 10 ms timer had to wait for the main thread."""

    def __init__(self) -> None:
        self.gaps: list[float] = []
        self._last = time.perf_counter()
        self.timer = QTimer()
        self.timer.timeout.connect(self._tick)
        self.timer.start(10)

    def _tick(self) -> None:
        now = time.perf_counter()
        self.gaps.append(1000 * (now - self._last))
        self._last = now

    def report(self, phase: str) -> None:
        """Print the gaps and start again."""
        middle, high, top = np.percentile(self.gaps, [50, 99, 100])
        print(
            f"{phase:<24}{middle:>8.0f}{high:>8.0f}{top:>8.0f}   ms (median, 99th, longest)"
        )
        self.gaps.clear()


def run(seconds: float) -> None:
    """Run Qt's event loop; asking for events in turn would slow the workers down."""
    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()
