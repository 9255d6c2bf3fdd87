"""Annotations: files in the formats that people have, as records of the built-in types."""

from __future__ import annotations

from lake_assets.intake.annotations.formats import annotation_format
from lake_assets.intake.annotations.model import AnnotationFormat, Annotations
from lake_assets.intake.annotations.reading import formats_of, read_annotations

__all__ = ["AnnotationFormat", "Annotations", "annotation_format", "formats_of", "read_annotations"]
