"""The histogram of one column of the table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari_resunet.plugin.views.plot import Plot

COLOR = "#56B4E9"


class Histogram(Plot):
    """How many objects have which value; an empty room until there are some."""

    def __init__(self) -> None:
        super().__init__("Histogram of the measured objects")
        self._bars: Any = None

    def show_counts(self, name: str, edges: Sequence[float], counts: Sequence[int]) -> None:
        """Draw the number of objects between each edge and the next; none clear it."""
        if self._bars is None:
            if not counts:
                return
            self._build()
        self._plot.setLabel("bottom", name)
        lows, highs = edges[:-1], edges[1:]
        self._bars.setOpts(x0=lows, x1=highs, y0=[0] * len(counts), height=counts)
        self._plot.autoRange()

    def bars(self) -> list[tuple[float, float, int]]:
        """Return what is drawn, each (from, to, number of objects)."""
        if self._bars is None:
            return []
        drawn = self._bars.opts
        return list(zip(drawn["x0"], drawn["x1"], drawn["height"], strict=True))

    def _build(self) -> None:
        pg = self.make_plot("objects", "")
        self._bars = pg.BarGraphItem(x0=[], x1=[], height=[], brush=COLOR, pen=None)
        self._plot.addItem(self._bars)
        self.apply_theme()
