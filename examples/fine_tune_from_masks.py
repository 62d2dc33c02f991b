"""Fine-tune a model on one image with corrected labels, and save the result.

Usage: python fine_tune_from_masks.py [IMAGE LABELS] [--verified MASK] [-o MODEL]

LABELS has one whole number per object and 0 for background. MASK is nonzero where the
labels are right, background included; without it, they count as right everywhere.
"""

import argparse
from pathlib import Path

import tifffile

import napari_resunet as nru

SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"


def make_example(image: Path, labels: Path, verified: Path | None) -> nru.Example:
    """Read an image with its labels."""
    mask = None if verified is None else tifffile.imread(verified) > 0
    return nru.Example(tifffile.imread(image), tifffile.imread(labels), verified=mask)


def main(argv: list[str] | None = None) -> None:
    """Read, fine-tune, save, and score before and after."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "image", nargs="?", type=Path, default=SAMPLE_DATA / "cells_phase.tif"
    )
    parser.add_argument(
        "labels", nargs="?", type=Path, default=SAMPLE_DATA / "cells_phase_labels.tif"
    )
    parser.add_argument("--verified", type=Path, help="nonzero where the labels are right")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--steps", type=int, help="instead of a time")
    parser.add_argument("-o", "--output", type=Path, default=Path("fine_tuned.safetensors"))
    arguments = parser.parse_args(argv)

    example = make_example(arguments.image, arguments.labels, arguments.verified)
    start = nru.load_model("starter")
    messages: list[str] = []
    model = nru.fine_tune(
        start,
        [example],
        seconds=arguments.seconds,
        steps=arguments.steps,
        on_event=lambda event: messages.append(event.message),
    )
    print(messages[-1])  # whether the new model is better, on the held-out part
    for name, candidate in (("before", start), ("after", model)):
        labels = nru.segment(example.image, candidate)
        result = nru.score(example.labels, labels)
        print(f"{name}: AP@0.5 {result.ap50:.2f}, {result.edits} objects to correct")
    model.save(arguments.output)
    print(f"Saved {arguments.output}")


if __name__ == "__main__":
    main()
