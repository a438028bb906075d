"""One module per model; each registers itself. Light to import: keras is imported inside functions."""
