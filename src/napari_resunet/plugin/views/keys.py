"""The page that lists all keys."""

from __future__ import annotations

from qtpy.QtWidgets import QLabel

from napari_resunet.plugin.tools import all_keys
from napari_resunet.plugin.views.widgets import Section


class KeysPage(Section):
    """All keys, each with what it does; they work while the mouse is over the image."""

    def __init__(self) -> None:
        super().__init__()
        for key, does in all_keys():
            text = QLabel(does)
            text.setWordWrap(True)
            self.add_row(key, text)
        hint = QLabel("The keys work while the mouse is over the image.")
        hint.setWordWrap(True)
        self.add_wide(hint)
