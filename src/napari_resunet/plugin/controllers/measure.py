"""Measures the objects of the chosen image, and shows and saves their table.

A table belongs to the labels that were measured. When they change, it is dropped: nobody
should look at, or save, the numbers of other labels.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_resunet.errors import CorrectionError
from napari_resunet.events import CancelToken, Progress
from napari_resunet.plugin.controllers.shared import chosen_image, chosen_labels, stack_of
from napari_resunet.plugin.jobs import Job, JobRunner
from napari_resunet.plugin.layers import image_layers, targets
from napari_resunet.plugin.layers.collection import Layers
from napari_resunet.plugin.layers.features import drop_features, show_features
from napari_resunet.plugin.layers.overlays import Overlay, Overlays
from napari_resunet.plugin.messages import (
    CLASSES_IN_TABLE,
    NO_LABELS,
    NO_TABLE_WIDGET,
    NOT_MEASURED,
    NOT_MEASURED_NOW,
    label_too_large,
    measured_text,
)
from napari_resunet.plugin.state import AppState
from napari_resunet.plugin.views.protocol import DockView
from napari_resunet.session.measurements import (
    TRACK,
    Measurement,
    MeasureRequest,
    box_of,
    by_label,
    columns_to_plot,
    depth_of,
    digest_of,
    histogram_of,
    is_ambiguous,
    measurement_steps,
    row_of,
    rows_at,
)
from napari_resunet.session.settings import MeasureSettings, Stack
from napari_resunet.session.tables import CSV, PARQUET, with_image, write_table
from napari_resunet.session.workers import plain_errors
from napari_resunet.windows import grown, overlap

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_resunet.engine.measure import Table
    from napari_resunet.plugin.layers.labels import LabelsBinding
    from napari_resunet.types import Index, LabelArray, Window

SURROUNDINGS = 3
"""Sides of an object that are shown around it if it was out of view."""


@dataclass(frozen=True, eq=False)
class _Measured:
    """A measurement of an image, and the state of the labels at its start.

    `shown` is the plane, or volume, of which napari's table shows the objects; None if it
    shows those of all.
    """

    found: Measurement
    state: tuple[Any, ...]
    shown: Index | None = None
    problem: str = ""

    def in_view(self) -> Table:
        """Return the rows that napari's table shows."""
        if self.shown is None:
            return self.found.table
        places = zip(self.found.planes, self.shown, strict=True)
        return rows_at(self.found.table, dict(places))

    def text(self) -> str:
        """Say what was measured, and what napari's table shows of it."""
        table, volumes = self.found.table, self.found.depth is not None
        tracks = len(np.unique(table[TRACK])) if TRACK in table else None
        here = "" if self.shown is None else f"slice {', '.join(map(str, self.shown))}"
        n = len(table["label"])
        return measured_text(n, tracks, self.problem, here, volumes=volumes)

    def slice_of(self, row: dict[str, Any], now: Index) -> Index:
        """Return a slice that shows the object of a row: the one in view if it does."""
        index, depth = [int(row[name]) for name in self.found.planes], self.found.depth
        if depth is not None:
            first, last = int(row["box_z_start_px"]), int(row["box_z_stop_px"]) - 1
            shows = first <= now[depth] <= last
            index.insert(depth, now[depth] if shows else (first + last) // 2)
        return tuple(index)


class MeasureController:
    """Measures in a worker, fills the features of the labels, and writes the table.

    Parameters
    ----------
    state : AppState
        The chosen image.
    layers : Layers
        Images and labels.
    overlays : Overlays
        Show where the selected object is.
    view : DockView
        The dock.
    jobs : JobRunner
        The long job.
    open_table : callable
        Opens napari's table; False if there is none.
    """

    def __init__(
        self,
        state: AppState,
        layers: Layers,
        overlays: Overlays,
        view: DockView,
        jobs: JobRunner,
        open_table: Callable[[], bool],
    ) -> None:
        self._state, self._layers, self._view, self._jobs = state, layers, view, jobs
        self.frame = Overlay(overlays, "selected object", "yellow")
        self._settings, self._open = MeasureSettings(), open_table
        self._measured: dict[str, _Measured] = {}
        self._stale: set[str] = set()
        self._column = ""
        """The column of the histogram."""
        self._plotted: tuple[Any, str] = (None, "")
        view.results.measure_clicked.connect(self.ask)
        view.results.save_table_clicked.connect(self.save)
        view.results.column_chosen.connect(self.choose_column)
        state.changed.connect(self.refresh)
        layers.stroke.connect(self._changed)
        layers.picked.connect(self._picked)
        layers.data_changed.connect(self._image_changed)
        layers.viewer.dims.events.current_step.connect(self._moved)

    def shut_down(self) -> None:
        """Stop listening to the viewer."""
        self._layers.viewer.dims.events.current_step.disconnect(self._moved)
        self.frame.clear()

    # Measure ------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask what to measure, and measure the labels of the chosen image."""
        binding = chosen_labels(self._state, self._layers)
        image = chosen_image(self._state, self._layers)
        if binding is None or image is None or self._jobs.current is not None:
            self._view.set_message(NO_LABELS, "warning")
            return
        if binding.unusable:
            self._view.set_message(binding.unusable, "warning")
            return
        answer = self._view.results.ask_measure(self._settings)
        if answer is not None:
            self._settings = answer
            self._measure(image, binding, answer)

    def _stack(self, key: str) -> Stack:
        """Return what the slices of an image are; classes have no objects to link."""
        image = self._layers.image(key)
        if image is None or self._state.is_classes:
            return "separate"
        return stack_of(self._state, image)

    def _measure(
        self, image: Image, binding: LabelsBinding, settings: MeasureSettings
    ) -> None:
        key, before = binding.image_id, self._state_of(binding.image_id)
        request = self._request(image, binding, settings)

        def done(found: Measurement) -> None:
            self._done(key, _Measured(found, before))

        self._jobs.start(
            Job("measure", lambda token: _steps(request, token), done, image_key=key)
        )

    def _request(
        self, image: Image, binding: LabelsBinding, settings: MeasureSettings
    ) -> MeasureRequest:
        """Copy what the worker reads."""
        partners = [
            partner
            for key, _ in self._layers.joinable(image)
            if (partner := self._layers.image(key)) is not None
        ]
        pixels = image_layers.snapshot(image, None, partners)
        stack = self._stack(binding.image_id)
        verified = {i: p.verified.copy() for i, p in binding.review.planes.items()}
        nothing = np.zeros(binding.review.shape, bool)
        return MeasureRequest(
            labels=_labels_of(binding),
            stack_axes=_stack_axes(image),
            levels=pixels.levels[:1],
            axes=pixels.axes,
            channel_names=self._channel_names(image, partners),
            verified=lambda index: verified.get(index, nothing),
            pixel_size=image_layers.pixel_sides(image, _depth(image, stack)),
            class_names=self._state.class_names,
            stack=stack,
            group=settings.group,
        )

    def _channel_names(self, image: Image, partners: list[Image]) -> tuple[str, ...]:
        """Name the channels; those in layers of their own have the names of the layers."""
        n = image_layers.n_channels(image)
        known = self._state.image(image_layers.layer_id_of(image)).channel_names
        own = known if len(known) == n else tuple(f"ch{i}" for i in range(n))
        if not partners:
            return own
        return (*(own or (image.name,)), *(partner.name for partner in partners))

    def _done(self, key: str, measured: _Measured) -> None:
        image, binding = self._layers.image(key), self._layers.binding(key)
        self._stale.discard(key)
        same = self._state_of(key) == measured.state
        if image is not None and binding is not None and same:
            self._measured[key] = measured
            self._state.image(key).measured = measured.found
            self._fill(key, image, binding)
            self._open_table(key)
        else:
            self._stale.add(key)
            self._view.set_message(NOT_MEASURED_NOW, "warning")
        self._state.changed.emit()

    def _open_table(self, key: str) -> None:
        if self._measured[key].problem:
            return
        self._layers.select(key)
        if not self._open():
            self._view.set_message(NO_TABLE_WIDGET)

    def _fill(self, key: str, image: Image, binding: LabelsBinding) -> None:
        """Show the rows in napari's table: of all slices, or of the one in view."""
        measured = self._measured[key]
        shown, problem, table = None, "", measured.found.table
        if "class" in table:
            problem = CLASSES_IN_TABLE
        elif measured.found.planes and is_ambiguous(table):
            index = image_layers.shown_index(image, self._layers.viewer)
            shown = measured.found.position(index)
        measured = replace(measured, shown=shown)
        rows = None if problem else by_label(measured.in_view())
        if rows is None:
            last = int(table["label"].max(initial=0))
            problem = problem or label_too_large(last, len(table["label"]))
            drop_features(binding.layer)
        else:
            show_features(binding.layer, rows)
        self._measured[key] = replace(measured, problem=problem)

    # What is still right ------------------------------------------------------------

    def refresh(self) -> None:
        """Drop what no longer belongs to its labels, and show what there is."""
        for key, measured in list(self._measured.items()):
            binding = self._layers.binding(key)
            if binding is None or self._layers.image(key) is None:
                self._forget(key)
            elif self._state_of(key) != measured.state:
                self._drop(key, binding)
        self._show()

    def _forget(self, key: str) -> None:
        del self._measured[key]
        self._state.image(key).measured = None

    def _drop(self, key: str, binding: LabelsBinding) -> None:
        self._forget(key)
        self._stale.add(key)
        drop_features(binding.layer)
        self.frame.clear()

    def _show(self) -> None:
        key = self._state.image_key or ""
        measured = self._measured.get(key)
        if measured is None:
            reason = NOT_MEASURED_NOW if key in self._stale else NOT_MEASURED
            text = reason if key in self._stale else ""
        else:
            reason, text = "", measured.text()
        self._view.results.set_table_text(text)
        self._view.set_enabled("save_table", not reason, reason)
        self._show_histogram(None if measured is None else measured.found)

    def choose_column(self, name: str) -> None:
        """Show the histogram of another column."""
        self._column = name
        self._show()

    def _show_histogram(self, found: Measurement | None) -> None:
        names = [] if found is None else columns_to_plot(found.table)
        name = self._column if self._column in names else next(iter(names), "")
        if (found, name) == self._plotted:
            return
        self._plotted = found, name
        edges, counts = histogram_of(found.table[name]) if found and name else ([], [])
        self._view.results.set_columns(names, name or None)
        self._view.results.show_histogram(name, edges, counts)

    def _changed(self, key: str) -> None:
        if key in self._measured:
            self.refresh()

    def _image_changed(self, key: str) -> None:
        binding = self._layers.binding(key)
        if key in self._measured and binding is not None:
            self._drop(key, binding)
            self._show()

    def _moved(self) -> None:
        """Show the objects of the slice that is in view now."""
        self.frame.clear()
        key = self._state.image_key or ""
        image, binding = self._layers.image(key), self._layers.binding(key)
        measured = self._measured.get(key)
        if measured is None or measured.shown is None or image is None or binding is None:
            return
        index = image_layers.shown_index(image, self._layers.viewer)
        if measured.found.position(index) != measured.shown:
            self._fill(key, image, binding)
            self._show()

    def _picked(self, key: str) -> None:
        """Frame the object whose row was selected, and bring it into view."""
        self.frame.clear()
        measured, image = self._measured.get(key), self._layers.image(key)
        binding = self._layers.binding(key)
        if measured is None or measured.problem or image is None or binding is None:
            return
        row = row_of(measured.in_view(), int(binding.layer.selected_label))
        if row is not None:
            now = image_layers.shown_index(image, self._layers.viewer)
            self._show_object(image, measured.slice_of(row, now), box_of(row))

    def _show_object(self, image: Image, index: Index, window: Window) -> None:
        viewer = self._layers.viewer
        if index and index != image_layers.shown_index(image, viewer):
            targets.show_plane(viewer, image, index)
        seen = image_layers.visible_window(image)
        if overlap(window, seen) != window:
            margin = SURROUNDINGS * max(s.stop - s.start for s in window)
            seen = grown(window, margin, image_layers.plane_shape(image))
            targets.look_at(viewer, image, seen)
        self.frame.draw(image, [targets.frame_of(window)], seen)

    def _state_of(self, key: str) -> tuple[Any, ...]:
        """Return what changes when the numbers of an image may have changed."""
        image, binding = self._layers.image(key), self._layers.binding(key)
        if image is None or binding is None:
            return ()
        stack = self._stack(key)
        return (
            image_layers.layer_id_of(binding.layer),
            binding.revision,
            sum(plane.marked for plane in binding.review.planes.values()),
            stack,
            image_layers.pixel_sides(image, _depth(image, stack)),
        )

    # Save ---------------------------------------------------------------------------

    def save(self) -> None:
        """Ask for a file and write the table of the chosen image into it."""
        self.refresh()
        binding = chosen_labels(self._state, self._layers)
        image = chosen_image(self._state, self._layers)
        measured = self._measured.get(self._state.image_key or "")
        if binding is None or image is None or measured is None:
            self._view.set_message(NOT_MEASURED, "warning")
            return
        path = self._view.results.ask_table(f"{image.name}_measurements{CSV}")
        if path is None or self._jobs.current is not None:
            return
        if path.suffix.lower() not in (CSV, PARQUET):
            path = path.with_name(path.name + CSV)
        table, labels = with_image(measured.found.table, image.name), _labels_of(binding)
        digest = measured.found.digest
        self._jobs.start(
            Job(
                "session",
                lambda token: _write_steps(path, table, labels, digest),
                self._saved,
            )
        )

    def _saved(self, path: Path) -> None:
        self._view.set_message(f"The table was saved in '{path.name}'.", "info")


def _stack_axes(image: Image) -> tuple[str, ...]:
    return tuple(axis for axis in image_layers.axes_of(image) if axis not in "CSYX")


def _depth(image: Image, stack: Stack) -> int | None:
    """Return the dimension of an image along which an object is one volume."""
    place = depth_of(_stack_axes(image), stack)
    if place is None:
        return None
    channel = image_layers.channel_axis(image)
    return [axis for axis in range(image.ndim) if axis != channel][place]


def _labels_of(binding: LabelsBinding) -> LabelArray:
    """Copy labels without the axis of channels, shape (*stack, Y, X)."""
    labels = np.array(binding.layer.data, np.int32)
    return labels if binding.channel is None else labels.squeeze(binding.channel)


def _steps(
    request: MeasureRequest, token: CancelToken
) -> Generator[Progress, None, Measurement]:
    with plain_errors():
        return (yield from measurement_steps(request, token))


def _write_steps(
    path: Path, table: Any, labels: LabelArray, digest: str
) -> Generator[Progress, None, Path]:
    """Write a table, unless the labels changed in a way that no event told."""
    yield Progress(0, 0, "writing the table")
    with plain_errors():
        if digest_of(labels) != digest:
            raise CorrectionError(NOT_MEASURED_NOW)
        write_table(path, table)
    return path
