"""What the user corrected and verified: no torch and no GUI."""
