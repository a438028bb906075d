"""A simulated tide, and a model of dense layers, for seqconv."""
