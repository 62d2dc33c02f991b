"""Links the objects of a stack that was proposed in the background, plane by plane.

Its labels are in the session then, and in memory until they are linked.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from napari_resunet.corrections.review import ReviewMask
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.link_labels import LinkRequest, link_steps
from napari_resunet.session.stacks import stack_axes
from napari_resunet.session.store.delta import (
    BlockDiff,
    LabelDelta,
    LabelsSnapshot,
    corners,
)
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.types import Index, LabelArray


@dataclass
class ProposedLabels:
    """A plane of labels that is being proposed.

    Attributes
    ----------
    state : LabelsSnapshot
        What is in the session.
    labels : int32 array, shape (Y, X)
        The labels now.
    review : ReviewMask
        What is proposed, edited, and verified.
    """

    state: LabelsSnapshot
    labels: LabelArray
    review: ReviewMask

    def changes(self) -> list[LabelDelta]:
        """List what is not in the session yet, and take it as being there from now on."""
        shape = self.labels.shape
        diff = BlockDiff(shape, self.state)
        found = (
            diff.capture(corner, self.labels, self.review) for corner in corners(shape)
        )
        return [delta for delta in found if delta is not None]


@dataclass
class StackToLink:
    """The labels of a volume or a film.

    Attributes
    ----------
    record : ImageRecord
        What its slices are.
    shape : tuple of int
        Of the stack, without rows and columns.
    states : dict of tuple of int to LabelsSnapshot
        The planes as they are in the session.
    """

    record: ImageRecord
    shape: tuple[int, ...]
    states: dict[Index, LabelsSnapshot] = field(default_factory=dict)

    @classmethod
    def of(cls, record: ImageRecord, shape: tuple[int, ...]) -> Self | None:
        """Begin without planes; None if there is nothing to link."""
        return cls(record, shape) if shape and record.stack != "separate" else None

    def add(self, index: Index, plane: ProposedLabels) -> None:
        """Add a plane whose changes were handed over."""
        self.states[index] = plane.state

    def linked(
        self, token: CancelToken
    ) -> Generator[Progress | tuple[Index, list[LabelDelta]], None, None]:
        """Link the objects, and return what changes on each plane.

        Raises
        ------
        Cancelled
            If the token says so.
        """
        shape = (*self.shape, *self.record.plane_shape)
        labels, protected = np.zeros(shape, np.int32), np.zeros(shape, bool)
        for index, state in self.states.items():
            labels[index], protected[index] = state.labels, state.review().protected
        axes = stack_axes(self.record.axes, self.record.axis_labels)
        request = LinkRequest(labels, protected, axes, self.record.stack)
        numbered = yield from link_steps(request, token)
        for index, state in self.states.items():
            review = state.review()
            review.last_written = numbered[index]
            if changes := ProposedLabels(state, numbered[index], review).changes():
                yield index, changes
