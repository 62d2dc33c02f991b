"""The list of images: adding, opening one after the other, and how far each is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path

from napari_resunet.files import plain_name
from napari_resunet.plugin.controllers.queue_layers import QueueLayers
from napari_resunet.plugin.controllers.shared import chosen_labels
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.messages import FIRST_IMAGE, LAST_IMAGE, counted
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.plugin.views.queue_protocol import QueueRow
from napari_resunet.session.find_images import (
    FoundImage,
    FoundImages,
    find_images,
    image_name,
)
from napari_resunet.session.queue import FINISHED, item_key
from napari_resunet.session.store.schema import QueueItem, QueueState
from napari_resunet.session.store.schema import plain_name as one_line
from napari_resunet.types import new_id

PAUSE = 60.0
"""Seconds without any action that do not count as work."""

ENOUGH = 0.1
"""Edits per object below which correcting more images teaches little."""

IS_LAYER = "'{}' was opened in napari: remove its layer there."
CHANGED = "The last fine-tuning changed {:.0%} of what is found here: look at it. It is {}."
ALL_DONE = "All images are done, skipped, or failed: the list is at Images."


class QueueController:
    """Shows the list of images and goes through it.

    Parameters
    ----------
    state : AppState
        The queue.
    layers : Layers
        The viewer's images.
    view : DockView
        The dock.
    items : QueueLayers
        Opens the images.
    adds : JobRunner
        Looks through folders.
    clock : callable
        Returns a time in seconds.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        items: QueueLayers,
        adds: JobRunner,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state, self._layers, self._view, self._items = state, layers, view, items
        self._adds, self._clock = adds, clock
        self._rows: dict[str, tuple[tuple[QueueItem, float | None], QueueRow]] = {}
        self._searches: list[Callable[[], FoundImages]] = []
        self._seconds, self._last = 0.0, clock()
        self._current: str | None = None
        """Key of the item that was open last."""
        view.queue.paths_chosen.connect(self.add)
        view.queue.item_chosen.connect(self.go_to)
        view.queue.previous_clicked.connect(self.previous)
        view.queue.next_clicked.connect(self.next)
        view.queue.skip_clicked.connect(self.skip)
        view.queue.remove_clicked.connect(self.remove)
        view.queue.sort_clicked.connect(self.sort)
        view.correct.done_clicked.connect(self.done)
        state.changed.connect(self.refresh)
        state.counted.connect(self._counted)
        state.session_opened.connect(self._session_opened)
        layers.stroke.connect(self._stroke)

    def shut_down(self) -> None:
        """Note the time of the open image."""
        self._count_time()
        self._note_time()

    def refresh(self) -> None:
        """Follow the layers, and show how far each image is."""
        self._follow_layers()
        self._count_time()
        self._update_current()
        self._state.to_look_at.pop(self._open_key() or "", None)
        rows = [self._row(item) for item in self._state.queue.items]
        current = self._open_key()
        self._view.queue.set_rows(rows, current)
        self._view.queue.set_position(self._state.queue.position(current), len(rows))

    def _row(self, item: QueueItem) -> QueueRow:
        """Return the row of an item, the same one as long as the item is the same."""
        known, changed = self._rows.get(item.key), self._state.to_look_at.get(item.key)
        if known is None or known[0][0] is not item or known[0][1] != changed:
            known = self._rows[item.key] = (item, changed), _row(item, changed)
        return known[1]

    # The list -----------------------------------------------------------------------

    def add(self, paths: list[Path], pattern: str = "", recursive: bool = False) -> None:
        """Add files, and the images in folders; open the first one if none is open."""
        search = partial(
            find_images,
            paths,
            patterns=tuple(pattern.split()),
            recursive=recursive,
            split_slides=False,
        )
        self._searches.append(search)
        self._search_next()

    def _search_next(self) -> None:
        if self._searches and self._adds.current is None:
            search = self._searches.pop(0)
            self._adds.start(Job("open", lambda token: _search_steps(search), self._found))

    def _found(self, found: FoundImages) -> None:
        items = [_item(image) for image in found.images]
        added = self._state.queue.add(items)
        new = [item for item in items if item.key in self._state.queue]
        self._state.chosen_files.update(item.key for item in new)
        self._report(added, len(items), found.problems)
        self._state.changed.emit()
        if new and self._open_key() is None:
            self.go_to(new[0].key)
        self._search_next()

    def _report(self, added: int, n: int, problems: tuple[str, ...]) -> None:
        parts = [f"{counted(added, 'image')} added."] if added else []
        if n > added:
            parts.append(f"{counted(n - added, 'image')} in the list already.")
        text = " ".join([*problems, *parts])
        self._view.set_message(text, "warning" if problems else "info")

    def skip(self, keys: list[str]) -> None:
        """Skip images, or no longer if all of them were skipped."""
        queue = self._state.queue
        items = [item for key in keys if (item := queue.get(key)) is not None]
        wanted: QueueState = "skipped"
        if all(item.state == wanted for item in items):
            wanted = "new"
        for item in items:
            # Whether it was proposed or edited is known again when it is opened.
            known: QueueState = "new" if item.objects is None else "proposed"
            before: QueueState = "in work" if item.edits else known
            queue.update(item.key, state=before if wanted == "new" else wanted)
        self._state.changed.emit()

    def remove(self, keys: list[str]) -> None:
        """Remove images from the list; their files and their labels stay."""
        for key in keys:
            item = self._state.queue.get(key)
            if item is not None and item.is_layer:
                self._view.set_message(IS_LAYER.format(item.name))
            elif item is not None and self._items.leave(item):
                self._state.queue.remove(key)
        self._state.changed.emit()

    def sort(self) -> None:
        """Put the images first of which the model is least sure."""
        self._state.queue.sort_least_sure()
        self._state.changed.emit()

    # The way through it -------------------------------------------------------------

    def go_to(self, key: str) -> None:
        """Open an image of the list."""
        item = self._state.queue.get(key)
        if item is not None and key != self._open_key():
            self._note_time()
            self._items.open(item)

    def _session_opened(self) -> None:
        """Open the image that was open, if it had no labels yet."""
        if self._open_key() is None:
            self.go_to(self._items.last_open())

    def previous(self) -> None:
        """Open the image before this one."""
        self._step(-1, FIRST_IMAGE)

    def next(self) -> None:
        """Open the image after this one."""
        self._step(1, LAST_IMAGE)

    def _step(self, n: int, sentence: str) -> None:
        item = self._state.queue.step(self._open_key(), n)
        if item is None:
            self._view.set_message(sentence)
        else:
            self.go_to(item.key)

    def done(self) -> None:
        """Set this image to done, and open the next one; this verifies nothing."""
        queue, key = self._state.queue, self._open_key()
        item = queue.get(key)
        if key is None or item is None:
            return
        self._items.count(item)
        queue.update(key, state="done", reason="")
        self._note_time()
        self._view.set_message(_edits_text(queue.edits_per_object()) or "Done.")
        self._state.changed.emit()
        following = queue.unfinished(key)
        if following:
            self._items.open(following[0])
        else:
            self._view.set_message(ALL_DONE)

    # What the list says -------------------------------------------------------------

    def _open_key(self) -> str | None:
        """Return the key of the item that is open."""
        key = item_key(self._state.image_key or "")
        return key if key in self._state.queue else None

    def _follow_layers(self) -> None:
        """List the images that the user opened in the viewer, as long as they are there."""
        queue = self._state.queue
        keys = {item_key(layer_id): layer_id for layer_id, _ in self._layers.images()}
        for item in queue.items:
            if item.is_layer and item.key not in keys:
                queue.remove(item.key)
        for key, layer_id in keys.items():
            image = self._layers.image(layer_id)
            if image is not None and key not in queue:
                path = image_layers.source_of(image)[0] or ""
                name = one_line(image.name)
                queue.add([QueueItem(key=key, path=path, name=name, is_layer=True)])

    def _update_current(self) -> None:
        """Note how far the open image is."""
        key, counts = self._open_key(), self._state.counts
        item = self._state.queue.get(key)
        binding = chosen_labels(self._state, self._layers)
        if item is None:
            return
        fields: dict[str, object] = {}
        if binding is not None:
            fields["edits"] = binding.edits
        if counts is not None and not counts.stack:
            fields["objects"] = counts.objects
        if item.state not in FINISHED:
            fields["state"] = self._state_of(item)
        if any(getattr(item, name) != value for name, value in fields.items()):
            self._state.queue.update(item.key, **fields)

    def _state_of(self, item: QueueItem) -> QueueState:
        binding = chosen_labels(self._state, self._layers)
        if binding is None:
            return item.state
        if binding.edits or binding.review.verified_planes():
            return "in work"
        if item.state == "new" and binding.is_empty:
            return "new"
        return "proposed"

    # Time ---------------------------------------------------------------------------

    def _counted(self, key: str, verified: int) -> None:
        self.refresh()

    def _stroke(self, key: str) -> None:
        self._count_time()

    def _count_time(self) -> None:
        """Count the time since the last action, unless the user paused."""
        now, key = self._clock(), self._open_key()
        if key == self._current:
            self._seconds += min(now - self._last, PAUSE)
        else:
            self._note_time()
            self._current = key
        self._last = now

    def _note_time(self) -> None:
        """Add the time to the item that it was spent on."""
        item = self._state.queue.get(self._current)
        if item is not None and self._seconds >= 1:
            seconds = round(item.seconds + self._seconds, 1)
            self._state.queue.update(item.key, seconds=seconds)
        self._seconds = 0.0


