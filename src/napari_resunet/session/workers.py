"""Long work for background threads: generators that take a request and yield events.

Importing this module imports no torch: each generator does so when it first runs, in its
own thread. Nothing here knows layers or widgets.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, assert_never

from napari_resunet.corrections.training_set import Correction, CorrectionLog, as_example
from napari_resunet.errors import ResunetError
from napari_resunet.events import CancelToken, Notice, Progress
from napari_resunet.session.beside import ReadOthers, completed, read_beside
from napari_resunet.session.holdout import holdout_regions
from napari_resunet.session.object_size import corrected_scale
from napari_resunet.session.store.models import (
    CheckpointRecord,
    config_of,
    load_checkpoint,
)
from napari_resunet.types import (
    Channels,
    Decoding,
    Device,
    LabelArray,
    RemoteServer,
    Statistics,
    Target,
    Task,
    local_device,
)
from napari_resunet.windows import relative

if TYPE_CHECKING:
    from napari_resunet.engine.differences import Differences
    from napari_resunet.engine.finetune import FineTuneStep
    from napari_resunet.engine.finetune_result import FineTuneResult
    from napari_resunet.engine.image_reader import ImageReader
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import (
        PlaneAround,
        Proposal,
        Segmenter,
        SizeFound,
    )

log = logging.getLogger(__name__)
OpenEvents: TypeAlias = "Generator[Notice, None, PlaneAround | None]"
BLOCK = 1024
"""Side of the blocks, in pixels at network resolution, in which a large window is proposed:
each takes seconds, appears when it is ready, and stays if the user cancels."""

HERE = "{what} on this computer, not on the server."
"""Notice about what no server does."""

ALONE = "Nothing beyond the edge of this part is seen: a server segments it alone."


@dataclass(frozen=True, eq=False)
class ImageSnapshot:
    """What a job reads of an image layer.

    Attributes
    ----------
    image_id : str
        Key of the layer, which does not change when it is renamed.
    levels : tuple of arrays
        The layer's data, finest level first; read only.
    axes : str
        One letter of "TZCYXS" for each dimension.
    channels : tuple of int or of tuple of int, or None
        Channels that the network sees.
    partners : tuple of str
        Keys of the other layers whose pixels are among the channels.
    pixel_size : float or None
        Side of a pixel in micrometres, if known.
    statistics : Statistics or None
        Intensities of the image of which this is a part; None measures them.
    around : callable or None
        Opens what lies around them, if they are a part of a large image.
    """

    image_id: str
    levels: tuple[Any, ...]
    axes: str
    channels: Channels | None
    partners: tuple[str, ...] = ()
    pixel_size: float | None = None
    statistics: Statistics | None = None
    around: Callable[[ImageReader], OpenEvents] | None = None


# Where a request takes a model, it also takes a name, by which the model is loaded first.


@dataclass(frozen=True, eq=False)
class LoadRequest:
    """Load a model: "starter", or the path of its file."""

    name: str
    device: Device


@dataclass(frozen=True, eq=False)
class NewClassesRequest:
    """Start a model of named classes from the features of another model."""

    model: Model | str
    names: tuple[str, ...]
    device: Device


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """Propose labels for windows of an image; a scale of None is estimated."""

    model: Model | str
    device: Device
    image: ImageSnapshot
    targets: tuple[Target, ...]
    scale: float | None
    decoding: Decoding


@dataclass(frozen=True, eq=False)
class CompareRequest:
    """Propose labels for one window with two models, each at its scale.

    `known` are the user's labels there.
    """

    models: tuple[Model | str, Model | str]
    device: Device
    image: ImageSnapshot
    target: Target
    scales: tuple[float | None, float | None]
    decoding: Decoding
    known: LabelArray | None = None


@dataclass(frozen=True, eq=False)
class DecodeRequest:
    """Decode proposals again, those in view first."""

    proposals: tuple[Proposal, ...]
    decoding: Decoding
    visible: Target


@dataclass(frozen=True, eq=False)
class CorrectedImage:
    """What to learn from one image; `auto_scale` lets its corrections set the scale."""

    image: ImageSnapshot
    corrections: tuple[Correction, ...]
    scale: float | None
    auto_scale: bool


@dataclass(frozen=True, eq=False)
class RecordRequest:
    """Add what is verified on an image to the training set, to learn from it later."""

    model: Model | str
    device: Device
    corrected: CorrectedImage


@dataclass(frozen=True, eq=False)
class FineTuneRequest:
    """Fine-tune on all corrections so far and on those of some images, the latest last.

    `others` reads images without labels that should not get worse; see `other_images`.
    """

    model: Model | str
    device: Device
    images: tuple[CorrectedImage, ...]
    decoding: Decoding
    seconds: float
    others: ReadOthers | None = None


@dataclass(frozen=True, eq=False)
class ResumeRequest:
    """Resume the fine-tuning that a session folder recorded, with its first model."""

    model: Model | str
    device: Device
    folder: Path
    record: CheckpointRecord
    others: ReadOthers | None = None


@dataclass(frozen=True, eq=False)
class ModelReady:
    """A model was loaded, with the text of its device and the name it was loaded by.

    `speed` is in pixels at network resolution per second; None if it was not measured.
    """

    model: Model
    device_text: str
    name: str = ""
    speed: float | None = None


@dataclass(frozen=True, eq=False)
class Comparison:
    """What differs between the proposals of two models for one window."""

    target: Target
    differences: Differences


# In quotes: at run time, some of these types would import torch.
LoadEvent: TypeAlias = Progress | Notice
ModelEvent: TypeAlias = Progress | Notice | ModelReady
SegmentEvent: TypeAlias = "Progress | Notice | ModelReady | SizeFound | Proposal"
CompareEvent: TypeAlias = "Progress | Notice | ModelReady | SizeFound"
FineTuneEvent: TypeAlias = "Progress | Notice | ModelReady | FineTuneStep"


class Workers:
    """The jobs, which share the last segmenter, the intensities, and the corrections."""

    def __init__(self) -> None:
        self.corrections = CorrectionLog()
        self._segmenter: Segmenter | None = None
        self._device: Device | None = None
        self._statistics: dict[tuple[Any, ...], Statistics] = {}

    def forget(self, image_id: str) -> None:
        """Drop the measured intensities of an image, because its data changed."""
        self._statistics = {k: v for k, v in self._statistics.items() if k[0] != image_id}

    def load(
        self, request: LoadRequest, token: CancelToken
    ) -> Generator[LoadEvent, None, ModelReady]:
        """Load a model, and measure how fast it is."""
        ready = yield from self._load(request.name, request.device)
        with plain_errors():
            segmenter = self._segmenter_for(ready.model, request.device)
            return replace(ready, speed=segmenter.measure_speed())

    def new_classes(
        self, request: NewClassesRequest, token: CancelToken
    ) -> Generator[LoadEvent, None, ModelReady]:
        """Make a model of classes that it has not learned yet."""
        model = request.model
        if isinstance(model, str):
            model = (yield from self._load(model, request.device)).model
        with plain_errors():
            from napari_resunet.network.model_file import with_new_maps
            from napari_resunet.types import ModelInfo

            names = ("background", *request.names)
            fresh = with_new_maps(model, ModelInfo(task="classes", class_names=names))
            segmenter = self._segmenter_for(fresh, request.device)
            return ModelReady(fresh, segmenter.device_text)

    def segment(
        self, request: SegmentRequest, token: CancelToken
    ) -> Generator[SegmentEvent, None, None]:
        """Propose labels; one Proposal for each target."""
        model = yield from self.loaded(request.model, request.device)
        with plain_errors():
            segmenter = self._segmenter_for(model, request.device)
            reader = _reader(request.image)
            around, open_around = None, request.image.around
            if open_around and isinstance(request.device, RemoteServer):
                yield Notice(ALONE)
            elif open_around:
                around = yield from open_around(reader)
            yield from segmenter.propose(
                reader,
                request.targets,
                scale=request.scale,
                decoding=request.decoding,
                statistics=self._measure(model, request.image, reader),
                token=token,
                block=BLOCK,
                around=around,
            )

    def compare(
        self, request: CompareRequest, token: CancelToken
    ) -> Generator[CompareEvent, None, Comparison]:
        """Propose labels with two models; those without a scale share the estimated one."""
        yield Progress(0, 0, "comparing two versions")
        with plain_errors():
            from napari_resunet.session.segmenter import Proposal, SizeFound

        found: list[LabelArray] = []
        tasks: set[Task] = set()
        estimated, target = None, request.target
        for model, known in zip(request.models, request.scales, strict=True):
            scale = known or estimated
            single = SegmentRequest(
                model, request.device, request.image, (target,), scale, request.decoding
            )
            for event in self.segment(single, token):
                match event:
                    case Proposal():
                        found.append(event.labels[relative(event.roi, event.padded_roi)])
                        tasks.add(event.maps.info.task)
                    case SizeFound():
                        estimated = event.scale
                        yield event
                    case Progress() | Notice() | ModelReady():
                        yield event
                    case _:
                        assert_never(event)
        with plain_errors():
            from napari_resunet.engine.differences import compare

            return Comparison(target, compare(found[0], found[1], tasks, request.known))

    def decode(
        self, request: DecodeRequest, token: CancelToken
    ) -> Generator[list[Proposal], None, None]:
        """Turn prediction maps into labels again, as a slider moves."""
        from napari_resunet.session.segmenter import decode_again, in_view_first

        for few in in_view_first(request.proposals, request.visible):
            with plain_errors():
                decoded = decode_again(few, request.decoding, token)
            if token.cancelled:
                return
            yield decoded

    def fine_tune(
        self, request: FineTuneRequest, token: CancelToken
    ) -> Generator[FineTuneEvent, None, FineTuneResult]:
        """Add corrections to the training set, and fine-tune a copy of the model on it."""
        model = yield from self.loaded(request.model, request.device)
        with plain_errors():
            from napari_resunet.engine.finetune_config import FineTuneConfig
            from napari_resunet.session.devices import fine_tune_on

            for corrected in request.images:
                self._record(model, corrected)
            examples = self.corrections.examples()
            others = yield from read_beside(examples, request.others, model.info, token)
            result = yield from fine_tune_on(
                model,
                examples,
                FineTuneConfig(seconds=request.seconds),
                request.device,
                token,
                request.decoding,
                others=[image for _, image in others],
            )
        return completed(result, others, self.corrections.n_images)

    def record(
        self, request: RecordRequest, token: CancelToken
    ) -> Generator[ModelEvent, None, None]:
        """Add the corrections of an image to the training set."""
        model = yield from self.loaded(request.model, request.device)
        with plain_errors():
            self._record(model, request.corrected)

    def resume(
        self, request: ResumeRequest, token: CancelToken
    ) -> Generator[FineTuneEvent, None, FineTuneResult]:
        """Fine-tune for the rest of the time, on the corrections of the session.

        That is done on this computer: a server has no checkpoints.

        A token that is stopped from the start ends it with the best weights so far.

        Raises
        ------
        ResunetError
            If the checkpoint is damaged, or belongs to another model or to other
            corrections.
        """
        model = yield from self.loaded(request.model, request.device)
        if isinstance(request.device, RemoteServer):
            yield Notice(HERE.format(what="An interrupted fine-tuning is resumed"))
        yield Progress(0, 0, "opening the checkpoint")
        with plain_errors():
            from napari_resunet.engine.device import choose
            from napari_resunet.engine.finetune import fine_tune_steps

            checkpoint = load_checkpoint(request.folder, request.record)
            examples = self.corrections.examples()
            others = yield from read_beside(examples, request.others, model.info, token)
            result = yield from fine_tune_steps(
                model,
                examples,
                config_of(checkpoint),
                choose(local_device(request.device)),
                token,
                checkpoint.trainer_state.decoding,
                checkpoint,
                others=[image for _, image in others],
            )
        return completed(result, others, self.corrections.n_images)

    def loaded(
        self, model: Model | str, device: Device
    ) -> Generator[ModelEvent, None, Model]:
        """Load a model that is only a name, and report it."""
        if not isinstance(model, str):
            return model
        ready = yield from self._load(model, device)
        yield ready
        return ready.model

    def _load(self, name: str, device: Device) -> Generator[LoadEvent, None, ModelReady]:
        yield Progress(0, 0, "loading the model")
        with plain_errors():
            # Imported for the first verified area, because the main thread would stutter.
            import napari_resunet.corrections.outline  # noqa: F401
            from napari_resunet.session.api import find_model

            model = find_model(name)
            text = self._segmenter_for(model, device).device_text
        if model.notice:
            yield Notice(model.notice)
        return ModelReady(model, text, name)

    def _segmenter_for(self, model: Model, device: Device) -> Segmenter:
        from napari_resunet.session.segmenter import Segmenter

        cached = self._segmenter
        if cached is None or cached.model is not model or self._device != device:
            cached = self._segmenter = Segmenter(model, device)
            self._device = device
        return cached

    def _measure(
        self, model: Model, image: ImageSnapshot, reader: ImageReader
    ) -> Statistics:
        """Measure the intensities of an image once."""
        if image.statistics is not None:
            return image.statistics
        key = (image.image_id, image.channels, image.partners)
        if key not in self._statistics:
            self._statistics[key] = reader.measure(model.info.normalization)
        return self._statistics[key]

    def _record(self, model: Model, corrected: CorrectedImage) -> None:
        """Add corrections to the training set, with the pixels around them."""
        image, scale = corrected.image, corrected.scale
        if corrected.auto_scale:
            scale = corrected_scale(corrected.corrections, model.info) or scale
        scale = scale or 1.0
        reader = _reader(image)
        measured = self._measure(model, image, reader)
        for correction in corrected.corrections:
            crop = reader.read(correction.index, *correction.window)
            earlier = self.corrections.latest(correction.key)
            held_out = holdout_regions(correction, earlier, scale)
            known = {"scale": scale, "statistics": measured, "held_out": held_out}
            example = as_example(correction, crop, pixel_size=image.pixel_size, **known)
            self.corrections.record(correction, example)


def _reader(image: ImageSnapshot) -> ImageReader:
    from napari_resunet.engine.image_reader import ImageReader

    return ImageReader(image.levels, image.axes, image.channels)


class plain_errors:
    """Turn an unexpected error into one sentence, with its traceback in the log."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wrap the error, unless it is one of ours or a generator that is closed."""
        if (
            error is None
            or isinstance(error, ResunetError)
            or not isinstance(error, Exception)
        ):
            return
        log.error("Unexpected error", exc_info=error)
        from napari_resunet.engine.device import is_out_of_memory, no_memory

        if is_out_of_memory(error):
            raise no_memory() from error
        raise ResunetError(
            f"Unexpected error ({type(error).__name__}: "
            f"{error}). Your labels are as they were; the log has the details."
        ) from error
