"""The chosen image, its channels, and its object size.

The dock and napari's list of layers agree on the image: selecting a layer chooses its
image, and a choice in the dock selects a layer. A pinned image stays whatever is selected.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from napari_resunet.plugin.controllers.shared import (
    chosen_image,
    learned_size,
    object_size_in,
)
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.overlays import Overlays, SizeCircle
from napari_resunet.plugin.messages import px, size_text
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.types import Channels, ObjectSize

if TYPE_CHECKING:
    from napari.layers import Image

CLEARLY = 1.4
"""Factor between the size in use and that of what was found from which the latter is
suggested: half or twice the area. Nuclei that were segmented at such a size lost 0.03 of
their AP@0.5, at twice the size 0.12; what was found was within this factor of the truth."""

PARTNER_LOST = (
    "An image that was combined with this one was removed, moved, or changed: choose the "
    "channels again, then click Segment."
)
ARE_CHANNELS = "These are channels now: choose which ones to use, then click Segment."
ARE_SLICES = "These are slices now: click Segment."


class ImageController:
    """Chooses image, channels and object size.

    Parameters
    ----------
    state : AppState
        Stores the choices.
    layers : Layers
        The viewer's images.
    overlays : Overlays
        Show the object size as a circle.
    view : DockView
        The dock.
    timers : Timers
        Hide the circle after a while.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        overlays: Overlays,
        view: DockView,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view.image
        self._segment = view.segment
        self._selected: str | None = None
        """Key of the layer that was active last."""
        self._chosen: str | None = None
        """Key of the image that was chosen last."""
        self._known: set[str] = set()
        """Keys of the images whose files were asked for their axes."""
        self.circle = SizeCircle(overlays, timers)
        view.image.image_chosen.connect(state.choose)
        view.image.pin_toggled.connect(self.pin)
        view.image.axis_answered.connect(self.answer_axis)
        view.image.channels_chosen.connect(self.choose_channels)
        view.image.object_size_changed.connect(self.set_object_size)
        view.image.object_size_previewed.connect(self.preview_object_size)
        view.image.object_size_auto_changed.connect(self.set_object_size_auto)
        state.changed.connect(self.refresh)
        layers.data_changed.connect(self._data_changed)
        layers.viewer.dims.events.current_step.connect(self._moved)

    def shut_down(self) -> None:
        """Stop listening to the viewer."""
        self._layers.viewer.dims.events.current_step.disconnect(self._moved)
        self.circle.shut_down()

    def refresh(self) -> None:
        """Follow the layers and the selection."""
        images = self._layers.images()
        self._recognize([key for key, _ in images])
        self._follow([key for key, _ in images])
        self._state.position = self._position()
        self._view.set_images(images, self._state.image_key)
        self._view.set_pinned(self._state.pinned)
        self._segment.set_segment_title(dict(images).get(self._state.image_key or "", ""))
        self._show_channels()
        self._show_size()

    def pin(self, pinned: bool) -> None:
        """Keep the chosen image, or follow the selection again."""
        self._state.pinned = pinned and self._state.image_key is not None
        if not pinned:
            self._selected = None
        self._state.changed.emit()

    def _follow(self, keys: list[str]) -> None:
        """Choose the image of a newly selected layer, or select that of a new choice."""
        state, (selected, image) = self._state, self._layers.selected()
        was, before = self._chosen, self._selected
        self._selected = selected or before
        if state.image_key not in keys:
            state.pinned = False
            state.image_key = image or (keys[-1] if keys else None)
        elif state.image_key != was:
            # Noted before the selection changes, which calls this again.
            self._chosen = state.image_key
            self._layers.select(state.image_key)
        elif image is not None and selected != before and not state.pinned:
            state.image_key = image
        self._chosen = state.image_key

    # Channels -----------------------------------------------------------------------

    def choose_channels(self, slots: Channels | tuple[tuple[str, ...], ...]) -> None:
        """Choose what each input of the network sees, as offered by `_offered`."""
        image = chosen_image(self._state, self._layers)
        if image is None:
            return
        own = max(1, image_layers.n_channels(image))
        chosen = [tuple(map(str, _as_tuple(slot))) for slot in slots]
        others = [key for key, _ in self._layers.joinable(image)]
        used = {key for slot in chosen for key in slot}
        partners = tuple(key for key in others if key in used)
        number = {str(i): i for i in range(own)}
        number |= {key: own + i for i, key in enumerate(partners)}
        channels = tuple(
            numbers[0] if len(numbers) == 1 else numbers
            for slot in chosen
            if (numbers := tuple(number[key] for key in slot if key in number))
        )
        self._state.chosen.choose_channels(channels or None, partners)
        self._state.outdated.emit("The channels were changed: click Segment again.")

    def answer_axis(self, are_channels: bool) -> None:
        """Take the first dimension of the chosen image as channels, or as slices."""
        image = chosen_image(self._state, self._layers)
        if image is None:
            return
        self._state.chosen.answered = True
        self._state.chosen.choose_channels(None)
        # In this order: a warning about labels that no longer fit must stay.
        self._state.outdated.emit(ARE_CHANNELS if are_channels else ARE_SLICES)
        image_layers.settle_axis(image, are_channels)

    def _recognize(self, keys: list[str]) -> None:
        """Ask the files of new images for their axes and the names of their channels."""
        for key in [key for key in keys if key not in self._known]:
            self._known.add(key)
            if (image := self._layers.image(key)) is not None:
                names = image_layers.name_axes(image)
                self._state.image(key).channel_names = names

    def _data_changed(self, key: str) -> None:
        """Pass on that an image has other pixels to those that it is combined with."""
        for other, _ in self._layers.images():
            if key in self._state.image(other).partners:
                self._layers.data_changed.emit(other)

    # Object size --------------------------------------------------------------------

    def set_object_size(self, pixels: float) -> None:
        """Set the object size in image pixels."""
        self._state.chosen.scale = self._state.diameter / max(pixels, 0.5)
        self._state.chosen.auto = False
        self._state.outdated.emit("The object size was changed: click Segment again.")
        self._show_size()

    def preview_object_size(self, pixels: float) -> None:
        """Show a size on the canvas while the user is still choosing."""
        self.circle.follow(chosen_image(self._state, self._layers), pixels)

    def set_object_size_auto(self, auto: bool) -> None:
        """Use the size that the model learned or estimates, or keep the one in use."""
        before = object_size_in(self._state, self._layers)
        kept = None if auto or before is None else self._state.diameter / before
        self._state.chosen.scale = kept
        self._state.chosen.auto = auto
        now = object_size_in(self._state, self._layers)
        if now is not None and now != before:
            self._state.outdated.emit(f"Objects of {px(now)} again: click Segment.")
        self._show_size()

    def _show_channels(self) -> None:
        image = chosen_image(self._state, self._layers)
        if image is None:
            self._view.set_axis_question(0, None)
            self._view.set_channels([], ())
            return
        settings, others = self._state.chosen, self._layers.joinable(image)
        if not set(settings.partners) <= {key for key, _ in others}:
            settings.choose_channels(None)
            self._state.outdated.emit(PARTNER_LOST)
            return
        self._view.set_axis_question(*self._axis_question(image))
        offered = self._offered(image, others)
        own = max(1, image_layers.n_channels(image))
        keys = [*map(str, range(own)), *settings.partners]
        chosen = settings.channels_for(self._state.position[0]) or (0,)
        slots = [
            tuple(keys[i] for i in _as_tuple(slot) if i < len(keys)) for slot in chosen
        ]
        self._view.set_channels(offered, slots if offered else ())

    def _axis_question(self, image: Image) -> tuple[int, bool | None]:
        """Return how many planes may be channels, and whether they are, if answered."""
        if n := image_layers.n_unclear(image):
            return n, None
        if image.ndim == 3 and self._state.chosen.answered:
            return image_layers.full_shape(image)[0], image_layers.n_channels(image) > 0
        return 0, None

    def _offered(
        self, image: Image, others: list[tuple[str, str]]
    ) -> list[tuple[str, str]]:
        """List the image's channels and the images to combine, each (key, name)."""
        n = image_layers.n_channels(image)
        if not n:
            return [("0", image.name), *others] if others and not image.rgb else []
        known = self._state.chosen.channel_names
        names = known if len(known) == n else [f"Channel {i + 1}" for i in range(n)]
        return [*((str(i), name) for i, name in enumerate(names)), *others]

    def _show_size(self) -> None:
        image, auto = chosen_image(self._state, self._layers), self._state.chosen.auto
        if image is None:
            self._view.set_object_size(None, "", auto)
            return
        version = self._state.versions.current
        diameter = object_size_in(self._state, self._layers)
        learned = learned_size(version, image) is not None
        size = None
        if diameter is not None:
            size = ObjectSize.measured(diameter, image_layers.pixel_size(image))
        text = size_text(size, auto=auto, learned=learned, version=version)
        suggested = self._suggested(diameter) if auto and learned else None
        self._view.set_object_size(diameter, text, auto, suggested)
        self.circle.follow(image, diameter)

    def _suggested(self, diameter: float | None) -> float | None:
        """Return the median size of what was found, if it is clearly another one."""
        found = [p.diameter for p in self._state.chosen.proposals(()) if p.diameter]
        if diameter is None or not found:
            return None
        looks = median(found)
        return looks if max(looks / diameter, diameter / looks) > CLEARLY else None

    def _moved(self, event: Any = None) -> None:
        """Follow the sliders to another channel or beyond the end of the image."""
        if self._position() != self._state.position:
            self._state.changed.emit()

    def _position(self) -> tuple[int | None, str]:
        image, viewer = chosen_image(self._state, self._layers), self._layers.viewer
        if image is None:
            return None, ""
        channel = image_layers.shown_channel(image, viewer)
        return channel, image_layers.not_shown(image, viewer)


def _as_tuple(slot: Any) -> tuple[Any, ...]:
    return slot if isinstance(slot, tuple) else (slot,)