def _search_steps(
    search: Callable[[], FoundImages],
) -> Generator[None, None, FoundImages]:
    yield None
    return search()


def _item(found: FoundImage) -> QueueItem:
    path = str(found.path.absolute())
    return QueueItem(key=new_id(), path=path, name=plain_name(image_name(found)))


def _row(item: QueueItem, changed: float | None) -> QueueRow:
    """Describe an item; what the last fine-tuning changed stands instead of its state."""
    objects = "" if item.objects is None else f"{item.objects:,}"
    minutes = f"{item.seconds / 60:.0f}" if item.seconds >= 30 else ""
    where = item.path or "From memory"
    state: str = item.state if changed is None else f"{changed:.0%} changed"
    why = "" if changed is None else CHANGED.format(changed, item.state)
    tooltip = "\n".join(filter(None, (item.name, where, item.reason, why)))
    return QueueRow(item.key, (item.name, state, objects, minutes), tooltip)


def _edits_text(ratios: list[float]) -> str:
    """Describe how many edits per object the last images needed."""
    if not ratios:
        return ""
    numbers = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    if max(ratios) < ENOUGH and len(ratios) > 1:
        return (
            f"Edits per object: {numbers}: you can stop correcting and press Propose all."
        )
    return f"Edits per object: {numbers}."
