"""Images to prediction maps to labels, and corrections to better weights. No GUI."""
