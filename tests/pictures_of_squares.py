"""Images with one object, for tests that segment by a threshold."""

import numpy as np


def square(size: int) -> np.ndarray:
    """A bright square with a dark rim of two pixels."""
    image = np.zeros((size, size), np.uint8)
    image[2:-2, 2:-2] = 200
    return image
