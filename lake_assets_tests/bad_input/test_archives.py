"""Archives that try to write elsewhere, to fill the disk, or to be read for ever."""

from __future__ import annotations

import bz2
import lzma
import tarfile
import zipfile

import pytest

from lake_assets_tests.bad_input import archive_corpus as corpus
from lake_assets_tests.bad_input.bench import UNPACKED_LIMIT_BYTES, sampled
from lake_assets_tests.bad_input.image_corpus import encoded, pixels

KINDS = ("tar", "tar.gz", "tar.xz", "zip")


def picture(number):
    return encoded(pixels(number), "PNG")


def hostile(kind, bench):
    members = corpus.hostile_members(bench.root / "outside")
    if kind == "zip":
        return members, corpus.zip_of(members, picture)
    members += corpus.hostile_specials(bench.root / "outside")
    return members, corpus.tar_of(members, picture, f"w:{kind.partition('.')[2]}")


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_members_are_rejected_and_good_ones_taken(bench, kind):
    members, data = hostile(kind, bench)
    verdict = bench.deliver(bench.file(f"hostile.{kind}", data))
    expected = [member for member in members if member.rule != ""]
    assert verdict.kind == "done", verdict.message
    assert verdict.counts[:2] == (len(expected), sum(member.rule is None for member in expected))
    assert sorted(item["rule"] for item in verdict.rejections) == sorted(
        member.rule for member in expected if member.rule
    )


def test_what_a_member_is_rejected_for_names_it(bench):
    verdict = bench.deliver(bench.file("h.tar", hostile("tar", bench)[1]))
    assert verdict.rules["../evil.png"] == corpus.INSIDE
    assert verdict.rules["fifo.png"] == verdict.rules["hard-out.png"] == corpus.REGULAR
    assert verdict.rules["line\nbreak.png"] == corpus.USABLE


@pytest.mark.parametrize("kind", KINDS)
def test_a_cut_archive_is_refused(bench, kind):
    """Unless only the zeros behind its end are missing."""
    members = [corpus.Hostile(name=f"{number}.png", rule=None) for number in range(3)]
    whole = (
        corpus.zip_of(members, picture)
        if kind == "zip"
        else corpus.tar_of(members, picture, f"w:{kind.partition('.')[2]}")
    )
    step = max(1, len(whole) // sampled(12, 200))
    cuts = [bench.file(f"cut.{kind}", whole[:length]) for length in range(0, len(whole), step)]
    verdicts = bench.deliver_all(cuts)
    assert {verdict.kind for verdict in verdicts} <= {"refused", "done"}
    # Only the zeros behind the end marker of a plain tar may be missing.
    complete = [verdict.counts for verdict in verdicts if verdict.kind == "done"]
    assert set(complete) <= {(3, 3, 0, 0), (3, 0, 0, 3)}
    assert kind == "tar" or not complete


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_with_a_flipped_byte_is_refused_or_still_whole(bench, kind, rng):
    members = [corpus.Hostile(name=f"{number}.png", rule=None) for number in range(3)]
    whole = (
        corpus.zip_of(members, picture)
        if kind == "zip"
        else corpus.tar_of(members, picture, f"w:{kind.partition('.')[2]}")
    )
    sources = []
    for _ in range(sampled(10, 300)):
        place = rng.randrange(len(whole))
        data = whole[:place] + bytes([whole[place] ^ rng.randrange(1, 256)]) + whole[place + 1 :]
        sources.append(bench.file(f"flip.{kind}", data))
    bench.deliver_all(sources, time_limit_s=sampled(60, 300))


BOMBS = {
    "image.zip": lambda: corpus.zip_bomb("big.png", 2 * UNPACKED_LIMIT_BYTES),
    "table.zip": lambda: corpus.zip_bomb("big.csv", 2 * UNPACKED_LIMIT_BYTES),
    "overlap.zip": lambda: corpus.overlapping_zip([f"{n:04}.png" for n in range(5_000)], 2**20),
    "bomb.tar.gz": lambda: corpus.gzip_of_zeros(2**30, head=tar_head("big.png", 2**30)),
    "bomb.tar.bz2": lambda: bz2.compress(tar_head("big.png", 2**33) + bytes(2**27)),
    "bomb.tar.xz": lambda: lzma.compress(tar_head("big.png", 2**33) + bytes(2**27)),
    "liar.tar": lambda: tar_head("big.png", 2**33) + bytes(2**20),
    "sparse.tar": lambda: tar_head("big.png", 0, kind=tarfile.GNUTYPE_SPARSE),
}


def tar_head(name, byte_count, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = byte_count, kind
    return info.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_as_a_whole(bench, name):
    verdict = bench.deliver(bench.file(name, BOMBS[name]()))
    assert verdict.kind == "refused"


def test_one_member_listed_a_thousand_times_is_unpacked_once(bench):
    data = corpus.overlapping_zip(["0.png"] * 1000, 2**20)
    verdict = bench.deliver(bench.file("overlap.zip", data))
    rules = [item["rule"] for item in verdict.rejections]
    assert verdict.counts == (1000, 0, 1000, 0)
    assert rules.count("member_name_is_unique") == 999


def test_a_zip_in_a_zip_is_not_opened(bench):
    verdict = bench.deliver(bench.file("nested.zip", corpus.nested_zip(4, 10)))
    assert verdict.kind == "refused"
    assert "0.zip (not understood)" in verdict.message


def test_a_zip_in_a_folder_is_one_rejected_file(bench):
    folder = bench.folder()
    (folder / "inner.zip").write_bytes(corpus.nested_zip(2, 10))
    (folder / "good.png").write_bytes(picture(0))
    verdict = bench.deliver(folder)
    assert (verdict.counts, verdict.rules) == (
        (2, 1, 1, 0), {"inner.zip": "file_is_an_image_or_data"},
    )  # fmt: skip


def test_many_empty_members_are_many_rejected_files(bench):
    count = sampled(500, 20_000)
    verdict = bench.deliver(
        bench.file("many.tar.gz", corpus.tar_bomb_of_members(count)), time_limit_s=300
    )
    assert verdict.counts == (count, 0, count, 0)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz"])
def test_an_archive_of_no_bytes_is_refused(bench, kind):
    assert bench.deliver(bench.file(f"empty.{kind}", b"")).kind == "refused"


def test_an_encrypted_zip_is_refused_member_by_member(bench):
    members = [corpus.Hostile(name="a.png", rule=None), corpus.Hostile(name="b.png", rule=None)]
    data = bytearray(corpus.zip_of(members, picture))
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1  # the flag of the first member
    verdict = bench.deliver(bench.file("locked.zip", bytes(data)))
    assert (verdict.counts, verdict.rules) == ((2, 1, 1, 0), {"a.png": "member_is_not_encrypted"})


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_method_without_bounds_is_refused_member_by_member(bench, method):
    path = bench.folder() / "odd.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", picture(0), compress_type=method)
        archive.writestr("b.png", picture(1))
    verdict = bench.deliver(path)
    assert verdict.rules == {"a.png": "member_is_stored_or_deflated"}
