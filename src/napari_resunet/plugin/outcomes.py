"""Fine-tuning told to the user: the title of a version, the before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_resunet.plugin.state import STARTER, Version
from napari_resunet.session.store.models import VersionRecord
from napari_resunet.types import now

if TYPE_CHECKING:
    from napari_resunet.engine.finetune import FineTuneStep
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.workers import Learned


def as_version(model: Model, number: int, learned: Learned | None = None) -> Version:
    """Make the version of a model that was just learned, loaded or begun."""
    lineage = model.info.lineage
    known: dict[str, Any] = {"origin": "loaded" if lineage.steps else "new classes"}
    if learned is not None:
        known = {
            "origin": "learned",
            "objects": learned.n_objects,
            "regions": learned.n_regions,
            "images": learned.n_images,
            "before": learned.before,
            "after": learned.after,
        }
    record = VersionRecord(
        number=number,
        created=lineage.created,
        model_id=lineage.model_id,
        parent_id=lineage.parent_id or "",
        task=model.info.task,
        **known,
    )
    return version_of(record, model)


def version_of(
    record: VersionRecord, model: Model | None = None, source: str = STARTER
) -> Version:
    """Make the version that a record tells of, loaded or not."""
    return Version(record.model_id, _title(record), _tooltip(record), model, record, source)


def _title(record: VersionRecord) -> str:
    if record.name:
        return f"{record.number}: {record.name}"
    if record.origin != "learned":
        told = "new classes" if record.origin == "new classes" else "loaded from a file"
        return f"{record.number}: {told}"
    score = "" if record.after is None else f", score {record.after:.2f}"
    return f"{record.number}: learned from {record.objects} objects{score}"


def _tooltip(record: VersionRecord) -> str:
    lines = [f"Task {record.task}, made {record.created}"]
    if record.origin == "learned":
        lines.append(learned_from(record))
    return "\n".join(filter(None, [*lines, record.note]))


def learned_from(record: VersionRecord) -> str:
    """Count what a version learned from."""
    counts = (
        (record.objects, "object"), (record.regions, "region"), (record.images, "image"),
    )  # fmt: skip
    return ", ".join(f"{n} {word}{'s' if n != 1 else ''}" for n, word in counts)


def first_words(model: Model) -> str:
    """Say what to do with a model that was just loaded or begun."""
    if model.info.lineage.steps or model.info.task == "instances":
        return "The model is loaded: click Segment."
    named = ", ".join(f"{i} {name}" for i, name in enumerate(model.info.class_names) if i)
    return f"Paint a small area in full with the labels {named}; then click Fine-tune."


def result_text(learned: Learned) -> str:
    """Compare before and after."""
    return score_text(learned.before, learned.after, learned.improved)


def score_of(version: Version) -> str:
    """Say how a version scored when it was made; empty where it did not learn here."""
    record = version.record
    if record is None or record.origin != "learned":
        return ""
    return score_text(record.before, record.after, improved=True)


def score_text(before: float | None, after: float | None, improved: bool) -> str:
    """Put two scores on the held-out part in words."""
    if before is None or after is None:
        return "No held-out part: too few corrections to score."
    # What two digits do not show is no difference to a reader.
    change = round(after, 2) - round(before, 2)
    if not improved:
        verdict = "not better: the old model stays"
    elif change > 0:
        verdict = "better: in use"
    elif change < 0:
        verdict = "lower by no more than chance: in use"
    else:
        verdict = "as good: in use"
    return f"Held-out score {before:.2f} before, {after:.2f} after ({verdict})"


def step_entry(step: FineTuneStep) -> dict[str, Any]:
    """Write a step of fine-tuning for the history."""
    return {
        "event": "step",
        "step": step.step,
        "loss": round(step.loss, 6),
        "held_out": step.held_out,
    }


def end_entry(learned: Learned) -> dict[str, Any]:
    """Write the end of a fine-tuning for the history."""
    return {
        "event": "end",
        "time": now(),
        "before": learned.before,
        "after": learned.after,
        "improved": learned.improved,
        "model_id": learned.model.info.lineage.model_id,
    }
