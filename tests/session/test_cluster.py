"""A large image on a Dask cluster: a real scheduler and two workers, in threads.

`benchmarks/cluster.py` does the same with processes, which need seconds to start, and kills
one of them.
"""

import argparse
import json
import logging
from pathlib import Path
from threading import Event

import distributed
import numpy as np
import pytest
import tifffile
import zarr

from napari_resunet.errors import Cancelled, ClusterError, FileError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.session.large import cluster, executor
from napari_resunet.session.large.block_files import BlockFiles
from napari_resunet.session.large.cluster_choice import (
    HERE,
    ClusterChoice,
    add_cluster_flags,
    cluster_choice,
)
from napari_resunet.session.large.executor import needs_cluster
from napari_resunet.session.large.run import LargeRun, segment_large
from napari_resunet.session.large.steps import Job, Worker
from napari_resunet.session.segment_files import SegmentOptions
from napari_resunet.types import ObjectSize

SIZE = ObjectSize(30.0)


@pytest.fixture(scope="module")
def dask():
    with distributed.LocalCluster(
        n_workers=2,
        threads_per_worker=1,
        processes=False,
        protocol="tcp://",
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        silence_logs=logging.CRITICAL,
    ) as started:
        yield started


@pytest.fixture
def run(tmp_path, monkeypatch, image, starter, small_blocks):
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("big.tif", image)

    def start(choice, on_event=lambda event: None, token=None):
        options = SegmentOptions(output=None, device="cpu", diameter=SIZE)
        source, target = tmp_path / "big.tif", tmp_path / "labels.ome.zarr"
        job = LargeRun(source, target, starter, options, choice)
        return segment_large(job, on_event, token)

    return start


class Saved(list):
    """Names of the blocks that are computed; more than so many are held for a while."""

    def __init__(self):
        self.most, self.go_on = 99, Event()

    def save(self, save, files, block, found):
        if len(self) >= self.most:
            self.go_on.wait()
        self.append(block.name)
        save(files, block, found)


@pytest.fixture
def saved(monkeypatch):
    found, save = Saved(), BlockFiles.save
    monkeypatch.setattr(BlockFiles, "save", lambda *given: found.save(save, *given))
    yield found
    found.go_on.set()


@pytest.fixture
def one_model(monkeypatch, starter):
    """Workers are threads here: they need not read the model again."""
    monkeypatch.setattr(cluster, "read_model", lambda path: starter)


def at(dask):
    return ClusterChoice(scheduler=dask.scheduler_address)


def level(number=0):
    return zarr.open_group("labels.ome.zarr", mode="r")[str(number)][...]


def when_done(n, action):
    """Do something as soon as `n` blocks are done."""

    def on_event(event):
        if isinstance(event, Progress) and event.message == f"{n} of 6 blocks":
            action()

    return on_event


def test_labels_of_two_workers_are_those_of_the_whole_image(run, dask, whole, saved):
    events = []
    assert run(at(dask), events.append) == whole.max()
    np.testing.assert_array_equal(level(), whole)
    np.testing.assert_array_equal(level(2), whole[::4, ::4])
    assert len(saved) == len(set(saved)) == 6
    shown = [e.message for e in events if isinstance(e, Progress) and "of" in e.message]
    assert shown == [f"{n} of 6 blocks" for n in range(7)]


@pytest.mark.usefixtures("one_model")
def test_what_is_done_is_kept_when_the_user_interrupts(run, dask, whole, saved):
    def interrupt():
        raise KeyboardInterrupt

    saved.most = 3
    with pytest.raises(KeyboardInterrupt):
        run(at(dask), when_done(3, interrupt))
    done, events = saved[:3], []
    saved.go_on.set()
    run(at(dask), events.append)
    np.testing.assert_array_equal(level(), whole)
    assert len(set(saved)) == 6
    assert [saved.count(name) for name in done] == [1, 1, 1]


@pytest.mark.usefixtures("one_model")
def test_the_run_is_cancelled_by_its_token(run, dask, saved):
    token, saved.most = CancelToken(), 2
    with pytest.raises(Cancelled):
        run(at(dask), when_done(2, token.cancel), token)


