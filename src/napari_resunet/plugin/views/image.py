"""The section Image: the image, its channels, and its object size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    Section,
    TextLine,
    make_row,
)
from napari_resunet.session.settings import OBJECT_SIZE, OBJECT_SIZE_SLIDER

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALLEST, LARGEST = OBJECT_SIZE_SLIDER
STEPS = 500
"""Positions of the slider; a step changes the size by about one percent."""


class ObjectSize(QWidget):
    """Object size in image pixels, as a number and as a slider."""

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
        """Show the object size, the rescale factor, and whether they are estimated."""
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
        fraction = math.log(max(pixels or 0.0, SMALLEST) / SMALLEST)
        self._slider.setValue(round(STEPS * fraction / math.log(LARGEST / SMALLEST)))
        blocker.unblock()

    def _pixels(self) -> float:
        fraction = self._slider.value() / STEPS
        return float(SMALLEST * (LARGEST / SMALLEST) ** fraction)

    def _on_number(self, pixels: float) -> None:
        if pixels > 0:
            self._show_on_slider(pixels)
            self.changed.emit(pixels)

    def _on_slider(self) -> None:
        self._show_number(self._pixels())
        # A drag changes the size once, at its end; before that it only previews sizes.
        signal = self.previewed if self._slider.isSliderDown() else self.changed
        signal.emit(self._pixels())

    def _on_released(self) -> None:
        self.changed.emit(self._pixels())


def _number() -> QDoubleSpinBox:
    number = QDoubleSpinBox()
    number.setObjectName("object_size")
    number.setAccessibleName(OBJECT_SIZE.title)
    number.setToolTip(OBJECT_SIZE.description)
    number.setRange(0.0, OBJECT_SIZE.maximum)
    number.setDecimals(1)
    number.setSuffix(" px")
    number.setSpecialValueText("not known")
    # Typing 120 must not set 1 and 12 pixels on the way.
    number.setKeyboardTracking(False)
    return number


def _slider() -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setObjectName("object_size_slider")
    slider.setAccessibleName("Object size")
    slider.setToolTip("Drag until the circle on the image is as large as your objects")
    slider.setRange(0, STEPS)
    return slider


MAX_CHANNELS = 3

NO_CHANNEL = "-1"


class ImageSection(Section):
    """The image, its channels, and its object size."""

    image_chosen = Signal(str)
    channels_chosen = Signal(tuple)
    object_size_changed = Signal(float)
    object_size_previewed = Signal(float)
    object_size_auto_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Image")
        self._images = KeyedCombo("image", "Image", "No image in the viewer")
        self._images.chosen.connect(self.image_chosen)
        self.add_row("Image", self._images)
        self._add_channels()
        self._add_object_size()

    def _add_channels(self) -> None:
        self._channels = [
            KeyedCombo(f"channel_{i}", f"Channel {i + 1}") for i in range(MAX_CHANNELS)
        ]
        for combo in self._channels:
            combo.chosen.connect(self._on_channel_chosen)
        self._channel_row = QWidget()
        self._channel_row.setLayout(make_row(*self._channels))
        # The caption is above, because three names side by side need the whole width.
        self._channel_caption = self.add_heading("Channels")
        self.add_wide(self._channel_row)
        self.set_channels([], ())

    def _add_object_size(self) -> None:
        self._size = ObjectSize()
        self._size.changed.connect(self.object_size_changed)
        self._size.previewed.connect(self.object_size_previewed)
        self._size.auto_changed.connect(self.object_size_auto_changed)
        self.add_row("Object size", self._size)
        self.add_wide(self._size.text)

    def set_images(self, images: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer images, each (key, name)."""
        self._images.set_items([(key, name, name) for key, name in images], current)

    def set_channels(self, names: Sequence[str], chosen: Sequence[int]) -> None:
        """Offer channels, and show the chosen ones; without names the row is hidden."""
        none = (NO_CHANNEL, "none", "Feed no channel here")
        items = [(str(index), name, name) for index, name in enumerate(names)]
        for position, combo in enumerate(self._channels):
            index = chosen[position] if position < len(chosen) else NO_CHANNEL
            combo.set_items([none, *items] if position else items, str(index))
            combo.setVisible(position < len(names))
        self._channel_row.setVisible(bool(names))
        self._channel_caption.setVisible(bool(names))

    def set_object_size(
        self, pixels: float | None, factor: float | None, auto: bool
    ) -> None:
        """Show the object size, the rescale factor, and whether they are estimated."""
        self._size.show_size(pixels, factor, auto)

    def _on_channel_chosen(self) -> None:
        keys = [combo.current_key() for combo in self._channels]
        used = [int(key) for key in keys if key is not None and key != NO_CHANNEL]
        self.channels_chosen.emit(tuple(used))
