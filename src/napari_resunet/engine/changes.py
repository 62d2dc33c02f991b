"""What a fine-tuning changes on images without labels, in numbers and in words.

No torch: the dock uses the same words for the versions of a session. `elsewhere` compares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter

from napari_resunet.types import Fraction

MAX_IMAGES = 6
"""So many images show what changes, and comparing them takes seconds."""

LARGE = 0.25
"""An image of which a larger fraction changes is worth a look."""

MIN_OBJECTS = 5
"""With fewer objects, one of them would be a large fraction."""

NAMED = 2
"""More images are not named in a sentence."""

T = TypeVar("T")
N = Annotated[int, Field(ge=0, lt=10**9)]


@dataclass(frozen=True)
class Changes:
    """How the labels of a new model differ from those of the old one.

    Attributes
    ----------
    new, gone : int
        Objects that only the new model finds, or only the old one.
    changed, same : int
        Objects that both find, with another outline or the same one.
    pixels : float or None
        For classes, the fraction of the pixels whose class changed; None for objects.
    """

    new: N = 0
    gone: N = 0
    changed: N = 0
    same: N = 0
    pixels: Fraction | None = None

    @property
    def n_objects(self) -> int:
        """Number of objects that either model finds."""
        return self.new + self.gone + self.changed + self.same

    @property
    def fraction(self) -> float:
        """Fraction of the objects, or of the pixels of classes, that changed."""
        if self.pixels is not None:
            return self.pixels
        return 1 - self.same / self.n_objects if self.n_objects else 0.0

    @property
    def is_large(self) -> bool:
        """Whether so much changed that a user should look."""
        enough = self.pixels is not None or self.n_objects >= MIN_OBJECTS
        return enough and self.fraction >= LARGE


CHANGES: TypeAdapter[Changes | None] = TypeAdapter(Changes | None)
"""Reads them from a file."""


@dataclass(frozen=True)
class ImageChanges:
    """What changed on one image.

    Attributes
    ----------
    name : str
        What the user calls the image.
    changes : Changes
        What changed.
    key : str
        What the caller knows it by; the engine leaves it empty.
    """

    name: str
    changes: Changes
    key: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """What a fine-tuning changed on images without labels.

    Attributes
    ----------
    images : tuple of ImageChanges
        One for each of them; at least one.
    """

    images: tuple[ImageChanges, ...]

    @property
    def total(self) -> Changes:
        """What changed on all of them together."""
        every = [image.changes for image in self.images]
        pixels = [changes.pixels for changes in every if changes.pixels is not None]
        return Changes(
            new=sum(changes.new for changes in every),
            gone=sum(changes.gone for changes in every),
            changed=sum(changes.changed for changes in every),
            same=sum(changes.same for changes in every),
            pixels=sum(pixels) / len(pixels) if pixels else None,
        )

    @property
    def to_look_at(self) -> tuple[ImageChanges, ...]:
        """The images that changed much, the most changed one first."""
        large = [image for image in self.images if image.changes.is_large]
        return tuple(sorted(large, key=lambda image: -image.changes.fraction))

    @property
    def text(self) -> str:
        """Two sentences at most: what changed, and which images to look at."""
        return f"{changes_text(self.total)} {self.look_text}".strip()

    @property
    def look_text(self) -> str:
        """Which images to look at, in a sentence; empty if there are none."""
        return _look_text([image.name for image in self.to_look_at])

    def with_keys(self, keys: Sequence[str]) -> Elsewhere:
        """Say by which keys the caller knows the images."""
        pairs = zip(self.images, keys, strict=True)
        return Elsewhere(tuple(replace(image, key=key) for image, key in pairs))


def changes_text(changes: Changes) -> str:
    """Say in a sentence what changed on the other images of the user."""
    if changes.pixels is not None:
        return f"On your other images: {changes.pixels:.0%} of the pixels changed."
    before = changes.n_objects - changes.new
    if changes.n_objects == 0:
        return "On your other images: no objects, as before."
    if changes.n_objects == changes.same:
        return f"On your other images: all {before:,} the same."
    counts = {"new": changes.new, "gone": changes.gone, "changed": changes.changed}
    listed = ", ".join(f"{n:,} {kind}" for kind, n in counts.items() if n)
    whole = f" of {before:,}" if before else ", none before"
    return f"On your other images: {listed}{whole}."


def _look_text(names: Sequence[str]) -> str:
    """Name the images to look at."""
    if not names:
        return ""
    named = list(names[:NAMED])
    if len(names) > NAMED:
        named[-1] = f"{len(names) - NAMED + 1} more"
    return f"Look at {_joined(named)}."


def _joined(names: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))


def evenly(things: Sequence[T], n: int) -> list[T]:
    """Choose up to `n` of some things, spread evenly over their order."""
    if len(things) <= n:
        return list(things)
    return [things[(2 * i + 1) * len(things) // (2 * n)] for i in range(n)]
