"""The five sections of the dock, top to bottom as the work goes.

Words, widgets, signals and silent setters. What a click means is decided by the
controller; how the sections form one dock stands in `view`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QLabel,
    QSizePolicy,
    QWidget,
)

from napari_resunet.plugin.loss_plot import LossPlot
from napari_resunet.plugin.tools import NEXT_KEY
from napari_resunet.plugin.view_interrupted import InterruptedRow
from napari_resunet.plugin.view_parts import (
    KeyedCombo,
    ProgressLine,
    Section,
    TextLine,
    UnitSlider,
    make_button,
    make_row,
)
from napari_resunet.plugin.view_size import ObjectSize
from napari_resunet.plugin.view_tools import ToolButtons

if TYPE_CHECKING:
    from collections.abc import Sequence

DEVICES = (
    ("auto", "Auto", "The fastest device of this computer"),
    ("cuda", "CUDA", "An NVIDIA graphics card"),
    ("mps", "MPS", "The graphics of an Apple computer"),
    ("cpu", "CPU", "The processor: slower, always there"),
)
SCOPES = (
    ("visible", "Visible area", "What the viewer shows now"),
    ("slice", "Slice", "The whole plane that the viewer shows now"),
    ("stack", "Whole stack", "Every plane of the image"),
)
MAX_CHANNELS = 3
NO_CHANNEL = "-1"


class ImageSection(Section):
    """Which image and channels, and how large its objects are."""

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
        # Above and not beside: three names side by side need the whole width.
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
        """Offer channels and show the chosen ones; no names hide the row."""
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
        """Show the object size, what it makes of the image, and who chose it."""
        self._size.show_size(pixels, factor, auto)

    def _on_channel_chosen(self) -> None:
        keys = [combo.current_key() for combo in self._channels]
        used = [int(key) for key in keys if key is not None and key != NO_CHANNEL]
        self.channels_chosen.emit(tuple(used))


class ModelSection(Section):
    """Which version of the model, and where it runs."""

    version_chosen = Signal(str)
    device_chosen = Signal(str)
    load_clicked = Signal()
    save_clicked = Signal()
    go_back_clicked = Signal()
    new_classes_clicked = Signal()

    def __init__(self) -> None:
        super().__init__("Model")
        self._versions = KeyedCombo("version", "Model version", "No model")
        self._versions.chosen.connect(self.version_chosen)
        self.add_row("Version", self._versions)
        load = make_button("Load model…", "load", "Open a model file")
        load.clicked.connect(self.load_clicked)
        save = make_button("Export model…", "save", "Write this version to a model file")
        save.clicked.connect(self.save_clicked)
        back = make_button("Go back", "go_back", "Use the version before this one")
        back.clicked.connect(self.go_back_clicked)
        classes = make_button(
            "New classes…", "new_classes", "Start a model that paints classes, not objects"
        )
        classes.clicked.connect(self.new_classes_clicked)
        self.add_wide(make_row(load, save))
        self.add_wide(make_row(back, classes))
        self._devices = KeyedCombo("device", "Device")
        self._devices.set_items(DEVICES, "auto")
        self._devices.chosen.connect(self.device_chosen)
        self.add_row("Device", self._devices)
        self._device_text = TextLine("device_text")
        self.add_wide(self._device_text)

    def set_versions(
        self, versions: Sequence[tuple[str, str, str]], current: str | None
    ) -> None:
        """Offer versions, each (id, title, tooltip)."""
        self._versions.set_items(versions, current)

    def set_device(self, key: str) -> None:
        """Show the chosen device."""
        self._devices.set_current(key)

    def set_device_text(self, text: str) -> None:
        """Show the device in use."""
        self._device_text.set_text(text)


class SegmentSection(Section):
    """Propose labels, and tune how the network's maps become labels."""

    scope_changed = Signal(str)
    segment_clicked = Signal()
    segment_cancelled = Signal()
    own_labels_chosen = Signal(str)
    use_labels_clicked = Signal()
    foreground_changed = Signal(float)
    split_changed = Signal(float)

    def __init__(self) -> None:
        super().__init__("Segment")
        self._scopes = KeyedCombo("scope", "What to segment")
        self._scopes.set_items(SCOPES, "visible")
        self._scopes.chosen.connect(self.scope_changed)
        self.add_row("Scope", self._scopes)
        start = make_button("Segment", "segment", "Propose labels for the scope")
        start.clicked.connect(self.segment_clicked)
        cancel = make_button("Cancel", "cancel_segment", "Stop without new labels")
        cancel.clicked.connect(self.segment_cancelled)
        self.add_wide(make_row(start, cancel))
        self._add_own_labels()
        self.progress = ProgressLine("segment_progress", "Progress of the segmentation")
        self.add_wide(self.progress)
        self._add_sliders()

    def _add_own_labels(self) -> None:
        self._own = KeyedCombo("own_labels", "Labels layer of yours")
        self._own.chosen.connect(self.own_labels_chosen)
        use = make_button(
            "Use",
            "use_labels",
            "Copy the labels of this layer, to correct them and to learn from them",
        )
        use.setMinimumWidth(56)
        use.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        use.clicked.connect(self.use_labels_clicked)
        self._own_row = QWidget()
        row = QHBoxLayout(self._own_row)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(6)
        row.addWidget(self._own, 1)
        row.addWidget(use)
        self._own_caption = self.add_row("Or labels of", self._own_row)
        self.set_own_labels([], None)

    def _add_sliders(self) -> None:
        self._foreground = UnitSlider(
            "foreground",
            "Foreground threshold",
            "Lower finds more and larger objects; higher fewer and smaller ones",
        )
        self._foreground.valueChanged.connect(self.foreground_changed)
        self._split = UnitSlider(
            "split",
            "Merge ↔ split",
            "Left joins touching objects; right cuts them apart",
        )
        self._split.valueChanged.connect(self.split_changed)
        for slider in (self._foreground, self._split):
            self.add_heading(slider.accessibleName())
            self.add_wide(slider)

    def set_own_labels(
        self, choices: Sequence[tuple[str, str]], current: str | None
    ) -> None:
        """Offer Labels layers, each (key, title); none hide the row."""
        self._own.set_items([(key, title, title) for key, title in choices], current)
        self._own_row.setVisible(bool(choices))
        self._own_caption.setVisible(bool(choices))

    def set_scope(self, key: str) -> None:
        """Show the chosen scope."""
        self._scopes.set_current(key)

    def set_foreground(self, value: float) -> None:
        """Show the foreground threshold."""
        blocker = QSignalBlocker(self._foreground)
        self._foreground.setValue(value)
        blocker.unblock()

    def set_split(self, value: float) -> None:
        """Show how eagerly touching objects are cut apart."""
        blocker = QSignalBlocker(self._split)
        self._split.setValue(value)
        blocker.unblock()


