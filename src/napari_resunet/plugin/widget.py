"""The dock widget that napari opens, and the app behind it.

The dock's × removes the widget for good, and opening the dock again makes a new one. So the
app belongs to the window, and a dock only shows its view.
"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from qtpy.QtCore import QCoreApplication, QEvent, QObject, QTimer
from qtpy.QtWidgets import QMainWindow, QSizePolicy, QVBoxLayout, QWidget

from napari_resunet.plugin.controllers.autosave import Autosave
from napari_resunet.plugin.controllers.autosave_training import TrainingAutosave
from napari_resunet.plugin.controllers.candidate import CandidateController
from napari_resunet.plugin.controllers.class_buttons import ClassButtonsController
from napari_resunet.plugin.controllers.export import ExportController
from napari_resunet.plugin.controllers.fine_tune import FineTuneController
from napari_resunet.plugin.controllers.guide import GuideController
from napari_resunet.plugin.controllers.image import ImageController
from napari_resunet.plugin.controllers.keys import KeysController
from napari_resunet.plugin.controllers.large import LargeController
from napari_resunet.plugin.controllers.link import LinkController
from napari_resunet.plugin.controllers.measure import MeasureController
from napari_resunet.plugin.controllers.next_region import NextRegionController
from napari_resunet.plugin.controllers.object_tools import ObjectToolsController
from napari_resunet.plugin.controllers.other_images import OtherImages
from napari_resunet.plugin.controllers.own_labels import OwnLabelsController
from napari_resunet.plugin.controllers.painting import PaintingController
from napari_resunet.plugin.controllers.queue import QueueController
from napari_resunet.plugin.controllers.queue_ahead import AheadController
from napari_resunet.plugin.controllers.queue_layers import QueueLayers
from napari_resunet.plugin.controllers.queue_propose import ProposeAllController
from napari_resunet.plugin.controllers.remote import RemoteController
from napari_resunet.plugin.controllers.review import ReviewController
from napari_resunet.plugin.controllers.save_into import SaveIntoController
from napari_resunet.plugin.controllers.segment import SegmentController
from napari_resunet.plugin.controllers.session_place import SessionPlace
from napari_resunet.plugin.controllers.sessions import SessionsController
from napari_resunet.plugin.controllers.status import StatusController
from napari_resunet.plugin.controllers.tracks import TracksController
from napari_resunet.plugin.controllers.training_data import TrainingDataController
from napari_resunet.plugin.controllers.versions import VersionsController
from napari_resunet.plugin.controllers.welcome import WelcomeController
from napari_resunet.plugin.controllers.work_here import WorkHereController
from napari_resunet.plugin.jobs import Backend, JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.features_table import open_table
from napari_resunet.plugin.layers.gl_context import CanvasContext
from napari_resunet.plugin.layers.overlays import Overlays
from napari_resunet.plugin.qt_backend import QtTimers, ThreadBackend
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.closing import CloseGuard, main_window
from napari_resunet.plugin.views.dock import Dock
from napari_resunet.plugin.views.focus import CanvasFocus
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.beside import ReadOthers
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.schema import SessionSettings
from napari_resunet.session.workers import Workers

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from qtpy.QtGui import QCloseEvent

MINIMUM_WIDTH = 330
BACKGROUND_MS = 300
"""The window is drawn first; then the sessions are listed, and torch and the model load."""


class App:
    """Everything behind one dock: state, jobs, layers and controllers.

    Controllers listen to the state in the order in which they are built. The image
    controller comes first, because all others read its choice.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer with the layers.
    view : DockView
        The dock.
    backend : Backend
        Runs jobs.
    timers : Timers
        Make timers.
    settings : Settings
        The initial settings.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        view: DockView,
        backend: Backend,
        timers: Timers,
        settings: Settings,
    ) -> None:
        self._ended = False
        self.view = view
        self.state = AppState(settings)
        self.layers = Layers(viewer)
        self.overlays = Overlays(viewer, timers)
        self.workers = Workers()
        self.jobs, self.redraws = JobRunner(backend), JobRunner(backend)
        self.session_jobs, self.background = JobRunner(backend), JobRunner(backend)
        self.previews, self.opens = JobRunner(backend), JobRunner(backend)
        self.records, self.adds = JobRunner(backend), JobRunner(backend)
        self.pictures, self.aheads = JobRunner(backend), JobRunner(backend)
        self.track_jobs = JobRunner(backend)
        self._build_work(timers)
        self._build_session(timers)
        self._build_queue(timers)
        self._build_guide()
        self.layers.changed.connect(self._layers_changed)
        self.redraws.failed.connect(self.status.show_failure)
        self.session_jobs.failed.connect(self.status.show_failure)
        self.take_settings(settings)

    def _build_work(self, timers: Timers) -> None:
        state, layers, view, jobs = self.state, self.layers, self.view, self.jobs
        overlays, workers = self.overlays, self.workers
        self.image = ImageController(state, layers, overlays, view, timers)
        self.segment = SegmentController(
            state, layers, view, jobs, self.redraws, workers, timers
        )
        self.remote = RemoteController(state, view, jobs)
        self.large = LargeController(state, layers, view, jobs, workers)
        self.work_here = WorkHereController(state, layers, view, jobs, workers)
        self.versions = VersionsController(state, layers, overlays, view, jobs, workers)
        self.link = LinkController(state, layers, view, jobs)
        self.tracks = TracksController(state, layers, view, self.track_jobs, jobs, timers)
        self.own_labels = OwnLabelsController(state, layers, view, jobs)
        self.measure = MeasureController(
            state, layers, overlays, view, jobs, partial(open_table, layers.viewer)
        )
        self.status = StatusController(state, layers, view, jobs)
        self.painting = PaintingController(state, layers, view, timers)
        self.classes = ClassButtonsController(state, layers, view.correct.classes)
        self.tools = ObjectToolsController(
            state, layers, overlays, view, self.previews, timers
        )
        self.review = ReviewController(state, layers, overlays, view, timers)
        self.next_region = NextRegionController(
            state, layers, overlays, view, jobs, workers
        )
        self.fine_tune = FineTuneController(
            state, layers, view, jobs, workers, timers, self.review.mark_right,
            self._choose_others,
        )  # fmt: skip
        self.candidate = CandidateController(state, view)
        self.training_data = TrainingDataController(
            state, layers, view, timers, workers.corrections
        )

    def _build_session(self, timers: Timers) -> None:
        state, layers, view = self.state, self.layers, self.view
        corrections = self.workers.corrections
        training = TrainingAutosave(state, corrections)
        self.autosave = Autosave(state, layers, view, timers, training)
        self.place = SessionPlace(self.autosave, view, self.session_jobs)
        self.sessions = SessionsController(
            state, layers, view, self.session_jobs, self.jobs, self.autosave, self.place,
            corrections, self.take_settings,
        )  # fmt: skip
        self.export = ExportController(
            state, layers, view, self.session_jobs, self.autosave, self.jobs
        )
        self.save_into = SaveIntoController(
            state, layers, view, self.session_jobs, self.export.describe
        )

    def _build_queue(self, timers: Timers) -> None:
        state, layers, view = self.state, self.layers, self.view
        self.queue_layers = QueueLayers(
            state, layers, view, self.opens, self.records, self.jobs, self.workers,
            self.autosave, timers,
        )  # fmt: skip
        self.propose_all = ProposeAllController(
            state, layers, view, self.jobs, self.pictures, self.workers,
            self.queue_layers, self.autosave,
        )  # fmt: skip
        self.read_ahead = AheadController(
            state, self.aheads, self.jobs, self.workers, self.queue_layers, timers
        )
        self.queue = QueueController(state, layers, view, self.queue_layers, self.adds)
        self.other_images = OtherImages(
            state, layers, self.queue_layers, self.workers.corrections
        )

    def _build_guide(self) -> None:
        state, layers, view = self.state, self.layers, self.view
        self.welcome = WelcomeController(state, layers, view, self.background, self.workers)
        # The last to listen, so that all others are up to date.
        self.guide = GuideController(state, layers, view, self.jobs)
        self.keys = KeysController(
            layers,
            view,
            {
                "segment": self.segment.segment,
                "mark_verified": self.review.mark_verified,
                "done": self._done_here,
                "next": self.next_region.start,
                "done_next": self.queue.done,
                "fine_tune": self.fine_tune.fine_tune,
                "contours": self.painting.toggle_contours,
            },
            self.status.reasons,
        )

    def _choose_others(self) -> ReadOthers | None:
        return self.other_images.choose()

    def _done_here(self) -> None:
        self.review.mark_verified()
        self.next_region.start()

    def _layers_changed(self) -> None:
        # Not the signal's own `emit`: psygnal would call it with made-up arguments.
        self.state.changed.emit()

    def take_settings(self, settings: Settings | SessionSettings) -> None:
        """Use and show the settings of a session, or the defaults."""
        self.state.take_settings(settings)
        self.segment.show_settings(settings)
        self.view.fine_tune.minutes = settings.minutes
        self.view.fine_tune.set_auto(settings.learn_while_correcting)
        self.state.changed.emit()

    def start_background(self) -> None:
        """List the sessions and load the model, unless the dock has ended."""
        if not self._ended:
            self.welcome.start()

    def shut_down(self) -> None:
        """Save everything, abandon jobs, and stop listening; later calls do nothing."""
        if self._ended:
            return
        self._ended = True
        self.fine_tune.shut_down()
        self.queue.shut_down()
        self.place.shut_down()
        for jobs in (
            self.jobs, self.redraws, self.session_jobs, self.background, self.previews,
            self.opens, self.records, self.adds, self.pictures, self.aheads,
            self.track_jobs,
        ):  # fmt: skip
            jobs.abandon()
        # Disconnected first, because our own overlays leave the viewer now.
        self.layers.changed.disconnect(self._layers_changed)
        self.painting.shut_down()
        self.layers.unbind()
        self.tools.unbind()
        self.training_data.shut_down()
        for part in (
            self.tracks, self.read_ahead, self.queue_layers, self.measure, self.keys,
            self.classes, self.next_region, self.review, self.image, self.segment,
            self.overlays,
        ):  # fmt: skip
            part.shut_down()


