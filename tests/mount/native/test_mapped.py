"""Native files that are written through a mapping whose descriptor is closed: the kernel keeps no handle for one, so
that nobody has the file open as far as the view is told. Programs in C and Rust close it as a rule.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import cid_of
from tests.support.mounted import Mounted
from tests.support.native import Mapping
from tests.support.processes import eventually
from tests.support.promised import RIGHT, blobs, download, is_sealed, quarantined, status

pytestmark = pytest.mark.root

DATA: Final = random.Random(52).randbytes(1_000_000)


@contextmanager
def mapped(path: Path) -> Iterator[Mapping]:
    """A native file that nobody has open, and that is mapped to be written."""
    with path.open("rb"), path.open("r+b") as writer:
        mapping = Mapping(writer.fileno(), path.stat().st_size, writes=True)
    try:
        yield mapping
    finally:
        mapping.close()


def sealed(mount: Mounted) -> Path:
    """A file that is sealed."""
    path = mount.path / "file"
    path.write_bytes(DATA)
    mount.seal()
    assert is_sealed(path)
    return path


def test_whoever_reads_sees_what_is_written_through_a_mapping(native: Mounted) -> None:
    path = sealed(native)
    with mapped(path) as mapping:
        time.sleep(0.1)  # all handles are closed by now, by the daemon's word as well
        for at in (5, 5, 500_000, 500_000):  # the second time its page is written to already, and its time stays
            mapping.bytes[at] ^= 0xFF
            assert path.read_bytes() == bytes(mapping.bytes)
        with path.open("rb", buffering=0) as reader:
            assert reader.read(6)[5] == mapping.bytes[5]
            mapping.bytes[5] ^= 0x0F
            reader.seek(0)
            assert reader.read(6)[5] == mapping.bytes[5]
        written = bytes(mapping.bytes)
        assert cid_of(path) is None
    eventually(lambda: is_sealed(path), "it is sealed when it can be written no longer")
    assert path.read_bytes() == written


def test_a_promise_that_is_broken_through_a_mapping_is_reported_and_its_content_kept(native: Mounted) -> None:
    native.expect_logged += ["broken promise: written in place"]
    path = download(blobs(native), RIGHT)
    native.seal()
    before = path.stat()
    with mapped(path) as mapping:
        time.sleep(0.1)
        assert path.stat().st_mtime_ns == before.st_mtime_ns
        mapping.bytes[0] ^= 1
        assert path.stat().st_mtime_ns > before.st_mtime_ns, "a blob's times are trusted for a day"
        assert not status(native)["broken_promises"]
    eventually(lambda: bool(status(native)["broken_promises"]), "the broken promise is reported")
    (kept,) = quarantined(native)
    assert (native.store / "quarantine" / kept).read_bytes() == RIGHT
    path.unlink()
    for name in (kept, f"{kept}.json"):
        (native.store / "quarantine" / name).unlink()


def test_a_mapping_that_nothing_is_written_through_leaves_a_promise_alone(native: Mounted) -> None:
    path = download(blobs(native), RIGHT)
    native.seal()
    with mapped(path):
        time.sleep(0.1)
        assert not is_sealed(path)
    eventually(lambda: is_sealed(path), "it is sealed again")
    assert not status(native)["broken_promises"]
    assert not quarantined(native)
