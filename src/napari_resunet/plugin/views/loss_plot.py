"""The live plot of a fine-tuning.

It shows one thing: what the model finds on the held-out part, or the training loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt, QTimer

from napari_resunet.plugin.views.plot import Plot, import_pyqtgraph

REDRAW_MS = 150
"""Shortest time between two redraws: a fast GPU must not flood the GUI thread."""

TRAINING_COLOR = "#56B4E9"
HELD_OUT_COLOR = "#E69F00"
Points = list[tuple[int, float]]


@dataclass(frozen=True)
class Items:
    """What is drawn: two curves, of which one is shown, and the line of the start."""

    training: Any
    held_out: Any
    before: Any


class LossPlot(Plot):
    """Values over the steps of one run; an empty room until the first one is added."""

    def __init__(self) -> None:
        super().__init__("What the model finds while fine-tuning")
        self._training: Points = []
        self._held_out: Points = []
        self._before: float | None = None
        self._objects: int | None = None
        self._loss_shown = False
        self._items: Items | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)

    def start(self) -> None:
        """Forget the previous run, and show an empty plot."""
        self._training.clear()
        self._held_out.clear()
        self._before = self._objects = None
        if self._plot is not None:
            self.redraw()

    def cut(self, step: int) -> None:
        """Forget the points after the step that a run is resumed from."""
        for points in (self._training, self._held_out):
            points[:] = [point for point in points if point[0] <= step]
        if self._plot is not None:
            self.redraw()

    def set_before(self, before: float | None, objects: int | None) -> None:
        """Draw the line of the start.

        Held-out values are numbers of right objects, of so many; scores if that is None.
        """
        self._before, self._objects = before, objects
        if not self._timer.isActive():
            self._timer.start()

    def add(self, step: int, training: float, held_out: float | None) -> None:
        """Add the values of one step; they are drawn within `REDRAW_MS`."""
        self._training.append((step, training))
        if held_out is not None:
            self._held_out.append((step, held_out))
        if not self._timer.isActive():
            self._timer.start()

    def show_loss(self, shown: bool) -> None:
        """Show the training loss instead of what the model finds."""
        self._loss_shown = shown
        if self._plot is not None:
            self.redraw()

    def points(self) -> tuple[Points, Points]:
        """Return the points that are drawn: the training loss, and held-out values."""
        if self._items is None:
            return [], []
        training, held_out = (
            [] if x is None else list(zip(x, y, strict=True))
            for x, y in (
                curve.getData() for curve in (self._items.training, self._items.held_out)
            )
        )
        return training, held_out

    @property
    def before(self) -> float | None:
        """The value of the start whose line is shown, if it is."""
        if self._items is None or not self._items.before.isVisible():
            return None
        return float(self._items.before.value())

    @property
    def title(self) -> str:
        """What is drawn, as its axis says."""
        if self._loss_shown:
            return "training loss"
        return "score" if self._objects is None else f"right of {self._objects}"

    def redraw(self) -> None:
        """Draw what there is so far."""
        if self._items is None:
            self._items = self._build()
        items, loss = self._items, self._loss_shown
        for curve, points in (
            (items.training, self._training),
            (items.held_out, self._held_out),
        ):
            curve.setData([step for step, _ in points], [value for _, value in points])
        items.training.setVisible(loss)
        items.held_out.setVisible(not loss)
        items.before.setVisible(not loss and self._before is not None)
        items.before.setValue(self._before or 0.0)
        named = [(self._before, "before")] if items.before.isVisible() else []
        self._plot.getAxis("right").setTicks([named])
        self._plot.setLabel("left", self.title)
        self._set_range()

    def _set_range(self) -> None:
        """Fix the axis from nothing to everything right; the loss has no such limits."""
        top = 1.0 if self._objects is None else max(1, self._objects)
        if self._loss_shown:
            self._plot.enableAutoRange(axis="y")
        else:
            self._plot.setYRange(0, top)

    def _build(self) -> Items:
        pg = self.make_plot(self.title, "step")
        # At the end of the line of the start, where no curve crosses its name.
        self._plot.showAxis("right")
        names = self._plot.getAxis("right")
        names.setStyle(tickLength=0)
        names.setWidth(44)
        names.setPen(None)
        training = self._plot.plot(pen=TRAINING_COLOR)
        held_out = self._plot.plot(
            pen=pg.mkPen(HELD_OUT_COLOR, width=2),
            symbol="o",
            symbolSize=5,
            symbolBrush=HELD_OUT_COLOR,
            symbolPen=None,
        )
        before = pg.InfiniteLine(angle=0)
        self._plot.addItem(before, ignoreBounds=True)
        items = Items(training, held_out, before)
        self._items = items
        self.apply_theme()
        return items

    def color_items(self, color: Any) -> None:
        """Draw the line of the start in the colour of texts."""
        if self._items is not None:
            pen = import_pyqtgraph().mkPen(color, style=Qt.PenStyle.DashLine)
            self._items.before.setPen(pen)
