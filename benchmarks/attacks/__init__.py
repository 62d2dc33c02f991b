"""Random inputs, as users or attackers may give them; see ``../attack.py``."""
