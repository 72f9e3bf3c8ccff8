"""Mappings, in one of two directories.

They are touched by way of /proc/self/mem, which faults as any access does but answers with an error where there is
nothing behind a page any more: then no signal ends this process.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from contextlib import suppress
from typing import Final

from tests.stateful.side import Mapping, Side, checked, content, digest

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_libc.msync.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_MAP_FAILED: Final = ctypes.c_void_p(-1).value
_MS_SYNC: Final = 4


def begin(side: Side, view: bytes, plain: bytes) -> None:
    """Forget everything, and work in other directories."""
    close_all(side)
    side.root = view if side.name == "view" else plain


def close_all(side: Side) -> None:
    for mapping in side.maps.values():
        _libc.munmap(mapping.address, mapping.length)
        os.close(mapping.file)
    side.maps.clear()
    for fd in side.fds.values():
        with suppress(OSError):  # a descriptor of a daemon that is gone says so when it is closed, and is closed
            os.close(fd)
    side.fds.clear()


def sync_maps(side: Side) -> None:
    """Have what was written through shared mappings in the file: a daemon that is killed could not be given it."""
    for mapping in side.maps.values():
        _libc.msync(mapping.address, mapping.length, _MS_SYNC)


def map_(side: Side, mapping: int, number: int, offset: int, length: int, shared: bool, writable: bool) -> None:
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    address = _libc.mmap(None, length, protection, kind, side.fds[number], offset)
    if address == _MAP_FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    file = os.open(f"/proc/self/fd/{side.fds[number]}", os.O_PATH)
    side.maps[mapping] = Mapping(address, length, offset, file)


def map_read(side: Side, mapping: int, at: int, length: int) -> tuple[int, str]:
    mapped = side.maps[mapping]
    at %= mapped.length
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        return digest(os.pread(memory.fileno(), min(length, mapped.length - at), mapped.address + at))


def map_write(side: Side, mapping: int, at: int, seed: int, length: int) -> int:
    """Write to mapped pages, but not to what the last one has beyond the end of the file: in a view that is content
    once the file grows, for the kernel does not clear it as plain disk does, unless the file is native."""
    mapped = side.maps[mapping]
    at %= mapped.length
    length = min(length, mapped.length - at)
    left = mapped.left_at(at)
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        data = content(seed, length if left is None else min(length, left))
        return os.pwrite(memory.fileno(), data, mapped.address + at)


def map_sync(side: Side, mapping: int) -> None:
    mapped = side.maps[mapping]
    checked(_libc.msync(mapped.address, mapped.length, _MS_SYNC))


def unmap(side: Side, mapping: int) -> None:
    mapped = side.maps.pop(mapping)
    os.close(mapped.file)
    checked(_libc.munmap(mapped.address, mapped.length))
