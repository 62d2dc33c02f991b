"""The state of the dock: chosen image, model versions, settings, and their signals.

Controllers write the state and listen to it, so they act together without knowing each
other. No Qt, no napari, no torch.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_resunet._package import STARTER
from napari_resunet.session.measurements import Measurement
from napari_resunet.session.queue import Queue
from napari_resunet.session.settings import MAX_LEARNED, REMOTE, Scope, Settings, Stack
from napari_resunet.session.store.models import CheckpointRecord, VersionRecord
from napari_resunet.session.store.parts import PartRecord
from napari_resunet.session.store.schema import QueueItem
from napari_resunet.types import (
    Channels,
    Decoding,
    Device,
    ObjectSize,
    RemoteServer,
    single_channels,
)

if TYPE_CHECKING:
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal
    from napari_resunet.session.workers import CorrectedImage, ModelReady

MAX_MAP_BYTES = 2**30
"""Size limit of the cached prediction maps; beyond it, the oldest planes lose theirs."""

DEFAULT_DIAMETER = 24.0
"""Object diameter in pixels at network resolution, used before a model is loaded."""


@dataclass(frozen=True)
class Version:
    """One model that the user can return to.

    Attributes
    ----------
    key : str
        The model's id; "starter" for the bundled model until it is loaded.
    title, tooltip : str
        Texts in the list.
    model : Model or None
        The model; None until it is loaded.
    record : VersionRecord or None
        Its record; None for the bundled model.
    source : str
        Name to load it by: "starter" or a path.
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

    @property
    def is_candidate(self) -> bool:
        """Whether the user still has to choose between it and the one in use."""
        return self.record is not None and self.record.candidate

    @property
    def object_size(self) -> ObjectSize | None:
        """The object size that it learned from; None if it learned none."""
        if self.model is not None:
            return self.model.info.object_size
        return None if self.record is None else self.record.object_size

    @property
    def number(self) -> int:
        """Its number in the list; the bundled model is 0."""
        return 0 if self.record is None else self.record.number


class Versions:
    """All models of the session, oldest first, and the one in use."""

    def __init__(self) -> None:
        self._all = [Version(STARTER, "Starter", "The bundled model", None)]
        self.current = self._all[0]
        self._last_number = 0

    def add(self, version: Version) -> None:
        """Add a version and use it, unless it is a candidate."""
        self._all.append(version)
        self._last_number = max(self._last_number, version.number)
        if not version.is_candidate:
            self.current = version

    def all(self) -> list[Version]:
        """List all, the bundled model first."""
        return list(self._all)

    def get(self, key: str) -> Version | None:
        """Return the version with this key."""
        return next((v for v in self._all if v.key == key), None)

    def loaded(self, source: str, model: Model) -> None:
        """Fill in the model of every version that is loaded by this name."""
        for version in self.all():
            if version.source == source and version.model is None:
                self.put(replace(version, model=model))

    def put(self, version: Version) -> None:
        """Replace the version that has the same key."""
        position = next(i for i, v in enumerate(self._all) if v.key == version.key)
        if self.current is self._all[position]:
            self.current = version
        self._all[position] = version

    def remove(self, key: str) -> None:
        """Delete a version, unless it is in use."""
        self._all = [v for v in self._all if v.key != key or v is self.current]

    def restore(
        self, versions: Sequence[Version], current: str, last_number: int = 0
    ) -> None:
        """Restore the versions of a session, and use one of them.

        New versions are numbered from `last_number` on, because deleted ones had numbers,
        too.
        """
        self._all[1:] = versions
        self._last_number = last_number
        self.current = self.get(current) or self._all[0]

    def surplus(self) -> list[Version]:
        """List the oldest learned versions beyond `MAX_LEARNED`.

        The version in use and the one before it stay, and those with a name or a note.
        """
        kept = {self.current.key, getattr(self.previous(), "key", "")}
        learned = [
            v for v in self._all if v.record is not None and v.record.origin == "learned"
        ]
        return [
            v for v in learned[:-MAX_LEARNED]
            if v.record and not v.record.name and not v.record.note and v.key not in kept
        ]  # fmt: skip

    def choose(self, key: str) -> None:
        """Use another version."""
        self.current = next(v for v in self._all if v.key == key)

    def previous(self) -> Version | None:
        """Return the version before the current one, if any."""
        earlier = self._all[: self._all.index(self.current)]
        return next((v for v in reversed(earlier) if not v.is_candidate), None)

    @property
    def candidate(self) -> Version | None:
        """The version that the user may choose instead of the one in use."""
        found = (v for v in self._all if v.is_candidate and v is not self.current)
        return next(found, None)

    def listed(self) -> list[tuple[str, str, str]]:
        """List all versions, each (key, title, tooltip)."""
        return [(v.key, v.title, v.tooltip) for v in self._all]

    def next_number(self) -> int:
        """Return a number that no version ever had."""
        return 1 + max(self._last_number, *(v.number for v in self._all))


