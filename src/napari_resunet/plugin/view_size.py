"""How large the objects are: a number, a slider over many sizes, and who chose it."""

from __future__ import annotations

import math

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import QCheckBox, QDoubleSpinBox, QSlider, QVBoxLayout, QWidget

from napari_resunet.plugin.view_parts import TextLine, make_row

SMALLEST, LARGEST = 2.0, 1000.0
"""Ends of the slider in image pixels; the number goes further."""

STEPS = 500
"""Of the slider, each about one percent."""


class ObjectSize(QWidget):
    """Object size in image pixels; setters never emit."""

    changed = Signal(float)
    previewed = Signal(float)
    auto_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._number = _number()
        self._slider = _slider()
        self._auto = QCheckBox("auto")
        self._auto.setObjectName("object_size_auto")
        self._auto.setAccessibleName("Estimate the object size")
        self._auto.setToolTip("Estimate the size from the proposal or the corrections")
        row = make_row(self._number)
        row.addWidget(self._auto)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._slider)
        self.text = TextLine("object_size_text")
        self._number.valueChanged.connect(self._on_number)
        self._slider.valueChanged.connect(self._on_slider)
        self._slider.sliderReleased.connect(self._on_released)
        self._auto.toggled.connect(self.auto_changed)

    def show_size(self, pixels: float | None, factor: float | None, auto: bool) -> None:
        """Show the object size, what it makes of the image, and who chose it."""
        self._show_number(pixels)
        if not self._slider.isSliderDown():
            self._show_on_slider(pixels)
        blocker = QSignalBlocker(self._auto)
        self._auto.setChecked(auto)
        blocker.unblock()
        size = "" if pixels is None else f"{pixels:.4g} px"
        scaled = (
            "" if factor is None else f"image scaled \N{MULTIPLICATION SIGN}{factor:.2f}"
        )
        self.text.set_text(" · ".join(filter(None, (size, scaled))))

    def _show_number(self, pixels: float | None) -> None:
        blocker = QSignalBlocker(self._number)
        self._number.setValue(pixels or 0.0)
        blocker.unblock()

    def _show_on_slider(self, pixels: float | None) -> None:
        blocker = QSignalBlocker(self._slider)
        share = math.log(max(pixels or 0.0, SMALLEST) / SMALLEST)
        self._slider.setValue(round(STEPS * share / math.log(LARGEST / SMALLEST)))
        blocker.unblock()

    def _pixels(self) -> float:
        share = self._slider.value() / STEPS
        return float(SMALLEST * (LARGEST / SMALLEST) ** share)

    def _on_number(self, pixels: float) -> None:
        if pixels > 0:
            self._show_on_slider(pixels)
            self.changed.emit(pixels)

    def _on_slider(self) -> None:
        self._show_number(self._pixels())
        # A drag asks for one new size, at its end; what it passes is only shown.
        signal = self.previewed if self._slider.isSliderDown() else self.changed
        signal.emit(self._pixels())

    def _on_released(self) -> None:
        self.changed.emit(self._pixels())


def _number() -> QDoubleSpinBox:
    number = QDoubleSpinBox()
    number.setObjectName("object_size")
    number.setAccessibleName("Object size in image pixels")
    number.setToolTip("Diameter of a typical object in image pixels")
    number.setRange(0.0, 9999.0)
    number.setDecimals(1)
    number.setSuffix(" px")
    number.setSpecialValueText("not known")
    # Typing 120 must not ask for 1 and 12 pixels on the way.
    number.setKeyboardTracking(False)
    return number


def _slider() -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setObjectName("object_size_slider")
    slider.setAccessibleName("Object size")
    slider.setToolTip("Drag until the circle on the image is as large as your objects")
    slider.setRange(0, STEPS)
    return slider
