"""All texts about buttons, counts, versions, and scores; controllers show them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_resunet._package import STARTER
from napari_resunet.engine.changes import changes_text
from napari_resunet.plugin.jobs import JobKind
from napari_resunet.plugin.state import Counts, Version
from napari_resunet.plugin.views.page_protocols import VersionControl
from napari_resunet.plugin.views.protocol import ControlName, StepName
from napari_resunet.session.store.models import CheckpointRecord, VersionRecord
from napari_resunet.types import ObjectSize

if TYPE_CHECKING:
    from napari_resunet.engine.differences import Differences, Kind
    from napari_resunet.engine.finetune_result import FineTuneResult
    from napari_resunet.network.model_file import Model

NO_IMAGE = "Open an image first."
IMAGE_REMOVED = "The image was removed."
BUSY = "Wait for the running job, or cancel it."
NOT_RUNNING = "Nothing is running."
NO_MAPS = "Click Segment first."
NO_LABELS = (
    "Click Segment first, paint some labels, or click Use for a Labels layer of yours."
)
LABELS_IN_FILE = "The labels are in a file: click Work here first."
NOTHING_VERIFIED = (
    "There is nothing there to learn from: click Segment first, or paint some labels."
)
NOTHING_MARKED = (
    "Nothing is marked as verified yet: correct what is wrong, then mark the area."
)
NO_EDITS = "You have not edited anything in this image yet."
NOT_MEASURED = "Click Measure… first."
NOT_MEASURED_NOW = (
    "Labels, pixels, or the verified area have changed since the measurement: click "
    "Measure… again."
)
CLASSES_IN_TABLE = (
    "napari's table has one row per label, but a class has many pieces: click Save table… "
    "to see them."
)
NO_TABLE_WIDGET = (
    "napari's features table is not available: click Save table… to see the numbers."
)
NO_LIST = "Add images first: click Images, or drop them onto the dock."
FIRST_IMAGE = "This is the first image."
LAST_IMAGE = "This is the last image."
IN_USE = "It is in use."
NO_FILE = "The bundled model has no file of its own."
NOT_DELETABLE = "The starter and the version in use cannot be deleted."
CLASSES = "A model of classes has no objects: use napari's brush and fill."


KINDS: tuple[Kind, ...] = ("more", "gone", "changed")
"""How objects of two proposals differ, in the order of the text."""


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
        Whether the scope is the stack.
    job : str or None
        Kind of the running job.
    has_maps, has_labels : bool
        Whether there are prediction maps for the sliders, and labels to verify.
    classes : bool
        Whether the model in use is one of classes.
    can_go_back, can_save : bool
        Whether there is an earlier version, and whether a model is loaded.
    in_file : bool
        Whether the labels are in a file instead of memory.
    item, n_items : int
        The number of the open image in the list of images, 0 if it is not in it, and how
        many there are.
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
    in_file: bool = False
    item: int = 0
    n_items: int = 0


def disabled_reasons(now: UIState) -> dict[ControlName, str]:
    """Return for each control why it is disabled; empty if it is not."""
    busy = BUSY if now.job else ""
    no_maps = "" if now.has_maps else NO_MAPS
    in_file = LABELS_IN_FILE if now.in_file else ""
    labels = "" if now.has_labels else in_file or NO_LABELS
    unseen = now.no_image or now.not_shown
    merges = "A model of classes has no touching objects to split." if now.classes else ""
    learning = "" if now.job == "fine-tune" else NOT_RUNNING
    return {
        "segment": (now.no_image if now.whole_stack else unseen) or busy,
        "cancel": "" if now.job else NOT_RUNNING,
        "fine_tune": unseen or busy or labels,
        "stop": learning,
        "longer": busy,
        "resume": busy,
        "keep_best": busy,
        "discard": busy,
        "use_candidate": busy,
        "keep_old": busy,
        "compare_candidate": busy,
        "go_back": busy or ("" if now.can_go_back else "There is no earlier version yet."),
        "save": busy or ("" if now.can_save else "Click Segment or load a model first."),
        "load": busy,
        "new_classes": now.no_image or busy,
        "mark_verified": unseen or labels,
        "next": now.no_image or busy or in_file,
        "done_next": "" if now.item else NO_IMAGE,
        "previous_image": _no_step(now, now.item > 1, FIRST_IMAGE),
        "next_image": _no_step(now, now.item < now.n_items, LAST_IMAGE),
        "propose_all": ("" if now.n_items else NO_LIST) or busy,
        "export_all": ("" if now.n_items else NO_LIST) or busy,
        "show_map": no_maps,
        "contours": labels,
        "work_here": unseen or busy,
        "write_back": labels or busy,
        "use_labels": busy,
        "measure": labels or busy,
        "foreground": no_maps,
        "split": merges or no_maps,
    }


def _no_step(now: UIState, possible: bool, sentence: str) -> str:
    if not now.n_items:
        return NO_LIST
    return "" if possible else sentence


def counted(n: int, what: str) -> str:
    """Format a number of things: "1 object", "2 objects"."""
    return f"{n:,} {what}" + ("" if n == 1 else "s")


def counts_text(counts: Counts) -> str:
    """Describe in two lines what is found in the slice, and what is verified in all."""
    found = _areas_text(counts) if counts.classes else counted(counts.found[0], "object")
    here = " in this slice" if counts.stack else ""
    everywhere = ", all slices together" if counts.stack else ""
    pixels = counted(counts.pixels, "pixel")
    done = pixels if counts.classes else f"{counted(counts.verified, 'object')} in {pixels}"
    second = f"Verified: {done}{everywhere}" if counts.pixels else "Nothing is verified yet"
    return f"{found}{here} · {counted(counts.edits, 'edit')}\n{second}"


LISTED_CLASSES = 3
"""More classes do not fit into a line."""


def _areas_text(counts: Counts) -> str:
    total = max(1, sum(counts.found))
    areas = sorted(zip(counts.found[1:], counts.classes[1:], strict=True), reverse=True)
    listed = [f"{name} {n / total:.0%}" for n, name in areas[:LISTED_CLASSES]]
    more = " …" if len(areas) > LISTED_CLASSES else ""
    return ", ".join(listed) + more + " of the pixels"


HINTS: dict[ControlName, str] = {
    "segment": "Click Segment: the model proposes labels for the image.",
    "mark_verified": (
        "Correct what is wrong. Where everything is right, background too, click Mark as "
        "verified: the model learns from there."
    ),
    "fine_tune": (
        "Open Learn and click Fine-tune: the model learns from what you verified. Or "
        "verify more first: Next shows where."
    ),
    "done_next": (
        "Click Done & next to open the next image, or Next to correct and verify more here."
    ),
    "work_here": (
        "Zoom to a place, and click Work here to correct the labels in view. They are in a "
        "file, which cannot be painted."
    ),
    "write_back": (
        "Click Done to write these labels back to those of the whole image, or Next to "
        "correct and verify more here."
    ),
    "next": "Click Next: it shows where the model is least sure. Correct and verify there.",
}
"""What to do next, by the button that is highlighted."""


def step_texts(
    counts: Counts | None, version: str, job: JobKind | None
) -> dict[StepName, str]:
    """Describe how far each step is."""
    learning = "learning now" if job == "fine-tune" else version
    if counts is None:
        return {"segment": "", "correct": "", "learn": learning, "results": ""}
    found = "" if counts.objects is None else counted(counts.objects, "object")
    verified = "nothing verified"
    if counts.pixels:
        verified = "area verified" if counts.classes else f"{counts.verified:,} verified"
    return {
        "segment": found,
        "correct": f"{counted(counts.edits, 'edit')} · {verified}",
        "learn": learning,
        "results": found,
    }


def results_text(counts: Counts | None, version: str) -> str:
    """Describe the labels of the chosen image."""
    if counts is None:
        return "No labels yet: click Segment first."
    objects = "" if counts.objects is None else counted(counts.objects, "object")
    verified = f"{counts.verified:,} of them verified" if counts.pixels else ""
    found = ", ".join(filter(None, (objects, verified)))
    return f"{found}\nModel in use: {version}".strip()


NO_TRACKS = "Only a film has tracks: choose A film under Slices are, in the step Segment."


def measured_text(
    n: int, n_tracks: int | None, problem: str, position: str, *, volumes: bool
) -> str:
    """Describe a table of objects, and which part of it napari shows."""
    how = " as volumes" if volumes else ""
    text = f"{counted(n, 'object')} measured{how}."
    if n_tracks is not None:
        text = f"{counted(n, 'object')} in {counted(n_tracks, 'track')} measured{how}."
        position = position and f"The table shows {position}."
    elif position:
        position = f"Labels are used in several slices; napari's table shows {position}."
    return f"{text} {position or problem}".strip()


def label_too_large(last: int, n: int) -> str:
    """Say why napari's table cannot show objects with such numbers."""
    return (
        f"napari's table needs a row for each number up to {last:,}, but there are only "
        f"{counted(n, 'object')}: click Save table… to see them."
    )


