"""The tracks of a film: where the objects are, who divided, and when they come and go."""

import numpy as np
import pytest
from harness import Headless
from napari.layers import Tracks

from napari_resunet.plugin.layers import image_layers
from napari_resunet.session import tracks as session_tracks
from napari_resunet.session.store.folder import SessionFolder

SHAPE = (4, 40, 50)
T = ("t", "y", "x")


def film():
    """A square that moves to the right, and one that divides before the last frame."""
    labels = np.zeros(SHAPE, np.int32)
    for time in range(4):
        labels[time, 4:10, 4 + 2 * time : 10 + 2 * time] = 1
    labels[:3, 20:30, 10:30] = 2
    labels[3, 20:30, 9:19] = 3
    labels[3, 20:30, 21:31] = 4
    return labels


class Bench(Headless):
    def open(self, labels=None, shape=SHAPE, names=T, **place):
        self.viewer.layers.clear()
        self.image = self.viewer.add_image(np.zeros(shape), axis_labels=names, **place)
        binding = self.layers.make_binding(self.image)
        binding.stacked()[:] = film() if labels is None else labels
        binding.show()
        self.draw()
        return self

    def draw(self):
        """Let the pause end and the tracks be found."""
        self.app.state.changed.emit()
        self.timers.fire()
        while self.app.track_jobs.current is not None:
            self.app.track_jobs._running.step()
        self.timers.fire()

    @property
    def layers(self):
        return self.app.layers

    @property
    def tracks(self):
        found = [layer for layer in self.viewer.layers if isinstance(layer, Tracks)]
        assert len(found) < 2
        return found[0] if found else None

    def choose(self, stack):
        self.view.segment.stack_chosen.emit(stack)
        while self.app.jobs.current is not None:
            self.app.jobs._running.step()
        self.draw()


@pytest.fixture
def bench():
    return Bench(None)


def test_a_film_has_tracks_of_centroids_and_daughters_know_their_parent(bench):
    tracks = bench.open().tracks
    assert tracks.name == "Image labels tracks"
    first = tracks.data[tracks.data[:, 0] == 1]
    assert first.tolist() == [[1, t, 6.5, 6.5 + 2 * t] for t in range(4)]
    assert np.unique(tracks.data[:, 0]).tolist() == [1, 2, 3, 4]
    assert {k: list(v) for k, v in tracks.graph.items()} == {3: [2], 4: [2]}


@pytest.mark.parametrize("stack", ["separate", "volume"])
def test_tracks_go_when_the_slices_are_no_film_and_come_back(bench, stack):
    bench.open()
    before = len(bench.viewer.layers)
    bench.choose(stack)
    assert bench.tracks is None
    assert len(bench.viewer.layers) == before - 1
    bench.choose("film")
    assert bench.tracks is not None


def test_tracks_follow_the_labels(bench):
    bench.open()
    layer = bench.tracks
    bench.labels.layer.data_setitem(np.nonzero(bench.labels.layer.data == 1), 0)
    bench.draw()
    assert bench.tracks is layer
    assert 1 not in layer.data[:, 0]
    bench.labels.layer.undo()
    bench.draw()
    assert (layer.data[:, 0] == 1).sum() == 4
    assert layer.graph
    bench.labels.layer.data[:] = 0
    bench.labels.show()
    bench.draw()
    assert bench.tracks is None


def test_removed_labels_take_their_tracks_with_them(bench):
    bench.open()
    tracks = bench.tracks
    bench.viewer.layers.remove(bench.labels.layer)
    assert not tracks.visible
    bench.timers.fire()
    assert bench.tracks is None
    assert [layer.name for layer in bench.viewer.layers] == ["Image"]


def test_the_dock_takes_them_with_it(bench):
    bench.open()
    bench.app.shut_down()
    assert bench.tracks is None
    assert len(bench.viewer.layers) == 2


def test_tracks_that_the_user_removed_come_back_when_the_labels_are_linked(bench):
    bench.open()
    bench.viewer.layers.remove(bench.tracks)
    bench.labels.layer.paint((0, 35, 45), 9)
    bench.draw()
    assert bench.tracks is None
    bench.choose("film")
    assert bench.tracks is not None


def test_tracks_are_never_the_chosen_layer(bench):
    bench.open()
    chosen = bench.state.image_key
    bench.viewer.layers.selection.active = bench.tracks
    assert bench.state.image_key == chosen
    assert bench.layers.selected() == (None, None)
    assert not bench.layers.user_labels()
    assert [key for key, _ in bench.layers.images()] == [chosen]


def world(layer, place):
    return np.asarray(layer.data_to_world(place))


@pytest.mark.parametrize(
    ("shape", "names", "place"),
    [
        (SHAPE, T, {"scale": (3, 0.5, 0.5), "translate": (1, 2, 3)}),
        ((2, *SHAPE), ("c", *T), {"scale": (1, 3, 0.5, 0.5)}),
        ((4, 2, 40, 50), ("t", "c", "y", "x"), {"scale": (2, 1, 0.5, 0.5)}),
    ],
)
def test_tracks_lie_over_the_labels(bench, shape, names, place):
    bench.open(shape=shape, names=names, **place)
    tracks, labels = bench.tracks, bench.labels.layer
    point = tracks.data[tracks.data[:, 0] == 1][2, 1:]
    there = np.zeros(labels.ndim)
    there[[labels.axis_labels.index("t"), -2, -1]] = 2, 6.5, 10.5
    assert world(tracks, point) == pytest.approx(world(labels, there)[-tracks.ndim :])
    bench.image.scale = np.array(bench.image.scale) * 2
    assert world(tracks, point) == pytest.approx(world(labels, there)[-tracks.ndim :])


def test_a_film_of_volumes_has_tracks_through_both(bench):
    volumes = np.stack([film(), film()], 1)
    tracks = bench.open(volumes, volumes.shape, ("t", "z", "y", "x")).tracks
    assert tracks.data[0].tolist() == [1, 0, 0.5, 6.5, 6.5]


def test_films_that_napari_cannot_draw_have_none(bench):
    positions = np.stack([film()] * 2)
    assert bench.open(positions, positions.shape, ("p", *T)).tracks is None


def test_tracks_of_too_many_points_are_refused_in_a_sentence(bench, monkeypatch):
    monkeypatch.setattr(session_tracks, "MAX_POINTS", 5)
    bench.open()
    assert bench.tracks is None
    assert "more than 300,000 points" in bench.message


def test_tracks_are_not_in_the_session(dock):
    dock.viewer.add_image(np.zeros(SHAPE), name="film", axis_labels=T)
    binding = dock.layers.make_binding(dock.viewer.layers[0])
    binding.stacked()[:] = film()
    binding.show()
    dock.state.changed.emit()
    dock.until(lambda: any(isinstance(layer, Tracks) for layer in dock.viewer.layers))
    assert image_layers.is_overlay(dock.viewer.layers[-1])
    (record,) = SessionFolder.open(dock.end()).file.images
    assert (record.name, record.stack) == ("film", "film")
