"""Workers are prepared for uploads that bring new images, and nothing is asked of others."""

import os
from datetime import UTC, datetime

import pytest

from lake_assets.contracts.names import DatasetName
from lake_assets.intake import ahead
from lake_assets.intake.ahead import start_ahead
from lake_assets.intake.manifest import LIST_FILE, Manifest
from lake_assets.intake.model import StagedFile
from lake_assets.intake.staging import Staging


@pytest.fixture
def started(monkeypatch):
    calls = []
    monkeypatch.setattr(ahead, "start_server", lambda: calls.append(True))
    return calls


def published(tmp_path, name, role, *, is_known=False):
    staging = Staging(tmp_path / "staging")
    upload_id, folder = staging.open_incoming()
    (folder / name).write_bytes(b"x")
    if is_known:
        os.link(folder / name, tmp_path / "shard")
    manifest = Manifest(
        upload_id=upload_id, name=DatasetName("icdar", "sroie"), source="a", created_by="me@here",
        created_at=datetime(2026, 1, 1, tzinfo=UTC), file_count=1, byte_count=1,
    )  # fmt: skip
    file = StagedFile(name=name, byte_count=1, sha256="0" * 64, role=role)
    return staging.publish(manifest, (file,))


def test_a_new_image_has_the_workers_prepared(tmp_path, started):
    start_ahead(published(tmp_path, "a.png", "image"))
    assert started == [True]


def test_an_image_that_the_dataset_has_does_not(tmp_path, started):
    start_ahead(published(tmp_path, "a.png", "image", is_known=True))
    assert started == []


def test_a_table_does_not(tmp_path, started):
    start_ahead(published(tmp_path, "a.csv", "data"))
    assert started == []


@pytest.mark.parametrize("content", [b"{", b'{"name": 1}', b"[1]", b"\xff", None])
def test_a_list_that_cannot_be_read_is_left_to_ingestion(tmp_path, started, content):
    upload = published(tmp_path, "a.png", "image")
    (upload.folder / LIST_FILE).unlink()
    if content is not None:
        (upload.folder / LIST_FILE).write_bytes(content)
    start_ahead(upload)
    assert started == []
