"""Folders with links, with entries that are no files, and with names that few systems like."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lake_assets_tests.bad_input import folder_corpus as corpus
from lake_assets_tests.bad_input.image_corpus import encoded, pixels


def picture(number):
    return encoded(pixels(number), "PNG")


@pytest.fixture
def folder(bench):
    made = bench.folder()
    (made / "good.png").write_bytes(picture(0))
    return made


def test_names_are_kept_as_they_are_or_rejected(bench, folder):
    for number, name in enumerate(corpus.NAMES):
        corpus.put(folder, name, picture(number + 1))
    verdict = bench.deliver(folder)
    shown = {
        name.decode("utf-8", "surrogateescape").encode("utf-8", "backslashreplace").decode(): rule
        for name, rule in corpus.NAMES.items()
    }
    assert verdict.rules == {name: rule for name, rule in shown.items() if rule}
    assert verdict.counts == (len(shown) + 1, verdict.accepted, len(verdict.rules), 0)


def test_litter_is_no_row(bench, folder):
    for number, name in enumerate(corpus.LITTER):
        corpus.put(folder, name, picture(number + 1))
    (folder / "__MACOSX").mkdir()
    (folder / "__MACOSX" / "a.png").write_bytes(picture(20))
    assert bench.deliver(folder).counts == (1, 1, 0, 0)


def test_links_lead_to_files_of_the_delivery_or_nowhere(bench, folder):
    rules = corpus.link_everywhere(folder, bench.root / "outside")
    verdict = bench.deliver(folder)
    assert verdict.rules == {name: rule for name, rule in rules.items() if rule}
    assert verdict.counts[:2] == (len(rules) + 1, 2)


def test_what_is_no_file_is_rejected_at_once(bench, folder):
    rules = corpus.specials(folder)
    verdict = bench.deliver(folder)
    assert (verdict.rules, verdict.accepted) == (rules, 1)


@pytest.mark.parametrize("name", ["fifo.png", "zero.png", "socket.csv", "disk.csv"])
def test_what_is_no_file_is_refused_alone(bench, name):
    folder = bench.folder()
    if name in corpus.specials(folder):
        assert bench.deliver(folder / name).kind == "refused"


@pytest.mark.parametrize("name", [b"\xff\xfe.png", b"line\nbreak.csv", b"\x1b[2J.parquet"])
def test_a_file_whose_name_cannot_be_kept_is_refused_alone(bench, name):
    folder = bench.folder()
    corpus.put(folder, name, b"a\n1\n")
    verdict = bench.deliver(Path(os.fsdecode(os.path.join(os.fsencode(folder), name))))  # noqa: PTH118
    assert (verdict.kind, verdict.error) == ("refused", "InvalidRequest")


@pytest.mark.parametrize("name", [b"plain", b"\xff\xfe", b"line\nbreak", b"a:b*c?", b"x" * 255])
def test_the_name_of_the_folder_itself_does_not_matter(bench, name):
    folder = os.path.join(os.fsencode(bench.folder()), name)  # noqa: PTH118
    os.mkdir(folder)  # noqa: PTH102
    corpus.put(Path(os.fsdecode(folder)), b"a.png", picture(1))
    corpus.put(Path(os.fsdecode(folder)), b"rows.csv", b"image,n\na.png,1\n")
    assert bench.deliver(Path(os.fsdecode(folder))).counts == (1, 1, 0, 0)


@pytest.mark.parametrize("levels", [50, 250])
def test_a_deep_folder_is_walked_or_refused(bench, folder, levels):
    before = os.open(".", os.O_RDONLY)
    try:  # step by step: the whole path is longer than a system call takes
        os.chdir(folder)
        for _ in range(levels):
            os.mkdir("d" * 20)  # noqa: PTH102
            os.chdir("d" * 20)
        Path("deep.png").write_bytes(picture(1))
    finally:
        os.fchdir(before)
        os.close(before)
    verdict = bench.deliver(folder)
    # 50 levels of 21 bytes are more than the 1 024 bytes that a name may have.
    assert verdict.counts == (2, 1, 1, 0)
    assert list(verdict.rules.values()) == [corpus.USABLE]


def test_rows_cannot_name_files_that_lie_elsewhere_by_a_link(bench, folder):
    (folder / "way-out").symlink_to(bench.root / "outside")
    (folder / "rows.csv").write_text("image,n\ngood.png,1\nway-out/secret.png,2\n")
    verdict = bench.deliver(folder)
    assert verdict.counts == (3, 1, 2, 0)


@pytest.mark.parametrize("value", ["../outside/secret.png", "/dev/zero", "/proc/self/environ",
                                   "../../../../../../etc/passwd", "x" * 5000, "a\\..\\..\\b",
                                   "file:///etc/passwd", "http://localhost/a.png", "~/a.png",
                                   "%00.png", "\u0000.png", "..", "."])  # fmt: skip
def test_rows_may_name_anything(bench, folder, value):
    quoted = value.replace("\\", "\\\\").replace("\0", "\\u0000")
    (folder / "rows.jsonl").write_text(
        f'{{"image": "good.png", "n": 1}}\n{{"image": "{quoted}", "n": 2}}\n'
    )
    verdict = bench.deliver(folder)
    assert verdict.counts == (2, 1, 1, 0)


def test_a_folder_may_be_of_nothing_but_bad_entries(bench):
    folder = bench.folder()
    corpus.specials(folder)
    verdict = bench.deliver(folder)
    assert verdict.kind == "refused"
    assert "fifo.png" in verdict.message
