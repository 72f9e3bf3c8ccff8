"""Rules: files that are opened, read, written and closed."""

from __future__ import annotations

import os

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from tests.stateful.example import Example, few_open, some_open
from tests.stateful.material import (
    DOWNLOADS,
    access_modes,
    lengths,
    modes,
    names,
    seeds,
    sizes,
    slots,
    umasks,
)


class FileRules(Example):
    """Descriptors and what is done with them."""

    @few_open
    @rule(
        path=names,
        access=access_modes,
        flags=st.sampled_from(
            [0, os.O_TRUNC, os.O_APPEND, os.O_NOFOLLOW, os.O_DIRECTORY, os.O_NONBLOCK | os.O_NOFOLLOW, os.O_SYNC]
        ),
        other=st.booleans(),
    )
    def open_existing(self, path: bytes, access: int, flags: int, other: bool) -> None:
        # A fifo would make an open wait for its other end.
        self.opened(self.pair.actors[other], path, access | flags | os.O_NONBLOCK, 0, 0)

    @few_open
    @rule(
        path=names,
        access=access_modes,
        flags=st.sampled_from([0, os.O_TRUNC, os.O_APPEND]),
        mode=modes,
        umask=umasks,
    )
    def open_or_create(self, path: bytes, access: int, flags: int, mode: int, umask: int) -> None:
        self.opened(self.first, path, access | flags | os.O_CREAT | os.O_NONBLOCK, mode, umask)

    @few_open
    @rule(path=names, access=access_modes, flags=st.sampled_from([0, os.O_NOFOLLOW | os.O_NONBLOCK, os.O_TRUNC]))
    def create_exclusively(self, path: bytes, access: int, flags: int) -> None:
        self.opened(self.first, path, access | flags | os.O_CREAT | os.O_EXCL, 0o644, 0o022)

    @few_open
    @some_open
    @rule(of=slots, access=access_modes, flags=st.sampled_from([0, os.O_TRUNC, os.O_APPEND]))
    def reopen_by_descriptor(self, of: int, access: int, flags: int) -> None:
        of = self.number(of, self.open)
        actor, number = self.open[of], self.next
        self.next += 1
        if actor.same("reopen", number, of, access | flags | os.O_NONBLOCK)[0] == "done":
            self.open[number] = actor
            if access != os.O_RDONLY:
                self.writing.add(number)

    @few_open
    @some_open
    @rule(of=slots)
    def duplicate(self, of: int) -> None:
        of = self.number(of, self.open)
        actor, number = self.open[of], self.next
        self.next += 1
        actor.same("dup", number, of)
        self.open[number] = actor
        if of in self.writing:
            self.writing.add(number)

    @some_open
    @rule(of=slots)
    def close(self, of: int) -> None:
        of = self.number(of, self.open)
        self.open.pop(of).same("close", of)
        self.writing.discard(of)
        self.plainly.discard(of)

    @rule(path=names, seed=seeds, length=sizes)
    def copy_in(self, path: bytes, seed: int, length: int) -> None:
        if not self.is_fifo(path):
            self.first.same("copy_at", path, seed, length)

    @rule(which=st.integers(0, len(DOWNLOADS) - 1), linked=st.booleans())
    def download_again(self, which: int, linked: bool) -> None:
        self.download(which, linked)

    @some_open
    @rule(of=slots, length=lengths)
    def read(self, of: int, length: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("read", of, length)

    @some_open
    @rule(of=slots, offset=sizes, length=lengths, more=st.lists(lengths, max_size=2))
    def pread(self, of: int, offset: int, length: int, more: list[int]) -> None:
        of = self.number(of, self.open)
        self.open[of].same("pread", of, offset, [length, *more])

    @rule(path=names, page=st.integers(0, 80))
    def read_direct(self, path: bytes, page: int) -> None:
        if not self.is_fifo(path):
            self.first.same("read_direct", path, page)

    @some_open
    @rule(of=slots, seed=seeds, length=lengths)
    def write(self, of: int, seed: int, length: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("write", of, seed, length)

    @some_open
    @rule(of=slots, offset=sizes, seed=seeds, length=lengths, more=st.lists(lengths, max_size=2))
    def pwrite(self, of: int, offset: int, seed: int, length: int, more: list[int]) -> None:
        of = self.number(of, self.open)
        self.open[of].same("pwrite", of, offset, seed, [length, *more])

    @some_open
    @rule(of=slots, offset=st.integers(-100, 300_000), whence=st.sampled_from([os.SEEK_SET, os.SEEK_CUR, os.SEEK_END]))
    def seek(self, of: int, offset: int, whence: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("lseek", of, offset, whence)

    @some_open
    @rule(of=slots, size=sizes)
    def ftruncate(self, of: int, size: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("ftruncate", of, size)

    @rule(path=names, size=sizes)
    def truncate(self, path: bytes, size: int) -> None:
        self.first.same("truncate", path, size)

    @precondition(lambda self: self.plainly)
    @rule(of=slots, offset=sizes, length=lengths)
    def allocate(self, of: int, offset: int, length: int) -> None:
        of = self.number(of, self.plainly)
        self.no_longer_timed(of)
        self.open[of].same("allocate", of, offset, length)

    @some_open
    @rule(out=slots, source=slots, offset=sizes, count=lengths)
    def sendfile(self, out: int, source: int, offset: int, count: int) -> None:
        out, source = self.number(out, self.open), self.number(source, self.open)
        if self.open[out] is self.open[source]:
            self.open[out].same("sendfile", out, source, offset, count)

    @some_open
    @rule(source=slots, out=slots, count=lengths, from_=sizes, to=sizes)
    def copy_file_range(self, source: int, out: int, count: int, from_: int, to: int) -> None:
        out, source = self.number(out, self.open), self.number(source, self.open)
        if self.open[out] is self.open[source]:
            self.open[out].same("copy_range", source, out, count, from_, to)

    @some_open
    @rule(of=slots, data_only=st.booleans())
    def fsync(self, of: int, data_only: bool) -> None:
        of = self.number(of, self.open)
        self.open[of].same("fsync", of, data_only)

    @some_open
    @rule(of=slots, advice=st.sampled_from([os.POSIX_FADV_DONTNEED, os.POSIX_FADV_WILLNEED, os.POSIX_FADV_RANDOM]))
    def advise(self, of: int, advice: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("advise", of, advice)

    @rule()
    def read_everything(self) -> None:
        self.compare_contents()
