"""The YAML pages of seqconv, shipped as the import package ``seqconv.conf``."""
