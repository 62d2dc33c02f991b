"""Copies a Labels layer that the user already has into an image's labels.

The copy counts as edited, so proposals do not change it, and as unverified until the user
marks it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels

from napari_resunet.corrections.object_edits import Edit
from napari_resunet.events import Progress
from napari_resunet.masks import labels_from_mask
from napari_resunet.plugin.controllers.shared import chosen_image
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.geometry import is_across_slices, to_pixels, to_world
from napari_resunet.plugin.layers.labels import LOCKED, LabelsBinding
from napari_resunet.plugin.messages import IMAGE_REMOVED
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.workers import plain_errors
from napari_resunet.types import Index, LabelArray, Task

MAX_OFFSET = 0.5
"""A Labels layer may be shifted against its image by fewer pixels."""

REPLACE = (
    "The image has labels already. Those of '{name}' take their place where the two "
    "differ; nothing is verified there any more. Ctrl-Z takes it back, slice by slice."
)


@dataclass(frozen=True, eq=False)
class OwnLabels:
    """Labels read from a Labels layer.

    Attributes
    ----------
    labels : int32 array, shape (planes, Y, X)
        Objects or classes; 0 is background.
    n_objects : int
        Number of different labels.
    notice : str
        How the labels had to be converted; empty if they did not.
    """

    labels: LabelArray
    n_objects: int
    notice: str


def read_steps(
    data: Any, task: Task, n_classes: int | None
) -> Generator[Progress, None, OwnLabels]:
    """Read the labels of a stack, in a thread.

    Parameters
    ----------
    data : array, shape (…, Y, X)
        Data of a Labels layer; not changed.
    task : {"instances", "classes"}
        What the labels mean.
    n_classes : int or None
        Number of classes, background included.

    Yields
    ------
    Progress

    Returns
    -------
    OwnLabels

    Raises
    ------
    CorrectionError
        If the data cannot be objects or classes.
    """
    yield Progress(0, 0, "reading the labels")
    with plain_errors():
        stack = np.asarray(data)
        stack = stack.reshape(-1, *stack.shape[-2:])
        # All planes are converted as one, so that an object has the same number in all
        # slices. An empty row in between separates the pieces of binary masks.
        one = np.pad(stack, ((0, 0), (0, 1), (0, 0))).reshape(-1, stack.shape[-1])
        found = labels_from_mask(one, task, n_classes)
        labels = found.labels.reshape(len(stack), -1, stack.shape[-1])[:, :-1]
        n_objects = int(np.count_nonzero(np.unique(labels)))
        return OwnLabels(labels, n_objects, found.notice)


class OwnLabelsController:
    """Offers the user's Labels layers for the chosen image, and copies one.

    Parameters
    ----------
    state : AppState
        The chosen image and the model in use.
    layers : Layers
        All Labels layers.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    """

    def __init__(
        self, state: AppState, layers: Layers, view: DockView, jobs: JobRunner
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs = jobs
        self._key: str | None = None
        """Key of the Labels layer that is offered first."""
        self._active: Any = None
        view.segment.own_labels_chosen.connect(self.choose)
        view.segment.use_labels_clicked.connect(self.use)
        state.changed.connect(self.refresh)

    def choose(self, key: str) -> None:
        """Offer another Labels layer first."""
        self._key = key

    def refresh(self) -> None:
        """Offer the layers that fit the image, the last selected one first."""
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
        self._view.segment.set_own_labels(choices, self._key)

    def use(self) -> None:
        """Read the Labels layer that is offered first, then copy it."""
        image, model = self._image(), self._state.model
        offered = {image_layers.layer_id_of(x): x for x in self._offered()}
        source = offered.get(self._key or "")
        if image is None or source is None or self._jobs.current is not None:
            return
        task: Task = "instances" if model is None else model.info.task
        n_classes = None if model is None else len(model.info.class_names)
        data = source.data[0] if source.multiscale else source.data
        key = image_layers.layer_id_of(image)

        def copy(own: OwnLabels) -> None:
            self._copy(key, source, own)

        self._jobs.start(
            Job(
                "labels",
                lambda token: read_steps(data, task, n_classes),
                copy,
                image_key=key,
            )
        )

    def _image(self) -> Image | None:
        return chosen_image(self._state, self._layers)

    def _offered(self) -> list[Labels]:
        """List the layers that fit, aligned ones first."""
        image = self._image()
        if image is None:
            return []
        found = [x for x in self._layers.user_labels() if fits(x, image)]
        return sorted(found, key=lambda layer: not lies_over(layer, image))

    def _copy(self, key: str, source: Labels, own: OwnLabels) -> None:
        """Copy labels into the image's labels, and hide their source."""
        image = self._layers.image(key)
        if image is None:
            self._view.set_message(IMAGE_REMOVED, "warning")
            return
        binding = self._layers.make_binding(image)
        if sentence := _refusal(own, source, binding, image):
            self._view.set_message(sentence, "warning")
            return
        has_labels = bool(binding.edits or binding.review.planes) or not binding.is_empty
        if has_labels and not self._view.segment.ask_replace(
            REPLACE.format(name=source.name)
        ):
            return
        stack = np.ndindex(image_layers.stack_shape(image))
        for index, plane in zip(stack, own.labels, strict=True):
            if has_labels:
                _replace(binding, index, plane)
            elif plane.any():
                binding.import_plane(index, plane)
        if not has_labels:
            binding.show()  # which empties napari's undo
        source.visible = False
        self._view.set_message(_copied_text(own, source.name), "info")
        self._state.changed.emit()


