"""A small plot in napari's colours: only this module and its subclasses use pyqtgraph.

Importing pyqtgraph takes about half a second, so that happens when something is drawn for
the first time, and not when the dock opens.
"""

from __future__ import annotations

import importlib
import os
from typing import Any

import qtpy
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import QSizePolicy, QVBoxLayout, QWidget

HEIGHT = 108
SIDES = ("left", "bottom")


def import_pyqtgraph() -> Any:
    """Import pyqtgraph for the Qt binding that is already in use."""
    os.environ["PYQTGRAPH_QT_LIB"] = qtpy.API_NAME
    return importlib.import_module("pyqtgraph")


class Plot(QWidget):
    """An empty room for a plot, until `make_plot` makes it.

    Parameters
    ----------
    accessible : str
        What the plot shows, for screen readers.
    """

    def __init__(self, accessible: str) -> None:
        super().__init__()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAccessibleName(accessible)
        self._plot: Any = None
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)

    def make_plot(self, left: str, bottom: str) -> Any:
        """Make the plot with the titles of its axes, and return pyqtgraph."""
        pg = import_pyqtgraph()
        self._plot = pg.PlotWidget(parent=self)
        # The wheel must scroll the dock, and there is nothing to drag here.
        self._plot.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self._plot.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        layout = self.layout()
        if layout is not None:
            layout.addWidget(self._plot)
        self._plot.hideButtons()
        for side, text in zip(SIDES, (left, bottom), strict=True):
            # Later texts keep the size, and the colour of the theme.
            self._plot.setLabel(side, text, **{"font-size": "8pt"})
            self._plot.getAxis(side).enableAutoSIPrefix(False)
        # pyqtgraph would cut off the descenders of the axis label.
        self._plot.getPlotItem().layout.setContentsMargins(0, 0, 4, 6)
        return pg

    def apply_theme(self) -> None:
        """Give background, axes, and items the colours of napari's theme."""
        self.ensurePolished()
        palette = self.palette()
        # A transparent plot would keep the background of the previous theme.
        self._plot.setBackground(palette.color(self.backgroundRole()))
        color = palette.color(self.foregroundRole())
        for side in SIDES:
            self._plot.getAxis(side).setPen(color)
        for side in (*SIDES, "right"):
            self._plot.getAxis(side).setTextPen(color)
        self.color_items(color)

    def color_items(self, color: Any) -> None:
        """Give the colour of texts to what is drawn, where it follows the theme."""

    def changeEvent(self, event: QEvent | None) -> None:
        """Follow a change of napari's theme."""
        super().changeEvent(event)
        themed = (QEvent.Type.PaletteChange, QEvent.Type.StyleChange)
        if event is not None and event.type() in themed and self._plot is not None:
            self.apply_theme()
