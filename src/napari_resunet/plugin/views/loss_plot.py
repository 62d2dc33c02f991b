"""The live plot of the losses, the only place that uses pyqtgraph.

Importing pyqtgraph takes about half a second, so that happens with the first point and not
when the dock opens.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import qtpy
from qtpy.QtCore import QEvent, Qt, QTimer
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

HEIGHT = 150
REDRAW_MS = 150
"""Shortest time between two redraws: a fast GPU must not flood the GUI thread."""

TRAINING_COLOR = "#56B4E9"
HELD_OUT_COLOR = "#E69F00"
AXES = (("left", "loss"), ("bottom", "step"))


def import_pyqtgraph() -> Any:
    """Import pyqtgraph for the Qt binding that is already in use."""
    os.environ["PYQTGRAPH_QT_LIB"] = qtpy.API_NAME
    return importlib.import_module("pyqtgraph")


class LossPlot(QWidget):
    """Two curves over the steps of one run; hidden until the first `start`."""

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName("Loss while fine-tuning")
        self._training: list[tuple[int, float]] = []
        self._held_out: list[tuple[int, float]] = []
        self._plot: Any = None
        self._curves: tuple[Any, Any] | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REDRAW_MS)
        self._timer.timeout.connect(self.redraw)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self.hide()

    def start(self) -> None:
        """Forget the points of the previous run, and show an empty plot."""
        self._training.clear()
        self._held_out.clear()
        if self._plot is not None:
            self.redraw()
        self.show()

    def cut(self, step: int) -> None:
        """Forget the points after the step that a run is resumed from."""
        for points in (self._training, self._held_out):
            points[:] = [point for point in points if point[0] <= step]
        if self._plot is not None:
            self.redraw()
        self.show()

    def add(self, step: int, training: float, held_out: float | None) -> None:
        """Add the losses of one step; they are drawn within `REDRAW_MS`."""
        self._training.append((step, training))
        if held_out is not None:
            self._held_out.append((step, held_out))
        if not self._timer.isActive():
            self._timer.start()

    def points(self) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
        """Return the (step, loss) points that are drawn, of training and held-out."""
        if self._curves is None:
            return [], []
        shown = [curve.getData() for curve in self._curves]
        training, held_out = (
            [] if x is None else list(zip(x, y, strict=True)) for x, y in shown
        )
        return training, held_out

    def redraw(self) -> None:
        """Draw all points so far."""
        if self._curves is None:
            self._curves = self._build()
        for curve, points in zip(
            self._curves, (self._training, self._held_out), strict=True
        ):
            curve.setData([step for step, _ in points], [loss for _, loss in points])

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow a change of napari's theme."""
        super().changeEvent(event)
        themed = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in themed and self._plot is not None:
            self._apply_theme()

    def _build(self) -> tuple[Any, Any]:
        pg = import_pyqtgraph()
        self._plot = pg.PlotWidget(parent=self)
        # The wheel must scroll the dock, and there is nothing to drag here.
        self._plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self._plot)
        self._add_axes()
        training = self._plot.plot(pen=TRAINING_COLOR, name="training")
        held_out = self._plot.plot(
            pen=pg.mkPen(HELD_OUT_COLOR, width=2),
            symbol="o",
            symbolSize=5,
            symbolBrush=HELD_OUT_COLOR,
            symbolPen=None,
            name="held out",
        )
        self._apply_theme()
        return training, held_out

    def _add_axes(self) -> None:
        self._plot.hideButtons()
        for side, text in AXES:
            self._plot.setLabel(side, text)
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        # pyqtgraph would cut off the descenders of the axis label.
        self._plot.getPlotItem().layout.setContentsMargins(0, 0, 4, 6)
        self._plot.addLegend(offset=(-4, 4), labelTextSize="8pt")

    def _apply_theme(self) -> None:
        self.ensurePolished()
        palette = self.palette()
        # A transparent plot would keep the background of the previous theme.
        self._plot.setBackground(palette.color(self.backgroundRole()))
        color = palette.color(self.foregroundRole())
        for side, _ in AXES:
            axis = self._plot.getAxis(side)
            axis.setPen(color)
            axis.setTextPen(color)
        for _, label in self._plot.getPlotItem().legend.items:
            label.setText(label.text, color=color)
