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

from tests.stateful.side import Side, checked, content, digest

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
    for address, length in side.maps.values():
        _libc.munmap(address, length)
    side.maps.clear()
    for fd in side.fds.values():
        with suppress(OSError):  # a descriptor of a daemon that is gone says so when it is closed, and is closed
            os.close(fd)
    side.fds.clear()


def sync_maps(side: Side) -> None:
    """Have what was written through shared mappings in the file: a daemon that is killed could not be given it."""
    for address, length in side.maps.values():
        _libc.msync(address, length, _MS_SYNC)


def map_(side: Side, mapping: int, number: int, offset: int, length: int, shared: bool, writable: bool) -> None:
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    kind = mmap.MAP_SHARED if shared else mmap.MAP_PRIVATE
    address = _libc.mmap(None, length, protection, kind, side.fds[number], offset)
    if address == _MAP_FAILED:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    side.maps[mapping] = (address, length)


def map_read(side: Side, mapping: int, at: int, length: int) -> tuple[int, str]:
    address, size = side.maps[mapping]
    at %= size
    with open("/proc/self/mem", "rb", buffering=0) as memory:
        return digest(os.pread(memory.fileno(), min(length, size - at), address + at))


def map_write(side: Side, mapping: int, at: int, seed: int, length: int) -> int:
    address, size = side.maps[mapping]
    at %= size
    with open("/proc/self/mem", "r+b", buffering=0) as memory:
        return os.pwrite(memory.fileno(), content(seed, min(length, size - at)), address + at)


def map_sync(side: Side, mapping: int) -> None:
    checked(_libc.msync(*side.maps[mapping], _MS_SYNC))


def unmap(side: Side, mapping: int) -> None:
    checked(_libc.munmap(*side.maps.pop(mapping)))
