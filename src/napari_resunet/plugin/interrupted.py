"""An interrupted fine-tuning is offered: go on, keep the best so far, or drop it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_resunet.plugin.version_actions import row_number

if TYPE_CHECKING:
    from napari_resunet.plugin.autosave import Autosave
    from napari_resunet.plugin.controller import Controller
    from napari_resunet.plugin.state import Version
    from napari_resunet.session.store.checkpoint import CheckpointRecord

CHOOSE = "Under Fine-tune, resume it, keep the best so far, or discard it."
NO_MODEL = (
    "The model that the interrupted fine-tuning began with was deleted: discard it, and "
    "click Fine-tune to begin anew."
)


class Interrupted:
    """Ties the offer to the work.

    Parameters
    ----------
    controller : Controller
        Whose work.
    autosave : Autosave
        Knows the checkpoint.
    """

    def __init__(self, controller: Controller, autosave: Autosave) -> None:
        self.controller, self.autosave = controller, autosave
        self.row = controller.view.interrupted
        self.row.go_on_clicked.connect(self.go_on)
        self.row.keep_best_clicked.connect(self.keep_best)
        self.row.drop_clicked.connect(self.drop)

    def refresh(self) -> None:
        """Show the offer where there is one and nothing is being learned."""
        record = self._offered()
        self.row.set_text("" if record is None else sentence(record))

    def go_on(self) -> None:
        """Train for the rest of the time."""
        self._begin(stop=False)

    def keep_best(self) -> None:
        """End it with the best so far."""
        self._begin(stop=True)

    def drop(self) -> None:
        """Throw it away."""
        if self.autosave.folder is not None and self._offered() is not None:
            self.autosave.learned.drop_checkpoint(self.autosave.folder)
            self.controller.view.set_message("The interrupted fine-tuning was discarded.")
            self.refresh()

    def _begin(self, stop: bool) -> None:
        work, folder, record = self.controller.work, self.autosave.folder, self._offered()
        if folder is None or record is None or work.job is not None:
            return
        base = self._base(record)
        if base is None:
            self.controller.view.set_message(NO_MODEL, "error")
            return
        layer_ids = {key: layer_id for layer_id, key in self.autosave.keys.items()}
        image_key = layer_ids.get(record.image)
        self.controller.view.set_message(
            "The fine-tuning was resumed; you can keep painting."
        )
        work.go_on(base, folder.root, record, image_key, stop)

    def _offered(self) -> CheckpointRecord | None:
        work = self.controller.work
        nothing = work.is_learning or work.training_over
        return None if nothing else self.autosave.learned.interrupted

    def _base(self, record: CheckpointRecord) -> Version | None:
        versions = self.controller.work.versions.all()
        return next((v for v in versions if row_number(v) == record.base), None)


def sentence(record: CheckpointRecord) -> str:
    """Tell how far it came."""
    score = "" if record.score is None else f", with a score of {record.score:.2f}"
    return f"A fine-tuning was interrupted at {record.share:.0%} of its time{score}."
