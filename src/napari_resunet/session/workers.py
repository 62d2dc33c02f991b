"""The work that runs in background threads, as generators of events.

Importing this module imports no torch: each generator does so when it first runs, in its
own thread. Nothing here touches layers or widgets.
"""

from __future__ import annotations

import logging
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_resunet.corrections.training_set import Correction, CorrectionLog, as_example
from napari_resunet.errors import ResunetError
from napari_resunet.session.store.checkpoint import CheckpointRecord, load_checkpoint
from napari_resunet.types import (
    CancelToken,
    DeviceChoice,
    LabelArray,
    Notice,
    Progress,
    Statistics,
    Target,
)
from napari_resunet.windows import relative

if TYPE_CHECKING:
    from napari_resunet.engine.checkpoint import TrainerState
    from napari_resunet.engine.finetune import FineTuneConfig, FineTuneStep
    from napari_resunet.engine.model_selection import FineTuned
    from napari_resunet.network.model_file import Model
    from napari_resunet.session.segmenter import Proposal, Segmenter, SizeFound

log = logging.getLogger(__name__)
FEWEST_FOR_SIZE = 5
"""With fewer corrected objects the object size is left as it was."""


@dataclass(frozen=True)
class ImageSnapshot:
    """What a job knows of an image layer.

    Attributes
    ----------
    image_id : str
        Survives renames.
    levels : tuple of arrays
        The layer's data, finest level first; read only.
    axes : str
        One letter of "TZCYXS" for each dimension.
    channels : tuple of int or None
        Which feed the network.
    """

    image_id: str
    levels: tuple[Any, ...]
    axes: str
    channels: tuple[int, ...] | None


@dataclass(frozen=True)
class Sliders:
    """Foreground threshold and split level, 0 to 1."""

    foreground: float
    split: float


@dataclass(frozen=True)
class Ready:
    """The model is there: what it is, where it will compute, by which name it came."""

    model: Model
    device_text: str
    name: str = ""


@dataclass(frozen=True)
class Learned:
    """The outcome of fine-tuning.

    Attributes
    ----------
    model : Model
        New, or the old one.
    improved : bool
        Whether it is new.
    before, after : float or None
        Score on the held-out part.
    message : str
        For the user.
    scale : float
        Factor from image to working pixels that the corrections ask for.
    n_objects : int
        Corrected objects learned from.
    n_regions, n_images : int
        Corrected regions, and of how many images.
    """

    model: Model
    improved: bool
    before: float | None
    after: float | None
    message: str
    scale: float
    n_objects: int
    n_regions: int = 0
    n_images: int = 0


@dataclass(frozen=True, eq=False)
class Comparison:
    """What two models propose for one window.

    Attributes
    ----------
    target : Target
        The window.
    labels : tuple of int32 array, shape of the window
        One of each model.
    """

    target: Target
    labels: tuple[LabelArray, LabelArray]


