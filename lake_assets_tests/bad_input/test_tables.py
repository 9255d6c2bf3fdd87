"""Parquet and Arrow files that are cut short, flipped, or lie about what is in them."""

from __future__ import annotations

import io

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from lake_assets_tests.bad_input import table_corpus as corpus
from lake_assets_tests.bad_input.bench import SEED, sampled
from lake_assets_tests.bad_input.image_corpus import encoded, pixels

FILES = {f"{name}.parquet": data for name, data in corpus.parquets().items()} | {
    f"{name}.arrow": data for name, data in corpus.arrows().items()
}
FAR_US = 2**60


@pytest.mark.parametrize("name", FILES)
def test_a_whole_file_is_read(bench, name):
    (verdict,) = bench.read_all([bench.file(name, FILES[name])])
    assert verdict.counts[:2] == (corpus.ROWS, corpus.ROWS)


@pytest.mark.parametrize("name", FILES)
def test_a_cut_file_is_refused(bench, name):
    data = FILES[name]
    step = max(1, len(data) // sampled(60, 600))
    cuts = {f"{at}-{name}": data[:at] for at in range(0, len(data) - 1, step)}
    # An Arrow stream has no end that must be there: one that is cut between batches is shorter.
    allowed = (0, 50, 100, 120) if name in ("stream.arrow", "lz4.arrow") else ()
    for verdict in bench.read_all(corpus.write(bench.folder(), cuts)):
        assert verdict.kind == "refused" or verdict.rows_in in allowed


@seed(SEED)
@settings(
    max_examples=sampled(3, 100),
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(seeds=st.lists(st.randoms(use_true_random=False), min_size=100, max_size=100))
def test_a_file_with_lying_bytes_neither_ends_nor_hangs_the_process(bench, seeds):
    names = sorted(FILES)
    files = {}
    for number, rng in enumerate(seeds):
        name = rng.choice(names)
        files[f"{number}-{name}"] = corpus.mutated(FILES[name], rng.randrange)
    bench.read_all(corpus.write(bench.folder(), files), time_limit_s=120)


def test_whole_deliveries_of_damaged_files_end_clearly(bench, rng):
    sources = []
    for _ in range(sampled(40, 600)):
        name = rng.choice(sorted(FILES))
        sources.append(bench.file(name, corpus.mutated(FILES[name], rng.randrange)))
    bench.deliver_all(sources, time_limit_s=sampled(120, 600))


@pytest.mark.parametrize("claimed", [121, 8_000])
def test_a_footer_that_claims_more_rows_than_there_are_is_refused(bench, claimed):
    data = corpus.footer_lies(corpus.parquets()["plain"], claimed)
    assert pq.read_metadata(io.BytesIO(data)).num_rows == claimed
    (verdict,) = bench.read_all([bench.file("lie.parquet", data)])
    assert verdict.kind == "refused"


def instants(*counts):
    return pa.array(counts, pa.int64()).view(pa.timestamp("us", tz="UTC"))


TIMES = {
    "instants": instants(0, FAR_US, -FAR_US, None),
    "days": pa.array([0, 2**31 - 1, -(2**31), None], pa.int32()).view(pa.date32()),
    "times of day": pa.array([0, 2**60, -1, None], pa.int64()).view(pa.time64("us")),
    "instants in lists": pa.ListArray.from_arrays([0, 1, 2, 3, 4], instants(0, FAR_US, -FAR_US, 1)),
    "instants in structs": pa.StructArray.from_arrays([instants(0, FAR_US, -FAR_US, 1)], ["t"]),
}


@pytest.mark.parametrize("kind", ["parquet", "arrow"])
@pytest.mark.parametrize("name", TIMES)
def test_a_time_that_no_calendar_has_is_kept_in_words_if_there_are_any(bench, name, kind):
    rows = pa.table({"n": range(4), "when": TIMES[name]})
    path = bench.folder() / f"times.{kind}"
    if kind == "parquet":
        pq.write_table(rows, path)
    else:
        with ipc.new_file(path, rows.schema) as writer:
            writer.write_table(rows)
    verdict = bench.deliver(path)
    assert verdict.counts == ((4, 2, 2, 0) if name == "times of day" else (4, 4, 0, 0))
    assert {item["rule"] for item in verdict.rejections} <= {"value_fits_its_column"}


def test_rows_that_are_rejected_may_hold_any_time(bench):
    folder = bench.folder()
    rows = pa.table({"image": ["a.png", "gone.png"], "t": instants(0, FAR_US)})
    pq.write_table(rows, folder / "rows.parquet")
    (folder / "a.png").write_bytes(encoded(pixels(1), "PNG"))
    verdict = bench.deliver(folder)
    assert (verdict.counts, verdict.rejections[0]["rule"]) == ((2, 1, 1, 0), "image_is_present")


@pytest.mark.parametrize("levels", [30, 39])
def test_records_nested_as_deeply_as_allowed_can_be_read_again(bench, levels):
    line = b'{"v":' + b"[" * levels + b"1" + b"]" * levels + b"}\n"
    path = bench.file("deep.jsonl", line)
    assert bench.deliver(path).counts == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("kind", "byte"), [(pa.decimal128(5, 7), b"\1"), (pa.decimal128(5, 2), b"\x7f")]
)
def test_a_decimal_that_its_type_cannot_hold_is_refused(bench, kind, byte):
    values = pa.Array.from_buffers(kind, 1, [None, pa.py_buffer(byte * 16)])
    path = bench.folder() / "decimal.arrow"
    with ipc.new_file(path, pa.schema([pa.field("d", kind)])) as writer:
        writer.write_table(pa.table({"d": values}))
    assert bench.deliver(path).kind in ("refused", "failed")


@pytest.mark.parametrize("name", ["cut.parquet", "cut.json", "twice.csv", "late.parquet"])
def test_a_damaged_table_beside_good_ones_is_one_rejected_file(bench, name):
    whole = corpus.parquets()["groups"]
    bad = {
        "cut.parquet": whole[:-50],
        "cut.json": b'[{"a": 1}, {"a"',
        "twice.csv": b"a,a\n1,2\n",
        "late.parquet": whole[: len(whole) // 2] + b"\xaa" * 40 + whole[len(whole) // 2 + 40 :],
    }
    folder = bench.folder()
    corpus.write(folder, {name: bad[name], "a.csv": b"n\n1\n2\n", "z.csv": b"n\n3\n"})
    verdict = bench.deliver(folder)
    assert (verdict.counts, verdict.rules) == ((4, 3, 1, 0), {name: "file_is_readable"})
