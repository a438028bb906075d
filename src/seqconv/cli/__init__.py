"""The two commands: `seqconv-train` and `seqconv`."""
