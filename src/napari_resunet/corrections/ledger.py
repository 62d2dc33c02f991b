"""What is proposed, touched and checked, plane by plane: the user's work as data.

Merging pixels is `merge`; which layers these arrays come from is the plugin's matter.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet.corrections.edit import free_label
from napari_resunet.corrections.merge import renew, renew_classes, touched_pixels
from napari_resunet.types import LabelArray, MaskArray, Task, Window
from napari_resunet.windows import relative

Index = tuple[int, ...]


@dataclass
class PlaneLedger:
    """The state of one plane of labels.

    Attributes
    ----------
    applied : int32 array, shape (Y, X)
        The labels as we last wrote them.
    proposed : bool array
        Where a proposal was ever made.
    touched : bool array
        What the user changed, objects as a whole.
    checked : bool array
        Where the user vouches for every pixel.
    revision : int
        Goes up with each of our own changes, for whoever keeps a copy.
    """

    applied: LabelArray
    proposed: MaskArray
    touched: MaskArray
    checked: MaskArray
    revision: int = 0

    @classmethod
    def empty(cls, shape: tuple[int, int]) -> PlaneLedger:
        """Start with no labels, nothing proposed, touched or checked."""
        proposed, touched, checked = (np.zeros(shape, bool) for _ in range(3))
        return cls(np.zeros(shape, np.int32), proposed, touched, checked)

    def observe(self, current: npt.NDArray[Any]) -> None:
        """Take note of what the user changed.

        Parameters
        ----------
        current : integer array, shape (Y, X)
            The labels now.
        """
        self.touched |= touched_pixels(current, self.applied)
        self.applied = current.astype(np.int32)
        self.revision += 1

    def check(self, region: MaskArray) -> None:
        """Mark a region as checked, as far as there was a proposal or a correction.

        Parameters
        ----------
        region : bool array, shape (Y, X)
            What the user vouches for.
        """
        known = self.proposed | self.touched
        # Without any proposal the user drew everything: the region is as they say.
        self.checked |= region & known if self.proposed.any() else region
        self.revision += 1

    def uncheck(self, region: MaskArray) -> None:
        """Take a region back; what the user changed there stays theirs."""
        self.checked &= ~region
        self.revision += 1

    @property
    def protected(self) -> MaskArray:
        """Where no proposal may write."""
        return self.checked | self.touched

    def renewed(
        self,
        current: npt.NDArray[Any],
        proposal: npt.NDArray[Any],
        window: Window,
        core: Window,
        task: Task,
    ) -> LabelArray:
        """Merge a proposal into the labels and remember it as applied.

        Parameters
        ----------
        current : integer array, shape (Y, X)
            The plane's labels now.
        proposal : integer array, shape of the window
            New labels.
        window, core : tuple of slice
            Where the proposal lies, context included, and the part asked for.
        task : {"instances", "classes"}
            What labels mean.

        Returns
        -------
        int32 array, shape of the window
            Equal to `current` on every protected pixel.
        """
        self.observe(current)
        part, protected = current[window], self.protected[window]
        inner = relative(core, window)
        if task == "instances":
            result = renew(part, proposal, protected, inner, free_label(current))
        else:
            result = renew_classes(part, proposal, protected, inner)
        self.applied[window] = result
        self.proposed[core] = True
        return result


@dataclass
class Ledger:
    """The planes of one Labels layer, made when first needed."""

    shape: tuple[int, int]
    planes: dict[Index, PlaneLedger] = field(default_factory=dict)

    def plane(self, index: Index) -> PlaneLedger:
        """Find or make the state of a plane."""
        if index not in self.planes:
            self.planes[index] = PlaneLedger.empty(self.shape)
        return self.planes[index]

    def checked_planes(self) -> list[Index]:
        """List the planes with a checked region, in the order of the stack."""
        return sorted(index for index, p in self.planes.items() if p.checked.any())
