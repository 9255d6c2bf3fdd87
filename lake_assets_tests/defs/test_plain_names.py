"""Dagster's home by a name that it cannot misread."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from lake_assets.defs.plain_names import plain_name
from lake_assets.errors import StorageUnavailable


@pytest.fixture
def links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files."""
    folder = tmp_path / "links"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("name", ["lake", "호수 이", "a#b", "a&b=c", "it's"])
def test_other_names_stay(name: str, tmp_path: Path, links: Path):
    assert plain_name(tmp_path / name) == tmp_path / name
    assert list(links.iterdir()) == []


@pytest.mark.parametrize("name", ["a?b", "a%20b", "100%", "a*b", "a[1]"])
def test_a_name_that_is_misread_gets_one_link(name: str, tmp_path: Path, links: Path):
    folder = tmp_path / name
    folder.mkdir()
    link = plain_name(folder)
    assert link.resolve() == folder
    assert not {*"?%*["} & {*link.name}
    assert plain_name(folder) == link
    assert plain_name(tmp_path / f"{name}2") != link


def test_what_lies_in_the_place_of_the_link_is_not_used(tmp_path: Path, links: Path):
    link = plain_name(tmp_path / "a?b")
    for take in (lambda: link.symlink_to(tmp_path), link.touch):
        link.unlink()
        take()
        with pytest.raises(StorageUnavailable, match="should be a link to"):
            plain_name(tmp_path / "a?b")
