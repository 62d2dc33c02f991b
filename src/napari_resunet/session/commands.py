"""What the command line runs on files: segment and train; `evaluate` scores."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from napari_resunet._package import STARTER, library_versions, starter_path
from napari_resunet.engine.dataset import Pair, Skipped, find_pairs, prefetch
from napari_resunet.engine.device import choose
from napari_resunet.engine.image_reader import ImageReader
from napari_resunet.engine.patches import TrainingImage, training_image
from napari_resunet.engine.synthetic import domain_randomization
from napari_resunet.engine.train import TrainConfig, check_checkpoint, train_steps
from napari_resunet.errors import FileError, ImageError, ResunetError
from napari_resunet.events import Notice, Progress
from napari_resunet.files import (
    cannot_write,
    check_regular,
    check_writable,
    content_hash,
    plain_name,
    read_stored,
    shown,
)
from napari_resunet.network.model_file import Model, new_model, with_new_maps
from napari_resunet.session.api import OnEvent, load_model, segment_planes
from napari_resunet.session.export import (
    describe_labels,
    export_labels,
    note_path,
    record_of_model,
    written_before,
)
from napari_resunet.session.object_size import scale_from
from napari_resunet.session.settings import Settings
from napari_resunet.session.store.models import VersionRecord, file_hash
from napari_resunet.session.store.schema import ImageRecord
from napari_resunet.tiff_reader import StoredImage
from napari_resunet.types import (
    DeviceChoice,
    Example,
    LabelArray,
    Lineage,
    ModelInfo,
    ObjectSize,
)


@dataclass(frozen=True)
class SegmentOptions:
    """How to segment files.

    Attributes
    ----------
    output : Path
        Folder for the labels.
    model : str
        "starter", or the path of a model file.
    axes : str or None
        One letter of "PTZCYXS" for each dimension; None reads them from the file.
    channels : tuple of int or None
        Channels that the network sees.
    diameter : ObjectSize or None
        Object size; None takes what the model learned, or estimates it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    overwrite : bool
        Whether to replace labels that somebody changed, and files of other programs.
    """

    output: Path
    model: str = STARTER
    axes: str | None = None
    channels: tuple[int, ...] | None = None
    diameter: ObjectSize | None = None
    device: DeviceChoice = "auto"
    overwrite: bool = False


def output_paths(images: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Find a name for the labels of each image, so that no two are the same.

    Parameters
    ----------
    images : sequence of Path
        Image files.
    folder : Path
        Folder for the labels.

    Returns
    -------
    dict of Path to Path
        The labels of each image: ``NAME_labels.tif``. Images that differ only in their
        folder or ending get ``FOLDER_NAME_ENDING_labels.tif``, with as many folders as
        needed. An image that was given twice appears once.

    Raises
    ------
    FileError
        If no such names differ.
    """
    whole = {Path(os.path.realpath(path)): path for path in reversed(images)}
    names = {path: path.stem for path in reversed(whole)}
    longest = max((len(path.parts) for path in whole), default=0)
    for n_folders in range(1, longest):
        alike = _alike(names)
        if not alike:
            break
        names |= {path: _long_name(path, n_folders) for path in alike}
    if alike := _alike(names):
        raise FileError(
            f"The labels of {shown(whole[alike[0]])} and of another image would have the "
            "same name: segment the two in runs of their own, with another -o."
        )
    return {whole[path]: folder / f"{name}_labels.tif" for path, name in names.items()}


def _alike(names: dict[Path, str]) -> list[Path]:
    """List the images whose names are the same but for upper and lower case."""
    by_name: dict[str, list[Path]] = defaultdict(list)
    for path, name in names.items():
        by_name[name.casefold()].append(path)
    return [path for paths in by_name.values() if len(paths) > 1 for path in paths]


def _long_name(path: Path, n_folders: int) -> str:
    folders = [part.strip("/:\\") for part in path.parts[-1 - n_folders : -1]]
    return "_".join([*filter(None, folders), path.stem, path.suffix[1:]])


