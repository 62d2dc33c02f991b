"""The section Image: the image, its channels, and its object size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, QSize, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QSizePolicy,
    QSlider,
    QStackedWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_resunet.plugin.views.widgets import (
    KeyedCombo,
    Section,
    make_button,
    make_row,
)
from napari_resunet.session.settings import OBJECT_SIZE, OBJECT_SIZE_SLIDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qtpy.QtGui import QMouseEvent, QResizeEvent

SMALLEST, LARGEST = OBJECT_SIZE_SLIDER
STEPS = 500
"""Positions of the slider; a step changes the size by about one percent."""


class ObjectSize(QWidget):
    """Object size in image pixels: a number, a slider, its origin, and a suggestion."""

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
        self._auto.setToolTip(
            "The size that the model learned from, or an estimate if it learned none"
        )
        row = make_row(self._number)
        row.addWidget(self._auto)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(row)
        layout.addWidget(self._slider)
        self.text = SizeText()
        self.text.used.connect(self.changed)
        self._number.valueChanged.connect(self._on_number)
        self._slider.valueChanged.connect(self._on_slider)
        self._slider.sliderReleased.connect(self._on_released)
        self._auto.toggled.connect(self.auto_changed)

    def show_size(
        self, pixels: float | None, text: str, auto: bool, suggested: float | None
    ) -> None:
        """Show the object size, where it comes from, and a size to use instead."""
        self._show_number(pixels)
        if not self._slider.isSliderDown():
            self._show_on_slider(pixels)
        blocker = QSignalBlocker(self._auto)
        self._auto.setChecked(auto)
        blocker.unblock()
        self.text.show_text(text, suggested)

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


class SizeText(QStackedWidget):
    """Where the object size comes from, or another size that the image suggests.

    A stack is always as high as the higher of the two, so that nothing below it moves.
    """

    used = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._suggested = 0.0
        self._origin = _line("object_size_text")
        self._suggestion = _line("object_size_suggestion")
        self._use = make_button(
            "Use", "use_object_size", "Use the size of the objects that Segment found"
        )
        self._use.clicked.connect(self._on_clicked)
        row = make_row(self._suggestion)
        row.addWidget(self._use)
        other = QWidget()
        other.setLayout(row)
        self.addWidget(self._origin)
        self.addWidget(other)
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)

    def show_text(self, origin: str, suggested: float | None) -> None:
        """Show a suggested size in pixels, or if there is none, the origin."""
        self._origin.setText(origin)
        self._origin.setToolTip(origin)
        self._suggestion.setToolTip(f"Now: {origin}")
        if suggested is not None:
            self._set_suggestion(suggested)
        self.setCurrentIndex(0 if suggested is None else 1)

    def _set_suggestion(self, pixels: float) -> None:
        self._suggested = float(f"{pixels:.2g}")
        self._suggestion.setText(f"This image looks like {self._suggested:g} px")
        self._use.setText(f"Use {self._suggested:g} px")

    def _on_clicked(self) -> None:
        self.used.emit(self._suggested)


def _line(name: str) -> QElidingLabel:
    line = QElidingLabel()
    line.setObjectName(name)
    return line


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


N_SLOTS = 3
"""Inputs of the network."""

ADD = "+"
ROW_HEIGHT = 26


class ChannelButton(QToolButton):
    """What one input of the network sees: a button with a menu of channels to tick."""

    ticked = Signal()

    def __init__(self, name: str, accessible: str) -> None:
        super().__init__()
        self.setObjectName(name)
        self.setAccessibleName(accessible)
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._menu = OpenMenu(self)
        self._menu.triggered.connect(self._on_ticked)
        self._menu.aboutToHide.connect(self._on_closed)
        self.setMenu(self._menu)
        self._offered: list[tuple[str, str]] = []
        self._changed = False
        self._text = ""

    def offer(self, items: Sequence[tuple[str, str]], ticked: Sequence[str]) -> None:
        """Offer channels, each (key, name), and show the ticked ones."""
        if list(items) != self._offered:
            self._offered = list(items)
            self._menu.clear()
            for key, name in items:
                action = self._menu.addAction(_plain(name))
                assert action is not None
                action.setData(key)
                action.setCheckable(True)
        for action in self._menu.actions():
            action.setChecked(action.data() in ticked)
        names = [name for key, name in items if key in ticked]
        self._text = " + ".join(names) or ADD
        self.setToolTip(
            f"The model sees: {', '.join(names)} (tick several to combine them)"
            if names
            else "Let the model see another channel as well, as a colour of its own"
        )
        wide = QSizePolicy.Policy.Expanding if names else QSizePolicy.Policy.Fixed
        self.setSizePolicy(wide, QSizePolicy.Policy.Fixed)
        self._elide()

    def keys(self) -> tuple[str, ...]:
        """Return the keys of the ticked channels."""
        return tuple(a.data() for a in self._menu.actions() if a.isChecked())

    def minimumSizeHint(self) -> QSize:
        """Return the same size as `sizeHint`, so that long names can be cut."""
        return self.sizeHint()

    def sizeHint(self) -> QSize:
        """Return a size that no name makes wider: the row shares its width out."""
        return QSize(34, super().sizeHint().height())

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Cut the names to the new width."""
        super().resizeEvent(event)
        self._elide()

    def _elide(self) -> None:
        room = max(0, self.width() - 20)
        short = self.fontMetrics().elidedText(self._text, Qt.TextElideMode.ElideRight, room)
        self.setText(_plain(short if self._text != ADD else ADD))

    def _on_ticked(self) -> None:
        self._changed = True
        if not self._menu.isVisible():
            self._on_closed()

    def _on_closed(self) -> None:
        if self._changed:
            self._changed = False
            self.ticked.emit()


