"""Config files, found by the entry point `seqconv.configs`."""
