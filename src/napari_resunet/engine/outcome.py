"""What a fine-tuning achieved on the held-out parts, and how that is put into words.

No torch: the dock uses the same words for the versions of a session.
"""

from __future__ import annotations

import math
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

HELD_OUT_OF = 4
"""About one of so many verified objects is held out."""

FEW_STEPS = 30
"""Fewer steps teach little. On an old processor, 90 seconds are about 50 steps, which are
useful (``docs/learning.md``)."""

NOT_HELD_OUT = "Nothing could be held out: too few to judge"
NO_OBJECTS = "There is no object in the held-out part: too few to judge"

FORGOT = (
    "The new model got worse on earlier corrections, so the old one stays. Correct a few "
    "more objects and fine-tune again."
)
NOT_CORRECTED_THERE = (
    "Nothing was corrected there, so it tells what was lost, not what was gained."
)


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


def more_to_verify(n_held_out: int) -> int:
    """Return about how many more objects to verify until enough are held out."""
    missing = HELD_OUT_OF * max(1, FEW - n_held_out)
    return 5 * max(1, round(missing / 5))


def found_text(before: HeldOutScore | None, after: HeldOutScore | None) -> str:
    """Say how many held-out objects a model finds, without a full stop."""
    if before is None or after is None:
        return NOT_HELD_OUT
    if after.n_objects == 0:
        return f"{NO_OBJECTS}{_advice(after)}"
    if after.n_right is None or before.n_right is None:
        return f"Score on the held-out part: {after.value:.2f} (before: {before.value:.2f})"
    n = after.n_objects
    text = f"Finds {after.n_right} of the {n} held-out objects right"
    text += f" (before: {before.n_right})"
    if after.value > before.value and after.n_right < before.n_right:
        text += ", but draws them better or adds fewer false ones"
    return text + _few(after) + _advice(after)


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


def advised_text(
    outcome: Outcome,
    before: HeldOutScore | None,
    after: HeldOutScore | None,
    remark: str = "",
) -> str:
    """Say what a fine-tuning achieved, and what to do if it did not help."""
    if outcome == "not judged":
        return f"{NOT_HELD_OUT}. Look at the new proposal to judge it."
    said = outcome_text(outcome, before, after), remark, _what_to_do(outcome, after)
    return " ".join(filter(None, said))


def _what_to_do(outcome: Outcome, after: HeldOutScore | None) -> str:
    if outcome in IN_USE:
        return ""
    if after is not None and is_few(after):
        what = f"Verify about {more_to_verify(after.n_objects or 0)} more objects"
    elif outcome == "too close":
        what = "Verify a larger area"
    else:
        what = "Correct a few more objects"
    stays = "The old model stays. " * (outcome == "too close")
    return f"{stays}{what} and fine-tune again."


def disagrees_text(n_held_out: int) -> str:
    """Say that new weights find other objects where the start was sure."""
    return (
        "Too close to call: where nothing is verified and the old model was sure, the new "
        f"one finds other objects, and only {n_held_out} held-out object(s) speak for it. "
        f"The old model stays. Verify about {more_to_verify(n_held_out)} more objects and "
        "fine-tune again."
    )


def choice_text(before: HeldOutScore | None, after: HeldOutScore | None) -> str:
    """Say in a few words between what the user can choose."""
    return f"Too close to call: {_compared(before, after, '')}."


def _compared(
    before: HeldOutScore | None, after: HeldOutScore | None, what: str = " held-out objects"
) -> str:
    """Compare a start with weights that are not in use: "before 5 of 12 …, now 4"."""
    if before is None or after is None:
        return NOT_HELD_OUT
    if after.n_objects == 0:
        return NO_OBJECTS[0].lower() + NO_OBJECTS[1:]
    if after.n_right is None or before.n_right is None or after.n_objects is None:
        return f"score before {before.value:.2f}, now {after.value:.2f}"
    n = after.n_objects
    text = f"before {before.n_right} of {n}{what} right, now {after.n_right}"
    if after.n_right >= before.n_right and after.value < before.value:
        text += ", but less exact"
    return text + _few(after)


def _few(score: HeldOutScore) -> str:
    return ": too few to judge" * is_few(score)


def _advice(score: HeldOutScore) -> str:
    if not is_few(score):
        return ""
    return f"; verify about {more_to_verify(score.n_objects or 0)} more"


def too_short_text(steps: int, seconds: float) -> str:
    """Say that training ended after too few steps to learn much.

    Parameters
    ----------
    steps : int
        Number of steps.
    seconds : float
        The time that training was given.
    """
    longer = minutes_needed(steps, seconds)
    given = f"{seconds / 60:.3g} minutes" if seconds > 60 else f"{seconds:.0f} seconds"
    given = "1 minute" if seconds == 60 else given
    counted = f"{steps} step" + "s" * (steps != 1)
    return (
        f"Only {counted} in {given}: too short to learn much. Give it "
        f"{longer} minute{'s' * (longer != 1)}."
    )


def minutes_needed(steps: int, seconds: float) -> int:
    """Return the whole minutes that enough steps take, at the speed of so many steps."""
    return max(1, math.ceil(seconds / 60 * FEW_STEPS / max(1, steps)))
