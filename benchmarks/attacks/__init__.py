"""Random inputs that a user, or somebody hostile, may give; see ``../attack.py``."""