@pytest.mark.usefixtures("one_model")
def test_a_lost_scheduler_is_said_and_what_is_done_is_kept(run, dask, whole, saved):
    def lose():
        for client in distributed.Client._instances:
            if client.status == "running":
                client.sync(client._close)

    saved.most = 3
    with pytest.raises(ClusterError, match=r"is gone: .* the same command again"):
        run(at(dask), when_done(3, lose))
    done = saved[:3]
    saved.go_on.set()
    run(HERE)
    np.testing.assert_array_equal(level(), whole)
    assert [saved.count(name) for name in done] == [1, 1, 1]


@pytest.mark.usefixtures("one_model")
def test_an_error_of_a_worker_is_that_of_one_process(run, dask, saved, tmp_path):
    def damage():
        block = next(tmp_path.glob(".labels*/*.ids"))
        block.write_bytes(block.read_bytes()[:-3])

    with pytest.raises(FileError, match="damaged: delete the folder"):
        run(at(dask), when_done(6, damage))


@pytest.mark.usefixtures("one_model")
def test_workers_of_another_version_are_refused(run, dask, monkeypatch):
    versions = iter(["1.2.3"])
    monkeypatch.setattr(cluster, "_version", lambda: next(versions, "1.2.4"))
    with pytest.raises(ClusterError, match=r"version 1\.2\.4 .* this computer 1\.2\.3"):
        run(at(dask))


def test_a_worker_that_does_not_see_the_folder_says_so(tmp_path):
    job = Job(tmp_path / "not here", plan=None, levels=None)
    with pytest.raises(FileError, match="where all computers of the cluster see them"):
        Worker(job, model=None, token=CancelToken())
    assert not any(tmp_path.iterdir())


def test_a_scheduler_that_does_not_answer_is_said(run, monkeypatch):
    monkeypatch.setattr(cluster, "ANSWER", 0.2)
    with pytest.raises(ClusterError, match="No Dask scheduler answers at tcp"):
        run(ClusterChoice(scheduler="tcp://127.0.0.1:1"))


def test_the_address_is_read_from_the_scheduler_file(tmp_path, dask, monkeypatch):
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"address": "tcp://10.0.0.1:8786"}))
    assert cluster.address_of(ClusterChoice(scheduler_file=path)) == "tcp://10.0.0.1:8786"
    monkeypatch.setattr(cluster, "ANSWER", 0)
    for content in ("{", "{}", '{"address": 3}', "[]"):
        path.write_text(content)
        with pytest.raises(ClusterError, match="does not say where a scheduler is"):
            cluster.address_of(ClusterChoice(scheduler_file=path))


def test_processes_are_started_for_several_gpus_or_when_told(monkeypatch):
    assert not needs_cluster(HERE, "auto")
    assert needs_cluster(ClusterChoice(workers=2), "cpu")
    monkeypatch.setattr(executor, "n_gpus", lambda: 2)
    assert needs_cluster(HERE, "auto")
    assert not needs_cluster(HERE, "cpu")


def test_each_process_sees_one_of_the_gpus_that_the_user_may_use(monkeypatch):
    monkeypatch.setattr(cluster, "n_gpus", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    seen = [w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for w in cluster.workers_here(None)]
    assert seen == ["5", "7"]
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    seen = [w["options"]["env"]["CUDA_VISIBLE_DEVICES"] for w in cluster.workers_here(3)]
    assert seen == ["0", "1", "0"]


def test_flags_say_where_to_compute(capsys):
    parser = argparse.ArgumentParser()
    add_cluster_flags(parser)

    def read(*given):
        return cluster_choice(parser.parse_args(given))

    assert read() == HERE
    assert read("--scheduler", "tcp://lab-3.uni.edu:8786").scheduler.endswith("edu:8786")
    assert read("--scheduler-file", "s.json") == ClusterChoice(
        scheduler_file=Path("s.json")
    )
    assert read("--workers", "2") == ClusterChoice(workers=2)
    for wrong in ("lab-3:8786", "tcp://lab-3", "inproc://1/2:3", "tcp://a b:1"):
        with pytest.raises(SystemExit):
            read("--scheduler", wrong)
        assert "give an address such as tcp://host:8786, not" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        read("--workers", "2", "--scheduler", "tcp://host:8786")


@pytest.mark.usefixtures("one_model")
def test_blocks_that_do_not_fit_together_are_said(run, dask, tmp_path):
    def find_less():
        for block in tmp_path.glob(".labels*/*.owned"):
            block.write_bytes(block.read_bytes()[:-8])

    with pytest.raises(FileError, match="different kinds of processor"):
        run(at(dask), when_done(6, find_less))