class Panel(QObject):
    """The app of one viewer, from the first dock until the window closes.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer of the window.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._viewer = viewer
        self.view = Dock()
        self.app = App(viewer, self.view, ThreadBackend(), QtTimers(), Settings())
        self.dock: QWidget | None = None
        """The dock with the view; the reference keeps the view alive while it is hidden."""
        self._window: QMainWindow | None = None
        self._context: CanvasContext | None = None
        self._focus: CanvasFocus | None = None
        self._guard = CloseGuard(self.view, self.app.place.secure)
        self._may_hide = False
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.end)

    @classmethod
    def of(cls, viewer: ViewerModel) -> Panel:
        """Return the panel of a viewer's window, or make one."""
        return _panels.get(_unwrapped(viewer)) or cls(viewer)

    def show_in(self, dock: QWidget) -> None:
        """Move the view into a dock; the previous dock stays empty."""
        layout = dock.layout()
        assert layout is not None
        layout.addWidget(self.view)
        self.dock = dock

    def follow(self, window: QMainWindow) -> None:
        """Stay alive as long as this window."""
        if self._window is None:
            self._window = window
            self._context = CanvasContext(self._viewer, window)
            self._focus = CanvasFocus(self.view, self.view.acted, window)
            QTimer.singleShot(BACKGROUND_MS, self._start_background)
            _panels[_unwrapped(self._viewer)] = self
            window.installEventFilter(self)
        # Installed after our own filter, so that it runs before it.
        self._guard.follow()

    def dock_closed(self, dock: QWidget) -> None:
        """End with the dock if it is in no window."""
        if self._window is None and self.dock is dock:
            self.end()

    def end(self) -> None:
        """Save everything and release all objects."""
        self.app.shut_down()
        self._guard.unbind()
        application = QCoreApplication.instance()
        if application is not None and self.dock is not None:
            application.aboutToQuit.disconnect(self.end)
        if self._window is not None and self._context is not None:
            self._window.removeEventFilter(self)
            self._context.unbind()
            if self._focus is not None:
                self._focus.unbind()
            del _panels[_unwrapped(self._viewer)]
        self.dock = self._window = self._context = self._focus = None

    def eventFilter(self, window: QObject | None, event: QEvent | None) -> bool:
        """End with the window; if closing was refused, it is not hidden."""
        kind = None if event is None else event.type()
        if event is not None and kind == QEvent.Type.Close:
            self._may_hide = True
            QTimer.singleShot(0, self._still_there)
        if event is not None and (
            (kind == QEvent.Type.Close and not event.spontaneous())
            or (kind == QEvent.Type.Hide and self._may_hide)
        ):
            self.end()
        return False

    def _start_background(self) -> None:
        if self._window is not None:
            self.app.start_background()

    def _still_there(self) -> None:
        self._may_hide = False


_panels: WeakKeyDictionary[ViewerModel, Panel] = WeakKeyDictionary()
"""The panels of viewers whose windows are open."""


def _unwrapped(viewer: ViewerModel) -> ViewerModel:
    """Return the viewer behind the proxy that napari injects, a new one each time."""
    found: ViewerModel = inspect.unwrap(viewer)
    return found


class SegmentWidget(QWidget):
    """Segment and fine-tune.

    Parameters
    ----------
    napari_viewer : ViewerModel
        Injected by napari.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__()
        # Without this, napari leaves the lower half of the dock empty.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self.setMinimumWidth(MINIMUM_WIDTH)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        self._panel = Panel.of(napari_viewer)
        self._panel.show_in(self)
        self.view, self.app = self._panel.view, self._panel.app

    def event(self, event: QEvent | None) -> bool:
        """Find the window after napari has added the dock to it."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            QTimer.singleShot(0, self._follow_window)
        return super().event(event)

    def closeEvent(self, event: QCloseEvent | None) -> None:
        """Abandon jobs if a widget outside a window is closed."""
        self._panel.dock_closed(self)
        super().closeEvent(event)

    def _follow_window(self) -> None:
        window = main_window(self)
        if window is not None:
            self._panel.follow(window)
