"""Layers of our own. Importing one loads TensorFlow."""
