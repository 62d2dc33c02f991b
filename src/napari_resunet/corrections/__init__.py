"""What the user corrected and checked: numpy and scikit-image, no torch, no GUI."""
