"""The catalog: what the lake holds."""
