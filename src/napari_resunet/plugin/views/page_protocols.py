"""What controllers may use of the results, and of the pages Versions and Session.

No Qt here, as in `protocol`, which has the rest of the dock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from napari_resunet.session.settings import MeasureSettings
from napari_resunet.session.store.recent import RecentSession

VersionControl = Literal[
    "use_version",
    "rename_version",
    "note_version",
    "export_version",
    "delete_version",
    "compare_versions",
]
"""A button that acts on the version chosen in the list."""

Unsaved = Literal["again", "lose", "stay"] | Path
"""What to do with unsaved work: try again, lose it, keep the window open, or a folder."""


@dataclass(frozen=True)
class VersionRow:
    """A row of the list of versions.

    Attributes
    ----------
    key : str
        Identifies the version.
    cells : tuple of str
        Number, held-out score, what it learned from, and date.
    tooltip : str
        Its title, note, and parent.
    reasons : mapping of str to str
        Why a button is disabled for this version; missing ones are enabled.
    """

    key: str
    cells: tuple[str, str, str, str]
    tooltip: str
    reasons: Mapping[VersionControl, str] = field(default_factory=dict)


class SignalLike(Protocol):
    """A signal of Qt, psygnal, or a test."""

    def connect(self, slot: Callable[..., Any], /) -> object:
        """Call a function whenever the signal is emitted."""

    def disconnect(self, slot: Callable[..., Any], /) -> object:
        """Stop calling it."""


class ResultsView(Protocol):
    """What was found, and where to take it."""

    export_clicked: SignalLike
    measure_clicked: SignalLike
    save_table_clicked: SignalLike
    column_chosen: SignalLike
    save_into_clicked: SignalLike

    def set_text(self, text: str) -> None:
        """Show what was found."""

    def set_table_text(self, text: str) -> None:
        """Show what was measured, or why that no longer counts."""

    def set_columns(self, names: Sequence[str], current: str | None) -> None:
        """Offer columns for the histogram, and show which one it is of."""

    def show_histogram(
        self, name: str, edges: Sequence[float], counts: Sequence[int]
    ) -> None:
        """Show the number of objects between each edge and the next; none clear it."""

    def ask_measure(self, before: MeasureSettings) -> MeasureSettings | None:
        """Ask what to measure; None if the user cancels."""

    def ask_table(self, suggested: str) -> Path | None:
        """Ask for a file to write the table to; None if the user cancels."""

    def ask_formats(
        self, no_tracks: str, *, measure: bool = False
    ) -> tuple[str, ...] | None:
        """Ask for keys of `settings.EXPORTS`; none or None if the user cancels.

        The key of `settings.TRACKS` can be chosen unless `no_tracks` says why not. With
        `measure`, so can the key of `settings.MEASUREMENTS`.
        """

    def ask_export(self, suggested: str) -> Path | None:
        """Ask for a file to write labels to; None if the user cancels."""

    def set_can_save_into(self, possible: bool) -> None:
        """Show whether labels can be saved into the image that they belong to."""

    def ask_labels_name(self, suggested: str) -> str | None:
        """Ask for a name for labels in an image; None if the user cancels."""

    def ask_replace(self, name: str) -> bool:
        """Ask whether to replace the labels of a name in an image."""


class VersionsView(Protocol):
    """All versions of the model, and what can be done with the chosen one."""

    use_clicked: SignalLike
    rename_clicked: SignalLike
    note_clicked: SignalLike
    export_clicked: SignalLike
    delete_clicked: SignalLike
    compare_toggled: SignalLike
    flip_clicked: SignalLike
    next_difference_clicked: SignalLike

    def set_rows(self, rows: Sequence[VersionRow], current: str) -> None:
        """Show the versions, the one in use in bold; the chosen one stays chosen."""

    def chosen(self) -> str | None:
        """Return the key of the chosen version."""

    def show_comparison(
        self, text: str, counts: Sequence[tuple[str, str, str]] = ()
    ) -> None:
        """Show what is in view and what differs; empty if no versions are compared.

        Parameters
        ----------
        text : str
            What is in view.
        counts : sequence of (kind, colour, text)
            What differs; an empty colour stands for objects in colours of their own.
        """

    def ask_text(self, title: str, question: str, before: str) -> str | None:
        """Ask for a line of text; None if the user cancels."""


class SessionView(Protocol):
    """Where the session is saved, and the questions about sessions."""

    open_clicked: SignalLike
    move_clicked: SignalLike

    def set_place(self, folder: Path | None) -> None:
        """Show the session's folder; None if there is none yet."""

    def set_trouble(self, sentence: str) -> None:
        """Show why the session cannot be written; empty if it can."""

    def ask_parent(self) -> Path | None:
        """Ask for the folder to move the session into; None if the user cancels."""

    def ask_session(self, sessions: Sequence[RecentSession]) -> Path | None:
        """Ask which session to open; None if the user cancels."""

    def ask_copy(self, sentence: str) -> bool:
        """Ask whether to open a copy of a session that is in use."""

    def ask_image(self, name: str, before: str) -> Path | None:
        """Ask for the file of an image that has moved; None if the user cancels."""

    def ask_unsaved(self, sentence: str, can_stay: bool) -> Unsaved:
        """Ask what to do with work that cannot be written before the window closes."""
