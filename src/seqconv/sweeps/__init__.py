"""Sweeps: what their jobs are, how they run side by side, and what is left of them."""
