"""What each click means: the sentence "image, model, Segment, correct, Fine-tune".

No Qt here. What runs in the background, and what comes of it, is `work`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.errors import ResunetError
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.auto_fine_tune import AutoFineTune
from napari_resunet.plugin.autosave import Autosave
from napari_resunet.plugin.correcting import Correcting
from napari_resunet.plugin.guides import Guides
from napari_resunet.plugin.interrupted import Interrupted
from napari_resunet.plugin.layers import Layers
from napari_resunet.plugin.outcomes import score_of
from napari_resunet.plugin.own_labels import OwnLabels
from napari_resunet.plugin.presenter import Presenter, UIState
from napari_resunet.plugin.scopes import targets_of
from napari_resunet.plugin.session_continue import Continue
from napari_resunet.plugin.session_export import Export
from napari_resunet.plugin.size_circle import SizeCircle
from napari_resunet.plugin.state import ImageState
from napari_resunet.plugin.version_actions import VersionActions
from napari_resunet.plugin.work import Work
from napari_resunet.session.settings import Settings
from napari_resunet.session.workers import Sliders, suggested_name
from napari_resunet.types import MaskArray

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_resunet.plugin.view import SegmentView

DIAMETER = 24.0
"""Shown before a model is loaded."""

NOTHING_VERIFIED = (
    "There is nothing verified to learn from: click Segment first, or paint some labels."
)


class Controller:
    """Ties the view, the layers and the background work together.

    Parameters
    ----------
    view : SegmentView
        Signals out, setters in.
    viewer : ViewerModel
        Whose layers are worked on.
    settings : Settings
        What the widget starts with.
    """

    def __init__(self, view: SegmentView, viewer: ViewerModel, settings: Settings) -> None:
        self.view = view
        self.show = Presenter(view)
        self.layers = Layers(
            viewer, self.refresh, self._enable, self._image_changed, self._warn
        )
        self.work = Work(self.show, self.layers, self.refresh)
        self.scope: str = settings.scope
        self.region = "visible"
        self._image_key: str | None = None
        self._shown: tuple[int | None, str] = (None, "")
        self._ended = False
        self.guides = Guides(viewer)
        self.correcting = Correcting(
            self.work, self.guides, self._image, self.choose_image, self._counted
        )
        self.own_labels = OwnLabels(self.work, self._image)
        self.size_circle = SizeCircle(self.guides)
        self.auto_fine_tune = AutoFineTune(self.work, self._image)
        self.autosave: Autosave | None = None
        self.version_list: VersionActions | None = None
        self.interrupted: Interrupted | None = None
        self._connect()
        self.take_settings(settings)
        self.refresh()
        self.autosave = Autosave(self, view.session)
        self.sessions = Continue(self.autosave)
        self.export = Export(self.autosave)
        self.version_list = VersionActions(self, view.versions)
        self.interrupted = Interrupted(self, self.autosave)

    def shut_down(self) -> None:
        """Write what is left, abandon what runs and stop listening; once is enough."""
        if self._ended:
            return
        self._ended = True
        self.auto_fine_tune.shut_down()
        if self.autosave is not None:
            self.autosave.shut_down()
        self.work.abandon_all()
        # Our own lines leave the viewer now: nobody needs to hear of that.
        self.layers.unbind()
        self.layers.viewer.dims.events.current_step.disconnect(self._moved)
        self.correcting.shut_down()
        self.size_circle.shut_down()
        self.guides.shut_down()

    # What the user asks for ---------------------------------------------------------

    def choose_image(self, key: str) -> None:
        """Work on another image."""
        self._image_key = key
        self.refresh()

    def choose_channels(self, channels: tuple[int, ...]) -> None:
        """Feed the network other channels."""
        self.state.choose_channels(channels)
        self._made_stale("The channels were changed: click Segment again.")

    def set_object_size(self, pixels: float) -> None:
        """Take the user's object size."""
        self.state.scale = self._diameter / max(pixels, 0.5)
        self.state.auto = False
        self._made_stale("The object size was changed: click Segment again.")
        self._show_size()

    def preview_object_size(self, pixels: float) -> None:
        """Show a size on the canvas while the user is still choosing."""
        self.size_circle.follow(self._image(), pixels)

    def set_object_size_auto(self, auto: bool) -> None:
        """Estimate the object size with the next Segment, or leave it as it is."""
        self.state.auto = auto
        if auto:
            self.state.scale = None
        self._show_size()

    def choose_version(self, key: str) -> None:
        """Use another version of the model."""
        self._use(key)
        title = self.work.versions.current.title
        self._made_stale(f"'{title}' is in use now: click Segment.")

    def go_back(self) -> None:
        """Use the version before, and renew the proposals with it."""
        previous = self.work.versions.previous()
        if previous is None:
            return
        self._use(previous.key)
        said = f"Gone back to '{previous.title}'."
        self.view.set_message(said)
        self.work.renew(self._image(), said)

    def _use(self, key: str) -> None:
        self.work.versions.choose(key)
        # The score in view is that of the version in use, not of the one that was left.
        self.view.set_result_text(score_of(self.work.versions.current))
        self.refresh()

    def choose_device(self, device: str) -> None:
        """Compute elsewhere from the next job on."""
        self.work.device = Settings.model_validate({"device": device}).device

    def choose_scope(self, scope: str) -> None:
        """Segment another part from the next time on."""
        self.scope = scope
        self._enable()

    def choose_region(self, key: str) -> None:
        """Check another area from the next time on."""
        self.region = key

    def move_foreground(self, value: float) -> None:
        """Follow the slider."""
        self.work.sliders = Sliders(value, self.work.sliders.split)
        self.work.redraw(self._image())

    def move_split(self, value: float) -> None:
        """Follow the slider."""
        self.work.sliders = Sliders(self.work.sliders.foreground, value)
        self.work.redraw(self._image())

    def segment(self) -> None:
        """Propose labels for the chosen scope."""
        image, viewer = self._image(), self.layers.viewer
        if image is None or self.work.job is not None:
            return
        if sentence := image_layers.unsupported_reason(image, viewer):
            self._warn(sentence)
            return
        try:
            targets = targets_of(image, viewer, self.scope)
        except ResunetError as error:
            self._warn(str(error))
            return
        self.state.use_shown(image_layers.shown_channel(image, viewer))
        self.work.propose(image, targets)

    def load(self) -> None:
        """Load a model from a file that the user picks."""
        path = self.view.ask_open_path()
        if path is not None and self.work.job is None:
            self.work.load(str(path))

    def new_classes(self) -> None:
        """Start a model of named classes, with an empty layer to paint them into."""
        image, names = self._image(), self.view.ask_class_names()
        if image is None or not names or self.work.job is not None:
            return
        self.layers.make_binding(image)
        self.work.new_classes(names)

    def save(self) -> None:
        """Save the model in use to a file that the user names."""
        image, model = self._image(), self.work.versions.current.model
        if model is None:
            return
        name = image.name if image is not None else "model"
        path = self.view.ask_save_path(suggested_name(name, Path.home()))
        if path is None:
            return
        try:
            model.save(path)
        except ResunetError as error:
            self.view.set_message(str(error), "error")
        else:
            self.view.set_message(f"Saved as {path}.")

    def mark_verified(self) -> None:
        """Mark the chosen area as verified, and learn from it if that is switched on."""
        if self._check():
            self.auto_fine_tune.area_verified()

    def _check(self) -> bool:
        """Mark the chosen area as verified; tell whether anything of it is seen."""
        image, region = self._image(), self._region()
        if image is None or region is None:
            return False
        index = image_layers.shown_index(image, self.layers.viewer)
        self.layers.make_binding(image).verify(index, region)
        self.refresh()
        return True

    def unmark(self) -> None:
        """Take the chosen area back from what is verified."""
        image, binding = self._image(), self.layers.binding(self._image_key)
        region = None if binding is None else self._region()
        if image is not None and binding is not None and region is not None:
            index = image_layers.shown_index(image, self.layers.viewer)
            binding.unverify(index, region)
            self.refresh()

    def _region(self) -> MaskArray | None:
        """Draw the chosen area; where nothing of it is seen, say so."""
        image = self._image()
        if image is None:
            return None
        if sentence := image_layers.unsupported_reason(image, self.layers.viewer):
            self._warn(sentence)
            return None
        try:
            return self.layers.region(self.region, image)
        except ResunetError as error:
            self._warn(str(error))
            return None

    def fine_tune(self) -> None:
        """Check the chosen area and learn from all verified areas so far."""
        image = self._image()
        if image is None or self.work.job is not None or not self._check():
            return
        if not self.layers.make_binding(image).counts()[1]:
            self.view.set_message(NOTHING_VERIFIED, "warning")
            return
        self.work.learn(image, 60.0 * self.view.minutes)

    def cancel(self) -> None:
        """Throw the running job away."""
        if self.work.job is not None:
            self.work.job.token.cancel()
            self.view.set_message("Cancelling …")

    def stop(self) -> None:
        """End fine-tuning early and keep the best so far."""
        if self.work.job is not None:
            self.work.job.token.stop()
            self.view.set_message("Stopping; the best so far is kept.")

    # What the user sees -------------------------------------------------------------

    @property
    def state(self) -> ImageState:
        """Settings of the chosen image."""
        return self.work.state(self._image_key)

    def refresh(self) -> None:
        """Bring lists and buttons up to date; drop a job whose layers are gone."""
        images = self.layers.images()
        keys = [key for key, _ in images]
        if self._image_key not in keys:
            self._image_key = self.layers.chosen_by_user() or (keys[-1] if keys else None)
        self.work.abandon_homeless()
        self._shown = self._position()
        versions = self.work.versions
        self.view.set_images(images, self._image_key)
        self.view.set_versions(versions.listed(), versions.current.key)
        if self.version_list is not None:
            self.version_list.refresh()
        if self.interrupted is not None:
            self.interrupted.refresh()
        self._show_channels()
        self._show_size()
        self._show_regions()
        self.own_labels.refresh()
        self._enable()
        self.correcting.refresh()
        self.auto_fine_tune.follow()

    @property
    def image_key(self) -> str | None:
        """Key of the chosen image."""
        return self._image_key

    @property
    def _diameter(self) -> float:
        model = self.work.versions.current.model
        return model.info.diameter if model is not None else DIAMETER

    def _image(self) -> Image | None:
        return self.layers.image(self._image_key)

    def _warn(self, sentence: str) -> None:
        self.view.set_message(sentence, "warning")

    def _made_stale(self, sentence: str) -> None:
        """Drop what an older choice proposed or is just proposing."""
        self.state.forget_maps()
        self.work.abandon_stale(sentence)
        self.view.set_message(sentence)
        self._enable()

    def _counted(self, objects: int) -> None:
        if self.autosave is not None:
            self.autosave.counted(self._image_key, objects)

    def _image_changed(self, key: str) -> None:
        self.work.image_changed(key)
        if self.autosave is not None:
            self.autosave.image_changed(key)
        self.refresh()

    def _show_channels(self) -> None:
        image, (channel, _) = self._image(), self._shown
        n = 0 if image is None else image_layers.n_channels(image)
        self.show.channels(n, self.state.channels_for(channel))

    def _show_size(self) -> None:
        scale = self.state.scale
        self.show.size(self._diameter, scale, self.state.auto)
        self.size_circle.follow(self._image(), scale and self._diameter / scale)

    def _show_regions(self) -> None:
        regions = self.layers.regions()
        if self.region not in [key for key, _ in regions]:
            self.region = regions[0][0]
        self.view.set_verified_choices(regions, self.region)

    def _enable(self) -> None:
        image, model = self._image(), self.work.versions.current.model
        unsupported_reason = "Open an image first."
        if image is not None:
            unsupported_reason = image_layers.unsupported_reason(image, self.layers.viewer)
        self.show.enable(
            UIState(
                no_image=unsupported_reason,
                not_shown=self._shown[1],
                whole_stack=self.scope == "stack",
                job=self.work.job.kind if self.work.job else None,
                has_maps=self.state.has_maps,
                has_labels=self.layers.binding(self._image_key) is not None,
                classes=model is not None and model.info.task == "classes",
                can_go_back=self.work.versions.previous() is not None,
                can_save=model is not None,
            )
        )
        self.correcting.count_soon()

    def _connect(self) -> None:
        view = self.view
        view.image_chosen.connect(self.choose_image)
        view.channels_chosen.connect(self.choose_channels)
        view.object_size_changed.connect(self.set_object_size)
        view.object_size_previewed.connect(self.preview_object_size)
        view.object_size_auto_changed.connect(self.set_object_size_auto)
        view.version_chosen.connect(self.choose_version)
        view.device_chosen.connect(self.choose_device)
        view.load_clicked.connect(self.load)
        view.save_clicked.connect(self.save)
        view.go_back_clicked.connect(self.go_back)
        view.new_classes_clicked.connect(self.new_classes)
        view.scope_changed.connect(self.choose_scope)
        view.segment_clicked.connect(self.segment)
        view.segment_cancelled.connect(self.cancel)
        view.foreground_changed.connect(self.move_foreground)
        view.split_changed.connect(self.move_split)
        view.verified_area_changed.connect(self.choose_region)
        view.mark_verified_clicked.connect(self.mark_verified)
        view.unmark_clicked.connect(self.unmark)
        view.fine_tune_clicked.connect(self.fine_tune)
        view.auto_fine_tune_switched.connect(self.auto_fine_tune.turn)
        view.fine_tune_stopped.connect(self.stop)
        view.fine_tune_cancelled.connect(self.cancel)
        self.layers.viewer.dims.events.current_step.connect(self._moved)

    def _moved(self, event: Any = None) -> None:
        """Follow the sliders to another channel, and beyond the end of the image."""
        if self._position() != self._shown:
            self._shown = self._position()
            self._show_channels()
            self._enable()

    def _position(self) -> tuple[int | None, str]:
        """Find the channel shown, and why nothing of the image is seen, if so."""
        image, viewer = self._image(), self.layers.viewer
        if image is None:
            return None, ""
        channel = image_layers.shown_channel(image, viewer)
        return channel, image_layers.not_shown(image, viewer)

    def take_settings(self, settings: Settings) -> None:
        """Take the settings of a session."""
        self.work.device = settings.device
        self.work.sliders = Sliders(settings.foreground, settings.split)
        self.scope = settings.scope
        self._show_settings(settings)

    def _show_settings(self, settings: Settings) -> None:
        self.view.set_device(settings.device)
        self.view.set_scope(settings.scope)
        self.view.set_foreground(settings.foreground)
        self.view.set_split(settings.split)
        self.view.minutes = settings.minutes
