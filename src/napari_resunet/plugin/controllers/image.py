"""The chosen image, its channels, and its object size."""

from __future__ import annotations

from typing import Any

from napari_resunet.plugin.controllers.shared import chosen_image
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.overlays import Overlays, SizeCircle
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView


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
        self.circle = SizeCircle(overlays, timers)
        view.image.image_chosen.connect(state.choose)
        view.image.channels_chosen.connect(self.choose_channels)
        view.image.object_size_changed.connect(self.set_object_size)
        view.image.object_size_previewed.connect(self.preview_object_size)
        view.image.object_size_auto_changed.connect(self.set_object_size_auto)
        state.changed.connect(self.refresh)
        layers.viewer.dims.events.current_step.connect(self._moved)

    def shut_down(self) -> None:
        """Stop listening to the viewer."""
        self._layers.viewer.dims.events.current_step.disconnect(self._moved)
        self.circle.shut_down()

    def refresh(self) -> None:
        """Follow the layers; if the chosen image is gone, choose another one."""
        images = self._layers.images()
        keys = [key for key, _ in images]
        if self._state.image_key not in keys:
            self._state.image_key = self._layers.selected_image() or (
                keys[-1] if keys else None
            )
        self._state.position = self._position()
        self._view.set_images(images, self._state.image_key)
        self._show_channels()
        self._show_size()

    def choose_channels(self, channels: tuple[int, ...]) -> None:
        """Choose the channels that the network sees."""
        self._state.chosen.choose_channels(channels)
        self._state.outdated.emit("The channels were changed: click Segment again.")

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
        """Estimate the object size at the next Segment, or leave it as it is."""
        self._state.chosen.auto = auto
        if auto:
            self._state.chosen.scale = None
        self._show_size()

    def _show_channels(self) -> None:
        image = chosen_image(self._state, self._layers)
        n = 0 if image is None else image_layers.n_channels(image)
        chosen = self._state.chosen.channels_for(self._state.position[0])
        names = [f"Channel {i}" for i in range(n)]
        self._view.set_channels(names, tuple(chosen or (0,)) if n else ())

    def _show_size(self) -> None:
        settings = self._state.chosen
        pixels = settings.scale and self._state.diameter / settings.scale
        self._view.set_object_size(pixels, settings.scale, settings.auto)
        self.circle.follow(chosen_image(self._state, self._layers), pixels)

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