def duration(seconds: float) -> str:
    """Format a time that is not known exactly."""
    if seconds < 90:
        return f"about {max(1, round(seconds))} s"
    if seconds < 100 * 60:
        return f"about {round(seconds / 60)} min"
    return f"about {round(seconds / 3600)} h"


def suggested_name(name: str) -> str:
    """Suggest the name of a model file."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    return f"{safe or 'model'}.safetensors"


def px(size: float) -> str:
    """Format an object size in pixels, with at least two digits."""
    return f"{size:.2g} px" if size < 10 else f"{size:.0f} px"


def in_units(size: ObjectSize) -> str:
    """Format an object size in pixels, in micrometres, or both: "42 px (27 µm)"."""
    um = "" if size.um is None else f"{size.um:.3g} µm"
    if size.pixels is None:
        return um
    return px(size.pixels) + (f" ({um})" if um else "")


def size_text(
    size: ObjectSize | None, *, auto: bool, learned: bool, version: Version
) -> str:
    """Describe the object size of an image, and where it comes from.

    Parameters
    ----------
    size : ObjectSize or None
        The size in the image; None if it is not known yet.
    auto : bool
        Whether the user has set none.
    learned : bool
        Whether the version in use learned one.
    version : Version
        The version in use.
    """
    if size is None:
        return "Segment estimates it"
    origin = "set by you"
    if auto:
        origin = f"as version {version.number} learned" if learned else "estimated"
    return f"{in_units(size)}, {origin}"


def version_from(
    model: Model, number: int, result: FineTuneResult | None = None
) -> Version:
    """Make the version of a model that was fine-tuned, loaded, or started."""
    lineage = model.info.lineage
    known: dict[str, Any] = {"origin": "loaded" if lineage.steps else "new classes"}
    if result is not None:
        before, after = result.before, result.after
        known = {
            "origin": "learned",
            "objects": result.n_objects,
            "regions": result.n_regions,
            "images": result.n_images,
            "before": None if before is None else before.value,
            "after": None if after is None else after.value,
            "right_before": None if before is None else before.n_right,
            "right_after": None if after is None else after.n_right,
            "held_out": None if after is None else after.n_objects,
            "candidate": model is result.candidate,
            "elsewhere": result.elsewhere and result.elsewhere.total,
        }
    record = VersionRecord(
        number=number,
        created=lineage.created,
        model_id=lineage.model_id,
        parent_id=lineage.parent_id or "",
        task=model.info.task,
        object_size=model.info.object_size,
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
    what = "candidate, " * record.candidate
    classes = record.task == "classes"
    learned = (record.regions, "area") if classes else (record.objects, "object")
    return f"{record.number}: {what}learned from {counted(*learned)}{_short_score(record)}"


def _short_score(record: VersionRecord) -> str:
    if record.right_after is not None and record.held_out:
        return f", finds {record.right_after} of {record.held_out}"
    if record.held_out == 0:
        return ""
    return "" if record.after is None else f", score {record.after:.2f}"


def score_cell(record: VersionRecord) -> str:
    """Format the held-out score of a version for the list: before and after."""
    if record.right_after is not None and record.held_out:
        before = "" if record.right_before is None else f"{record.right_before} → "
        return f"{before}{record.right_after} of {record.held_out}"
    if record.held_out == 0:  # a score of nothing
        return ""
    after = "" if record.after is None else f"{record.after:.2f}"
    if record.before is None or not after:
        return after
    return f"{record.before:.2f} → {after}"


def _tooltip(record: VersionRecord) -> str:
    lines = [f"Task {record.task}, made {record.created}"]
    if record.origin == "learned":
        counts = ((record.objects, "object"), (record.regions, "region"),
                  (record.images, "image"))  # fmt: skip
        known = counts[1:] if record.task == "classes" else counts
        lines.append(", ".join(counted(n, word) for n, word in known))
    if record.object_size is not None:
        lines.append(f"Learned from objects of {in_units(record.object_size)}")
    if record.elsewhere is not None:
        lines.append(changes_text(record.elsewhere))
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


def difference_counts(found: Differences) -> tuple[tuple[str, str], ...]:
    """List what differs between two proposals, each (kind, text)."""
    if found.fraction is not None:
        return (("changed", f"{found.fraction:.1%} of the pixels differ"),)
    listed = tuple((kind, f"{found.count(kind):,} {kind}") for kind in KINDS)
    return (*listed, ("same", f"{found.n_same:,} the same"))


def difference_text(kind: Kind, number: int, total: int, titles: tuple[str, str]) -> str:
    """Describe the difference that is in view."""
    first, second = titles
    what = {
        "more": f"only '{second}' finds it",
        "gone": f"only '{first}' finds it",
        "changed": "the two differ here",
    }[kind]
    return f"Difference {number} of {total}: {what}."


def interrupted_text(record: CheckpointRecord) -> str:
    """Describe how far an interrupted fine-tuning came."""
    text = f"A fine-tuning was interrupted at {record.share:.0%} of its time"
    if record.right is not None and record.held_out:
        best = f"{record.right} of the {record.held_out} held-out objects right"
        return f"{text}; the best so far finds {best}."
    score = "" if record.score is None else f", with a score of {record.score:.2f}"
    return f"{text}{score}."


def learns_from_text(objects: int | None, areas: int, images: int, edited: int) -> str:
    """Describe what Fine-tune will learn from; `objects` is None for classes."""
    if not areas:
        return NOTHING_MARKED
    where = f"{counted(areas, 'area')} on {counted(images, 'image')}"
    if objects is None:
        return f"Will learn from {where}."
    text = f"Will learn from {counted(objects, 'object')} in {where}"
    return f"{text}, {edited:,} of them edited by you."
