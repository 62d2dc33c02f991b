"""An interrupted fine-tuning goes on, or ends with the best so far, in a worker's thread.

How one begins is `Workshop.learn`; both end alike. Importing this imports no torch.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from napari_resunet.session.store.checkpoint import CheckpointRecord, load_checkpoint
from napari_resunet.session.workshop import Learned, Ready, Workshop, plain_errors
from napari_resunet.types import CancelToken, DeviceChoice, Notice, Progress

if TYPE_CHECKING:
    from napari_resunet.engine.checkpoint import Standing
    from napari_resunet.engine.finetune import FineTuneStep, FineTuning
    from napari_resunet.network.model_file import Model


def go_on_steps(
    workshop: Workshop,
    model: Model | str,
    device: DeviceChoice,
    root: Path,
    record: CheckpointRecord,
    token: CancelToken,
) -> Generator[Progress | Notice | Ready | FineTuneStep, None, Learned]:
    """Train the rest of an interrupted fine-tuning, on the same corrections.

    Parameters
    ----------
    workshop : Workshop
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
        ready = yield from workshop.load(model, device)
        yield ready
        model = ready.model
    yield Progress(0, 0, "opening the checkpoint")
    with plain_errors():
        from napari_resunet.engine.device import choose
        from napari_resunet.engine.finetune import fine_tune_steps

        checkpoint = load_checkpoint(root, record)
        examples = workshop.corrections.examples()
        result = yield from fine_tune_steps(
            model,
            examples,
            _recipe(checkpoint.standing),
            choose(device),
            token,
            checkpoint.standing.decoding,
            checkpoint,
        )
    return workshop.learned(result, examples[-1].scale or 1.0)


def _recipe(standing: Standing) -> FineTuning:
    from pydantic import TypeAdapter, ValidationError

    from napari_resunet.engine.checkpoint import unfit
    from napari_resunet.engine.finetune import FineTuning

    # A session may come from anyone: nothing that would take all memory, or never end.
    try:
        return TypeAdapter(FineTuning).validate_python(standing.recipe)
    except ValidationError as error:
        raise unfit() from error
