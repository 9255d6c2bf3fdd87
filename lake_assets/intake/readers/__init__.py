"""Readers: the files of a staged upload as a stream of batches, every record accounted for."""

from __future__ import annotations

from lake_assets.intake.readers.upload import Unreadable, count_rows, read_head, read_upload

__all__ = ["Unreadable", "count_rows", "read_head", "read_upload"]
