"""Where the blocks of a large image are computed, and the flags that say so."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from napari_resunet.session import flags

MOST_WORKERS = 1024


@dataclass(frozen=True)
class ClusterChoice:
    """Where blocks are computed: in this process, or in one for each of several GPUs.

    At most one attribute is given.

    Attributes
    ----------
    scheduler : str or None
        Address of a Dask scheduler.
    scheduler_file : Path or None
        A file in which a Dask scheduler states its address.
    workers : int or None
        Number of processes to start on this computer.
    """

    scheduler: str | None = None
    scheduler_file: Path | None = None
    workers: int | None = None


HERE = ClusterChoice()


def add_cluster_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where to compute."""
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--scheduler",
        type=flags.scheduler,
        metavar="ADDRESS",
        help="for a large image: compute its blocks on the workers of this Dask scheduler, "
        "for example tcp://host:8786",
    )
    group.add_argument(
        "--scheduler-file",
        type=flags.path,
        metavar="FILE",
        help="the same, with the address in a file that the scheduler wrote",
    )
    group.add_argument(
        "--workers",
        type=flags.whole(1, MOST_WORKERS, "2"),
        metavar="N",
        help="for a large image: compute its blocks in N processes on this computer "
        "(default: one for each GPU)",
    )


def cluster_choice(arguments: argparse.Namespace) -> ClusterChoice:
    """Return what the flags say."""
    return ClusterChoice(arguments.scheduler, arguments.scheduler_file, arguments.workers)
