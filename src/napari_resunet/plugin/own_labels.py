"""Labels that the user has already: a Labels layer of theirs becomes an image's labels.

They are copied, so that the user's layer stays as it is. The copy counts as corrected, so
that no proposal changes it, and as unverified until the user says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels

from napari_resunet.masks import labels_from_mask
from napari_resunet.plugin import image_layers
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.labels_binding import LOCKED, LabelsBinding
from napari_resunet.plugin.places import is_across_slices, to_pixels, to_world
from napari_resunet.session.workers import plain_errors
from napari_resunet.types import CancelToken, LabelArray, Progress, Task

if TYPE_CHECKING:
    from napari_resunet.plugin.work import Work

KIND = "labels"
"""Of the job that reads them."""

OFF = 0.5
"""Pixels by which a Labels layer may lie off its image."""

HAS_LABELS = (
    "This image has labels by now: remove their layer first if those of '{}' are to "
    "take their place."
)


@dataclass(frozen=True, eq=False)
class Brought:
    """What a Labels layer holds.

    Attributes
    ----------
    labels : int32 array, shape (planes, Y, X)
        Objects or classes; 0 is background.
    n_objects : int
        How many different labels there are.
    notice : str
        What had to be done to the labels; empty where nothing.
    """

    labels: LabelArray
    n_objects: int
    notice: str


def read_steps(
    data: Any, task: Task, n_classes: int | None
) -> Generator[Progress, None, Brought]:
    """Read the labels of a stack, in a thread.

    Parameters
    ----------
    data : array, shape (…, Y, X)
        Of a Labels layer; it is only read.
    task : {"instances", "classes"}
        What labels mean.
    n_classes : int or None
        For classes: how many there are, background included.

    Yields
    ------
    Progress

    Returns
    -------
    Brought

    Raises
    ------
    CorrectionError
        If they cannot be objects or classes.
    """
    yield Progress(0, 0, "reading the labels")
    with plain_errors():
        stack = np.asarray(data)
        stack = stack.reshape(-1, *stack.shape[-2:])
        # All planes as one, so that an object keeps its number from slice to slice; an
        # empty row between them keeps the pieces of binary masks apart.
        one = np.pad(stack, ((0, 0), (0, 1), (0, 0))).reshape(-1, stack.shape[-1])
        found = labels_from_mask(one, task, n_classes)
        labels = found.labels.reshape(len(stack), -1, stack.shape[-1])[:, :-1]
        n_objects = int(np.count_nonzero(np.unique(labels)))
        return Brought(labels, n_objects, found.notice)


class OwnLabels:
    """Offers the user's Labels layers for the chosen image, and takes one over.

    Parameters
    ----------
    work : Work
        Knows layers and the model in use; its one long job.
    image : callable
        Returns the chosen image.
    """

    def __init__(self, work: Work, image: Callable[[], Image | None]) -> None:
        self._work, self._image = work, image
        self._view, self._layers = work.show.view, work.layers
        self._key: str | None = None
        """Of the Labels layer that is offered first."""
        self._active: Any = None
        self._source: Labels | None = None
        self._target = ""
        self._view.own_labels_chosen.connect(self.choose)
        self._view.use_labels_clicked.connect(self.use)

    def choose(self, key: str) -> None:
        """Offer another Labels layer first."""
        self._key = key

    def refresh(self) -> None:
        """Offer what fits the image, the layer that the user just selected first."""
        offered = {image_layers.layer_id_of(x): x for x in self._offered()}
        active = self._layers.viewer.layers.selection.active
        if active is not self._active:
            self._active = active
            key = None if active is None else image_layers.layer_id_of(active)
            self._key = key if key in offered else self._key
        if self._key not in offered:
            self._key = next(iter(offered), None)
        image = self._image()
        choices = [(key, _title(layer, image)) for key, layer in offered.items()]
        self._view.set_own_labels(choices, self._key)

    def use(self) -> None:
        """Read the Labels layer that is offered first; then it is taken over."""
        image, model = self._image(), self._work.versions.current.model
        offered = {image_layers.layer_id_of(x): x for x in self._offered()}
        source = offered.get(self._key or "")
        if image is None or source is None or self._work.job is not None:
            return
        task: Task = "instances" if model is None else model.info.task
        n_classes = None if model is None else len(model.info.class_names)
        data = source.data[0] if source.multiscale else source.data
        self._source, self._target = source, image_layers.layer_id_of(image)
        arguments, token = (data, task, n_classes), CancelToken()
        self._work.start(KIND, read_steps, arguments, token, self._target, self)

    def _offered(self) -> list[Labels]:
        """List what fits, what lies over the image first; none where it has labels."""
        image = self._image()
        if image is None:
            return []
        binding = self._layers.binding(image_layers.layer_id_of(image))
        if binding is not None and (binding.edits or binding.review.planes):
            return []
        found = [x for x in self._layers.labels_of_the_user() if fits(x, image)]
        return sorted(found, key=lambda layer: not lies_over(layer, image))

    # What the job says --------------------------------------------------------------

    def on_event(self, job: Job, event: Any) -> None:
        """Show progress."""
        self._work.on_event(job, event)

    def on_result(self, job: Job, result: Brought) -> None:
        """Copy the labels into the image's own layer, and hide where they come from."""
        image, source = self._layers.image(self._target), self._source
        if image is None or source is None:
            self._say("The image was removed meanwhile.", "warning")
            return
        binding = self._layers.make_binding(image)
        if sentence := _why_not(result, source, binding, image):
            self._say(sentence, "warning")
            return
        stack = np.ndindex(image_layers.stack_shape(image))
        for index, plane in zip(stack, result.labels, strict=True):
            if plane.any():
                binding.bring(index, plane)
        binding.show()
        source.visible = False
        self._say(_told(result, source.name), "info")

    def on_error(self, job: Job, sentence: str) -> None:
        """Say why they cannot be used."""
        self._work.on_error(job, sentence)

    def on_end(self, job: Job) -> None:
        """Make room for the next job."""
        self._source = None
        self._work.on_end(job)

    def _say(self, sentence: str, kind: Any) -> None:
        self._view.set_message(sentence, kind)


