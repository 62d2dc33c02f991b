"""What the user corrected and verified: numpy and scikit-image, no torch, no GUI."""
