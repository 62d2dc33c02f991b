"""napari's own table of features, a widget of its own in napari's window."""

from __future__ import annotations

import logging
from typing import Any

from qtpy.QtCore import QItemSelection, QObject
from qtpy.QtWidgets import QTableView

from napari_resunet.plugin.layers.image_layers import OURS

log = logging.getLogger(__name__)
PLUGIN, WIDGET = "napari", "Features table widget"


def open_table(viewer: Any) -> bool:
    """Open napari's table of the selected layer's features; False if there is none.

    It keeps its rows and the selected label together in both directions.
    """
    window = getattr(viewer, "window", None)
    if window is None:
        return False
    try:
        # As a tab, because beside our dock it would take half of its height.
        _, widget = window.add_plugin_dock_widget(PLUGIN, WIDGET, tabify=True)
    except Exception:  # each version of napari raises something else
        log.warning("napari's features table cannot be opened", exc_info=True)
        return False
    if not widget.property(OURS):
        widget.setProperty(OURS, True)
        for table in widget.findChildren(QTableView):
            _ScrollToSelection(table)
    return True


class _ScrollToSelection(QObject):
    """Scrolls to the row of the object that is picked in the image; napari does not."""

    def __init__(self, table: QTableView) -> None:
        super().__init__(table)
        self._table = table
        selection = table.selectionModel()
        if selection is not None:
            selection.selectionChanged.connect(self._changed)

    def _changed(self, selected: QItemSelection) -> None:
        for index in selected.indexes()[:1]:
            self._table.scrollTo(index)