class Workers:
    """Engines kept warm between jobs, and the corrections of this run of the program."""

    def __init__(self) -> None:
        self.corrections = CorrectionLog()
        self._segmenter: Segmenter | None = None
        self._device: DeviceChoice | None = None
        self._statistics: dict[tuple[str, tuple[int, ...] | None], Statistics] = {}

    def load(
        self, name: str, device: DeviceChoice
    ) -> Generator[Progress | Notice, None, Ready]:
        """Load a model by path or as "starter"."""
        yield Progress(0, 0, "loading the model")
        with plain_errors():
            # The first verified area needs it: on the main thread it would stutter.
            import napari_resunet.corrections.outline  # noqa: F401
            from napari_resunet.session.api import find_model

            model = find_model(name)
            text = self._segmenter_for(model, device).compute.description
        if model.notice:
            yield Notice(model.notice)
        return Ready(model, text, name)

    def new_classes(
        self, model: Model | str, names: Sequence[str], device: DeviceChoice
    ) -> Generator[Progress | Notice, None, Ready]:
        """Start a model of named classes from the features of `model`."""
        if isinstance(model, str):
            model = (yield from self.load(model, device)).model
        with plain_errors():
            from napari_resunet.network.model_file import with_new_maps
            from napari_resunet.types import ModelInfo

            info = ModelInfo(task="classes", class_names=("background", *names))
            fresh = with_new_maps(model, info)
            return Ready(fresh, self._segmenter_for(fresh, device).compute.description)

    def propose(
        self,
        model: Model | str,
        device: DeviceChoice,
        image: ImageSnapshot,
        targets: Sequence[Target],
        scale: float | None,
        sliders: Sliders,
        token: CancelToken,
    ) -> Generator[Progress | Notice | Ready | SizeFound | Proposal, None, None]:
        """Propose labels; a model that is only a name is loaded first."""
        if isinstance(model, str):
            ready = yield from self.load(model, device)
            yield ready
            model = ready.model
        with plain_errors():
            segmenter = self._segmenter_for(model, device)
            from napari_resunet.engine.image_reader import ImageReader
            from napari_resunet.engine.postprocess import Decoding

            planes = ImageReader(image.levels, image.axes, image.channels)
            yield from segmenter.propose(
                planes,
                targets,
                scale=scale,
                decoding=Decoding(sliders.foreground, sliders.split),
                statistics=self._measure(model, image, planes),
                token=token,
            )

    def compare(
        self,
        models: tuple[Model | str, Model | str],
        device: DeviceChoice,
        image: ImageSnapshot,
        target: Target,
        scale: float | None,
        sliders: Sliders,
        token: CancelToken,
    ) -> Generator[Progress | Notice | Ready | SizeFound, None, Comparison]:
        """Propose one window with two models."""
        found: list[LabelArray] = []
        for model in models:
            arguments = (model, device, image, [target], scale, sliders, token)
            for event in self.propose(*arguments):
                if (labels := _proposed(event)) is None:
                    scale = getattr(event, "scale", scale)
                    yield event  # type: ignore[misc]
                else:
                    found.append(labels)
        return Comparison(target, (found[0], found[1]))

    def decode(
        self,
        proposals: Sequence[Proposal],
        sliders: Sliders,
        visible: Target,
        token: CancelToken,
    ) -> Generator[Proposal, None, None]:
        """Turn kept maps into labels again; of a large plane, what is visible first."""
        from napari_resunet.engine.postprocess import Decoding
        from napari_resunet.session.segmenter import decode_again, is_large, part_of

        decoding = Decoding(sliders.foreground, sliders.split)
        parts = [part_of(p, visible) for p in proposals if is_large(p)]
        for proposal in [*(part for part in parts if part), *proposals]:
            with plain_errors():
                decoded = decode_again(proposal, decoding)
            if token.cancelled:
                return
            yield decoded

    def learn(
        self,
        model: Model | str,
        device: DeviceChoice,
        image: ImageSnapshot,
        corrections: Sequence[Correction],
        scale: float | None,
        auto_scale: bool,
        sliders: Sliders,
        seconds: float,
        token: CancelToken,
    ) -> Generator[Progress | Notice | Ready | FineTuneStep, None, Learned]:
        """Fine-tune on all corrections so far; `auto_scale` lets them set the scale."""
        if isinstance(model, str):
            ready = yield from self.load(model, device)
            yield ready
            model = ready.model
        with plain_errors():
            from napari_resunet.engine.device import choose
            from napari_resunet.engine.finetune import FineTuneConfig, fine_tune_steps
            from napari_resunet.engine.postprocess import Decoding

            if auto_scale:
                scale = scale_from(corrections, model) or scale
            scale = scale or 1.0
            self._record(model, image, corrections, scale)
            config = FineTuneConfig(seconds=seconds)
            result = yield from fine_tune_steps(
                model,
                self.corrections.examples(),
                config,
                choose(device),
                token,
                Decoding(sliders.foreground, sliders.split),
            )
        return self.learned(result, scale)

    def learned(self, result: FineTuned, scale: float) -> Learned:
        """Sum up what fine-tuning ended with."""
        return Learned(
            model=result.model,
            improved=result.improved,
            before=result.before,
            after=result.after,
            message=result.message,
            scale=scale,
            n_objects=result.model.info.lineage.corrected_objects,
            n_regions=len(self.corrections),
            n_images=self.corrections.n_images,
        )

    def _segmenter_for(self, model: Model, device: DeviceChoice) -> Segmenter:
        from napari_resunet.engine.device import choose
        from napari_resunet.session.segmenter import Segmenter

        kept = self._segmenter
        if kept is None or kept.model is not model or self._device != device:
            kept = self._segmenter = Segmenter(model, choose(device))
            self._device = device
        return kept

    def _measure(self, model: Model, image: ImageSnapshot, planes: Any) -> Statistics:
        """Measure an image once; a changed layer has another id or is forgotten."""
        key = (image.image_id, image.channels)
        if key not in self._statistics:
            self._statistics[key] = planes.measure(model.info.normalization)
        return self._statistics[key]

    def forget(self, image_id: str) -> None:
        """Drop what was measured of an image: its data changed."""
        self._statistics = {k: v for k, v in self._statistics.items() if k[0] != image_id}

    def _record(
        self,
        model: Model,
        image: ImageSnapshot,
        corrections: Sequence[Correction],
        scale: float,
    ) -> None:
        from napari_resunet.engine.image_reader import ImageReader
        from napari_resunet.session.holdout_regions import holdout_regions

        planes = ImageReader(image.levels, image.axes, image.channels)
        measured = self._measure(model, image, planes)
        for correction in corrections:
            crop = planes.read(correction.index, *correction.window)
            strips = holdout_regions(
                correction, self.corrections.latest(correction.key), scale
            )
            example = as_example(
                correction, crop, scale=scale, statistics=measured, held_out=strips
            )
            self.corrections.record(correction, example)