class OpenMenu(QMenu):
    """A menu that stays open while boxes are ticked with the mouse."""

    def mouseReleaseEvent(self, event: QMouseEvent | None) -> None:
        """Tick without closing."""
        action = self.activeAction()
        if action is not None and action.isCheckable():
            action.trigger()
        else:
            super().mouseReleaseEvent(event)


class AxisQuestion(QWidget):
    """Whether a few planes are channels or slices: two buttons, at most one is pressed."""

    answered = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._channels = _answer(
            "Channels", "axis_channels", "One picture in several colours"
        )
        self._slices = _answer(
            "Slices", "axis_slices", "Pictures of different depths or times"
        )
        self._channels.clicked.connect(self._on_channels)
        self._slices.clicked.connect(self._on_slices)
        self.setLayout(make_row(self._channels, self._slices))

    def show_answer(self, are_channels: bool | None) -> None:
        """Show the answer; None if there is none yet."""
        self._channels.setChecked(are_channels is True)
        self._slices.setChecked(are_channels is False)

    def _on_channels(self) -> None:
        self.answered.emit(True)

    def _on_slices(self) -> None:
        self.answered.emit(False)


def _answer(text: str, name: str, tooltip: str) -> QPushButton:
    button = make_button(text, name, tooltip)
    button.setCheckable(True)
    return button


def _plain(text: str) -> str:
    """Escape the sign that Qt reads as a shortcut."""
    return text.replace("&", "&&")


