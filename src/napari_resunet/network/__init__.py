"""The network and its file: nothing of images, tiles or training."""
