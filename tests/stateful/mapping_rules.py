"""Rules: mappings, and locks held by one of two processes."""

from __future__ import annotations

import fcntl

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.stateful.example import Example, some_mapped, some_open
from tests.stateful.material import lengths, seeds, slots


class MappingRules(Example):
    """Pages and locks."""

    @some_open
    @precondition(lambda self: len(self.maps) < 4)
    @rule(
        of=slots, page=st.integers(0, 40), length=st.integers(1, 300_000), shared=st.booleans(), writable=st.booleans()
    )
    def map(self, of: int, page: int, length: int, shared: bool, writable: bool) -> None:
        of = self.number(of, self.open)
        number = self.next
        self.next += 1
        if shared and writable:
            self.no_longer_timed(of)
        if self.open[of].same("map_", number, of, page * 4096, length, shared, writable)[0] == "done":
            self.maps[number] = (self.open[of], shared and writable)

    @some_mapped
    @rule(of=slots, at=st.integers(0, 299_999), length=lengths)
    def read_mapped(self, of: int, at: int, length: int) -> None:
        of = self.number(of, self.maps)
        self.maps[of][0].same("map_read", of, at, length)

    @some_mapped
    @rule(of=slots, at=st.integers(0, 299_999), seed=seeds, length=lengths)
    def write_mapped(self, of: int, at: int, seed: int, length: int) -> None:
        of = self.number(of, self.maps)
        self.maps[of][0].same("map_write", of, at, seed, length)

    @some_mapped
    @rule(of=slots)
    def sync_mapped(self, of: int) -> None:
        of = self.number(of, self.maps)
        self.maps[of][0].same("map_sync", of)

    @some_mapped
    @rule(of=slots)
    def unmap(self, of: int) -> None:
        of = self.number(of, self.maps)
        self.maps.pop(of)[0].same("unmap", of)

    @some_open
    @rule(of=slots, operation=st.sampled_from([fcntl.LOCK_EX, fcntl.LOCK_SH, fcntl.LOCK_UN]))
    def flock(self, of: int, operation: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("flock", of, operation)

    @some_open
    @rule(
        of=slots,
        lock=st.sampled_from([fcntl.F_WRLCK, fcntl.F_RDLCK, fcntl.F_UNLCK]),
        start=st.integers(0, 3),
        length=st.integers(0, 3),
        ofd=st.booleans(),
    )
    def lock_record(self, of: int, lock: int, start: int, length: int, ofd: bool) -> None:
        of = self.number(of, self.open)
        self.open[of].same("record_lock", of, lock, start, length, ofd)

    @some_open
    @rule(
        of=slots,
        lock=st.sampled_from([fcntl.F_WRLCK, fcntl.F_RDLCK]),
        start=st.integers(0, 3),
        length=st.integers(0, 3),
    )
    def ask_lock(self, of: int, lock: int, start: int, length: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("who_locks", of, lock, start, length)
