"""Data SIMULATED by the package itself, so that a first run needs no file."""
