"""What the Python API accepts; the code below it trusts its arguments."""
