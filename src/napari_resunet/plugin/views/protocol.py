"""What controllers may use of the dock: signals out, setters in, and questions.

No Qt here, so that controllers can be tested without it. The widgets are in `dock` and in
the module of each section. Results, versions, and sessions are in `page_protocols`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, get_args

from napari_resunet.plugin.tools import ToolControl
from napari_resunet.plugin.views.page_protocols import (
    ResultsView,
    SessionView,
    SignalLike,
    VersionsView,
)
from napari_resunet.plugin.views.queue_protocol import QueueView
from napari_resunet.session.store.recent import RecentSession

ControlName = Literal[
    "segment",
    "cancel",
    "fine_tune",
    "stop",
    "longer",
    "resume",
    "keep_best",
    "discard",
    "use_candidate",
    "keep_old",
    "compare_candidate",
    "go_back",
    "save",
    "load",
    "new_classes",
    "use_labels",
    "measure",
    "save_table",
    "mark_verified",
    "foreground",
    "split",
    "unmark",
    "next",
    "show_map",
    "contours",
    "done_next",
    "previous_image",
    "next_image",
    "propose_all",
    "export_all",
    "work_here",
    "write_back",
    ToolControl,
]
"""A button or slider that can be disabled with a reason."""

CONTROLS: tuple[ControlName, ...] = get_args(ControlName)

StepName = Literal["segment", "correct", "learn", "results"]
"""A step of the dock, in the order of work."""

PageName = Literal["steps", "images", "versions", "session", "keys"]
"""What the dock shows below the status line."""

MessageKind = Literal["info", "warning", "error"]

Right = Literal["view", "edited", "draw"]
"""What the user says is right: all in view, what is edited, or an area to be drawn."""


class StatusView(Protocol):
    """The status line: a message or hint, the progress, and the one Cancel."""

    cancel_clicked: SignalLike

    def set_hint(self, text: str) -> None:
        """Show what to do next, as soon as no message is shown."""

    def show_progress(self, done: int | None, total: int | None, text: str) -> None:
        """Show progress; ``done=None`` empties the bar; without a total only the text."""


class StepsView(Protocol):
    """The four steps, of which one is open."""

    def open(self, name: StepName) -> None:
        """Open a step, and close the others."""

    def set_state(self, name: StepName, text: str) -> None:
        """Show how far a step is."""

    def set_next(self, name: StepName | None) -> None:
        """Show in which step the next thing to do is."""


class WelcomeView(Protocol):
    """What is shown while no image is open."""

    sample_clicked: SignalLike
    paths_chosen: SignalLike
    session_chosen: SignalLike

    def set_sessions(self, sessions: Sequence[RecentSession]) -> None:
        """Offer earlier sessions."""


class ImageView(Protocol):
    """The image, its channels, and its object size."""

    image_chosen: SignalLike
    pin_toggled: SignalLike
    axis_answered: SignalLike
    channels_chosen: SignalLike
    object_size_changed: SignalLike
    object_size_previewed: SignalLike
    object_size_auto_changed: SignalLike

    def set_images(self, images: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer images, each (key, name)."""

    def set_pinned(self, pinned: bool) -> None:
        """Show whether the image stays whatever layer is selected."""

    def set_axis_question(self, n: int, are_channels: bool | None) -> None:
        """Ask whether `n` planes are channels or slices, or show the answer; 0 asks not."""

    def set_channels(
        self, offered: Sequence[tuple[str, str]], slots: Sequence[Sequence[str]]
    ) -> None:
        """Offer channels, each (key, name), and show which ones each input sees."""

    def set_object_size(
        self, pixels: float | None, text: str, auto: bool, suggested: float | None = None
    ) -> None:
        """Show the object size, where it comes from, and a size to use instead."""


