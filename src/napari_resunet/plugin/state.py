"""What the controller remembers: model versions, and settings of each image."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from napari_resunet.session.store.models import VersionRecord

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal

LARGEST_KEPT = 2**30
"""Bytes of maps kept for the sliders; beyond, the oldest planes lose theirs."""

STARTER = "starter"


@dataclass(frozen=True)
class Version:
    """One model that can be gone back to.

    Attributes
    ----------
    key : str
        The model's id; "starter" until the starter is loaded.
    title, tooltip : str
        For the list.
    model : Model or None
        None: not loaded yet.
    record : VersionRecord or None
        What is known of it; None for the starter.
    source : str
        By which name it is loaded: "starter", or the path of its file.
    """

    key: str
    title: str
    tooltip: str
    model: Model | None
    record: VersionRecord | None = None
    source: str = STARTER

    @property
    def to_use(self) -> Model | str:
        """The model, or the name to load it by."""
        return self.model or self.source


class Versions:
    """All models of the session, oldest first, and which one is used."""

    def __init__(self) -> None:
        self._all = [Version(STARTER, "Starter", "The model that comes with us", None)]
        self.current = self._all[0]
        self._last_number = 0

    def add(self, version: Version) -> None:
        """Add a version and use it."""
        self._all.append(version)
        if version.record is not None:
            self._last_number = max(self._last_number, version.record.number)
        self.current = version

    def all(self) -> list[Version]:
        """List all, the starter first."""
        return list(self._all)

    def get(self, key: str) -> Version | None:
        """Find a version."""
        return next((v for v in self._all if v.key == key), None)

    def loaded(self, source: str, model: Model) -> None:
        """Fill in the weights of what is loaded by that name, now that they are there."""
        for version in self.all():
            if version.source == source and version.model is None:
                self.put(replace(version, model=model))

    def starter_loaded(self, model: Model) -> None:
        """Fill in the starter's weights."""
        self.loaded(STARTER, model)

    def put(self, version: Version) -> None:
        """Exchange the version of the same key."""
        position = next(i for i, v in enumerate(self._all) if v.key == version.key)
        if self.current is self._all[position]:
            self.current = version
        self._all[position] = version

    def remove(self, key: str) -> None:
        """Delete a version that is neither the starter nor in use."""
        self._all = [v for v in self._all if v.key != key or v is self.current]

    def restore(
        self, versions: Sequence[Version], current: str, last_number: int = 0
    ) -> None:
        """Take the versions of a session, behind the starter; use one of them.

        Numbers up to `last_number` were given before, also to versions that are gone.
        """
        self._all[1:] = versions
        self._last_number = last_number
        self.current = self.get(current) or self._all[0]

    def choose(self, key: str) -> None:
        """Use another version."""
        self.current = next(v for v in self._all if v.key == key)

    def previous(self) -> Version | None:
        """Find the version before the current one."""
        position = self._all.index(self.current)
        return self._all[position - 1] if position else None

    def listed(self) -> list[tuple[str, str, str]]:
        """List (key, title, tooltip)."""
        return [(v.key, v.title, v.tooltip) for v in self._all]

    def next_number(self) -> int:
        """Find a number for the next version: none is given twice."""
        numbers = (v.record.number for v in self._all if v.record)
        return 1 + max(self._last_number, *numbers, 0)


@dataclass
class ImageState:
    """Settings and kept maps of one image.

    Attributes
    ----------
    channels : tuple of int or None
        Which feed the network; None until the first Segment.
    scale : float or None
        Factor from image to working pixels, as estimated or set.
    auto : bool
        Whether the scale is estimated.
    """

    channels: tuple[int, ...] | None = None
    scale: float | None = None
    auto: bool = True
    _from_slider: tuple[int, ...] | None = None
    _kept: OrderedDict[tuple[tuple[int, ...], str], Proposal] = field(
        default_factory=OrderedDict
    )

    def choose_channels(self, channels: tuple[int, ...]) -> None:
        """Take the user's choice: the slider no longer matters."""
        self.channels, self._from_slider = channels, None

    def channels_for(self, shown: int | None) -> tuple[int, ...] | None:
        """Tell what would be segmented now: the channel shown, unless the user chose."""
        followed = self.channels is None or self.channels == self._from_slider
        return (shown,) if followed and shown is not None else self.channels

    def use_shown(self, channel: int | None) -> None:
        """Take the channel that the slider shows, unless the user chose some."""
        channels = self.channels_for(channel)
        if channels != self.channels:
            self.channels = self._from_slider = channels
            self.forget_maps()

    def keep(self, proposal: Proposal) -> None:
        """Keep the maps of a proposal; the oldest go when there are too many."""
        key = (proposal.target.index, str(proposal.core))
        self._kept.pop(key, None)
        self._kept[key] = proposal
        while len(self._kept) > 1 and self._bytes() > LARGEST_KEPT:
            self._kept.popitem(last=False)

    def kept(self, first: tuple[int, ...]) -> list[Proposal]:
        """List what is kept, the plane `first` in front, then the latest first."""
        latest_first = list(self._kept.values())[::-1]
        return sorted(latest_first, key=lambda p: p.target.index != first)

    @property
    def has_maps(self) -> bool:
        """Whether the sliders have something to act on."""
        return bool(self._kept)

    def forget_maps(self) -> None:
        """Drop the kept maps: another model or another size made them stale."""
        self._kept.clear()

    def _bytes(self) -> int:
        return sum(p.kept.maps.nbytes for p in self._kept.values())
