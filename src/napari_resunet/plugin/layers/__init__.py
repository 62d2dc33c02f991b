"""napari's layers and viewer: read, written, and followed on the main thread."""