@dataclass
class ImageState:
    """Settings and cached prediction maps of one image.

    Attributes
    ----------
    channels : tuple of int or of tuple of int, or None
        Channels that the network sees; None until the first Segment. Numbers beyond the
        image's own channels are those of `partners`.
    partners : tuple of str
        Keys of the images whose pixels are combined with this one's.
    channel_names : tuple of str
        Names of the image's own channels; empty if they are not known.
    scale : float or None
        Rescale factor from image pixels to network resolution, set by the user or, for a
        model that learned no object size, estimated. `shared.scale_for` is the one in use.
    auto : bool
        Whether the user has set no object size.
    stack : {"separate", "volume", "film"} or None
        What the slices are: objects of a volume or a film are linked. None guesses it:
        `shared.stack_of` is what holds.
    answered : bool
        Whether the user said if the first dimension is channels or slices.
    measured : Measurement or None
        The table of its labels; None if they changed since.
    store : Path or None
        The labels of a large image, on the disk.
    store_shape : tuple of int
        Their shape; empty until they are opened.
    part : PartRecord or None
        What the image is a part of, if it is one.
    """

    channels: Channels | None = None
    partners: tuple[str, ...] = ()
    channel_names: tuple[str, ...] = ()
    scale: float | None = None
    auto: bool = True
    stack: Stack | None = None
    answered: bool = False
    measured: Measurement | None = None
    store: Path | None = None
    store_shape: tuple[int, ...] = ()
    part: PartRecord | None = None
    _from_slider: Channels | None = None
    _cache: OrderedDict[tuple[tuple[int, ...], str], Proposal] = field(
        default_factory=OrderedDict
    )

    def choose_channels(
        self, channels: Channels | None, partners: tuple[str, ...] = ()
    ) -> None:
        """Choose channels, which then do not follow the slider; None follows it again."""
        self.channels, self.partners, self._from_slider = channels, partners, None

    def channels_for(self, shown: int | None) -> Channels | None:
        """Return the channels to segment: the shown one unless the user chose some."""
        followed = self.channels is None or self.channels == self._from_slider
        return (shown,) if followed and shown is not None else self.channels

    def use_shown(self, channel: int | None) -> None:
        """Use the shown channel unless the user chose some."""
        channels = self.channels_for(channel)
        if channels != self.channels:
            self.channels = self._from_slider = channels
            self.forget_maps()

    def settle_channels(self, n_channels: int, shown: int | None) -> Channels | None:
        """Return the channels to segment; drop a choice that the image no longer has.

        `n_channels` includes those of its partners.
        """
        if max(single_channels(self.channels or (0,))) >= n_channels:
            self.choose_channels(None)
        if self.channels is None:
            self.use_shown(shown)
        return self.channels

    def cache(self, proposal: Proposal) -> None:
        """Cache the maps of a proposal; drop the oldest ones if there are too many."""
        key = (proposal.index, str(proposal.roi))
        self._cache.pop(key, None)
        self._cache[key] = proposal
        while len(self._cache) > 1 and self._bytes() > MAX_MAP_BYTES:
            self._cache.popitem(last=False)

    def proposals(self, first: tuple[int, ...]) -> list[Proposal]:
        """List cached proposals: those of the plane `first`, then the latest."""
        latest_first = list(self._cache.values())[::-1]
        return sorted(latest_first, key=lambda p: p.index != first)

    @property
    def has_maps(self) -> bool:
        """Whether there are maps for the sliders."""
        return bool(self._cache)

    def forget_maps(self) -> None:
        """Drop all cached maps, because model, pixels, or object size changed."""
        self._cache.clear()

    def _bytes(self) -> int:
        kept = (p.beyond.predicted if p.beyond else p.maps for p in self._cache.values())
        return sum(predicted.maps.nbytes for predicted in kept)


@dataclass(frozen=True)
class Counts:
    """What is counted in the labels of an image.

    Attributes
    ----------
    classes : tuple of str
        Names of the classes, background first; empty for objects.
    found : tuple of int
        The number of objects of the slice, or the pixels of each class in it.
    verified, pixels : int
        Verified objects and verified pixels, in all slices.
    edits : int
        The user's edits.
    stack : bool
        Whether there are several slices.
    """

    classes: tuple[str, ...]
    found: tuple[int, ...]
    verified: int
    pixels: int
    edits: int
    stack: bool

    @property
    def objects(self) -> int | None:
        """Number of objects in the slice; None for classes."""
        return None if self.classes else self.found[0]


@dataclass(frozen=True)
class Interrupted:
    """A fine-tuning that a crash interrupted and that can be resumed.

    Attributes
    ----------
    record : CheckpointRecord
        The record of its checkpoint.
    image_key : str or None
        Key of its image, if that is in the viewer.
    """

    record: CheckpointRecord
    image_key: str | None


