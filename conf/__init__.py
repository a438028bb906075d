"""The config files of seqconv, shipped as the import package ``seqconv.conf``."""