def segment_file(
    path: Path, target: Path, model: Model, options: SegmentOptions, on_event: OnEvent
) -> int:
    """Write the labels of an image, and next to them a description of how they were made.

    Parameters
    ----------
    path : Path
        The image.
    target : Path
        Where the labels go; see `output_paths`.
    model : Model
        The model that the options name.
    options : SegmentOptions
        How to segment.
    on_event : callable
        Called with each Progress and Notice.

    Returns
    -------
    int
        Number of labels.
    """
    source = plain_name(Path(os.path.realpath(path)))
    check_regular(path)
    _check_free(target, source, options)
    stored = read_stored(path, options.axes)
    for notice in stored.notices:
        on_event(Notice(f"{shown(path)}: {notice}"))
    try:
        reader = ImageReader([stored.array], stored.axes, options.channels)
    except ImageError as error:
        raise ImageError(f"{shown(path)}: {error}") from error
    labels, scale = segment_planes(
        reader, model, diameter=options.diameter, pixel_size=stored.pixel_size,
        device=options.device, on_event=on_event,
    )  # fmt: skip
    about = _describe(path, stored, reader, labels, scale, options, model)
    _check_free(target, source, options)  # once more, after minutes of work
    export_labels(target, labels, about, overwrite=options.overwrite)
    return int(about["n_objects"])


def _check_free(target: Path, source: str, options: SegmentOptions) -> None:
    try:
        there = [path for path in (target, note_path(target)) if path.exists()]
    except OSError as error:  # a name that is too long, for instance
        raise cannot_write(target, error) from error
    if there and not options.overwrite and not written_before(target, source):
        raise FileError(
            f"{shown(there[0])} is there already, and not as an earlier run on this image "
            "wrote it: give another folder with -o, or --overwrite."
        )


def _describe(
    path: Path,
    stored: StoredImage,
    reader: ImageReader,
    labels: LabelArray,
    scale: float | None,
    options: SegmentOptions,
    model: Model,
) -> dict[str, Any]:
    rgb = reader.axes.endswith("YXS")
    image = ImageRecord(
        name=plain_name(Path(path.stem)),
        shape=stored.array.shape,
        dtype=str(stored.array.dtype),
        # Colours are samples in a record only if they are the last axis.
        axes=reader.axes if rgb else reader.axes.replace("S", "C"),
        rgb=rgb,
        source=plain_name(Path(os.path.realpath(path))),
        content_hash=content_hash(stored.array),
        channels=tuple(reader.channels),
        object_scale=scale,
    )
    settings = Settings(device=options.device, scope="stack")
    return describe_labels(image, _version(model, options.model), settings, labels, None)


def _version(model: Model, name: str) -> VersionRecord:
    starter = name == STARTER
    record = record_of_model(model.info, STARTER if starter else "loaded")
    sha256 = file_hash(starter_path() if starter else Path(name))
    return record.model_copy(update={"sha256": sha256})


SYNTHETIC_SIDE = 320
MODEL_SUFFIX = ".safetensors"


@dataclass(frozen=True)
class TrainOptions:
    """What to train on, and what to write.

    Attributes
    ----------
    folders : sequence of Path
        Each holds ``images/`` and ``masks/``.
    output : Path
        The model file.
    classes : tuple of str
        Names of the classes; without any, the model learns objects.
    diameter : ObjectSize or None
        Object size in all images, which the model then remembers; None measures the masks
        of each image, and the model remembers none.
    start : str or None
        Model to start from; None starts from random weights.
    checkpoint : Path or None
        Written on the way; if the file exists already, training resumes from it.
    device : {"auto", "cuda", "mps", "cpu"}
        Where to compute.
    half : bool
        Whether to write the weights in half precision.
    synthetic : int
        Number of synthetic images to train on as well.
    overwrite : bool
        Whether to replace a file at `output`.
    """

    folders: Sequence[Path]
    output: Path
    classes: tuple[str, ...] = ()
    diameter: ObjectSize | None = None
    start: str | None = None
    checkpoint: Path | None = None
    device: DeviceChoice = "auto"
    half: bool = False
    synthetic: int = 0
    overwrite: bool = False


@dataclass(frozen=True, eq=False)
class _Read:
    """A training image with its group, and the notices about its files."""

    group: str
    image: TrainingImage
    notices: Sequence[str]


