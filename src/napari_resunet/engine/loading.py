"""Work for other processes while a GPU computes: torch's DataLoader, item by item."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

from napari_resunet.engine.device import Compute
from napari_resunet.errors import ResunetError
from napari_resunet.network.torch_import import torch

Job = TypeVar("Job")
Made = TypeVar("Made")

AHEAD = 4
"""So many items each process makes in advance."""


def made_ahead(
    make: Callable[[Job], Made], jobs: Sequence[Job], compute: Compute
) -> Iterator[Made]:
    """Make one thing of each job, in order.

    Parameters
    ----------
    make : callable
        What it makes can be pickled.
    jobs : sequence
        Its arguments.
    compute : Compute
        What uses the things. A CPU has no cores to spare: there they are made here, one
        when it is asked for. So they are on Windows and macOS, where each process would
        get a copy of what `make` holds.

    Yields
    ------
    Made
        On page-locked memory for CUDA, so that copying does not wait.

    Raises
    ------
    ResunetError
        That `make` raised, with its own words.
    """
    spare = compute.kind != "cpu" and sys.platform == "linux"
    n_workers = min(len(jobs), os.cpu_count() or 1) if spare else 0
    loader = torch.utils.data.DataLoader(
        _Jobs(make, jobs),
        batch_size=None,
        num_workers=n_workers,
        prefetch_factor=AHEAD if n_workers else None,
        multiprocessing_context="fork" if n_workers else None,
        pin_memory=compute.kind == "cuda",
    )
    for made in loader:
        if isinstance(made, ResunetError):
            raise made
        yield made


class _Jobs(torch.utils.data.Dataset[Made | ResunetError], Generic[Job, Made]):
    def __init__(self, make: Callable[[Job], Made], jobs: Sequence[Job]) -> None:
        self._make, self._jobs = make, jobs

    def __len__(self) -> int:
        return len(self._jobs)

    def __getitem__(self, number: int) -> Made | ResunetError:
        try:
            return self._make(self._jobs[number])
        except ResunetError as error:
            # Raised here, torch would put the other process's stack trace into its words.
            return error
