"""From a prepared task to trained weights, and from weights to predictions. TensorFlow is used here and in `models`."""