class ChannelRow(QStackedWidget):
    """One row that keeps its place: nothing, the question, or a button for each input."""

    chosen = Signal(tuple)
    answered = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self.setFixedHeight(ROW_HEIGHT)
        self.question = AxisQuestion()
        self.question.answered.connect(self.answered)
        self._slots = [
            ChannelButton(f"channel_{i}", f"Channels of input {i + 1}")
            for i in range(N_SLOTS)
        ]
        for slot in self._slots:
            slot.ticked.connect(self._on_ticked)
        # The answer can be taken back.
        self._undo = QToolButton()
        self._undo.setObjectName("axis_again")
        self._undo.setText("\N{LEFTWARDS ARROW WITH HOOK}")
        self._undo.clicked.connect(self._on_undo)
        self._inputs = QWidget()
        row = QHBoxLayout(self._inputs)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        for slot in self._slots:
            row.addWidget(slot, 1)
        row.addWidget(self._undo)
        self.n_planes = 0
        self._answer: bool | None = None
        self._used = 0
        for page in (QWidget(), self.question, self._inputs):
            self.addWidget(page)

    def ask(self, n: int, are_channels: bool | None) -> None:
        """Ask whether `n` planes are channels, or show the answer; 0 asks not."""
        self.n_planes, self._answer = n, are_channels
        self.question.show_answer(are_channels)
        self._show_page()

    def offer(
        self, offered: Sequence[tuple[str, str]], slots: Sequence[Sequence[str]]
    ) -> None:
        """Offer channels, each (key, name), and show what each input sees."""
        self._used = min(len(slots), N_SLOTS) if offered else 0
        shown = self._used + 1 if len(offered) > 1 else self._used
        for number, button in enumerate(self._slots):
            button.offer(offered, slots[number] if number < self._used else ())
            button.setVisible(number < shown)
        self._show_page()

    @property
    def is_asking(self) -> bool:
        """Whether the question or its answer is shown in place of the channels."""
        return self.n_planes > 0 and (
            self._answer is None or not (self._answer or self._used)
        )

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to choose."""
        return not self.is_asking and not self._used

    def _show_page(self) -> None:
        other = "slices, not channels" if self._answer else "channels, not slices"
        self._undo.setAccessibleName(f"These are {other}")
        self._undo.setToolTip(f"These are {other}")
        self._undo.setVisible(self.n_planes > 0)
        self.setCurrentIndex(1 if self.is_asking else 2 if self._used else 0)

    def _on_ticked(self) -> None:
        slots = tuple(keys for button in self._slots if (keys := button.keys()))
        self.chosen.emit(slots)

    def _on_undo(self) -> None:
        self.answered.emit(not self._answer)


class ImageSection(Section):
    """The image, its channels, and its object size."""

    image_chosen = Signal(str)
    pin_toggled = Signal(bool)
    axis_answered = Signal(bool)
    channels_chosen = Signal(tuple)
    object_size_changed = Signal(float)
    object_size_previewed = Signal(float)
    object_size_auto_changed = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        self._add_image()
        self._channels = ChannelRow()
        self._channels.chosen.connect(self.channels_chosen)
        self._channels.answered.connect(self.axis_answered)
        self._channel_caption = self.add_row("Channels", self._channels)
        self._caption_channels()
        self._add_object_size()

    def _add_image(self) -> None:
        self._images = KeyedCombo("image", "Image", "No image in the viewer")
        self._images.chosen.connect(self.image_chosen)
        # In the header, a long name must not widen the dock.
        self._images.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self._pin = QToolButton()
        self._pin.setObjectName("pin_image")
        self._pin.setText("Pin")
        self._pin.setAccessibleName("Pin the image")
        self._pin.setToolTip("Stay with this image, whatever layer is selected or opened")
        self._pin.setCheckable(True)
        self._pin.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self._pin.clicked.connect(self.pin_toggled)
        both = QWidget()
        row = QHBoxLayout(both)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(4)
        row.addWidget(self._images, 1)
        row.addWidget(self._pin)
        self.chooser = both

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

    def set_pinned(self, pinned: bool) -> None:
        """Show whether the image stays whatever layer is selected."""
        self._pin.setChecked(pinned)

    def set_axis_question(self, n: int, are_channels: bool | None) -> None:
        """Ask whether `n` planes are channels or slices, or show the answer; 0 asks not."""
        self._channels.ask(n, are_channels)
        self._caption_channels()

    def set_channels(
        self, offered: Sequence[tuple[str, str]], slots: Sequence[Sequence[str]]
    ) -> None:
        """Offer channels, each (key, name), and show which ones each input sees."""
        self._channels.offer(offered, slots)
        self._caption_channels()

    def set_object_size(
        self, pixels: float | None, text: str, auto: bool, suggested: float | None = None
    ) -> None:
        """Show the object size, where it comes from, and a size to use instead."""
        self._size.show_size(pixels, text, auto, suggested)

    def _caption_channels(self) -> None:
        row, text = self._channels, "Channels"
        if row.is_asking:
            text = f"{row.n_planes} planes are"
        self._channel_caption.setText("" if row.is_empty else text)
