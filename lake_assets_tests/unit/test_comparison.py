"""A file holds exactly the bytes in memory, or it does not."""

import pytest

from lake_assets.storage import comparison
from lake_assets.storage.comparison import holds, holds_file

_BLOCK = comparison._BLOCK_BYTES


@pytest.mark.parametrize("size", [0, 1, _BLOCK - 1, _BLOCK, _BLOCK + 1, 3 * _BLOCK])
def test_a_file_is_known_by_every_byte(tmp_path, size):
    data = bytes(number % 251 for number in range(size))
    path = tmp_path / "file"
    path.write_bytes(data)
    assert holds(path, data)
    assert holds(str(path), memoryview(bytearray(data)))
    assert not holds(path, data + b"x")
    source = tmp_path / "source"
    for wanted, is_held in ((data, True), (data + b"x", False)):
        source.write_bytes(wanted)
        assert holds_file(path, source) is is_held
    for place in {0, size // 2, size - 1} if size else ():
        other = bytearray(data)
        other[place] ^= 1
        assert not holds(path, memoryview(other))
        assert not holds(path, data[:place])
        for wanted in (bytes(other), data[:place]):
            source.write_bytes(wanted)
            assert not holds_file(path, source)


def test_a_part_of_a_buffer_is_compared_from_its_start(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"cde")
    assert holds(path, memoryview(bytearray(b"abcdefg"))[2:5])


def test_what_is_not_there_holds_nothing(tmp_path):
    assert not holds(tmp_path / "gone", b"")
    (tmp_path / "source").touch()
    assert not holds_file(tmp_path / "gone", tmp_path / "source")


def test_a_second_name_of_a_file_holds_the_same(tmp_path):
    (tmp_path / "one").write_bytes(b"abc")
    (tmp_path / "two").hardlink_to(tmp_path / "one")
    assert holds_file(tmp_path / "one", tmp_path / "two")


def test_a_folder_is_an_error(tmp_path):
    with pytest.raises(OSError, match="directory"):
        holds(tmp_path, b"x")
