"""Does *Next* save work? ``python benchmarks/learning.py DATA --choose next random``.

A simulated user has a pool of images, divided into the windows of `engine.uncertainty`. In
each round one unverified window is chosen, either by *Next*, with the highest score of all
images and the current model, or at random. Its edits are counted, it is corrected, and the
model learns from all regions so far. The start, the pool, the images that are never
corrected, and the seeds are the same for all choices.

The decisive number is the **edits to finish** the pool: the edits in the regions so far
plus those that the rest would still need with the model of that round. This is the user's
whole work. Edits in the chosen regions alone would reward choosing empty regions, and edits
in the rest alone would reward correcting the worst regions first.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from unittest.mock import patch

import numpy as np
from learning_columns import Ours, Setting, from_starter
from learning_rows import Table
from learning_user import Domain, corrected, edits_per_object, middle, read_domain

from napari_resunet.engine import finetune
from napari_resunet.engine.finetune_config import FineTuneConfig
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.metrics import score
from napari_resunet.engine.uncertainty import priority, rank
from napari_resunet.network.model_file import Model
from napari_resunet.session.segmenter import Proposal, Segmenter
from napari_resunet.types import Decoding, DeviceChoice, Example, Target, Window


@dataclass(frozen=True)
class RegionRow:
    """One domain, choice, seed and round.

    Attributes
    ----------
    image : int
        Image of the pool with the last corrected region.
    objects : int
        Number of objects corrected so far.
    made : int
        Edits in the regions so far.
    finish : int
        `made` plus the edits that the rest of the pool needs with the model of this round.
    edits : float
        Edits per object in images that are never corrected.
    learn_seconds : float
        Time to learn in this round.
    """

    domain: str
    choice: str
    seed: int
    round: int
    image: int
    objects: int
    made: int
    finish: int
    edits: float
    learn_seconds: float


@dataclass(frozen=True)
class Place:
    """A window of an image of the pool, with its priority for *Next*."""

    image: int
    window: Window
    priority: tuple[float, float]


class Pool:
    """Images to correct, their verified areas, and the proposals of this round."""

    def __init__(self, domain: Domain, device: DeviceChoice) -> None:
        self.images, self._info = domain.correct, domain.info
        self.verified = [np.zeros(e.labels.shape, bool) for e in self.images]
        self._device = device
        self._proposals: dict[int, Proposal] = {}

    def propose(self, model: Model) -> None:
        """Propose labels for the images that are not done."""
        segmenter = Segmenter(model, self._device)
        for number, (image, verified) in enumerate(
            zip(self.images, self.verified, strict=True)
        ):
            if not verified.all():
                self._proposals[number] = _proposal(segmenter, image)

    def unchecked(self) -> list[Place]:
        """List the remaining windows by image, the least certain ones first."""
        places = []
        for number, made in self._proposals.items():
            verified = self.verified[number]
            for region in rank(made.maps, made.labels, verified, made.roi):
                order = priority(region, float(verified.mean()))
                places.append(Place(number, region.window, order))
        return places

    def labels(self, image: int) -> np.ndarray:
        """Return the proposal for an image."""
        return self._proposals[image].labels

    def edits(self, place: Place) -> int:
        """Count the edits that a window needs; for classes, in units of an object."""
        example = self.images[place.image]
        truth = example.labels[place.window]
        found = self.labels(place.image)[place.window]
        if self._info.task == "classes":
            wrong = int((truth != found).sum())
            return round(wrong * (example.scale or 1.0) ** 2 / self._info.reference_area)
        return score(truth, found).edits


def _proposal(segmenter: Segmenter, example: Example) -> Proposal:
    planes = ImageReader([example.image])
    events = segmenter.propose(
        planes, [Target((), planes.window)], scale=example.scale, decoding=Decoding(),
        statistics=example.statistics,
    )  # fmt: skip
    return next(event for event in events if isinstance(event, Proposal))


def _next(places: Sequence[Place], rng: np.random.Generator) -> Place:
    return max(places, key=lambda place: place.priority)


def _random(places: Sequence[Place], rng: np.random.Generator) -> Place:
    # In the order of the pool, so that the random choice does not depend on the model.
    places = sorted(places, key=lambda p: (p.image, p.window[0].start, p.window[1].start))
    return places[rng.integers(len(places))]


CHOICES: dict[str, Callable[[Sequence[Place], np.random.Generator], Place]] = {
    "next": _next,
    "random": _random,
}


def run(domain: Domain, choice: str, setting: Setting, rounds: int) -> Iterator[RegionRow]:
    """Run all rounds with one way to choose."""
    ours, rng = from_starter(setting), np.random.default_rng(setting.seed)
    pool = Pool(domain, setting.device)
    regions: list[Example] = []
    objects, made, image, seconds = 0, 0, -1, 0.0
    for number in range(rounds + 1):
        pool.propose(ours.model)
        places = pool.unchecked()
        yield RegionRow(
            domain.name, choice, setting.seed, number, image, objects, made,
            made + sum(map(pool.edits, places)), _unseen(ours, domain), seconds,
        )  # fmt: skip
        if number == rounds or not places:
            return
        place = CHOICES[choice](places, rng)
        image, made = place.image, made + pool.edits(place)
        region, n, _ = corrected(
            domain.correct[image], place.window, pool.labels(image), domain.info
        )
        regions.append(region)
        objects += n
        pool.verified[image][place.window] = True
        begin = time.perf_counter()
        _learn(ours, regions)
        seconds = time.perf_counter() - begin


def _learn(ours: Ours, regions: Sequence[Example]) -> None:
    """Learn from everything verified, and use the last weights.

    After few steps, the score of a small held-out part is mostly chance, and the model
    selection would keep one model for many rounds, whatever is chosen.
    """
    with patch.object(finetune, "split", lambda image, task, strips: (image, [])):
        ours.learn(regions)


def _unseen(ours: Ours, domain: Domain) -> float:
    edits = [
        edits_per_object(e.labels, ours.propose(e.image, e.scale), domain.info)
        for e in domain.score
    ]
    return float(np.mean(edits))


def compare_choices(arguments: argparse.Namespace, table: Table) -> None:
    """Run everything that is not in the table yet."""
    for seed, name in product(range(arguments.seeds), arguments.domains):
        # The pools of different seeds are interleaved.
        first = seed / arguments.seeds / arguments.pool
        whole = read_domain(name, arguments.pool, first, arguments)
        images = [middle(e, arguments.largest) for e in whole.correct]
        domain = Domain(name, whole.info, images, whole.score)
        config = FineTuneConfig(
            steps=arguments.steps, seconds=arguments.seconds, seed=seed,
        )  # fmt: skip
        setting = Setting(domain.info, arguments.model, config, arguments.device, seed)
        for choice in arguments.choose:
            n = arguments.rounds + 1
            if table.done(n, domain=name, choice=choice, seed=str(seed)):
                continue
            for row in run(domain, choice, setting, arguments.rounds):
                table.add(row)