def _proposed(event: Any) -> LabelArray | None:
    """Cut a proposal to what was asked for; None for any other event."""
    from napari_resunet.session.segmenter import Proposal

    if not isinstance(event, Proposal):
        return None
    return event.labels[relative(event.core, event.target.window)]


def scale_from(corrections: Sequence[Correction], model: Model) -> float | None:
    """Compute the scale that the verified objects ask for; None where they are too few."""
    import numpy as np

    from napari_resunet.engine.patches import median_diameter

    if model.info.task == "classes":
        return None
    diameters = [
        median_diameter(np.where(c.verified, c.labels, 0))
        for c in corrections
        if c.n_objects >= FEWEST_FOR_SIZE
    ]
    known = [d for d in diameters if d]
    return model.info.diameter / float(np.median(known)) if known else None


class plain_errors:
    """Turn whatever goes wrong inside into one sentence, the trace into the log."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        """Wrap unexpected errors; generator exits and our own pass."""
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


def suggested_name(image_name: str, folder: Path) -> Path:
    """Suggest where to save a model fine-tuned on an image."""
    safe = "".join(c if c.isalnum() or c in "-_" else "_" for c in image_name)
    return folder / f"{safe or 'model'}.safetensors"


def resume_steps(
    workers: Workers,
    model: Model | str,
    device: DeviceChoice,
    root: Path,
    record: CheckpointRecord,
    token: CancelToken,
) -> Generator[Progress | Notice | Ready | FineTuneStep, None, Learned]:
    """Train the rest of an interrupted fine-tuning, on the same corrections.

    Parameters
    ----------
    workers : Workers
        Has the corrections of the session.
    model : Model or str
        What it began with, or the name to load it by.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    root : Path
        The session folder.
    record : CheckpointRecord
        Its checkpoint.
    token : CancelToken
        Stopped from the start, it ends with the best so far.

    Yields
    ------
    Progress, Notice, Ready or FineTuneStep

    Returns
    -------
    Learned

    Raises
    ------
    ResunetError
        If the checkpoint is damaged or of another model or other corrections, or the
        device cannot do it.
    """
    if isinstance(model, str):
        ready = yield from workers.load(model, device)
        yield ready
        model = ready.model
    yield Progress(0, 0, "opening the checkpoint")
    with plain_errors():
        from napari_resunet.engine.device import choose
        from napari_resunet.engine.finetune import fine_tune_steps

        checkpoint = load_checkpoint(root, record)
        examples = workers.corrections.examples()
        result = yield from fine_tune_steps(
            model,
            examples,
            _config(checkpoint.trainer_state),
            choose(device),
            token,
            checkpoint.trainer_state.decoding,
            checkpoint,
        )
    return workers.learned(result, examples[-1].scale or 1.0)


def _config(trainer_state: TrainerState) -> FineTuneConfig:
    from pydantic import TypeAdapter, ValidationError

    from napari_resunet.engine.checkpoint import incompatible_checkpoint
    from napari_resunet.engine.finetune import FineTuneConfig

    # A session may come from anyone: nothing that would take all memory, or never end.
    try:
        return TypeAdapter(FineTuneConfig).validate_python(trainer_state.config)
    except ValidationError as error:
        raise incompatible_checkpoint() from error
