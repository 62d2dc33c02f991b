"""Next: moves the view to where the model is least sure, and says why it came.

Also shows the probability map as a layer. What is unsure is `engine.uncertainty`; over
which images to look is `session.next_region`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_resunet.plugin import image_layers
from napari_resunet.plugin.guides import Guide, Guides, add_unselected
from napari_resunet.plugin.jobs import Job
from napari_resunet.plugin.places import to_world
from napari_resunet.plugin.tools import NEXT_KEY
from napari_resunet.plugin.work import NEXT
from napari_resunet.session.next_region import Candidate, Found, find_next
from napari_resunet.types import CancelToken, Window

if TYPE_CHECKING:
    from napari_resunet.plugin.work import Work
    from napari_resunet.session.segmenter import Proposal

ALL_VERIFIED = "Everything is verified: there is nothing left to look at."
FILL = 0.9
"""Share of the canvas that the region takes."""

MAP_NAME = "probability of objects"
NO_MAP = "There is no probability map of this slice yet: click Segment."


class NextView:
    """Looks for the next region in the background and goes there.

    Parameters
    ----------
    work : Work
        Knows layers, kept maps and the model in use; its one long job.
    guides : Guides
        Show the frame of the region.
    image : callable
        Returns the chosen image.
    choose : callable
        Called with the key of the image to choose.
    """

    def __init__(
        self,
        work: Work,
        guides: Guides,
        image: Callable[[], Image | None],
        choose: Callable[[str], None],
    ) -> None:
        self._work, self._image, self._choose = work, image, choose
        self._viewer = work.layers.viewer
        self.frame = Guide(guides, "look here", "deepskyblue")
        self._has_key = self._bind_key()

    def start(self) -> None:
        """Begin to look; one long job at a time."""
        image, work = self._image(), self._work
        if image is None or work.job is not None:
            return
        token = CancelToken()
        arguments = (
            work.workers, work.versions.current.to_use, work.device,
            self._candidates(image), work.sliders, token,
        )  # fmt: skip
        work.start(NEXT, find_next, arguments, token, None, self)

    def shut_down(self) -> None:
        """Take our key away."""
        if self._has_key:
            self._viewer.bind_key(NEXT_KEY, None)

    def _bind_key(self) -> bool:
        """Bind the key whatever layer is active; one that the user bound stays theirs."""
        try:
            self._viewer.bind_key(NEXT_KEY, self._pressed)
        except ValueError:
            return False
        return True

    def _pressed(self, viewer: Any) -> None:
        image = self._image()
        sentence = (
            "" if image is None else image_layers.unsupported_reason(image, self._viewer)
        )
        if sentence:
            self._work.show.view.set_message(sentence, "warning")
        else:
            self.start()

    def _candidates(self, first: Image) -> list[Candidate]:
        layers = self._work.layers
        keys = [key for key, _ in layers.images()]
        chosen = image_layers.layer_id_of(first)
        images = [first] + [x for k in keys if k != chosen and (x := layers.image(k))]
        fit = [x for x in images if not image_layers.unsupported_reason(x, self._viewer)]
        return [self._candidate(image) for image in fit]

    def _candidate(self, image: Image) -> Candidate:
        key = image_layers.layer_id_of(image)
        state, binding = self._work.state(key), self._work.layers.binding(key)
        planes = binding.review.planes if binding else {}
        return Candidate(
            self._work.snapshot(image),
            state.scale,
            tuple(state.kept(image_layers.shown_index(image, self._viewer))),
            {index: plane.verified.copy() for index, plane in planes.items()},
        )

    # What the job says --------------------------------------------------------------

    def on_event(self, job: Job, event: Any) -> None:
        """Show progress; a model that was loaded is in use."""
        self._work.on_event(job, event)

    def on_result(self, job: Job, result: Any) -> None:
        """Go to what was found."""
        if isinstance(result, Found):
            self._go(result)
        else:
            self._work.show.view.set_message(ALL_VERIFIED)

    def on_error(self, job: Job, sentence: str) -> None:
        """Say what went wrong."""
        self._work.on_error(job, sentence)

    def on_end(self, job: Job) -> None:
        """Make room for the next job."""
        self._work.on_end(job)

    def _go(self, found: Found) -> None:
        image = self._work.layers.image(found.image_id)
        if image is None:
            self._work.show.view.set_message("The image was removed meanwhile.", "warning")
            return
        if found.proposal is not None:
            self._propose(image, found.proposal)
        self._choose(found.image_id)
        _show_plane(self._viewer, image, found.index)
        window = found.region.window
        self.frame.draw(image, [_frame(window)], window)
        _look_at(self._viewer, image, window)
        self._work.show.view.set_message(why(found))

    def _propose(self, image: Image, proposal: Proposal) -> None:
        self._work.layers.make_binding(image).take(proposal)
        state = self._work.state(image_layers.layer_id_of(image))
        state.scale = state.scale or proposal.scale
        state.keep(proposal)


def why(found: Found) -> str:
    """Say why the view came here."""
    n = found.region.n_doubts
    if not n:
        return "The model is sure of its objects; it is least sure here."
    return f"The model is unsure about {n} object{'s' if n > 1 else ''} here."


class ProbabilityMap:
    """The foreground probability of the shown slice as an Image layer, on demand.

    It stays at the working resolution: napari stretches it over the image.

    Parameters
    ----------
    work : Work
        Knows layers and kept maps.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._viewer = work.layers.viewer
        self._layer: Image | None = None
        self._shown: Any = None

    @property
    def layer(self) -> Image | None:
        """The layer, if it is in the viewer."""
        return None if self.gone else self._layer

    @property
    def gone(self) -> bool:
        """Whether the user removed the layer."""
        return self._layer is not None and self._layer not in self._viewer.layers

    def show(self, image: Image | None) -> bool:
        """Show the map of the shown slice; tell whether there is one."""
        proposal = None if image is None else self._proposal(image)
        if image is None or proposal is None:
            self.hide()
            return False
        if self.layer is None or self._shown is not proposal:
            self.hide()
            self._shown = proposal
            self._layer = _as_layer(image, proposal)
            add_unselected(self._viewer, self._layer)
        return True

    def hide(self) -> None:
        """Take the layer away."""
        if self.layer is not None:
            layer, self._layer = self._layer, None
            self._viewer.layers.remove(layer)
        self._layer = self._shown = None

    def _proposal(self, image: Image) -> Proposal | None:
        index = image_layers.shown_index(image, self._viewer)
        state = self._work.state(image_layers.layer_id_of(image))
        here = [p for p in state.kept(index) if p.target.index == index]
        return max(here, key=_n_pixels, default=None)


