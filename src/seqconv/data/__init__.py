"""From files to the arrays and windows that a model trains on."""