def train_model(
    options: TrainOptions, config: TrainConfig
) -> Iterator[Progress | Notice | Skipped]:
    """Train a model and write it.

    Parameters
    ----------
    options : TrainOptions
        What to train on, and what to write.
    config : TrainConfig
        How to train.

    Yields
    ------
    Progress, Notice or Skipped
        A pair of files that cannot be used is skipped.

    Raises
    ------
    FileError
        Before the first step, if the model cannot be written or no pair can be used.
    ModelFileError, DeviceError, OutOfMemoryError, TrainingError
        If the first model, the device, or the training fails.
    """
    _check_output(options)
    notices: list[str] = []
    pairs = [p for folder in options.folders for p in find_pairs(folder, notices.append)]
    yield from map(Notice, notices)
    model = _begin(options, config)
    if options.checkpoint is not None:
        check_checkpoint(options.checkpoint)
    compute = choose(options.device)
    images: list[tuple[str, TrainingImage]] = []
    yield from _collect(prefetch(partial(_read, model.info), pairs, compute), images)
    if not images:
        raise FileError(
            "None of the images with masks can be used: correct the files named above."
        )
    sample = partial(_synthetic, model.info, config.seed)
    images += prefetch(sample, range(options.synthetic), compute)
    yield from train_steps(
        model.network, model.info, images, config, compute, options.checkpoint
    )
    _write(options, config, model)


def _check_output(options: TrainOptions) -> None:
    output = options.output
    if output.suffix != MODEL_SUFFIX and not output.is_dir():
        raise FileError(
            f"{shown(output)} does not end in {MODEL_SUFFIX}: give a name that does."
        )
    check_writable(output)
    if options.checkpoint is not None and options.checkpoint.resolve() == output.resolve():
        raise FileError("Model and checkpoint have the same name: give them two.")
    if output.exists() and not options.overwrite:
        raise FileError(
            f"{shown(output)} is there already: give another name with -o, or --overwrite."
        )


def _collect(
    results: Iterable[_Read | Skipped], images: list[tuple[str, TrainingImage]]
) -> Iterator[Notice]:
    """Add what was read to `images`, and yield the notices."""
    for result in results:
        if isinstance(result, Skipped):
            yield result
            continue
        yield from map(Notice, result.notices)
        images.append((result.group, result.image))


def _write(options: TrainOptions, config: TrainConfig, model: Model) -> None:
    lineage = Lineage(
        parent_id=model.info.lineage.parent_id,
        steps=config.steps,
        seed=config.seed,
        versions=library_versions(),
    )
    trained = Model(model.network.cpu(), replace(model.info, lineage=lineage))
    trained.save(options.output, half=options.half)


def _read(info: ModelInfo, pair: Pair) -> _Read | Skipped:
    notices: list[str] = []
    try:
        example = pair.read(info.task, info.n_maps, notices.append)
        if info.object_size is not None:
            scale = scale_from(info.object_size, info, example.pixel_size)
            example = replace(example, scale=scale)
        return _Read(pair.group, training_image(example, info), notices)
    except ResunetError as error:
        return pair.skipped(error)
    except MemoryError:
        return Skipped(f"{shown(pair.image)} is too large for the memory. It was skipped.")


def _synthetic(info: ModelInfo, seed: int, number: int) -> tuple[str, TrainingImage]:
    rng = np.random.default_rng((seed, number))
    example = Example(*domain_randomization((SYNTHETIC_SIDE, SYNTHETIC_SIDE), rng))
    return "synthetic", training_image(example, info)


def _begin(options: TrainOptions, config: TrainConfig) -> Model:
    # The output depends on the input's size, so tiles are at least as large as patches.
    info = ModelInfo(tile=max(config.patch, ModelInfo.tile), object_size=options.diameter)
    if options.classes:
        info = replace(info, task="classes", class_names=("background", *options.classes))
    if options.start is None:
        return new_model(info, seed=config.seed)
    parent = load_model(options.start)
    if parent.info.class_names != info.class_names:
        return with_new_maps(parent, info, seed=config.seed)
    lineage = Lineage(parent_id=parent.info.lineage.model_id)
    told = replace(parent.info, lineage=lineage, object_size=info.object_size)
    return Model(parent.network, replace(told, tile=info.tile))
