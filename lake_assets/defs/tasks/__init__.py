"""Annotations: one asset per task of the registry, made by a factory."""
