"""The canvas's OpenGL context is current whenever a layer leaves the viewer.

napari deletes the OpenGL objects of a removed layer at once
(`napari._vispy.canvas.VispyCanvas._clean_and_update_scenegraph`), in whichever context is
current. Between two paints that is Qt's own, which shares the objects: with Mesa's llvmpipe
the next draw then finds no shader, and the process ends. The layer may be anybody's.
"""

from __future__ import annotations

from typing import Any

from napari.components import ViewerModel
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow


class CanvasContext:
    """Makes the context of a window's canvas current before a layer is removed.

    Parameters
    ----------
    viewer : ViewerModel
        Whose layers.
    window : QMainWindow
        The viewer's; the canvas is in its middle.
    """

    def __init__(self, viewer: ViewerModel, window: QMainWindow) -> None:
        self._removing = viewer.layers.events.removing
        self._window = window
        self._removing.connect(self._make_current)

    def unbind(self) -> None:
        """Stop listening."""
        self._removing.disconnect(self._make_current)

    def _make_current(self, event: Any) -> None:
        middle = self._window.centralWidget()
        for canvas in middle.findChildren(QOpenGLWidget) if middle is not None else ():
            canvas.makeCurrent()
