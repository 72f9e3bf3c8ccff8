"""A buffer for what is read of files begins where a page does."""

from __future__ import annotations

import ctypes
import mmap

import pytest

from ipfsfs.plain.buffers import page_aligned


@pytest.mark.parametrize("size", [1, 4096, (1 << 20) + (256 << 10)])
def test_it_begins_at_a_page_and_is_as_long_as_asked(size: int) -> None:
    buffer = page_aligned(size)
    assert ctypes.addressof(ctypes.c_char.from_buffer(buffer)) % mmap.PAGESIZE == 0
    assert len(buffer) == size
    buffer[-1] = 7
    assert buffer[-1] == 7
