"""State to words and switches: fills the view, decides nothing about jobs."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_resunet.plugin.view import ControlName, SegmentView


@dataclass(frozen=True)
class UIState:
    """All that decides which buttons can be used.

    Attributes
    ----------
    no_image : str
        Why the chosen image cannot be segmented; empty if it can.
    job : str or None
        Kind of the running job.
    not_shown : str
        Why nothing of it is seen on the shown slice; empty if something is.
    whole_stack : bool
        Whether the scope is the stack, seen or not.
    has_maps : bool
        Whether there are maps for the sliders.
    has_labels : bool
        Whether there are labels to check.
    classes : bool
        Whether the model in use is one of classes.
    can_go_back, can_save : bool
        Whether there is an earlier version; whether a model is loaded.
    """

    no_image: str
    not_shown: str
    whole_stack: bool
    job: str | None
    has_maps: bool
    has_labels: bool
    classes: bool
    can_go_back: bool
    can_save: bool


BUSY = "Wait for the running job, or cancel it."
NOT_RUNNING = "Nothing is running."
NO_MAPS = "Click Segment first."
NO_LABELS = (
    "Click Segment first, paint some labels, or click Use for a Labels layer of yours."
)
NOTHING_YET = "nothing is verified yet"


def reasons(now: UIState) -> dict[ControlName, str]:
    """Say for each control why it cannot be used; empty if it can."""
    busy = BUSY if now.job else ""
    no_maps = "" if now.has_maps else NO_MAPS
    labels = "" if now.has_labels else NO_LABELS
    unseen = now.no_image or now.not_shown
    merges = "A model of classes has no touching objects to split." if now.classes else ""
    return {
        "segment": (now.no_image if now.whole_stack else unseen) or busy,
        "cancel_segment": "" if now.job in ("segment", "load", "next") else NOT_RUNNING,
        "fine_tune": unseen or busy or labels,
        "stop": "" if now.job == "fine-tune" else NOT_RUNNING,
        "cancel_fine_tune": "" if now.job == "fine-tune" else NOT_RUNNING,
        "go_on": busy,
        "keep_best": busy,
        "drop_interrupted": busy,
        "go_back": busy or ("" if now.can_go_back else "There is no earlier version yet."),
        "save": busy or ("" if now.can_save else "Click Segment or load a model first."),
        "load": busy,
        "new_classes": now.no_image or busy,
        "mark_verified": unseen or labels,
        "next": now.no_image or busy,
        "show_map": no_maps,
        "use_labels": busy,
        "foreground": no_maps,
        "split": merges or no_maps,
    }


class Presenter:
    """Shows state in the view.

    Parameters
    ----------
    view : SegmentView
        Where.
    """

    def __init__(self, view: SegmentView) -> None:
        self.view = view
        self._began = time.monotonic()

    def enable(self, now: UIState) -> None:
        """Switch the controls, each with its reason."""
        for name, reason in reasons(now).items():
            self.view.set_enabled(name, not reason, reason)

    def begin(self) -> None:
        """Start the clock for the time left."""
        self._began = time.monotonic()

    def progress(self, kind: str, done: int, total: int, text: str) -> None:
        """Show how far a job is and how long it will take."""
        left = ""
        if 0 < done < total:
            left = ", " + duration((time.monotonic() - self._began) * (total - done) / done)
        show = (
            self.view.set_fine_tune_progress
            if kind == "fine-tune"
            else self.view.set_segment_progress
        )
        show(done, total, text + left)

    def no_progress(self) -> None:
        """Hide both bars."""
        self.view.set_segment_progress(None, None, "")
        self.view.set_fine_tune_progress(None, None, "")

    def step(
        self, step: int, loss: float, held_out: float | None, share: float, left: float
    ) -> None:
        """Show one step of fine-tuning."""
        self.view.add_loss(step, loss, held_out)
        text = f"step {step}, {duration(left)}"
        self.view.set_fine_tune_progress(round(1000 * share), 1000, text)

    def size(self, diameter: float, scale: float | None, auto: bool) -> None:
        """Show the object size in image pixels."""
        pixels = None if scale is None else diameter / scale
        self.view.set_object_size(pixels, scale, auto)

    def channels(self, n: int, chosen: Sequence[int] | None) -> None:
        """Offer the channels of the image; none hide the choice."""
        names = [f"Channel {i}" for i in range(n)]
        self.view.set_channels(names, tuple(chosen or (0,)) if n else ())

    def counts(self, objects: int | None, verified: int, pixels: int, edits: int) -> None:
        """Show how much is there, verified and edited; no `objects` for classes."""
        parts = [] if objects is None else [_counted(objects, "object")]
        parts += [_counted(edits, "edit")]
        parts += [f"{verified:,} verified in {pixels:,} pixels" if pixels else NOTHING_YET]
        self.view.set_verified_text(" · ".join(parts))


def _counted(n: int, what: str) -> str:
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def duration(seconds: float) -> str:
    """Put a time in words."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"
