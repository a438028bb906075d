"""Train convolutional and recurrent sequence models from one command line."""

__version__ = "0.1.0"
