"""Buttons with a drawn icon and a key below it, in the colours of napari's theme.

The icons are drawn rather than loaded: they take the colour of the text, in light and dark
themes and when they are disabled, and stay sharp at any size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QPainter, QPainterPath, QPaintEvent, QPen
from qtpy.QtWidgets import QPushButton, QSizePolicy

SIZE = 20
"""Side of the square in which the icons are drawn."""

WIDTH, HEIGHT = 34, 44
"""Of a button, in pixels; it grows with the row."""


class IconButton(QPushButton):
    """A button with an icon of `ICONS` and its key.

    Parameters
    ----------
    icon : str
        A name in `ICONS`.
    title : str
        Its accessible name, with the key.
    key : str
        The key that does the same.
    """

    def __init__(self, icon: str, title: str, key: str) -> None:
        super().__init__()
        self._draw, self._key = ICONS[icon], key
        self.setAccessibleName(f"{title} (key {key})")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def sizeHint(self) -> QSize:
        """Return the size for an icon and a line of text."""
        return QSize(WIDTH, HEIGHT)

    def minimumSizeHint(self) -> QSize:
        """Return the same size: an icon is never cut off."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the button, then its icon and its key in the colour of the text."""
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = self.palette().color(self.foregroundRole())
        painter.setPen(QPen(colour, 1.6))
        painter.setOpacity(1.0 if self.isEnabled() else 0.4)
        small = painter.font()
        small.setPixelSize(11)
        painter.setFont(small)
        below = QRectF(0, self.height() - 17, self.width(), 14)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, self._key)
        painter.translate((self.width() - SIZE) / 2, 5)
        self._draw(painter)
        painter.end()


def _cell(left: float, top: float, width: float, height: float) -> QPainterPath:
    path = QPainterPath()
    path.addEllipse(QRectF(left, top, width, height))
    return path


def _delete(painter: QPainter) -> None:
    painter.drawPath(_cell(2, 2, 16, 16))
    painter.drawLine(QPointF(7, 7), QPointF(13, 13))
    painter.drawLine(QPointF(13, 7), QPointF(7, 13))


def _merge(painter: QPainter) -> None:
    both = _cell(0, 5, 12, 10).united(_cell(8, 5, 12, 10))
    painter.drawPath(both)
    _dashed(painter, QPointF(10, 7), QPointF(10, 13))


def _split(painter: QPainter) -> None:
    painter.drawPath(_cell(1, 4, 18, 12))
    _dashed(painter, QPointF(10, 0), QPointF(10, 20))


def _add(painter: QPainter) -> None:
    painter.drawPath(_cell(2, 2, 16, 16))
    painter.drawLine(QPointF(6, 10), QPointF(14, 10))
    painter.drawLine(QPointF(10, 6), QPointF(10, 14))


def _smooth(painter: QPainter) -> None:
    rough = QPainterPath(QPointF(2, 10))
    for x, y in ((3, 5), (6, 6), (7, 2), (10, 4)):
        rough.lineTo(x, y)
    painter.drawPath(rough)
    even = QPainterPath(QPointF(10, 4))
    even.cubicTo(20, 4, 20, 17, 10, 17)
    even.cubicTo(5, 17, 2, 14, 2, 10)
    painter.drawPath(even)


def _copy(painter: QPainter) -> None:
    painter.drawPath(_cell(0, 5, 10, 10))
    painter.drawPath(_arrow(11, 19, 10))


def _contours(painter: QPainter) -> None:
    left = QPainterPath()
    left.addRect(QRectF(0, 0, 10, SIZE))
    painter.drawPath(_cell(2, 2, 16, 16))
    painter.fillPath(_cell(2, 2, 16, 16).intersected(left), painter.pen().color())


def _arrow(start: float, stop: float, y: float) -> QPainterPath:
    path = QPainterPath(QPointF(start, y))
    path.lineTo(stop, y)
    path.moveTo(stop - 4, y - 4)
    path.lineTo(stop, y)
    path.lineTo(stop - 4, y + 4)
    return path


def _dashed(painter: QPainter, start: QPointF, stop: QPointF) -> None:
    painter.save()
    pen = painter.pen()
    pen.setStyle(Qt.PenStyle.DotLine)
    painter.setPen(pen)
    painter.drawLine(start, stop)
    painter.restore()


ICONS: Mapping[str, Callable[[QPainter], None]] = {
    "delete": _delete,
    "merge": _merge,
    "split": _split,
    "add": _add,
    "smooth": _smooth,
    "copy": _copy,
    "contours": _contours,
}
"""What draws each icon, in a square of `SIZE`."""
