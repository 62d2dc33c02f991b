"""``napari-resunet demo``: napari with a sample, or the whole loop without a display."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_resunet._package import sample_data_folder
from napari_resunet.errors import FileError
from napari_resunet.events import Notice, Progress
from napari_resunet.files import atomic_path, check_writable, read_image, shown

SAMPLE = "cells_phase"
PICTURE_SUFFIX = ".png"
CORRECTED_FRACTION = 0.55
"""Fraction of the image's width; the rest is never corrected, only scored."""


def run_demo(output: Path, seconds: float, *, overwrite: bool = False) -> None:
    """Open napari with a sample; without a display, run the whole loop headless.

    Parameters
    ----------
    output : Path
        Picture (PNG) that the headless demo writes.
    seconds : float
        Duration of fine-tuning in the headless demo.
    overwrite : bool
        Whether an existing file may be replaced.

    Raises
    ------
    FileError
        Before the work starts, if the picture cannot be written.
    """
    if _has_display():
        _open_window()
    else:
        _check_output(output, overwrite)
        print("There is no display: running the whole loop without a window.")
        _run_headless(output, seconds)


def _check_output(output: Path, overwrite: bool) -> None:
    if output.suffix.lower() != PICTURE_SUFFIX and not output.is_dir():
        raise FileError(f"The picture is a PNG: give a name that ends in {PICTURE_SUFFIX}.")
    check_writable(output)
    if output.exists() and not overwrite:
        raise FileError(
            f"{shown(output)} is there already: give another name with -o, or --overwrite."
        )


def _has_display() -> bool:
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _open_window() -> None:
    import napari

    viewer = napari.Viewer()
    viewer.open_sample("napari-resunet", "nuclei")
    viewer.window.add_plugin_dock_widget("napari-resunet", "Segment and fine-tune")
    napari.run()


def _run_headless(output: Path, seconds: float) -> None:
    from napari_resunet.engine.patches import scale_from_labels
    from napari_resunet.session.api import Example, fine_tune, load_model, segment

    image = read_image(sample_data_folder() / f"{SAMPLE}.tif")
    truth = read_image(sample_data_folder() / f"{SAMPLE}_labels.tif").astype(np.int32)
    corrected = np.zeros(image.shape, bool)
    corrected[:, : round(CORRECTED_FRACTION * image.shape[1])] = True
    starter = load_model()
    clock = time.monotonic()
    before = segment(image, starter)
    print(f"Segment: {time.monotonic() - clock:.1f} s on a {image.shape} image")
    scale = scale_from_labels(np.where(corrected, truth, 0), starter.info)
    clock = time.monotonic()
    example = Example(image, truth, verified=corrected, scale=scale)
    better = fine_tune(starter, [example], seconds=seconds, on_event=_print_notice)
    print(f"Fine-tune: {time.monotonic() - clock:.1f} s, {better.info.lineage.steps} steps")
    after = segment(image, better)
    _print_table(truth, before, after, corrected)
    _write_picture(output, image, truth, before, after, corrected)
    print(f"Wrote {output}: image | first proposal | corrected region | after")


def _print_notice(event: Progress | Notice) -> None:
    if isinstance(event, Notice):
        print(event.message)


def _print_table(
    truth: npt.NDArray[Any],
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    corrected: npt.NDArray[np.bool_],
) -> None:
    from napari_resunet.session.api import score

    print(f"{'':<34}{'AP@0.5':>8}{'AP@0.75':>9}{'edits':>7}")
    unseen = ~corrected[0]
    parts = (("never corrected part", unseen), ("whole image", np.ones_like(unseen)))
    for where, columns in parts:
        for when, labels in (("before", before), ("after", after)):
            result = score(truth[:, columns], labels[:, columns])
            print(
                f"{where + ', ' + when:<34}{result.ap50:>8.2f}{result.ap75:>9.2f}"
                f"{result.edits:>7}"
            )


def _write_picture(
    output: Path,
    image: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    before: npt.NDArray[Any],
    after: npt.NDArray[Any],
    corrected: npt.NDArray[np.bool_],
) -> None:
    from PIL import Image
    from skimage.color import label2rgb

    gray = np.stack([image] * 3, axis=-1) / 255
    shown = [
        gray,
        label2rgb(before, image, alpha=0.4, bg_label=0),
        label2rgb(np.where(corrected, truth, 0), image, alpha=0.4, bg_label=0),
        label2rgb(after, image, alpha=0.4, bg_label=0),
    ]
    picture = (255 * np.clip(np.concatenate(shown, axis=1), 0, 1)).astype(np.uint8)
    with atomic_path(output) as temporary:
        Image.fromarray(picture).save(temporary, format="PNG")
