"""Links the labels of a stack that a user corrects, in a background thread.

Importing this module imports no scipy: the dock opens without it.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from napari_resunet.corrections.linked import with_linked_numbers
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.settings import Stack
from napari_resunet.session.stacks import number_stack
from napari_resunet.types import LabelArray, MaskArray


@dataclass(frozen=True, eq=False)
class LinkRequest:
    """Link the objects of a stack.

    Attributes
    ----------
    labels : int32 array, shape (*stack, Y, X)
        A copy of the labels.
    protected : bool array, same shape
        What the user edited or verified.
    stack_axes : tuple of str
        One letter of "PTZ" for each axis of the stack.
    stack : {"volume", "film"}
        What the slices are.
    """

    labels: LabelArray
    protected: MaskArray
    stack_axes: tuple[str, ...]
    stack: Stack


def link_steps(
    request: LinkRequest, token: CancelToken
) -> Generator[Progress, None, LabelArray]:
    """Return the labels with numbers as they are linked; those of the user stay.

    Raises
    ------
    Cancelled
        If the token says so.
    """
    labels = request.labels
    linked = yield from number_stack(labels, request.stack_axes, request.stack, token)
    planes = (-1, *labels.shape[-2:])
    numbered = with_linked_numbers(
        labels.reshape(planes), linked.reshape(planes), request.protected.reshape(planes)
    )
    return numbered.reshape(labels.shape)
