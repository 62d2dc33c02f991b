"""All texts about buttons, counts, versions, and scores; controllers show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_resunet._package import STARTER
from napari_resunet.plugin.jobs import JobKind
from napari_resunet.plugin.state import Version
from napari_resunet.plugin.views.protocol import ControlName, VersionControl
from napari_resunet.session.store.models import CheckpointRecord, VersionRecord

if TYPE_CHECKING:
    from napari_resunet.engine.model_selection import FineTuneResult
    from napari_resunet.network.model_file import Model

NO_IMAGE = "Open an image first."
IMAGE_REMOVED = "The image was removed."
BUSY = "Wait for the running job, or cancel it."
NOT_RUNNING = "Nothing is running."
NO_MAPS = "Click Segment first."
NO_LABELS = (
    "Click Segment first, paint some labels, or click Use for a Labels layer of yours."
)
NOTHING_VERIFIED = (
    "There is nothing verified to learn from: click Segment first, or paint some labels."
)
IN_USE = "It is in use."
NO_FILE = "The bundled model has no file of its own."
NOT_DELETABLE = "The starter and the version in use cannot be deleted."
CLASSES = "A model of classes has no objects: use napari's brush and fill."


@dataclass(frozen=True)
class UIState:
    """Everything that decides which buttons can be used.

    Attributes
    ----------
    no_image : str
        Why the chosen image cannot be segmented; empty if it can.
    not_shown : str
        Why no part of it is in view; empty if it is.
    whole_stack : bool
        Whether the scope is the whole stack.
    job : str or None
        Kind of the running job.
    has_maps, has_labels : bool
        Whether there are prediction maps for the sliders, and labels to verify.
    classes : bool
        Whether the model in use is one of classes.
    can_go_back, can_save : bool
        Whether there is an earlier version, and whether a model is loaded.
    """

    no_image: str
    not_shown: str
    whole_stack: bool
    job: JobKind | None
    has_maps: bool
    has_labels: bool
    classes: bool
    can_go_back: bool
    can_save: bool


def disabled_reasons(now: UIState) -> dict[ControlName, str]:
    """Return for each control why it is disabled; empty if it is not."""
    busy = BUSY if now.job else ""
    no_maps = "" if now.has_maps else NO_MAPS
    labels = "" if now.has_labels else NO_LABELS
    unseen = now.no_image or now.not_shown
    merges = "A model of classes has no touching objects to split." if now.classes else ""
    learning = "" if now.job == "fine-tune" else NOT_RUNNING
    other = "" if now.job in ("segment", "load", "compare", "next") else NOT_RUNNING
    return {
        "segment": (now.no_image if now.whole_stack else unseen) or busy,
        "cancel_segment": other,
        "fine_tune": unseen or busy or labels,
        "stop": learning,
        "cancel_fine_tune": learning,
        "resume": busy,
        "keep_best": busy,
        "discard": busy,
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


def counted(n: int, what: str) -> str:
    """Format a number of things: "1 object", "2 objects"."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def counts_text(objects: int | None, verified: int, pixels: int, edits: int) -> str:
    """Format the numbers of objects (None for classes), edits, and verified objects."""
    parts = [] if objects is None else [counted(objects, "object")]
    parts += [counted(edits, "edit")]
    done = f"{verified:,} verified in {pixels:,} pixels"
    return " · ".join([*parts, done if pixels else "nothing is verified yet"])


def duration(seconds: float) -> str:
    """Format a remaining time."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s left"
    return f"about {round(seconds / 60)} min left"


def suggested_name(name: str) -> str:
    """Suggest the name of a model file."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    return f"{safe or 'model'}.safetensors"


def version_from(
    model: Model, number: int, result: FineTuneResult | None = None
) -> Version:
    """Make the version of a model that was fine-tuned, loaded, or started."""
    lineage = model.info.lineage
    known: dict[str, Any] = {"origin": "loaded" if lineage.steps else "new classes"}
    if result is not None:
        known = {
            "origin": "learned",
            "objects": result.n_objects,
            "regions": result.n_regions,
            "images": result.n_images,
            "before": result.before,
            "after": result.after,
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
    """Make the version of a record, with or without its model."""
    return Version(record.model_id, _title(record), _tooltip(record), model, record, source)


def _title(record: VersionRecord) -> str:
    if record.name:
        return f"{record.number}: {record.name}"
    if record.origin != "learned":
        origin = "new classes" if record.origin == "new classes" else "loaded from a file"
        return f"{record.number}: {origin}"
    score = "" if record.after is None else f", score {record.after:.2f}"
    return f"{record.number}: learned from {record.objects} objects{score}"


def _tooltip(record: VersionRecord) -> str:
    lines = [f"Task {record.task}, made {record.created}"]
    if record.origin == "learned":
        counts = ((record.objects, "object"), (record.regions, "region"),
                  (record.images, "image"))  # fmt: skip
        lines.append(", ".join(counted(n, word) for n, word in counts))
    return "\n".join(filter(None, [*lines, record.note]))


def version_reasons(version: Version, in_use: bool) -> dict[VersionControl, str]:
    """Return for each button why it is disabled for a version, if it is."""
    is_bundled = version.record is None
    reasons: dict[VersionControl, str] = {
        "use_version": IN_USE if in_use else "",
        "compare_versions": IN_USE if in_use else "",
        "rename_version": NO_FILE if is_bundled else "",
        "note_version": NO_FILE if is_bundled else "",
        "delete_version": NOT_DELETABLE if is_bundled or in_use else "",
    }
    return {control: reason for control, reason in reasons.items() if reason}


def model_loaded_text(model: Model) -> str:
    """Describe what to do with a model that was just loaded or started."""
    if model.info.lineage.steps or model.info.task == "instances":
        return "The model is loaded: click Segment."
    named = ", ".join(f"{i} {name}" for i, name in enumerate(model.info.class_names) if i)
    return f"Paint a small area in full with the labels {named}; then click Fine-tune."


def score_of(version: Version) -> str:
    """Describe the score of a version; empty if it was not fine-tuned here."""
    record = version.record
    if record is None or record.origin != "learned":
        return ""
    return score_text(record.before, record.after, improved=True)


def score_text(before: float | None, after: float | None, improved: bool) -> str:
    """Compare two held-out scores."""
    if before is None or after is None:
        return "No held-out part: too few corrections to score."
    # Compared as shown: a difference below two digits would confuse the reader.
    change = round(after, 2) - round(before, 2)
    if not improved:
        outcome = "not better: the old model stays"
    elif change > 0:
        outcome = "better: in use"
    elif change < 0:
        outcome = "lower by no more than chance: in use"
    else:
        outcome = "as good: in use"
    return f"Held-out score {before:.2f} before, {after:.2f} after ({outcome})"


def interrupted_text(record: CheckpointRecord) -> str:
    """Describe how far an interrupted fine-tuning came."""
    score = "" if record.score is None else f", with a score of {record.score:.2f}"
    return f"A fine-tuning was interrupted at {record.share:.0%} of its time{score}."
