import bz2
import gzip
import hashlib
import io
import lzma
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.errors import UnreadableSource
from lake_assets.intake.archives import ArchiveLimits, extract, is_archive
from lake_assets.storage.files import CopiedFile

LIMITS = ArchiveLimits()
COMPRESSIONS = {
    ".tar": lambda raw: raw,
    ".tar.gz": gzip.compress,
    ".tgz": gzip.compress,
    ".tar.bz2": bz2.compress,
    ".tar.xz": lzma.compress,
    ".tar.zst": lambda raw: pa.Codec("zstd").compress(raw).to_pybytes(),
}


def tar_bytes(members, tar_format=tarfile.PAX_FORMAT):
    """Members are (name, bytes) or (name, type byte)."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes) and len(content) != 1:
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content, "target"
                tar.addfile(info)
    return raw.getvalue()


def zip_bytes(members, method=zipfile.ZIP_DEFLATED):
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", compression=method) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return raw.getvalue()


@pytest.fixture
def unpack(tmp_path):
    def run(name, raw, limits=LIMITS):
        (tmp_path / name).write_bytes(raw)
        into = tmp_path / "deep" / "into"
        into.mkdir(parents=True)
        return extract(tmp_path / name, into, limits, report=lambda *_: None), into

    return run


def files_below(folder: Path):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if not path.is_dir()
    }


CONTENT = {"a.jpg": b"jpeg", "sub/é.csv": b"x,y\n1,2\n", "empty": b"", "big.bin": b"01" * 2**20}


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, ".zip"])
def test_every_kind_of_archive_gives_its_files_with_their_hashes(tmp_path, suffix):
    members = list(CONTENT.items())
    raw = zip_bytes(members) if suffix == ".zip" else COMPRESSIONS[suffix](tar_bytes(members))
    (tmp_path / f"delivery{suffix}").write_bytes(raw)
    into = tmp_path / "into"
    into.mkdir()
    written = {}
    extracted = extract(tmp_path / f"delivery{suffix}", into, LIMITS, report=written.__setitem__)
    assert files_below(into) == CONTENT
    assert list(written) == [name for name, _ in members]
    assert written == {
        name: CopiedFile(byte_count=len(content), sha256=hashlib.sha256(content).hexdigest())
        for name, content in members
    }
    assert extracted.refused == extracted.ignored == ()


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, ".zip"])
def test_an_archive_is_known_by_its_name_or_without_one_by_content(tmp_path, suffix):
    members = [("a.jpg", b"jpeg")]
    raw = zip_bytes(members) if suffix == ".zip" else COMPRESSIONS[suffix](tar_bytes(members))
    (tmp_path / f"A{suffix.upper()}").write_bytes(b"damaged")
    (tmp_path / "bare").write_bytes(raw)
    (tmp_path / "report.docx").write_bytes(raw)
    known = {path.name: is_archive(path) for path in tmp_path.iterdir()}
    assert known == {f"A{suffix.upper()}": True, "bare": True, "report.docx": False}


def test_the_content_beats_the_name_between_kinds_of_archive(unpack):
    _, into = unpack("delivery.tar.gz", zip_bytes([("a.jpg", b"jpeg")]))
    assert files_below(into) == {"a.jpg": b"jpeg"}


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("/etc/evil", "member_stays_inside_the_archive"),
        ("../evil", "member_stays_inside_the_archive"),
        ("a/../../evil", "member_stays_inside_the_archive"),
        ("a/..", "member_stays_inside_the_archive"),
        ("..\\evil", "member_stays_inside_the_archive"),
        ("C:evil", "member_stays_inside_the_archive"),
        ("c:\\evil", "member_stays_inside_the_archive"),
        ("\\\\host\\share", "member_stays_inside_the_archive"),
        ("../.hidden", "member_stays_inside_the_archive"),
        ("a\\b", "member_name_is_usable"),
        ("a\nb", "member_name_is_usable"),
        ("a\x1b[2Jb", "member_name_is_usable"),
        ("a\u2028b", "member_name_is_usable"),
        ("x" * 256, "member_name_is_usable"),
        ("é" * 128, "member_name_is_usable"),
        ("y/" * 600 + "y", "member_name_is_usable"),
    ],
)
def test_a_hostile_name_is_refused_and_the_rest_is_taken(unpack, make, name, rule):
    extracted, into = unpack("delivery", make([(name, b"evil"), ("good", b"good")]))
    assert [refused.rule for refused in extracted.refused] == [rule]
    assert files_below(into.parent.parent).keys() == {"delivery", "deep/into/good"}


def test_a_tar_name_that_is_not_utf8_is_refused(unpack):
    raw = tar_bytes([("caf\udce9", b"latin"), ("good", b"good")], tarfile.GNU_FORMAT)
    extracted, into = unpack("delivery.tar", raw)
    assert [(r.name, r.rule) for r in extracted.refused] == [
        ("caf\\udce9", "member_name_is_usable")
    ]
    assert files_below(into) == {"good": b"good"}


def test_a_zip_name_with_a_nul_is_refused_not_cut_off(unpack):
    raw = zip_bytes([("a.jpg_.exe", b"evil")]).replace(b"a.jpg_.exe", b"a.jpg\0.exe")
    extracted, into = unpack("delivery.zip", raw)
    assert [refused.rule for refused in extracted.refused] == ["member_name_is_usable"]
    assert files_below(into) == {}


def test_a_zip_name_in_utf8_without_its_flag_is_read_as_utf8(unpack):
    # What macOS writes; writestr sets the flag as soon as the name is not ASCII.
    raw = zip_bytes([("12.jpg", b"jpeg")]).replace(b"12.jpg", "é.jpg".encode())
    _, into = unpack("delivery.zip", raw)
    assert files_below(into) == {"é.jpg": b"jpeg"}


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, b"Z"],
)
def test_what_is_not_a_regular_file_is_refused(unpack, kind):
    raw = tar_bytes([("link", kind), ("link/through", b"evil"), ("good", b"good")])
    extracted, into = unpack("delivery.tar", raw)
    assert [(r.name, r.rule) for r in extracted.refused] == [("link", "member_is_a_regular_file")]
    assert files_below(into) == {"good": b"good", "link/through": b"evil"}
    assert not (into / "link").is_symlink()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR])
def test_a_zip_member_with_the_mode_of_a_link_or_device_is_refused(unpack, kind):
    info = zipfile.ZipInfo("link")
    info.external_attr = (kind | 0o777) << 16
    extracted, into = unpack("delivery.zip", zip_bytes([(info, b"/etc/passwd")]))
    assert [refused.rule for refused in extracted.refused] == ["member_is_a_regular_file"]
    assert files_below(into) == {}


def test_a_sparse_file_is_refused(unpack):
    raw = bytearray(tar_bytes([("holes", b"data"), ("good", b"good")], tarfile.GNU_FORMAT))
    raw[156:157] = tarfile.GNUTYPE_SPARSE
    raw[483:495] = b"%011o\0" % 2**32  # claims 4 GiB of zeros
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 32)
    extracted, into = unpack("delivery.tar", bytes(raw))
    assert [refused.actual for refused in extracted.refused] == ["a sparse file"]
    assert files_below(into) == {"good": b"good"}


def test_an_encrypted_zip_member_is_refused(unpack):
    raw = bytearray(zip_bytes([("secret", b"secret"), ("good", b"good")]))
    entry = raw.index(b"PK\x01\x02")
    raw[entry + 8] |= 1
    extracted, into = unpack("delivery.zip", bytes(raw))
    assert [refused.rule for refused in extracted.refused] == ["member_is_not_encrypted"]
    assert files_below(into) == {"good": b"good"}


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_method_that_could_fill_the_memory_is_refused(unpack, method):
    extracted, into = unpack("delivery.zip", zip_bytes([("a", b"a" * 1000)], method))
    assert [refused.rule for refused in extracted.refused] == ["member_is_stored_or_deflated"]
    assert files_below(into) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
@pytest.mark.parametrize(
    "names",
    [
        ("a.jpg", "a.jpg"),
        ("a.jpg", "./a.jpg"),
        ("a.jpg", "A.JPG"),
        ("é.jpg", "e\u0301.jpg"),
        ("a", "a/b.jpg"),
        ("a/b.jpg", "a"),
        ("a/b/c.jpg", "A/b"),
    ],
)
def test_of_names_that_some_file_system_would_mix_up_the_first_wins(unpack, make, names):
    first, second = names
    extracted, into = unpack("delivery", make([(first, b"first"), (second, b"second")]))
    assert [(r.name, r.rule) for r in extracted.refused] == [(second, "member_name_is_unique")]
    assert files_below(into) == {first: b"first"}


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_litter_is_named_and_not_written(unpack, make):
    members = [("__MACOSX/._a.jpg", b"xx"), ("./.DS_Store", b"xx"), ("a.jpg", b"jpeg")]
    extracted, into = unpack("delivery", make(members))
    assert extracted.ignored == ("__MACOSX/._a.jpg", ".DS_Store")
    assert files_below(into) == {"a.jpg": b"jpeg"}


ONE_MIB_OF_ZEROS = [("zeros", bytes(2**20))]


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, ".zip"])
def test_a_bomb_is_stopped_by_what_comes_out_of_it(unpack, suffix):
    make = zip_bytes if suffix == ".zip" else lambda m: COMPRESSIONS[suffix](tar_bytes(m))
    with pytest.raises(UnreadableSource, match="unpacks to more than 1,000 bytes"):
        unpack(f"bomb{suffix}", make(ONE_MIB_OF_ZEROS), ArchiveLimits(max_bytes=1000))


def test_a_bomb_of_refused_members_and_of_padding_counts_too(unpack):
    links = gzip.compress(tar_bytes([(f"link{i}", tarfile.SYMTYPE) for i in range(100)]))
    with pytest.raises(UnreadableSource, match="unpacks to more"):
        unpack("links.tgz", links, ArchiveLimits(max_bytes=20_000))


def test_padding_after_the_end_counts_too(unpack):
    raw = gzip.compress(tar_bytes([("a", b"aa")]) + bytes(2**20))
    with pytest.raises(UnreadableSource, match="unpacks to more"):
        unpack("padding.tgz", raw, ArchiveLimits(max_bytes=20_000))


@pytest.mark.parametrize("make", [tar_bytes, zip_bytes])
def test_too_many_members_are_stopped(unpack, make):
    members = [(f"{i}.txt", b"xx") for i in range(4)]
    with pytest.raises(UnreadableSource, match="more than 3 members"):
        unpack("many", make(members), ArchiveLimits(max_members=3))


@pytest.mark.parametrize("suffix", [*COMPRESSIONS, ".zip"])
@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9])
def test_an_archive_that_was_cut_short_is_refused(unpack, suffix, kept):
    members = [(f"{i}.jpg", hashlib.sha256(b"%d" % i).digest() * 40) for i in range(50)]
    raw = zip_bytes(members) if suffix == ".zip" else COMPRESSIONS[suffix](tar_bytes(members))
    with pytest.raises(UnreadableSource, match=r"cut short"):
        unpack(f"short{suffix}", raw[: int(len(raw) * kept)])


def test_a_tar_cut_between_two_members_is_refused(unpack):
    raw = tar_bytes([("a", b"aaa"), ("b", b"bbb")])
    with pytest.raises(UnreadableSource, match="cut short"):
        unpack("short.tar", raw[:1024])


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(unpack):
    raw = bytearray(tar_bytes([("a", b"aaa"), ("b", b"bbb"), ("c", b"ccc")]))
    raw[1024 + 148 : 1024 + 156] = b"0000000\0"  # the checksum of b's header
    with pytest.raises(UnreadableSource, match="bad checksum"):
        unpack("damaged.tar", bytes(raw))


@pytest.mark.parametrize("suffix", [".tar.gz", ".tar.bz2", ".tar.xz"])
def test_damage_in_the_checksum_at_the_very_end_is_found(unpack, suffix):
    raw = bytearray(COMPRESSIONS[suffix](tar_bytes([("a", b"aaa")])))
    raw[-6] ^= 0xFF
    with pytest.raises(UnreadableSource, match="damaged"):
        unpack(f"damaged{suffix}", bytes(raw))


def test_a_zip_member_whose_content_was_changed_is_found(unpack):
    raw = zip_bytes([("a", b"content")], zipfile.ZIP_STORED).replace(b"content", b"c0ntent", 1)
    with pytest.raises(UnreadableSource, match="CRC"):
        unpack("damaged.zip", raw)


def test_two_tars_joined_together_are_refused_rather_than_halved(unpack):
    with pytest.raises(UnreadableSource, match="joined together"):
        unpack("joined.tar", tar_bytes([("a", b"aaa")]) + tar_bytes([("b", b"bbb")]))


def test_a_header_that_claims_a_negative_size_ends_the_reading(unpack):
    raw = bytearray(tar_bytes([("a", b"aaa"), ("b", b"bbb")], tarfile.GNU_FORMAT))
    raw[124:136] = b"\xff" * 8 + struct.pack(">i", -1024)
    raw[148:156] = b"%06o\0 " % (sum(raw[:148]) + sum(raw[156:512]) + 8 * 32)
    with pytest.raises(UnreadableSource, match="damaged"):
        unpack("backwards.tar", bytes(raw))


def test_an_oversized_extension_header_is_not_read_into_memory(unpack):
    info = tarfile.TarInfo("a")
    info.pax_headers = {"comment": "x" * 2**17}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(info)
    with pytest.raises(UnreadableSource, match="extension header"):
        unpack("pax.tar", raw.getvalue())


def test_chained_extension_headers_end_the_reading(unpack):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type = tarfile.XGLTYPE
    with pytest.raises(UnreadableSource, match="damaged"):
        unpack("chain.tar", header.tobuf(tarfile.USTAR_FORMAT) * 5000 + bytes(1024))


@pytest.mark.parametrize("name", ["page.zip", "page.tar.gz", "page.tar"])
def test_what_only_claims_to_be_an_archive_is_refused(unpack, name):
    with pytest.raises(UnreadableSource, match="damaged"):
        unpack(name, b"<html>404 not found</html>" * 50)


# Parts that make trouble, mixed with any text.
PARTS = st.sampled_from(["..", ".", "", "a", "A", "a ", "C:", "\\", "é", "con", "~", "%2e%2e"])
# Without NUL: Python's own zipfile cuts names there when it writes them.
ODD = st.text(st.characters(exclude_characters="\0"), min_size=1, max_size=5)
NAMES = st.lists(PARTS | ODD, min_size=1, max_size=5).map("/".join)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@given(names=st.lists(NAMES, max_size=8), make=st.sampled_from([tar_bytes, zip_bytes]))
def test_whatever_members_are_called_nothing_is_written_outside_and_all_are_accounted_for(
    tmp_path_factory, names, make
):
    names = [name for name in names if name.strip("/") and not name.endswith("/")]
    try:
        raw = make([(name, b"content") for name in names])
    except UnicodeEncodeError:  # zip cannot hold lone surrogates at all
        return
    outer = tmp_path_factory.mktemp("outer")
    (outer / "delivery").write_bytes(raw)
    into = outer / "deep" / "into"
    into.mkdir(parents=True)
    written = {}
    extracted = extract(outer / "delivery", into, LIMITS, report=written.__setitem__)
    assert len(written) + len(extracted.refused) + len(extracted.ignored) == len(names)
    expected = {f"deep/into/{name}" for name in written}
    assert files_below(outer).keys() == expected | {"delivery"}


@given(damage=st.lists(st.tuples(st.integers(0, 10_239), st.integers(0, 255)), max_size=20))
def test_a_damaged_tar_gives_files_or_an_error_of_this_package(tmp_path_factory, damage):
    raw = bytearray(tar_bytes([(f"{'d' * 120}/{i}", b"content" * i) for i in range(5)]))
    for position, value in damage:
        raw[position] = value
    outer = tmp_path_factory.mktemp("outer")
    (outer / "delivery.tar").write_bytes(raw)
    (outer / "into").mkdir()
    try:
        limits = ArchiveLimits(max_bytes=2**20)
        extract(outer / "delivery.tar", outer / "into", limits, report=lambda *_: None)
    except UnreadableSource:
        pass
    assert {path.name for path in outer.iterdir()} == {"delivery.tar", "into"}
