"""A run directory: what is in it, written whole or not at all, and read back."""
