"""CSV as it comes: ragged, in odd encodings, with quotes that do not add up, or without an end."""

from __future__ import annotations

import gzip

import pytest

from lake_assets_tests.bad_input.archive_corpus import gzip_of_zeros

REFUSED = None

# Content, and (accepted, rejected) or REFUSED.
CASES = {
    "ragged rows": (b"a,b\n1,2\n3\n4,5,6\n7,8\n", (2, 2)),
    "a byte order mark": (b"\xef\xbb\xbfa,b\n1,2\n", (1, 0)),
    "UTF-16, little-endian": ("a,b\n1,é\n".encode("utf-16"), (1, 0)),
    "UTF-16, big-endian": (b"\xfe\xff" + "a,b\n1,é\n".encode("utf-16-be"), (1, 0)),
    "UTF-16 without its mark": ("a,b\n1,2\n".encode("utf-16-le"), REFUSED),
    "UTF-16 with half a character": ("a,b\n1,2\n".encode("utf-16")[:-1], REFUSED),
    "UTF-32": ("a,b\n1,2\n".encode("utf-32"), REFUSED),
    "a NUL in a value": (b"a,b\n1,x\0y\n2,z\n", (1, 1)),
    "a NUL in the header": (b"a,b\0\n1,2\n", REFUSED),
    "an open quote": (b'a,b\n1,"x\n2,y\n3,z\n', (2, 1)),
    "an open quote at the end": (b'a,b\n1,x\n2,"y', (1, 1)),
    "text after a quote": (b'a,b\n1,"x"y\n2,z\n', (1, 1)),
    "quotes in the middle": (b'a,b\n1,x"y"z\n2,w\n', (2, 0)),
    "a byte that is not UTF-8": (b"a,b\n1,\xff\n2,x\n", (1, 1)),
    "a header that is not UTF-8": (b"caf\xe9,b\n1,2\n", REFUSED),
    "no byte": (b"", (0, 0)),
    "only line ends": (b"\n\r\n\n", (0, 0)),
    "only a byte order mark": (b"\xef\xbb\xbf", (0, 0)),
    "only a header": (b"a,b\n", (0, 0)),
    "a column twice": (b"a,a\n1,2\n", REFUSED),
    "a column in two cases": (b"a,A\n1,2\n", REFUSED),
    "a column without a name": (b"a,\n1,2\n", REFUSED),
    "a column of the lake": (b"_record_id,b\n1,2\n", REFUSED),
    "more columns than a table has": (b",".join(b"c%d" % n for n in range(20_000)), REFUSED),
    "a value of 17 million characters": (b"a,b\n1," + b"x" * 17_000_000 + b"\n2,y\n", (1, 1)),
    "no line end at all": (b"a,b\n" + b"x" * 70_000_000, REFUSED),
    "an open quote before much more": (b'a,b\n1,"\n' + b"2,y\n" * 50_000, (50_000, 1)),
    "carriage returns": (b"a,b\r1,2\r3,4\r", (2, 0)),
    "line ends of all kinds": (b"a,b\r\n1,2\r3,4\n", (2, 0)),
    "a number of 5 000 digits": (b"a\n" + b"9" * 5_000 + b"\n1\n", (2, 0)),
    "infinity and no number": (b"a\n1e999\nnan\n1\n", (3, 0)),
    "days that there are not": (b"d\n2020-01-01\n99999-01-01\n2023-02-30\n", (3, 0)),
    "an instant after the year 9999": (
        b"t\n9999-12-31T23:59:59-05:00\n2020-01-01T00:00:00Z\n", (2, 0)),
    "an instant before the year 1": (
        b"t\n0001-01-01T00:00:00+05:00\n2020-01-01T00:00:00Z\n", (2, 0)),
    "the year 0": (b"d\n0000-01-01\n2020-01-01\n", (2, 0)),
    "a formula": (b"a,b\n=cmd|' /C calc'!A0,1\n", (1, 0)),
    "control characters": (b"a,b\n\x01\x02,\x1b[31m\n", (1, 0)),
    "every byte there is": (bytes(range(256)) * 100, REFUSED),
    "HTML": (b"<!doctype html>\n<html><body>404, not found</body></html>\n" * 3, (2, 3)),
}  # fmt: skip

PACKED = {
    "cut": (gzip.compress(b"a,b\n" + b"1,2\n" * 10_000)[:-20], REFUSED),
    "not packed at all": (b"a,b\n1,2\n", REFUSED),
    "two members": (gzip.compress(b"a,b\n1,2\n") + gzip.compress(b"3,4\n"), (2, 0)),
    "a wrong checksum": (gzip.compress(b"a,b\n1,2\n")[:-8] + bytes(8), REFUSED),
    "a gigabyte of zeros": (gzip_of_zeros(2**30, head=b"a,b\n1,2\n"), REFUSED),
}


def outcome(verdict):
    return REFUSED if verdict.kind in ("refused", "failed") else verdict.counts[1:3]


@pytest.mark.parametrize("case", CASES)
def test_csv_is_read_row_by_row_or_refused(bench, case):
    content, expected = CASES[case]
    assert outcome(bench.deliver(bench.file("rows.csv", content))) == expected


@pytest.mark.parametrize("case", PACKED)
def test_packed_csv_is_read_row_by_row_or_refused(bench, case):
    content, expected = PACKED[case]
    assert outcome(bench.deliver(bench.file("rows.csv.gz", content))) == expected


@pytest.mark.parametrize(
    ("name", "head"), [("rows.jsonl.gz", b'{"a": 1}\n'), ("rows.csv.gz", b"a\n1\n")]
)
def test_a_packed_file_of_nothing_but_line_ends_is_its_one_row(bench, name, head):
    content = gzip_of_zeros(65 * 2**20, head=head, fill=b"\n")
    verdict = bench.deliver(bench.file(name, content))
    assert (verdict.kind, verdict.accepted) == ("done", 1)


def test_a_delimiter_that_is_none_is_refused(bench):
    path = bench.file("rows.csv", b"a,b\n1,2\n")
    for delimiter in ("", "ab", "\n", '"', "\0"):
        verdict = bench.deliver(path, delimiter=delimiter)
        assert verdict.kind == "refused" or delimiter == "\0"