def _n_pixels(proposal: Proposal) -> int:
    return int(proposal.kept.maps[0].size)


def _as_layer(image: Image, proposal: Proposal) -> Image:
    from napari_resunet.engine.uncertainty import foreground_of

    maps, axes = proposal.kept.maps.astype(np.float32), proposal.kept.axes
    place = image_layers.plane_place(image)
    factors = np.array([axis.scale for axis in axes])
    # The centre of the first working pixel, in image pixels.
    first = np.array([s.start for s in proposal.target.window]) + 0.5 / factors - 0.5
    place["translate"] = place["translate"] + first * place["scale"]
    place["scale"] = place["scale"] / factors
    return Image(
        foreground_of(maps, proposal.kept.info), name=MAP_NAME, colormap="magma",
        contrast_limits=(0, 1), blending="additive", opacity=0.6,
        metadata={image_layers.OURS: "map"}, **place,
    )  # fmt: skip


def _frame(window: Window) -> Any:
    top, bottom = window[0].start - 0.5, window[0].stop - 0.5
    left, right = window[1].start - 0.5, window[1].stop - 0.5
    corners = (top, left), (top, right), (bottom, right), (bottom, left), (top, left)
    return np.array(corners)


def _look_at(viewer: Any, image: Image, window: Window) -> None:
    """Move and zoom the camera so that a window fills most of the canvas."""
    scene = getattr(viewer, "scene", viewer)  # the viewer itself before napari 0.9
    world = to_world(image, _frame(window)[:4])
    scene.camera.center = (*scene.camera.center[:-2], *world.mean(0).tolist())
    canvas = getattr(viewer, "canvas", None)
    if canvas is not None:
        fit = np.asarray(canvas.size) / np.ptp(world, axis=0)
        scene.camera.zoom = FILL * float(fit.min())


def _show_plane(viewer: Any, image: Image, index: tuple[int, ...]) -> None:
    """Move the sliders to a plane."""
    channel, position, stack = image_layers.channel_axis(image), [], list(index)
    now = np.asarray(image.world_to_data(viewer.dims.point[-image.ndim :]))
    for axis in range(image.ndim - 2):
        position.append(now[axis] if axis == channel else stack.pop(0))
    world = image.data_to_world((*position, 0, 0))
    for axis in range(image.ndim - 2):
        viewer.dims.set_point(viewer.dims.ndim - image.ndim + axis, world[axis])
