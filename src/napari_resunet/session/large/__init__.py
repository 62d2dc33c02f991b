"""Segments images that are larger than memory, block by block, into an OME-Zarr."""