def _replace(binding: LabelsBinding, index: Index, labels: LabelArray) -> None:
    """Write labels where they differ, as an edit of the user's that is not verified."""
    before = binding.plane(index)
    whole = slice(0, before.shape[0]), slice(0, before.shape[1])
    edit = Edit.between(before, labels, whole)
    if len(edit):
        differs = before != labels
        binding.edit({index: edit})
        binding.unverify(index, differs)


def fits(layer: Labels, image: Image) -> bool:
    """Return whether a Labels layer has the planes of an image, channels aside."""
    planes = (*image_layers.stack_shape(image), *image_layers.plane_shape(image))
    return _without_ones(image_layers.full_shape(layer)) == _without_ones(planes)


def lies_over(layer: Labels, image: Image) -> bool:
    """Return whether the pixels of a Labels layer are aligned with those of an image."""
    if is_across_slices(layer) or is_across_slices(image):
        return False
    height, width = image_layers.plane_shape(image)
    corners = np.array([(0, 0), (0, width - 1), (height - 1, 0), (height - 1, width - 1)])
    offset = to_pixels(image, to_world(layer, corners)) - corners
    return bool((np.abs(offset) < MAX_OFFSET).all())


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (*(n for n in shape[:-2] if n > 1), *shape[-2:])


def _title(layer: Labels, image: Image | None) -> str:
    apart = image is not None and not lies_over(layer, image)
    return f"{layer.name} (lies elsewhere)" if apart else str(layer.name)


def _refusal(own: OwnLabels, source: Labels, binding: LabelsBinding, image: Image) -> str:
    if binding.locked:
        return LOCKED
    n_planes = int(np.prod(image_layers.stack_shape(image)))
    if own.labels.shape != (n_planes, *image_layers.plane_shape(image)):
        return f"The image changed: '{source.name}' no longer fits it."
    if not own.n_objects:
        return f"'{source.name}' holds no labels."
    return ""


def _copied_text(own: OwnLabels, name: str) -> str:
    n = own.n_objects
    text = (
        f"'{name}' was copied ({n} label{'s' if n > 1 else ''}) and hidden; Segment leaves "
        "the copy alone. Correct it, mark what is right as verified, then click Fine-tune."
    )
    return f"{own.notice} {text}".strip()
