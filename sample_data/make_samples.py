"""Make the sample images and their ground truth: ``python sample_data/make_samples.py``."""

from pathlib import Path

import numpy as np
import tifffile

from napari_resunet.engine import synthetic

FOLDER = Path(__file__).parent
SHAPE = (384, 384)


def main() -> None:
    """Write all samples next to this script; the same seed gives the same pixels."""
    rng = np.random.default_rng(2026)
    samples = {
        "nuclei": synthetic.nuclei(SHAPE, rng),
        "histology": synthetic.histology(SHAPE, rng),
        "cells_phase": synthetic.phase_cells((512, 512), rng),
        "timeseries": synthetic.nuclei_over_time(5, (256, 256), rng),
    }
    for name, (image, labels) in samples.items():
        kind = "rgb" if name == "histology" else "minisblack"
        tifffile.imwrite(
            FOLDER / f"{name}.tif", image, compression="zlib", photometric=kind
        )
        tifffile.imwrite(
            FOLDER / f"{name}_labels.tif", labels.astype(np.uint16), compression="zlib"
        )


if __name__ == "__main__":
    main()
