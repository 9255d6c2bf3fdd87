"""Sealed documents: any changed byte is found; a single flipped bit can be turned back."""

import hashlib
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lake_assets.storage.sealed_json import SealState, seal_state, sealed_json
from lake_assets.upkeep.repair.bit_errors import LARGEST_BYTES, mended, without_flipped_bit

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(codec="utf-8"))
    | st.floats(allow_nan=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
)  # fmt: skip
PLAIN = {"version": 1, "seconds": 0.1, "names": ["é", "\u2028"], "nested": {"a": None}}


@given(st.dictionaries(st.text(st.characters(codec="utf-8")).filter(lambda k: k != "seal"), VALUES))
def test_a_sealed_document_is_whole_and_reads_as_what_it_was(plain):
    content = sealed_json(plain).encode()
    assert seal_state(content) is SealState.WHOLE
    read = json.loads(content)
    del read["seal"]
    assert read == plain


def test_every_changed_byte_is_found():
    content = sealed_json(PLAIN).encode()
    for place, byte in enumerate(content):
        for other in range(256):
            if other != byte:
                changed = content[:place] + bytes([other]) + content[place + 1 :]
                assert seal_state(changed) is SealState.BROKEN, (place, other)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (b'{"a": 1}', SealState.UNSEALED),
        (b"{}", SealState.UNSEALED),
        (b"[]", SealState.BROKEN),
        (b"", SealState.BROKEN),
        (b"\xff", SealState.BROKEN),
        (b'{"seal": ""}', SealState.BROKEN),
        (b'{"sea1": ""}', SealState.BROKEN),
        (sealed_json(PLAIN).encode() + b"\n", SealState.BROKEN),
        (json.dumps(json.loads(sealed_json(PLAIN))).encode(), SealState.BROKEN),
    ],
    ids=repr,
)
def test_what_a_seal_says(content, state):
    assert seal_state(content) is state


@pytest.mark.parametrize("place", [0, 500, 999])
def test_a_flipped_bit_is_turned_back(place):
    content = random.Random(1).randbytes(1000)
    sha256 = hashlib.sha256(content).hexdigest()
    changed = content[:place] + bytes([content[place] ^ 0x20]) + content[place + 1 :]
    assert without_flipped_bit(changed, sha256) == content


def test_two_flipped_bits_are_not():
    content = bytes(100)
    changed = b"\x01\x01" + content[2:]
    assert without_flipped_bit(changed, hashlib.sha256(content).hexdigest()) is None


def test_a_large_file_is_not_tried():
    content = bytes(LARGEST_BYTES + 1)
    changed = b"\x01" + content[1:]
    assert without_flipped_bit(changed, hashlib.sha256(content).hexdigest()) is None


def test_a_document_is_mended_by_its_own_seal():
    content = sealed_json(PLAIN).encode()
    changed = content[:20] + bytes([content[20] ^ 4]) + content[21:]
    assert mended(changed, lambda text: seal_state(text) is SealState.WHOLE) == content
