"""Makes the canvas's OpenGL context current before a layer is removed.

napari deletes the OpenGL objects of a removed layer at once
(`napari._vispy.canvas.VispyCanvas._clean_and_update_scenegraph`), in whichever context is
current. Between two paints that is Qt's own context, which shares the objects. With Mesa's
llvmpipe, the next paint then finds no shader, and the process crashes. Any layer can cause
it, not only ours.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from napari.components import ViewerModel
from qtpy.QtOpenGLWidgets import QOpenGLWidget
from qtpy.QtWidgets import QMainWindow

from napari_resunet.plugin.layers.bound import Bound, Connection


class CanvasContext(Bound):
    """Makes the context of a window's canvas current before a layer is removed.

    Parameters
    ----------
    viewer : ViewerModel
        The viewer whose layers are removed.
    window : QMainWindow
        The viewer's window; its central widget holds the canvas.
    """

    def __init__(self, viewer: ViewerModel, window: QMainWindow) -> None:
        self._removing = viewer.layers.events.removing
        self._window = window
        self.bind()

    def connections(self) -> Iterator[Connection]:
        """Yield the event before a layer is removed."""
        yield self._removing, self._make_current

    def _make_current(self, event: Any) -> None:
        middle = self._window.centralWidget()
        for canvas in middle.findChildren(QOpenGLWidget) if middle is not None else ():
            canvas.makeCurrent()
