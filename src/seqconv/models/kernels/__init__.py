"""Machine code of our own, compiled by numba: small products, convolutions, pooling, recurrences. No TensorFlow."""
