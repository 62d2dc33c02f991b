"""What can be done with the versions of the model: use, rename, export, delete, compare."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet._package import starter_path
from napari_resunet.errors import FileError
from napari_resunet.files import atomic_path
from napari_resunet.plugin.compare import ComparedLayer
from napari_resunet.plugin.outcomes import version_of
from napari_resunet.plugin.state import STARTER, Version
from napari_resunet.plugin.versions_section import VersionRow, VersionsSection
from napari_resunet.session.workers import Comparison

if TYPE_CHECKING:
    from napari_resunet.plugin.controller import Controller


class VersionActions:
    """Ties the list of versions to the work.

    Parameters
    ----------
    controller : Controller
        Whose versions.
    section : VersionsSection
        The list.
    """

    def __init__(self, controller: Controller, section: VersionsSection) -> None:
        self.controller = controller
        self.section = section
        self.layer: ComparedLayer | None = None
        self._titles = ("", "")
        self._image_key: str | None = None
        controller.work.on_compared = self._show_comparison
        section.use_clicked.connect(controller.choose_version)
        section.rename_clicked.connect(self.rename)
        section.note_clicked.connect(self.note)
        section.export_clicked.connect(self.export)
        section.delete_clicked.connect(self.delete)
        section.compare_toggled.connect(self.compare)
        section.flip_clicked.connect(self.flip)
        self.refresh()

    def refresh(self) -> None:
        """Bring the list up to date."""
        versions = self.controller.work.versions
        numbers = {v.key: row_number(v) for v in versions.all()}
        rows = [_row(v, v is not versions.current, numbers) for v in versions.all()]
        self.section.set_rows(rows, versions.current.key)

    def rename(self, key: str) -> None:
        """Give a version the name that the user types."""
        self._edit(key, "name", "Rename the version", "Its name:")

    def note(self, key: str) -> None:
        """Keep the user's note on a version."""
        self._edit(key, "note", "Note", "Your note on this version:")

    def export(self, key: str) -> None:
        """Write a version to a model file that the user names."""
        version = self.controller.work.versions.get(key)
        if version is None:
            return
        name = "".join(c if c.isalnum() else "_" for c in version.title)
        view = self.controller.view
        path = view.ask_save_path(Path.home() / f"{name}.safetensors")
        if path is None:
            return
        try:
            _write(version, path)
        except (FileError, OSError) as error:
            view.set_message(f"The model was not exported: {error}", "error")
        else:
            view.set_message(f"Saved as {path}.")

    def delete(self, key: str) -> None:
        """Delete a version, but neither the starter nor the one in use."""
        versions = self.controller.work.versions
        version = versions.get(key)
        if version is None or version.record is None or version is versions.current:
            return
        versions.remove(key)
        autosave = self.controller.autosave
        if autosave is not None:
            autosave.learned.delete(autosave.folder, version.record)
        self.controller.view.set_message(f"'{version.title}' was deleted.")
        self.controller.refresh()

    # Compare ------------------------------------------------------------------------

    def compare(self, on: bool) -> None:
        """Propose the visible area with two versions, or end that."""
        if not on:
            self._end_comparison()
            return
        work, other = self.controller.work, self._chosen()
        image = self.controller.layers.image(self.controller.image_key)
        if image is None or other is None or work.job is not None:
            self.section.show_comparison("")
            self.controller.view.set_message(
                "Open an image, choose another version in the list, and wait for what "
                "runs.",
                "warning",
            )
            return
        self._image_key = self.controller.image_key
        self._titles = other.title, work.versions.current.title
        work.compare(image, (other.to_use, work.versions.current.to_use))

    def flip(self) -> None:
        """Show the other proposal."""
        if self.layer is None or not self.layer.is_there:
            self._end_comparison()
            return
        self.section.show_comparison(self._titles[self.layer.flip()])

    def _chosen(self) -> Version | None:
        versions = self.controller.work.versions
        version = versions.get(self.section.chosen() or "")
        return None if version is versions.current else version

    def _show_comparison(self, comparison: Comparison | None) -> None:
        """Show what came of it; None where the job failed or was cancelled."""
        self._end_comparison()
        layers, key = self.controller.layers, self._image_key
        image, binding = layers.image(key), layers.binding(key)
        if comparison is None or image is None:
            return
        hidden = None if binding is None else binding.layer
        self.layer = ComparedLayer(layers.viewer, image, comparison, self._titles, hidden)
        self.section.show_comparison(self._titles[0])

    def _end_comparison(self) -> None:
        if self.layer is not None:
            self.layer.remove()
        self.layer = None
        self.section.show_comparison("")

    def _edit(self, key: str, field: str, title: str, question: str) -> None:
        versions = self.controller.work.versions
        version = versions.get(key)
        if version is None or version.record is None:
            return
        text = self.section.ask_text(title, question, getattr(version.record, field))
        if text is None:
            return
        record = version.record.model_copy(update={field: text})
        versions.put(version_of(record, version.model, version.source))
        autosave = self.controller.autosave
        if autosave is not None:
            autosave.learned.update(autosave.folder, record)
        self.controller.refresh()


def row_number(version: Version) -> int:
    """Return the number of a version; the starter is 0."""
    return 0 if version.record is None else version.record.number


def _row(version: Version, idle: bool, numbers: dict[str, int]) -> VersionRow:
    record = version.record
    if record is None:
        return VersionRow(version.key, ("0", "", "starter", ""), version.tooltip, False)
    parent = numbers.get(record.parent_id, 0)
    counts = f"{record.objects} obj, {record.regions} reg, {record.images} img"
    origin = counts if record.origin == "learned" else record.origin
    score = "" if record.after is None else f"{record.after:.2f}"
    if record.before is not None and record.after is not None:
        score = f"{record.before:.2f} → {record.after:.2f}"
    told = f"{version.title}\nFrom version {parent}\n{version.tooltip}"
    day = record.created[:16].replace("T", " ")
    return VersionRow(version.key, (str(record.number), score, origin, day), told, idle)


def _write(version: Version, path: Path) -> None:
    if version.model is not None:
        version.model.save(path)
        return
    source = starter_path() if version.source == STARTER else Path(version.source)
    with atomic_path(path) as temporary:
        shutil.copyfile(source, temporary)