class ModelView(Protocol):
    """Which version of the model is used, and on which device."""

    version_chosen: SignalLike
    device_chosen: SignalLike
    remote_clicked: SignalLike
    load_clicked: SignalLike
    save_clicked: SignalLike
    go_back_clicked: SignalLike
    new_classes_clicked: SignalLike

    def set_versions(
        self, versions: Sequence[tuple[str, str, str]], current: str | None
    ) -> None:
        """Offer versions, each (key, title, tooltip)."""

    def set_device(self, key: str) -> None:
        """Show the chosen device."""

    def set_device_text(self, text: str) -> None:
        """Show the device in use."""

    def ask_server(self, url: str) -> tuple[str, str] | None:
        """Ask for the address and the key of a server; None if the user cancels."""


class SegmentView(Protocol):
    """Segment, the user's own labels, and the two sliders."""

    scope_changed: SignalLike
    segment_clicked: SignalLike
    stack_chosen: SignalLike
    own_labels_chosen: SignalLike
    use_labels_clicked: SignalLike
    foreground_changed: SignalLike
    split_changed: SignalLike

    def set_segment_title(self, name: str) -> None:
        """Show which image *Segment* works on; empty if there is none."""

    def set_segment_time(self, text: str, into_file: bool = False) -> None:
        """Show how long *Segment* will take; empty if it is short or not known.

        Labels that go `into_file` are not shown before all are there.
        """

    def set_own_labels(
        self, choices: Sequence[tuple[str, str]], current: str | None
    ) -> None:
        """Offer Labels layers, each (key, title); without any the row is hidden."""

    def ask_replace(self, sentence: str) -> bool:
        """Ask whether other labels take the place of those that the image has."""

    def set_scope(self, key: str) -> None:
        """Show the chosen scope."""

    def set_stack(self, key: str | None) -> None:
        """Show what the slices of the image are; None hides it, for one slice."""

    def set_foreground(self, value: float) -> None:
        """Show the foreground threshold, 0 to 1."""

    def set_split(self, value: float) -> None:
        """Show the split level, 0 (join) to 1 (split)."""


class ToolsView(Protocol):
    """The buttons of the tools for whole objects."""

    tool_clicked: SignalLike

    def set_tool(self, name: str | None) -> None:
        """Show which tool is in use."""


class LargeView(Protocol):
    """Work here, for a large image, or Done, for a part of one."""

    work_here_clicked: SignalLike
    write_back_clicked: SignalLike

    def show_button(self, name: str | None) -> None:
        """Show one of the buttons, or none."""


class CorrectView(Protocol):
    """Tools for whole objects, the verified area, and Next."""

    verified_area_changed: SignalLike
    mark_verified_clicked: SignalLike
    unmark_clicked: SignalLike
    next_clicked: SignalLike
    done_clicked: SignalLike
    map_toggled: SignalLike
    contours_toggled: SignalLike

    @property
    def large(self) -> LargeView:
        """The button of large images."""

    @property
    def tools(self) -> ToolsView:
        """The buttons of the tools."""

    @property
    def classes(self) -> ClassButtonsView:
        """The buttons of the classes."""

    def set_map_shown(self, wanted: bool, shown: bool) -> None:
        """Show whether the map is switched on, and explain its colours if it is shown."""

    def set_contours_shown(self, shown: bool) -> None:
        """Show whether labels are contours."""

    def set_choices(self, choices: Sequence[tuple[str, str]], current: str | None) -> None:
        """Offer areas, each (key, title)."""

    def set_text(self, text: str) -> None:
        """Show how much is verified."""


class ClassButtonsView(Protocol):
    """A legend of classes whose buttons pick the class for the brush."""

    class_clicked: SignalLike

    def set_classes(self, classes: Sequence[tuple[int, str, str]]) -> None:
        """Offer classes, each (label, name, colour as "#rrggbb" or empty)."""

    def set_class(self, label: int | None) -> None:
        """Show which class the brush paints."""


class InterruptedView(Protocol):
    """The offer to resume an interrupted fine-tuning."""

    resume_clicked: SignalLike
    keep_best_clicked: SignalLike
    discard_clicked: SignalLike

    def set_text(self, text: str) -> None:
        """Describe the interrupted fine-tuning; an empty text hides the offer."""


