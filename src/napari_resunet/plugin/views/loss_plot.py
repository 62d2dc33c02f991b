"""The live plot of a fine-tuning, the only place that uses pyqtgraph.

It shows one thing: what the model finds on the held-out part, or the training loss.
Importing pyqtgraph takes about half a second, so that happens with the first point and not
when the dock opens.
"""

from __future__ import annotations

import importlib
import os
from dataclasses import dataclass
from typing import Any

import qtpy
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

HEIGHT = 108
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


def import_pyqtgraph() -> Any:
    """Import pyqtgraph for the Qt binding that is already in use."""
    os.environ["PYQTGRAPH_QT_LIB"] = qtpy.API_NAME
    return importlib.import_module("pyqtgraph")


class LossPlot(QWidget):
    """Values over the steps of one run; an empty room until the first one is added."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("What the model finds while fine-tuning")
        self._training: Points = []
        self._held_out: Points = []
        self._before: float | None = None
        self._objects: int | None = None
        self._loss_shown = False
        self._plot: Any = None
        self._items: Items | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

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

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow a change of napari's theme."""
        super().changeEvent(event)
        themed = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in themed and self._plot is not None:
            self._apply_theme()

    def _set_range(self) -> None:
        """Fix the axis from nothing to everything right; the loss has no such limits."""
        top = 1.0 if self._objects is None else max(1, self._objects)
        if self._loss_shown:
            self._plot.enableAutoRange(axis="y")
        else:
            self._plot.setYRange(0, top)

    def _build(self) -> Items:
        pg = import_pyqtgraph()
        self._plot = pg.PlotWidget(parent=self)
        # The wheel must scroll the dock, and there is nothing to drag here.
        self._plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self._plot)
        self._add_axes()
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
        self._apply_theme()
        return items

    def _add_axes(self) -> None:
        self._plot.hideButtons()
        for side, text in (("left", self.title), ("bottom", "step")):
            # Later texts keep the size, and the colour of the theme.
            self._plot.setLabel(side, text, **{"font-size": "8pt"})
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        # At the end of the line of the start, where no curve crosses its name.
        self._plot.showAxis("right")
        self._plot.getAxis("right").setStyle(tickLength=0)
        self._plot.getAxis("right").setWidth(44)
        # pyqtgraph would cut off the descenders of the axis label.
        self._plot.getPlotItem().layout.setContentsMargins(0, 0, 4, 6)

    def _apply_theme(self) -> None:
        self.ensurePolished()
        palette = self.palette()
        # A transparent plot would keep the background of the previous theme.
        self._plot.setBackground(palette.color(self.backgroundRole()))
        color = palette.color(self.foregroundRole())
        for side in ("left", "bottom", "right"):
            axis = self._plot.getAxis(side)
            axis.setPen(color if side != "right" else None)
            axis.setTextPen(color)
        if self._items is not None:
            pen = import_pyqtgraph().mkPen(color, style=Qt.PenStyle.DashLine)
            self._items.before.setPen(pen)
