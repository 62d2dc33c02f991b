"""What a fine-tuning achieved on the held-out parts, and how that is put into words.

No torch: the dock uses the same words for the versions of a session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_resunet.types import Count

Outcome = Literal["better", "equal", "too close", "worse", "not judged"]
"""How new weights compare with the start on what was held out.

"better" and "equal" are put in use, and so is "not judged": nothing could be held out. "too
close" is lower by no more than chance: the user chooses. "worse" is dropped.
"""

IN_USE: tuple[Outcome, ...] = "better", "equal", "not judged"

FEW = 10
"""With fewer held-out objects, their number says little."""

NOT_HELD_OUT = "Nothing could be held out: too few to judge"
NO_OBJECTS = "There is no object in the held-out part: too few to judge"


@dataclass(frozen=True)
class HeldOutScore:
    """Score of a model on held-out parts.

    Attributes
    ----------
    value : float
        Mean AP over IoU 0.5 to 0.8, or mean Dice for classes; 0 to 1.
    loss : float
        Training loss.
    n_right, n_objects : int or None
        Number of held-out objects that were found (IoU of 0.5 or more), and of all; None
        for classes, and if unknown.
    """

    value: float
    loss: float
    n_right: Count | None = None
    n_objects: Count | None = None


def is_few(score: HeldOutScore | None) -> bool:
    """Return whether so few objects are held out that they say little."""
    return score is not None and score.n_objects is not None and score.n_objects < FEW


def found_text(before: HeldOutScore | None, after: HeldOutScore | None) -> str:
    """Say how many held-out objects a model finds, without a full stop."""
    if before is None or after is None:
        return NOT_HELD_OUT
    if after.n_objects == 0:
        return NO_OBJECTS
    if after.n_right is None or before.n_right is None:
        return f"Score on the held-out part: {after.value:.2f} (before: {before.value:.2f})"
    n = after.n_objects
    text = f"Finds {after.n_right} of the {n} held-out objects right"
    text += f" (before: {before.n_right})"
    if after.value > before.value and after.n_right < before.n_right:
        text += ", but draws them better or adds fewer false ones"
    return text + _few(after)


def outcome_text(
    outcome: Outcome, before: HeldOutScore | None, after: HeldOutScore | None
) -> str:
    """Say in one sentence what a fine-tuning achieved."""
    if outcome in IN_USE or (outcome == "too close" and not (before and after)):
        return f"{found_text(before, after)}."
    if outcome == "too close":
        return f"Too close to call: {_compared(before, after)}."
    if before is None or after is None:
        return "Not better: the old model stays."
    return f"Not better, so the old model stays: {_compared(before, after)}."


def choice_text(before: HeldOutScore | None, after: HeldOutScore | None) -> str:
    """Say in a few words between what the user can choose."""
    return f"Too close to call: {_compared(before, after, '')}."


def _compared(
    before: HeldOutScore | None, after: HeldOutScore | None, what: str = " held-out objects"
) -> str:
    """Compare a start with weights that are not in use: "before 5 of 12 …, now 4"."""
    if before is None or after is None:
        return NOT_HELD_OUT
    if after.n_right is None or before.n_right is None or not after.n_objects:
        return f"score before {before.value:.2f}, now {after.value:.2f}"
    n = after.n_objects
    text = f"before {before.n_right} of {n}{what} right, now {after.n_right}"
    if after.n_right >= before.n_right and after.value < before.value:
        text += ", but less exact"
    return text + _few(after)


def _few(score: HeldOutScore) -> str:
    return ": too few to judge" * is_few(score)
