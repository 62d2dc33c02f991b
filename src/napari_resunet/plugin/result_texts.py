"""Texts about what a fine-tuning achieved: of its end, of a version, of a choice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_args

from napari_resunet.engine.changes import CHANGES, Changes, changes_text
from napari_resunet.engine.outcome import (
    HeldOutScore,
    Outcome,
    choice_text,
    found_text,
    outcome_text,
)
from napari_resunet.plugin.state import Version
from napari_resunet.session.store.models import VersionRecord


def score_of(version: Version) -> str:
    """Describe the score of a version; empty if it was not fine-tuned here."""
    record = version.record
    if record is None or record.origin != "learned":
        return ""
    return _with_changes(f"{found_text(*_scores(record))}.", record.elsewhere)


def _scores(record: VersionRecord) -> tuple[HeldOutScore | None, HeldOutScore | None]:
    """Return the scores of the start and of a version."""
    return (
        _score(record.before, record.right_before, record.held_out),
        _score(record.after, record.right_after, record.held_out),
    )


def _score(
    value: float | None, right: int | None, held_out: int | None
) -> HeldOutScore | None:
    return None if value is None else HeldOutScore(value, 0.0, right, held_out)


def result_text(entry: Mapping[str, Any]) -> str:
    """Describe the end of a fine-tuning, an entry of the history."""
    # An older program only wrote whether the model improved.
    outcome: Outcome = "better" if entry.get("improved") else "worse"
    outcome = next((o for o in get_args(Outcome) if o == entry.get("outcome")), outcome)
    n = entry.get("objects")
    before = _score(entry.get("before"), entry.get("right_before"), n)
    after = _score(entry.get("after"), entry.get("right"), n)
    changes = CHANGES.validate_python(entry.get("elsewhere"))
    return _with_changes(outcome_text(outcome, before, after), changes)


def _with_changes(text: str, changes: Changes | None) -> str:
    return text if changes is None else f"{text} {changes_text(changes)}"


def candidate_text(version: Version) -> str:
    """Describe the choice between a candidate and the version in use."""
    if version.record is None:
        return ""
    return choice_text(*_scores(version.record))