class CandidateView(Protocol):
    """The choice between a version that is too close to call and the one in use."""

    use_clicked: SignalLike
    keep_clicked: SignalLike
    compare_clicked: SignalLike
    next_clicked: SignalLike

    def set_text(self, text: str) -> None:
        """Describe the choice; an empty text hides it."""

    def show_comparison(self, counts: Sequence[tuple[str, str, str]]) -> None:
        """Show what differs, each (kind, colour, text); empty if it is not compared."""


class LongerView(Protocol):
    """The offer to fine-tune again for longer."""

    longer_clicked: SignalLike

    def set_text(self, text: str) -> None:
        """Say that it was too short; an empty text hides the offer."""


class PlotView(Protocol):
    """What the model finds on the held-out part, over the steps of one fine-tuning."""

    def start(self) -> None:
        """Show an empty plot."""

    def cut(self, step: int) -> None:
        """Remove the points after a step."""

    def set_before(self, before: float | None, objects: int | None) -> None:
        """Draw the line of the start.

        Held-out values are numbers of right objects, of so many; scores if that is None.
        """

    def add(self, step: int, training: float, held_out: float | None) -> None:
        """Add the training loss of one step, and the held-out value if there is one."""


class FineTuneView(Protocol):
    """Fine-tune, its progress, and its result."""

    fine_tune_clicked: SignalLike
    fine_tune_stopped: SignalLike
    auto_fine_tune_switched: SignalLike
    minutes: float
    """Approximate time to fine-tune, in minutes."""

    @property
    def interrupted(self) -> InterruptedView:
        """The offer to resume."""

    @property
    def candidate(self) -> CandidateView:
        """The choice between two versions."""

    @property
    def longer(self) -> LongerView:
        """The offer to fine-tune for longer."""

    @property
    def plot(self) -> PlotView:
        """The plot of what the model finds."""

    def set_auto(self, on: bool) -> None:
        """Show whether *Learn while I correct* is on."""

    def set_data_text(self, text: str) -> None:
        """Show what Fine-tune will learn from."""

    def set_result_text(self, text: str) -> None:
        """Show what the model finds on the held-out part, and the start before it."""

    def ask_what_is_right(self, no_edits: str) -> Right | None:
        """Ask what is right, because nothing is verified; None if the user cancels.

        `no_edits` says why "edited" cannot be chosen; empty if it can.
        """


class DockView(Protocol):
    """The dock: its parts, what to do next, and questions about models."""

    @property
    def status(self) -> StatusView:
        """The status line."""

    @property
    def steps(self) -> StepsView:
        """The four steps."""

    @property
    def welcome(self) -> WelcomeView:
        """What is shown while no image is open."""

    @property
    def results(self) -> ResultsView:
        """The step Results."""

    @property
    def image(self) -> ImageView:
        """The section Image."""

    @property
    def queue(self) -> QueueView:
        """The list of images."""

    @property
    def model(self) -> ModelView:
        """The section Model."""

    @property
    def segment(self) -> SegmentView:
        """The section Segment."""

    @property
    def correct(self) -> CorrectView:
        """The section Correct."""

    @property
    def fine_tune(self) -> FineTuneView:
        """The section Fine-tune."""

    @property
    def versions(self) -> VersionsView:
        """The section Versions."""

    @property
    def session(self) -> SessionView:
        """The section Session."""

    def show_welcome(self, wanted: bool) -> None:
        """Show how to begin instead of the steps, or the steps again."""

    def show_page(self, name: PageName) -> None:
        """Show the steps, or another page instead of them."""

    def set_message(self, text: str, kind: MessageKind = "info") -> None:
        """Show a message in the status line; an empty one gives way to the hint."""

    def set_primary(self, name: ControlName | None) -> None:
        """Highlight the button that the user probably needs next."""

    def set_enabled(self, name: ControlName, enabled: bool, reason: str = "") -> None:
        """Enable a control, or disable it and give the reason in its tooltip."""

    def ask_open_path(self) -> Path | None:
        """Ask for a model file to open; None if the user cancels."""

    def ask_save_path(self, suggested: Path) -> Path | None:
        """Ask where to save a model; None if the user cancels."""

    def ask_class_names(self) -> tuple[str, ...]:
        """Ask for the names of the classes; empty if the user cancels."""
