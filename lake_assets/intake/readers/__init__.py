"""Readers: the files of a staged upload as a stream of batches, every record accounted for."""

from __future__ import annotations

from lake_assets.intake.readers.upload import count_rows, read_head, read_upload
from lake_assets.intake.readers.upload_types import Unreadable

__all__ = ["Unreadable", "count_rows", "read_head", "read_upload"]
