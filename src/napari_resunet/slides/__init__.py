"""Slides and other large TIFFs, read window by window; tifffile is imported late."""
