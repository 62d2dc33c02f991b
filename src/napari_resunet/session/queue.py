"""The queue: the images to work on, one after the other, and how far each is.

Items are frozen and replaced as a whole. ``session.json`` stores them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from napari_resunet.session.store.schema import QueueItem

FINISHED = ("done", "skipped", "failed")
LATEST = 3
"""So many of the last images that are done tell whether correcting still pays."""


class Queue:
    """The items in their order.

    Parameters
    ----------
    items : iterable of QueueItem
        Those of a session; of several with the same key, the last one counts.
    """

    def __init__(self, items: Iterable[QueueItem] = ()) -> None:
        self._items = {item.key: item for item in items}
        self._finished: list[str] = []
        """Keys of the items that were set to done, in this order."""

    @property
    def items(self) -> tuple[QueueItem, ...]:
        """All items, in order."""
        return tuple(self._items.values())

    @property
    def added(self) -> tuple[QueueItem, ...]:
        """The items that were added to the queue; the others are layers of the user."""
        return tuple(item for item in self.items if not item.is_layer)

    def __len__(self) -> int:
        return len(self._items)

    def __contains__(self, key: object) -> bool:
        return key in self._items

    def get(self, key: str | None) -> QueueItem | None:
        """Return the item with a key; None if there is none."""
        return self._items.get(key or "")

    def add(self, items: Iterable[QueueItem], after: str | None = None) -> int:
        """Add items at the end or after another one; return how many were new.

        An item of the same file and series is not added again.
        """
        known = {(item.path, item.series) for item in self.items if item.path}
        new = []
        for item in items:
            place = item.path, item.series
            if not item.path or place not in known:
                known.add(place)
                new.append(item)
        order = list(self._items.values())
        at = self.position(after) or len(order)
        self._items = {item.key: item for item in (*order[:at], *new, *order[at:])}
        return len(new)

    def put(self, item: QueueItem) -> None:
        """Replace the item with the same key."""
        before = self._items[item.key]
        self._items[item.key] = item
        if item.state == "done" and before.state != "done":
            self._finished = [k for k in self._finished if k != item.key] + [item.key]

    def update(self, key: str, **fields: Any) -> QueueItem:
        """Give an item other values; return it."""
        self.put(self._items[key].model_copy(update=fields))
        return self._items[key]

    def remove(self, key: str) -> None:
        """Remove an item."""
        self._items.pop(key, None)

    def position(self, key: str | None) -> int:
        """Return the number of an item, from 1; 0 if there is none with this key."""
        return 1 + list(self._items).index(key) if key is not None and key in self else 0

    def step(self, key: str | None, n: int) -> QueueItem | None:
        """Return the item `n` places further; None at the end."""
        at = self.position(key) - 1 + n if key in self else 0
        return self.items[at] if 0 <= at < len(self) else None

    def unfinished(self, key: str | None) -> list[QueueItem]:
        """List the items that are still to do after an item, then those before it."""
        at = self.position(key)
        order = (*self.items[at:], *self.items[: max(0, at - 1)])
        return [item for item in order if item.state not in FINISHED]

    def to_propose(self) -> list[QueueItem]:
        """List the items that nobody has edited: new ones, and proposed ones."""
        waiting = ("new", "proposed", "failed")
        return [item for item in self.items if item.state in waiting and not item.edits]

    def sort_least_sure(self) -> None:
        """Put the items first of which the model is least sure; unknown ones stay last."""
        order = sorted(
            self.items, key=lambda item: 1.0 if item.unsure is None else -item.unsure
        )
        self._items = {item.key: item for item in order}

    def edits_per_object(self) -> list[float]:
        """Return the edits per object of the last images that are done, in order."""
        done = [self._items[key] for key in self._finished if key in self]
        kept = [item for item in done if item.state == "done" and item.objects]
        return [item.edits / item.objects for item in kept[-LATEST:] if item.objects]


def item_key(layer_id: str) -> str:
    """Return the key of the item of a layer: its id as it can be part of a file name."""
    return layer_id.replace("-", "")


def items_to_save(queue: Queue) -> tuple[QueueItem, ...]:
    """List the items that a session keeps.

    Layers of the user without a record cannot be opened again, so they are left out.
    """
    return tuple(item for item in queue.items if item.image or not item.is_layer)
