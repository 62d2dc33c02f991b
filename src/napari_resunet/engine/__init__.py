"""Compute: images to maps to labels, and corrections to better weights. No GUI."""
