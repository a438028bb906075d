"""One module per dataset; each registers itself. Light to import: the work is done inside functions."""
