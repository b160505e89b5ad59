"""Small files: read whole up to what they may have, and refused above it, also from a stream"""

import io

import pytest

from edgeslm.formats.files import TooLargeError, read_all, read_small


def test_a_file_may_have_just_so_many_bytes(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_small(path, 5) == b"12345"
    with pytest.raises(TooLargeError) as refused:
        read_small(path, 4)
    assert refused.value.strerror == "larger than the 4 bytes it may have"


def test_what_cannot_be_read_is_what_the_system_says(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_small(tmp_path / "absent", 5)
    with pytest.raises(OSError, match=r"directory|denied"):
        read_small(tmp_path, 5)


def test_of_an_endless_stream_no_more_is_read_than_tells():
    class Endless(io.RawIOBase):
        asked = 0

        def read(self, size=-1):
            assert size >= 0
            self.asked += size
            return b"x" * size

    stream = Endless()
    with pytest.raises(TooLargeError):
        read_all(stream, 1000)
    assert stream.asked == 1001
    assert read_all(io.BytesIO(b"rest"), 4) == b"rest"
