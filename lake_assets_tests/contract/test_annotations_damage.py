"""Files that were damaged on the way: each is read or refused, and never half understood."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lake_assets.errors import UnreadableSource, UnsupportedFormat
from lake_assets.intake.annotations import AnnotationFormat, annotation_format
from lake_assets_tests.contract.annotation_samples import SAMPLES
from lake_assets_tests.contract.annotations_harness import read_file

PLACES = st.integers(0, 5000)
PIECES = st.one_of(
    st.binary(max_size=3),
    st.sampled_from(
        [b'"', b"<", b">", b"&", b"[", b"]", b"{", b"}", b",", b"\t", b"\n", b"\r", b"\0", b"-",
         b"null", b"NaN", b"1e999", b"\xff", b"\xed\xa0\x80", b"\\ud800", b"<!--", b"<![CDATA["]
    ),
)  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("key", SAMPLES)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damage_is_a_record_a_rejected_row_or_a_clear_error(place, key, data):
    name, content, kind, _ = SAMPLES[key]
    raw = content.encode()
    for _ in range(data.draw(st.integers(1, 3))):
        begin = data.draw(PLACES) % (len(raw) + 1)
        end = min(len(raw), begin + data.draw(st.sampled_from([0, 1, 1, 5, 5000])))
        raw = raw[:begin] + data.draw(PIECES) + raw[end:]
    path = place / name
    path.write_bytes(raw)
    annotation_format(path, kind)
    form = AnnotationFormat(key.partition("-")[0])
    try:
        # The harness checks that numbers have no gap, that records fit their columns, and so on.
        read_file(path, kind, form)
    except (UnreadableSource, UnsupportedFormat) as error:
        assert error.context["file"] == name
        assert name in error.message
