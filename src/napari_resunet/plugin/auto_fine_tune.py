"""Learn while I correct: fine-tuning that starts by itself when an area was verified.

One wish at most is waiting, whatever was verified meanwhile, so that jobs never pile up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.plugin.work import Work


class AutoFineTune:
    """The switch, off by default.

    Parameters
    ----------
    work : Work
        Whose jobs.
    image : callable
        Returns the chosen image.
    """

    def __init__(self, work: Work, image: Callable[[], Image | None]) -> None:
        self._work, self._image = work, image
        self._on = self._wanted = False
        self._timer = QTimer()
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._start)

    def turn(self, on: bool) -> None:
        """Turn the switch; what was verified before counts too, with the next area."""
        self._on = on
        self._wanted = False

    def area_verified(self) -> None:
        """Learn from the area as soon as no other job runs."""
        self._wanted = self._on
        self.follow()

    def follow(self) -> None:
        """Look again, once whoever ended a job has begun the next: proposals come first."""
        if self._wanted:
            self._timer.start(0)

    def shut_down(self) -> None:
        """Start nothing more."""
        self.turn(False)
        self._timer.stop()

    def _start(self) -> None:
        image = self._image()
        if self._wanted and self._work.job is None and image is not None:
            self._wanted = False
            self._work.learn(image, 60.0 * self._work.show.view.minutes)
