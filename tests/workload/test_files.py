"""What Python's users do with files in a cache: threads over one mapping, copies of all kinds, locks."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from tests.support.clients import answer
from tests.support.hub import LocalHub
from tests.support.places import Place

pytestmark = pytest.mark.workers


def weights(size: int) -> bytes:
    """A safetensors file of that many megabytes of noise in 64 tensors."""
    import numpy
    from safetensors.numpy import save

    random = numpy.random.default_rng(size)
    rows = size * 1_000_000 // 64 // 1024
    tensors = {f"layer.{i}": random.integers(0, 256, (rows, 1024), dtype=numpy.uint8) for i in range(64)}
    saved: bytes = save(tensors, metadata={"format": "pt"})
    return saved


@pytest.mark.parametrize("threads", [24, pytest.param(128, marks=pytest.mark.campaign)])
def test_a_storm_of_page_faults(hub: LocalHub, twice: Any, threads: int) -> None:
    """Two processes with many threads each fault in 48 MB of weights while its cache is dropped all the time."""
    hub.add("tests/storm", {"model.safetensors": weights(48)})

    def read(place: Place) -> Any:
        place.clients.hf_ok("download", "tests/storm")
        args = ("storm", str(place.snapshot("tests/storm") / "model.safetensors"), str(threads))
        with place.clients.start_client(*args) as first, place.clients.start_client(*args) as second:
            return [answer(first), answer(second)]

    first, second = twice(read)
    assert first == second


@pytest.mark.filesystem
def test_copies_of_all_kinds(hub: LocalHub, twice: Any) -> None:
    """copyfile, copy2, copytree, move and sendfile, within the cache, into it and out of it."""
    data = weights(8)
    hub.add("tests/copied", {"model.safetensors": data, "config.json": b"{}", "a/b.txt": b"deep"})

    def copy(place: Place) -> Any:
        place.clients.hf_ok("download", "tests/copied")
        inside, outside = place.home / "copies", place.outside / "copies"
        return place.clients.run("copies", str(place.snapshot("tests/copied")), str(inside), str(outside))

    done = twice(copy)
    sha256 = hashlib.sha256(data).hexdigest()
    assert done["outside"] == {"copyfile": sha256, "moved-out": sha256}
    copied = {name: found for name, found in done["inside"].items() if not name.endswith((".json", ".txt"))}
    assert set(copied.values()) == {sha256}
    assert len(copied) == 6


def test_locks_exclude(twice: Any) -> None:
    """Four processes add to one number under one lock: none is lost, and a second try for a held lock is refused."""
    times, processes = 150, 4

    def count(place: Place) -> Any:
        locks = place.home / "hub" / ".locks" / "models--tests--locked"
        locks.mkdir(parents=True)
        counter = place.home / "counter"
        counter.write_text("0")
        args = ("locks", str(locks / "blob.lock"), str(counter), str(times))
        with (
            place.clients.start_client(*args) as a,
            place.clients.start_client(*args) as b,
            place.clients.start_client(*args) as c,
            place.clients.start_client(*args) as d,
        ):
            seen = [answer(process) for process in (a, b, c, d)]
        return {"seen": seen, "counted": int(counter.read_text())}

    done = twice(count)
    assert done == {"seen": [{"identities": 1, "refused": times}] * processes, "counted": times * processes}