class AppState:
    """The state of one dock.

    Attributes
    ----------
    image_key : str or None
        Key of the chosen image.
    pinned : bool
        Whether it stays the chosen one, whatever layer is selected.
    area : str
        Area for *Mark as verified*: "visible", "slice", "box", or a Shapes layer.
    speed : float or None
        Pixels at network resolution that are predicted in a second, as soon as measured.
    folder : Path or None
        The session folder, as soon as there is one.
    queue : Queue
        The images to work on.
    chosen_files : set of str
        Keys of the items whose files the user chose; a session may name any file.
    unlearned : dict of str to CorrectedImage or None
        What was verified on images that left the viewer since the last fine-tuning; None
        once it is in the training set.
    interrupted : Interrupted or None
        The fine-tuning that *Resume* resumes.
    to_look_at : dict of str to float
        Keys of the items on which the last fine-tuning changed much, and what fraction;
        without those that were opened since.
    counts : Counts or None
        The counts of the chosen image; None if it has no labels.
    position : (int or None, str)
        The shown channel, and why no part of the image is in view; empty if it is.
    """

    changed = Signal()
    """Lists, buttons, and counts must be refreshed."""
    outdated = Signal(str)
    """Proposals of the chosen image are out of date; a sentence says why."""
    proposed = Signal(str)
    """All labels that were asked for are proposed for an image (its key)."""
    linked = Signal(str)
    """The objects of an image (its key) were linked from slice to slice."""
    whole = Signal(str)
    """Segment all of a large image (its key) into a file."""
    store_opened = Signal(str, object)
    """The labels of a large image (its key) were opened with its session."""
    forgotten = Signal(str)
    """A session need not save an image (its key) any more."""
    renew = Signal(object, str)
    """Propose labels for an image (its key) again; a sentence says why."""
    area_verified = Signal()
    """The user marked an area as verified."""
    compare = Signal(str)
    """Compare the version in use with another one (its key), or end that comparison."""
    counted = Signal(str, int)
    """Key of an image, and its number of verified objects."""
    history = Signal(dict)
    """An entry for the history of fine-tunings."""
    checkpoint = Signal(object, object, object)
    """Checkpoint of the running fine-tuning, its base Version, and its image key."""
    session_opened = Signal()
    """A session was opened, with all that it has."""
    training_over = Signal()
    """A fine-tuning ended or was cancelled, so it cannot be resumed."""
    version_edited = Signal(object)
    """VersionRecord with a new name or note."""
    version_deleted = Signal(object)
    """VersionRecord of a deleted version."""

    def __init__(self, settings: Settings) -> None:
        self.image_key: str | None = None
        self.pinned = False
        self.area = "visible"
        self.versions = Versions()
        self.device: Device = settings.device
        self.device_text = ""
        self.speed: float | None = None
        self.folder: Path | None = None
        self.queue = Queue()
        self.chosen_files: set[str] = set()
        self.unlearned: dict[str, CorrectedImage | None] = {}
        self.interrupted: Interrupted | None = None
        self.to_look_at: dict[str, float] = {}
        self.counts: Counts | None = None
        self.position: tuple[int | None, str] = (None, "")
        self._images: dict[str, ImageState] = {}
        self.take_settings(settings)

    def take_settings(self, settings: Settings) -> None:
        """Use the settings of a session, or the defaults."""
        self.scope: Scope = settings.scope
        if not isinstance(self.device, RemoteServer):  # a session does not disconnect it
            self.device = settings.device
        self.decoding = Decoding(settings.foreground, settings.split)
        self.learn_while_correcting = settings.learn_while_correcting

    def begin_queue(self, items: Iterable[QueueItem]) -> None:
        """Use the queue of a session."""
        self.queue = Queue(items)
        self.chosen_files.clear()
        self.unlearned.clear()
        self.to_look_at.clear()

    def image(self, key: str | None) -> ImageState:
        """Return the settings of an image; make them if there are none."""
        return self._images.setdefault(key or "", ImageState())

    def with_store(self) -> list[str]:
        """List the keys of the large images whose labels are on the disk."""
        return [key for key, image in self._images.items() if image.store is not None]

    @property
    def chosen(self) -> ImageState:
        """Settings of the chosen image."""
        return self.image(self.image_key)

    def choose(self, key: str | None) -> None:
        """Work on another image."""
        self.image_key = key
        self.changed.emit()

    @property
    def device_key(self) -> str:
        """The chosen device, as the menu knows it."""
        return REMOTE.key if isinstance(self.device, RemoteServer) else self.device

    @property
    def model(self) -> Model | None:
        """The model in use, if it is loaded."""
        return self.versions.current.model

    @property
    def diameter(self) -> float:
        """Object diameter in pixels at network resolution."""
        return DEFAULT_DIAMETER if self.model is None else self.model.info.diameter

    @property
    def is_classes(self) -> bool:
        """Whether the model in use paints classes instead of objects."""
        return self.model is not None and self.model.info.task == "classes"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes of the model in use, background first; empty for objects."""
        return () if self.model is None else self.model.info.classes

    def model_ready(self, ready: ModelReady) -> None:
        """Store a loaded model and the name of its device."""
        self.versions.loaded(ready.name, ready.model)
        self.device_text = ready.device_text
        self.speed = ready.speed or self.speed
        self.changed.emit()

    def log(self, event: str, **details: Any) -> None:
        """Add an entry to the history of fine-tunings."""
        self.history.emit({"event": event, **details})
