"""Fine-tuning told to the user: the title of a version, the before and after."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_resunet.plugin.state import Version

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.workshop import Learned


def as_version(model: Model, number: int, learned: Learned | None = None) -> Version:
    """Name a model for the list of versions."""
    if learned is None:
        new = model.info.lineage.steps == 0
        return Version(
            model.info.lineage.model_id,
            f"{number}: new classes" if new else f"{number}: loaded from a file",
            f"Task {model.info.task}, made {model.info.lineage.created}",
            model,
        )
    score = "" if learned.after is None else f", score {learned.after:.2f}"
    return Version(
        model.info.lineage.model_id,
        f"{number}: learned from {learned.n_objects} objects{score}",
        f"Made {model.info.lineage.created} in {model.info.lineage.steps} steps",
        model,
    )


def first_words(model: Model) -> str:
    """Say what to do with a model that was just loaded or begun."""
    if model.info.lineage.steps or model.info.task == "instances":
        return "The model is loaded: click Segment."
    named = ", ".join(f"{i} {name}" for i, name in enumerate(model.info.class_names) if i)
    return f"Paint a small area in full with the labels {named}; then click Fine-tune."


def result_text(learned: Learned) -> str:
    """Compare before and after."""
    if learned.before is None or learned.after is None:
        return "No held-out part: too few corrections to score."
    verdict = "better: in use" if learned.improved else "not better: the old model stays"
    return (
        f"Held-out score {learned.before:.2f} before, {learned.after:.2f} after ({verdict})"
    )
