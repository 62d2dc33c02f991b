"""What the slices of a stack are to each other, and how their objects are numbered.

Importing this module imports no scipy: the dock opens without it.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.errors import ArgumentError, ImageError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.formats.layout import stack_axis
from napari_resunet.session.settings import Stack
from napari_resunet.types import LabelArray, Task

OUTER_TO_INNER = "PTZ"
AXIS_OF = {"film": "T", "volume": "Z"}


def guess_stack(stack_axes: Sequence[str]) -> Stack:
    """Guess from the axes: with T a film, with Z alone a volume, else separate."""
    if "T" in stack_axes:
        return "film"
    return "volume" if "Z" in stack_axes else "separate"


def stack_of(asked: Stack | None, stack_axes: Sequence[str], task: Task) -> Stack | None:
    """Say how to number the objects of an image.

    Parameters
    ----------
    asked : {"separate", "volume", "film"} or None
        What the user says; None guesses.
    stack_axes : sequence of str
        One letter of "PTZ" for each axis of the stack.
    task : {"instances", "classes"}
        Of the model.

    Returns
    -------
    {"separate", "volume", "film"} or None
        None if the image is one plane, or shows classes.

    Raises
    ------
    ArgumentError
        If classes should be linked.
    ImageError
        If there are several axes, and none of them is T, for a film, or Z, for a volume.
    """
    wanted = AXIS_OF.get(asked or "")
    if task == "classes" and wanted is not None:
        raise ArgumentError(
            "A model of classes gives no objects that could be linked from slice to slice: "
            "leave the choice of a volume or a film out."
        )
    if wanted is not None and len(stack_axes) > 1 and wanted not in stack_axes:
        raise ImageError(
            f"None of the axes of the stack ({', '.join(stack_axes)}) is {wanted}, which a "
            f"{asked} needs: name the axes, or take the slices as separate."
        )
    if task == "classes" or not stack_axes:
        return None
    return asked or guess_stack(stack_axes)


def stack_axes(axes: str, axis_labels: Sequence[str]) -> tuple[str, ...]:
    """Name the axes of a stack in a viewer.

    Parameters
    ----------
    axes : str
        One letter of "PTZCYXS" for each dimension, which may only say how many there are.
    axis_labels : sequence of str
        The names of the dimensions; empty if there are none.

    Returns
    -------
    tuple of str
        One letter of "PTZ" for each axis of the stack, by their names if all have one.
    """
    counted = tuple(axis for axis in axes if axis in OUTER_TO_INNER)
    return _named_axes(axes, axis_labels) or counted


def guess_shown_stack(axes: str, axis_labels: Sequence[str]) -> Stack:
    """Guess what the slices in a viewer are: separate unless their axes have names.

    Parameters
    ----------
    axes : str
        One letter of "PTZCYXS" for each dimension, which may only say how many there are.
    axis_labels : sequence of str
        The names of the dimensions; empty if there are none.
    """
    return guess_stack(_named_axes(axes, axis_labels))


def _named_axes(axes: str, axis_labels: Sequence[str]) -> tuple[str, ...]:
    """Name the axes of a stack by what a viewer calls them; () unless all have names."""
    named = [
        stack_axis(label)
        for axis, label in zip(axes, axis_labels, strict=False)
        if axis in OUTER_TO_INNER
    ]
    return tuple(named) if all(named) and len(set(named)) == len(named) else ()


def linked_axes(axes: Sequence[str], stack: Stack) -> tuple[int, ...]:
    """Return along which axes of a stack an object goes on.

    Parameters
    ----------
    axes : sequence of str
        One letter of "PTZ" for each axis of the stack.
    stack : {"separate", "volume", "film"}
        What the slices are.
    """
    if stack == "separate":
        return ()
    if len(axes) == 1:
        return (0,)
    through = "Z" if stack == "volume" else "TZ"
    return tuple(n for n, axis in enumerate(axes) if axis in through)


def number_stack(
    labels: npt.NDArray[Any],
    stack_axes: Sequence[str],
    stack: Stack,
    token: CancelToken | None = None,
) -> Generator[Progress, None, LabelArray]:
    """Give each object of a stack a number that no other one has.

    Parameters
    ----------
    labels : integer array, shape (*stack, Y, X)
        Objects of each plane; 0 is background.
    stack_axes : sequence of str
        One letter of "PTZ" for each axis of the stack; at least one.
    stack : {"separate", "volume", "film"}
        In a volume, objects go through Z, and in a film through T, and through Z if there
        is one. If the stack has one axis only, it is that one, whatever its letter. In a
        film, an object that divides ends, and its daughters have numbers of their own.
    token : CancelToken or None
        Checked between slices.

    Yields
    ------
    Progress
        Of the axis that is being linked.

    Returns
    -------
    int32 array, shape of `labels`
        Numbered from 1 without gaps, in the order in which objects appear.

    Raises
    ------
    Cancelled
        If the token says so.
    """
    from napari_resunet.engine.linking import number_apart

    letters = [AXIS_OF.get(stack, "Z")] if len(stack_axes) == 1 else list(stack_axes)
    order = [letters.index(a) for a in OUTER_TO_INNER if a in letters]
    order += [labels.ndim - 2, labels.ndim - 1]
    lengths = dict(zip(letters, labels.shape, strict=False))
    ordered = labels.transpose(order)
    five = [*(lengths.get(axis, 1) for axis in OUTER_TO_INNER), *labels.shape[-2:]]
    linked = yield from _linked(ordered.reshape(five), stack, token)
    # One stack has numbers from 1 already, and a copy of it may not fit into memory.
    alone = stack != "separate" and len(linked) == 1
    numbered = (linked if alone else number_apart(linked)).reshape(ordered.shape)
    return np.ascontiguousarray(numbered.transpose(np.argsort(order)))


def _linked(
    labels: npt.NDArray[Any], stack: Stack, token: CancelToken | None
) -> Generator[Progress, None, npt.NDArray[Any]]:
    """Link labels of shape (P, T, Z, Y, X); return planes, volumes, or films in a row."""
    n_positions, n_times, n_slices, height, width = labels.shape
    planes = labels.reshape(n_positions * n_times * n_slices, height, width)
    if stack == "separate":
        return planes
    volumes = planes.reshape(n_positions * n_times, n_slices, height, width)
    if stack == "volume" or n_slices > 1:
        volumes = yield from _each(volumes, token)
    if stack == "volume":
        return volumes
    return (yield from _each(volumes.reshape(labels.shape), token, divide=True))


def _each(
    stacks: npt.NDArray[Any], token: CancelToken | None, divide: bool = False
) -> Generator[Progress, None, LabelArray]:
    """Link each of several stacks by itself."""
    from napari_resunet.engine.linking import link_slices

    if len(stacks) == 1:
        return (yield from link_slices(stacks[0], token, divide))[None]
    linked = np.zeros(stacks.shape, np.int32)
    for one, result in zip(stacks, linked, strict=True):
        result[...] = yield from link_slices(one, token, divide)
    return linked