class CorrectSection(Section):
    """What the user vouches for."""

    verified_area_changed = Signal(str)
    mark_verified_clicked = Signal()
    unmark_clicked = Signal()
    next_clicked = Signal()
    map_toggled = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Correct")
        self.tools = ToolButtons()
        self.add_wide(self.tools)
        self._areas = KeyedCombo("verified_area", "Verified area")
        self._areas.chosen.connect(self.verified_area_changed)
        self.add_row("Verified area", self._areas)
        mark = make_button(
            "Mark as verified",
            "mark_verified",
            "Every pixel of the area is right now, background too: learn from it",
        )
        mark.clicked.connect(self.mark_verified_clicked)
        unmark = make_button(
            "Unmark", "unmark", "Take the area back: not verified after all"
        )
        unmark.clicked.connect(self.unmark_clicked)
        self.add_wide(make_row(mark, unmark))
        self._text = TextLine("verified_text")
        self.add_wide(self._text)
        self._add_next()

    def _add_next(self) -> None:
        next_ = make_button(
            "Next",
            "next",
            f"Go to the unverified area where the model is least sure (key {NEXT_KEY})",
        )
        next_.clicked.connect(self.next_clicked)
        self._map = make_button(
            "Show map", "show_map", "Show how probable objects are, pixel by pixel"
        )
        self._map.setCheckable(True)
        self._map.clicked.connect(self.map_toggled)
        self.add_wide(make_row(next_, self._map))

    def set_map_shown(self, shown: bool) -> None:
        """Show whether the probability map is there."""
        self._map.setChecked(shown)

    def set_choices(self, choices: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer areas, each (key, title)."""
        self._areas.set_items([(key, title, title) for key, title in choices], current)

    def set_text(self, text: str) -> None:
        """Show how much is verified."""
        self._text.set_text(text)


class FineTuneSection(Section):
    """Learn from what is verified, watch it, and see what it brought."""

    fine_tune_clicked = Signal()
    fine_tune_stopped = Signal()
    fine_tune_cancelled = Signal()
    auto_fine_tune_switched = Signal(bool)

    def __init__(self) -> None:
        super().__init__("Fine-tune")
        self._add_start()
        self._add_switch()
        stop = make_button("Stop", "stop", "End now and keep the best so far")
        stop.clicked.connect(self.fine_tune_stopped)
        cancel = make_button("Cancel", "cancel_fine_tune", "End now and throw it away")
        cancel.clicked.connect(self.fine_tune_cancelled)
        self.add_wide(make_row(stop, cancel))
        self.interrupted = InterruptedRow()
        self.add_wide(self.interrupted)
        self.progress = ProgressLine("fine_tune_progress", "Progress of the fine-tuning")
        self.add_wide(self.progress)
        self.plot = LossPlot()
        self.add_wide(self.plot)
        self._result = TextLine("result_text")
        self.add_wide(self._result)

    def _add_start(self) -> None:
        start = make_button(
            "Fine-tune", "fine_tune", "Train a copy of the model on the verified areas"
        )
        start.clicked.connect(self.fine_tune_clicked)
        self.minutes = QDoubleSpinBox()
        self.minutes.setObjectName("minutes")
        self.minutes.setAccessibleName("Minutes to fine-tune for")
        self.minutes.setToolTip("About how long to train; it may end earlier")
        self.minutes.setRange(0.1, 999.0)
        self.minutes.setDecimals(1)
        self.minutes.setSingleStep(0.5)
        self.minutes.setValue(1.0)
        self.minutes.setSuffix(" min")
        self.minutes.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        row = QHBoxLayout()
        row.setSpacing(6)
        row.addWidget(start, 1)
        row.addWidget(QLabel("for about"))
        row.addWidget(self.minutes)
        self.add_wide(row)

    def _add_switch(self) -> None:
        switch = QCheckBox("Learn while I correct")
        switch.setObjectName("auto_fine_tune")
        switch.setToolTip(
            "Fine-tune by itself each time an area is marked as verified, and renew the "
            "proposals elsewhere when the model got better"
        )
        switch.toggled.connect(self.auto_fine_tune_switched)
        self.add_wide(switch)

    def set_result_text(self, text: str) -> None:
        """Show the comparison of before and after."""
        self._result.set_text(text)
