"""Fuzz the program with thousands of odd, damaged, and hostile inputs; count the outcomes.

    python benchmarks/attack.py [--inputs 2000] [--seed 0] [--kinds files masks …]
                                [--jobs 1] [--seconds N] [--log FILE] [--only KIND:SEED …]

Each input is made from a seed, and its generator knows the right outcome: the result of the
same data in plain form, or one sentence that a biologist understands. Inputs run in a
worker process that imports torch once and is restarted when an input kills or hangs it;
every fiftieth command runs as a separate program. The exit status is 1 if there was any
other outcome. See ``attacks/`` for the kinds. POSIX only.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import TextIO

os.environ.setdefault("OMP_NUM_THREADS", "1")

from attacks.verdict import BAD, GOOD, Result
from attacks.worker import KINDS, Worker

SHARES = {"files": 8, "masks": 3, "flags": 4, "api": 6, "models": 3, "sessions": 5,
          "hostile": 2, "layers": 2, "large": 2}  # fmt: skip
"""Number of inputs of each kind in a round."""

TITLES = {"right": "right result", "sentence": "one sentence", "poor": "poor sentence"}
Input = tuple[str, int]
Row = tuple[Input, Result, float]


def inputs(kinds: Sequence[str], first: int) -> Iterator[Input]:
    """Cycle through the kinds for ever, with a separate sequence of seeds for each."""
    number = dict.fromkeys(kinds, first)
    while True:
        for kind in kinds:
            for _ in range(SHARES[kind]):
                yield kind, number[kind]
                number[kind] += 1


def run(chosen: Sequence[Input], jobs: int, limit: float, until: float) -> Iterator[Row]:
    """Run inputs in parallel workers until a point in time.

    Parameters
    ----------
    chosen : sequence of (str, int)
        Kinds and seeds.
    jobs : int
        Number of workers.
    limit : float
        Seconds for one input.
    until : float
        When to stop, as a value of `time.monotonic`.

    Yields
    ------
    input, result, seconds
    """
    workers = [Worker(limit) for _ in range(jobs)]
    free = list(workers)

    def one(item: Input) -> Row | None:
        if time.monotonic() > until:
            return None
        worker, begin = free.pop(), time.monotonic()
        try:
            return item, worker.attack(*item), time.monotonic() - begin
        finally:
            free.append(worker)

    try:
        with ThreadPoolExecutor(jobs) as pool:
            yield from filter(None, pool.map(one, chosen))
    finally:
        for worker in workers:
            worker.stop()


def table(counts: dict[str, Counter[str]]) -> str:
    """Format the number of inputs by kind and outcome."""
    verdicts = (*GOOD, *BAD)
    heads = [TITLES.get(v, v) for v in verdicts]
    lines = [f"{'kind':<10}{'inputs':>8}" + "".join(f"{h:>15}" for h in heads)]
    total = Counter[str]()
    for kind, found in counts.items():
        total += found
        lines.append(_line(kind, found))
    return "\n".join([*lines, _line("all", total)])


def _line(name: str, found: Counter[str]) -> str:
    numbers = (found[v] for v in (*GOOD, *BAD))
    return f"{name:<10}{sum(found.values()):>8}" + "".join(f"{n:>15}" for n in numbers)


def _print_row(row: Row, stream: TextIO) -> None:
    (kind, seed), result, seconds = row
    print(f"{result.verdict:<10} {kind}:{seed} ({seconds:.1f} s) {result.what} | "
          f"{result.detail}".replace("\n", "\\n"), file=stream, flush=True)  # fmt: skip


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--inputs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0, help="of the first input of a kind")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop then")
    parser.add_argument("--limit", type=float, default=60.0, help="seconds for one input")
    parser.add_argument("--log", type=Path, help="write a line for each input")
    parser.add_argument("--only", nargs="+", metavar="KIND:SEED", help="just these")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Run all inputs; print each failing one, then the table."""
    arguments = _arguments(argv)
    if arguments.only:
        pairs = (text.partition(":") for text in arguments.only)
        chosen = [(kind, int(seed)) for kind, _, seed in pairs]
    else:
        chosen = list(islice(inputs(arguments.kinds, arguments.seed), arguments.inputs))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    begin = time.monotonic()
    log = arguments.log.open("w", encoding="utf-8") if arguments.log else None
    for row in run(chosen, arguments.jobs, arguments.limit, begin + arguments.seconds):
        counts[row[0][0]][row[1].verdict] += 1
        if log is not None:
            _print_row(row, log)
        if row[1].verdict in BAD or arguments.only:
            _print_row(row, sys.stdout)
    print(table(counts))
    n = sum(sum(found.values()) for found in counts.values())
    spent = time.monotonic() - begin
    print(f"{n} inputs in {spent / 60:.0f} minutes, {spent / max(1, n):.2f} s each")
    return int(any(found[verdict] for found in counts.values() for verdict in BAD))


if __name__ == "__main__":
    sys.exit(main())
