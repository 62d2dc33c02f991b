"""The tracks of films: drawn after linking, and again when the labels change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_resunet.plugin.controllers.shared import stack_of
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.tracks import frames_of, place_tracks, show_tracks
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.timers import Timers
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.tracks import MAX_POINTS, Tracks, tracks_of

if TYPE_CHECKING:
    from napari.layers import Tracks as TracksLayer

    from napari_resunet.plugin.layers.labels import LabelsBinding

PAUSE_MS = 600
"""Tracks are drawn when the labels have not changed for so long."""

REMOVAL_MS = 300
"""Layers are hidden at once and removed later, because napari takes long to remove one."""

TOO_MANY = (
    f"The tracks have more than {MAX_POINTS:,} points, so they are not drawn: the labels "
    "have their numbers all the same."
)


@dataclass
class _Film:
    """The tracks of one image, and the labels that they were made from."""

    binding: LabelsBinding
    drawn: tuple[int, int] | None = None
    layer: TracksLayer | None = None
    dismissed: bool = False
    """Whether the user removed the layer, or it would be too large."""


class TracksController:
    """Draws the tracks of each film in a Tracks layer.

    The user may remove the layer: it comes back when the labels are linked again.

    Parameters
    ----------
    state : AppState
        What the slices of each image are.
    layers : Layers
        The labels.
    view : DockView
        The dock.
    jobs : JobRunner
        Finds the centroids.
    work : JobRunner
        The long job; while it runs, the numbers may change.
    timers : Timers
        Wait for a pause.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        view: DockView,
        jobs: JobRunner,
        work: JobRunner,
        timers: Timers,
    ) -> None:
        self._state, self._layers, self._view = state, layers, view
        self._jobs, self._work = jobs, work
        self._films: dict[str, _Film] = {}
        self._pause = timers.once(PAUSE_MS, self.draw)
        self._leaving: list[TracksLayer] = []
        self._removal = timers.once(REMOVAL_MS, self._remove_left)
        state.changed.connect(self.follow)
        state.linked.connect(self._linked)
        layers.stroke.connect(self._stroke)

    def follow(self) -> None:
        """Take the tracks of what is no film any more off, and draw the others soon."""
        films = {key: b for key, b in self._layers.bindings().items() if self._is_film(key)}
        for key in [k for k, f in self._films.items() if films.get(k) is not f.binding]:
            self._take_off(self._films.pop(key))
        for key, binding in films.items():
            film = self._films.setdefault(key, _Film(binding))
            if film.layer is not None:
                place_tracks(film.layer, binding)
        if any(self._is_due(film) for film in self._films.values()):
            self._pause.start()

    def draw(self) -> None:
        """Draw the tracks of the next film whose labels changed."""
        due = [(key, film) for key, film in self._films.items() if self._is_due(film)]
        if not due:
            return
        if self._jobs.current is not None or self._work.current is not None:
            self._pause.start()
            return
        key, film = due[0]
        image, revision = self._layers.image(key), film.binding.revision
        frames = None if image is None else frames_of(image, film.binding)
        film.drawn = revision
        if frames is None or film.binding.unusable:
            return

        def found(tracks: Tracks | None) -> None:
            self._found(key, film, tracks)

        self._jobs.start(Job("tracks", lambda token: tracks_of(frames, token), found))

    def shut_down(self) -> None:
        """Take all tracks off."""
        self._pause.stop()
        for film in self._films.values():
            self._take_off(film)
        self._films.clear()
        self._removal.stop()
        self._remove_left()

    def _is_film(self, key: str) -> bool:
        image = self._layers.image(key)
        return (
            image is not None
            and not self._state.is_classes
            and stack_of(self._state, image) == "film"
        )

    def _is_due(self, film: _Film) -> bool:
        if film.layer is not None and film.layer not in self._layers.viewer.layers:
            film.layer, film.dismissed = None, True
        return not film.dismissed and film.drawn != film.binding.revision

    def _found(self, key: str, film: _Film, tracks: Tracks | None) -> None:
        if self._films.get(key) is film and not film.dismissed:
            if tracks is None or not len(tracks.points):
                self._take_off(film)
            else:
                film.layer = show_tracks(
                    self._layers.viewer, film.layer, film.binding, tracks
                )
            if tracks is None:
                film.dismissed = True
                self._view.set_message(TOO_MANY, "warning")
        self.follow()

    def _take_off(self, film: _Film) -> None:
        layer, film.layer = film.layer, None
        if layer is not None:
            layer.visible = False
            self._leaving.append(layer)
            self._removal.start()

    def _remove_left(self) -> None:
        leaving, self._leaving = self._leaving, []
        self._layers.remove(leaving)

    def _linked(self, key: str) -> None:
        if key in self._films:
            self._films[key].dismissed = False
        self.follow()

    def _stroke(self, key: str) -> None:
        if key in self._films:
            self.follow()
