"""Learn: the choice between a version that is too close to call and the one in use."""

from __future__ import annotations

from napari_resunet.plugin.controllers.shared import drop_candidate
from napari_resunet.plugin.messages import version_of
from napari_resunet.plugin.result_texts import candidate_text, score_of
from napari_resunet.plugin.state import AppState, Version
from napari_resunet.plugin.views.protocol import DockView


class CandidateController:
    """Offers a candidate until the user or the next fine-tuning decides.

    Parameters
    ----------
    state : AppState
        The versions; a candidate is one of them.
    view : DockView
        The dock.
    """

    def __init__(self, state: AppState, view: DockView) -> None:
        self._state, self._view = state, view
        section = view.fine_tune.candidate
        section.use_clicked.connect(self.use)
        section.keep_clicked.connect(self.keep)
        section.compare_clicked.connect(self.compare)
        state.changed.connect(self.refresh)

    def refresh(self) -> None:
        """Offer the candidate, if there is one."""
        current, candidate = self._state.versions.current, self._state.versions.candidate
        if current.is_candidate:  # it was chosen in a list of versions
            self._settle(current)
            self._state.changed.emit()
            return
        text = "" if candidate is None else candidate_text(candidate)
        self._view.fine_tune.candidate.set_text(text)

    def use(self) -> None:
        """Use the candidate, and propose again with it."""
        candidate = self._state.versions.candidate
        if candidate is None:
            return
        self._state.compare.emit("")
        self._state.versions.choose(candidate.key)
        version = self._settle(candidate)
        sentence = f"'{version.title}' is in use now."
        self._decided(sentence)
        self._state.renew.emit(self._state.image_key, sentence)

    def keep(self) -> None:
        """Delete the candidate; the version in use stays."""
        if self._state.versions.candidate is not None:
            drop_candidate(self._state)
            self._decided(f"'{self._state.versions.current.title}' stays in use.")

    def compare(self) -> None:
        """Show both on the image, or end that."""
        candidate = self._state.versions.candidate
        if candidate is not None:
            self._state.compare.emit(candidate.key)

    def _settle(self, version: Version) -> Version:
        """Make a candidate a version like any other."""
        if version.record is None:
            return version
        record = version.record.model_copy(update={"candidate": False})
        settled = version_of(record, version.model, version.source)
        self._state.versions.put(settled)
        self._state.version_edited.emit(record)
        return settled

    def _decided(self, sentence: str) -> None:
        self._view.fine_tune.set_result_text(score_of(self._state.versions.current))
        self._view.set_message(sentence)
        self._state.changed.emit()