def fits(layer: Labels, image: Image) -> bool:
    """Tell whether a Labels layer has one plane for each of an image's, channels aside."""
    planes = (*image_layers.stack_shape(image), *image_layers.plane_shape(image))
    return _without_ones(image_layers.full_shape(layer)) == _without_ones(planes)


def lies_over(layer: Labels, image: Image) -> bool:
    """Tell whether rows and columns of a Labels layer lie where those of an image lie."""
    if is_across_slices(layer) or is_across_slices(image):
        return False
    height, width = image_layers.plane_shape(image)
    corners = np.array([(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)])
    off = to_pixels(image, to_world(layer, corners)) - corners
    return bool((np.abs(off) < OFF).all())


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(n for n in shape[:-2] if n > 1), *shape[-2:])


def _title(layer: Labels, image: Image | None) -> str:
    apart = image is not None and not lies_over(layer, image)
    return f"{layer.name} (lies elsewhere)" if apart else str(layer.name)


def _why_not(brought: Brought, source: Labels, binding: LabelsBinding, image: Image) -> str:
    if binding.locked:
        return LOCKED
    if not binding.is_empty:
        return HAS_LABELS.format(source.name)
    n_planes = int(np.prod(image_layers.stack_shape(image)))
    if brought.labels.shape != (n_planes, *image_layers.plane_shape(image)):
        return f"The image changed meanwhile: '{source.name}' no longer fits it."
    if not brought.n_objects:
        return f"'{source.name}' holds no labels."
    return ""


def _told(brought: Brought, name: str) -> str:
    n = brought.n_objects
    said = (
        f"'{name}' was copied ({n} label{'s' if n > 1 else ''}) and hidden; Segment leaves "
        "the copy alone. Correct it, mark what is right as verified, then click Fine-tune."
    )
    return f"{brought.notice} {said}".strip()
