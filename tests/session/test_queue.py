"""The queue keeps its order, and comes back with the session."""

import json

import pytest

from napari_resunet.session.queue import Queue
from napari_resunet.session.store.folder import SessionFolder
from napari_resunet.session.store.manifest import read_file
from napari_resunet.session.store.schema import QueueItem


def queue_of(*states, **fields):
    return Queue(
        QueueItem(key=f"k{n}", path=f"/x/{n}.tif", name=f"{n}", state=state, **fields)
        for n, state in enumerate(states)
    )


def keys(items):
    return [item.key for item in items]


def test_a_file_is_added_once_and_each_of_its_series():
    queue = queue_of("new", "new")
    again = QueueItem(key="b", path="/x/0.tif")
    second = QueueItem(key="c", path="/x/0.tif", series=1)
    assert queue.add([again, second], after="k0") == 1
    assert keys(queue.items) == ["k0", "c", "k1"]
    memory = [QueueItem(key="d"), QueueItem(key="e")]
    assert queue.add(memory) == 2


def test_stepping_and_what_is_left_to_do():
    queue = queue_of("new", "done", "proposed", "skipped", "failed", "in work")
    assert queue.position("k2") == 3
    assert queue.step("k2", 1).key == "k3"
    assert queue.step("k0", -1) is None
    assert queue.step("k5", 1) is None
    assert queue.step(None, 1).key == "k0"
    assert keys(queue.unfinished("k2")) == ["k5", "k0"]
    assert keys(queue.unfinished(None)) == ["k0", "k2", "k5"]


def test_only_what_nobody_edited_is_proposed():
    queue = queue_of("new", "done", "proposed", "in work", "failed", "skipped")
    queue.update("k2", edits=1)
    assert keys(queue.to_propose()) == ["k0", "k4"]


def test_the_least_sure_come_first():
    queue = queue_of("new", "proposed", "proposed")
    queue.update("k1", unsure=0.1)
    queue.update("k2", unsure=0.3)
    queue.sort_least_sure()
    assert keys(queue.items) == ["k2", "k1", "k0"]


def test_edits_per_object_of_the_last_three_that_are_done():
    queue = queue_of("in work", "in work", "in work", "in work", objects=10)
    for key, edits in (("k3", 5), ("k0", 3), ("k2", 2), ("k1", 1)):
        queue.update(key, state="done", edits=edits)
    assert queue.edits_per_object() == [0.3, 0.2, 0.1]
    queue.update("k2", state="in work")
    assert queue.edits_per_object() == [0.5, 0.3, 0.1]


# In the session ------------------------------------------------------------------------


def saved(session, queue):
    session.update(session.file.model_copy(update={"queue": queue.items}))
    assert session.close()
    return session.root


def test_it_stands_tomorrow_where_it_stood(session):
    queue = queue_of("done", "failed", "new", seconds=12.5, objects=7)
    queue.update("k1", reason="It is damaged.")
    reopened = SessionFolder.open(saved(session, queue))
    assert reopened.file.queue == queue.items
    reopened.close()


@pytest.mark.parametrize(
    "fields",
    [{"key": "../x"}, {"state": "nonsense"}, {"path": 7}, {"series": -1}, {"image": "a/b"},
     {"seconds": float("inf")}, {"objects": 2**70}, {"unsure": "x"}, 5],
)  # fmt: skip
def test_a_damaged_entry_costs_itself_alone(session, fields):
    root = saved(session, queue_of("done", "new", "new"))
    path = root / "session.json"
    file = json.loads(path.read_text("utf-8"))
    file["queue"][1] = fields if fields == 5 else file["queue"][1] | fields
    path.write_text(json.dumps(file), "utf-8")
    (root / "session.backup.json").unlink()
    found, damage = read_file(root)
    assert keys(found.queue) == ["k0", "k2"]
    assert "Entry 2 of the list of images is damaged" in " ".join(damage)


def test_a_damaged_list_costs_the_list_alone(session, key):
    root = saved(session, queue_of("done"))
    path = root / "session.json"
    file = json.loads(path.read_text("utf-8")) | {"queue": "x"}
    path.write_text(json.dumps(file), "utf-8")
    (root / "session.backup.json").unlink()
    found, damage = read_file(root)
    assert found.queue == ()
    assert keys(found.images) == [key]
    assert "list of images" in " ".join(damage)
