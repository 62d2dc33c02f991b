"""Segment every TIFF image of a folder and print a table with one row per image.

Usage: python segment_and_measure.py [FOLDER] [--model MODEL]

Only 2D images (or RGB) are measured. Files named ``*_labels.tif`` are skipped.
"""

import argparse
from pathlib import Path

import numpy as np
import tifffile

import napari_resunet as nru

SAMPLE_DATA = Path(__file__).resolve().parents[1] / "sample_data"


def find_images(folder: Path) -> list[Path]:
    """List the images of a folder, without label files."""
    paths = sorted(folder.glob("*.tif"))
    return [path for path in paths if not path.stem.endswith("_labels")]


def is_plane(image: np.ndarray) -> bool:
    """Return whether an image is one gray or RGB plane, not a stack."""
    return image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)


def main(argv: list[str] | None = None) -> None:
    """Segment, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=SAMPLE_DATA)
    parser.add_argument("--model", default="starter", help="'starter' or a model file")
    arguments = parser.parse_args(argv)

    model = nru.load_model(arguments.model)
    print(f"{'image':<20}{'objects':>8}{'mean area':>12}{'mean intensity':>16}")
    for path in find_images(arguments.folder):
        image = tifffile.imread(path)
        if not is_plane(image):
            print(f"{path.stem:<20} skipped: a stack")
            continue
        labels = nru.segment(image, model)
        gray = image if image.ndim == 2 else image.mean(axis=-1)
        table = nru.measure(labels, gray)
        area = np.mean(table["area_px"]) if labels.max() else 0
        intensity = np.mean(table["mean_intensity"]) if labels.max() else 0
        print(f"{path.stem:<20}{labels.max():>8}{area:>12.1f}{intensity:>16.1f}")


if __name__ == "__main__":
    main()
