"""Rules: sealed files that the kernel reads itself, and all that can be done with a file meanwhile (H51).

The kernel wants all handles of a file to be of one kind: what is opened beside a native handle is native too, be it to
write. Most that the other rules do would not meet one, for each write breaks a seal: here files are sealed on purpose,
opened to be read, and then used.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from ipfsfs.daemon.questions import seal
from tests.stateful.example import OPEN_MOST
from tests.stateful.file_rules import FileRules
from tests.stateful.mapping_rules import MappingRules
from tests.stateful.material import PROMISED, free_names, lengths, seeds, sizes
from tests.stateful.name_rules import NameRules
from tests.stateful.view_rules import ViewRules

AT_FIRST: Final = [b"a", b"d/a", b"d/e/a", PROMISED[3]]
"""The files with which each example begins."""
OPENING: Final = ["duplicate", "reopen to write", "open to truncate", "read and truncate"]
WRITING: Final = ["write", "append", "truncate", "truncate by name"]
MAPPING: Final = ["map", "map to write", "map to write and close", "close all but mappings"]
NAMING: Final = ["replace", "rename", "unlink", "change mode"]
USES: Final = [*OPENING, *WRITING, *MAPPING, *NAMING]


@dataclass(slots=True, frozen=True)
class Native:
    """A file that is opened to be read, by the first process or the other one, and how it is used then."""

    path: bytes
    by_other: bool
    uses: list[str]
    alone: bool = False
    """First close all that is open, for what the daemon reads stays so for as long as it is open."""
    early: int | None = None
    """How the file, made anew, is opened before it is sealed. That handle is not native, so that none is beside it."""
    seed: int = 15
    size: int = 100_000
    length: int = 70_000
    new_path: bytes = b"b"


def _natives(uses: list[str]) -> st.SearchStrategy[Native]:
    return st.builds(
        Native,
        path=st.sampled_from([*AT_FIRST, *AT_FIRST, b"b", b"d/b", PROMISED[2]]),
        by_other=st.booleans(),
        uses=st.lists(st.sampled_from(uses), min_size=1, max_size=4),
        alone=st.sampled_from([True, True, True, False]),
        early=st.sampled_from([*[None] * 6, os.O_RDONLY, os.O_RDWR]),
        seed=seeds,
        size=sizes,
        length=lengths,
        new_path=free_names,
    )


class NativeRules(FileRules, MappingRules, NameRules, ViewRules):
    """Native handles, and uses of files that have one."""

    used: ClassVar[Counter[str]] = Counter()
    """How often a file was used in a way while it was native."""

    @initialize(uses=st.just(USES) | st.lists(st.sampled_from(USES), max_size=len(AT_FIRST)))
    def begin_natively(self, uses: list[str]) -> None:
        """In the simplest example, the first of each run, that is every use."""
        for at, use in enumerate(uses):
            again, which = divmod(at, len(AT_FIRST))
            self.read_natively(Native(AT_FIRST[which], bool(at % 2), [use], alone=again > 0))

    @rule(native=_natives(OPENING))
    def open_natively(self, native: Native) -> None:
        self.read_natively(native)

    @rule(native=_natives(WRITING))
    def write_natively(self, native: Native) -> None:
        self.read_natively(native)

    @rule(native=_natives(MAPPING))
    def map_natively(self, native: Native) -> None:
        self.read_natively(native)

    @rule(native=_natives(NAMING))
    def rename_natively(self, native: Native) -> None:
        self.read_natively(native)

    @rule(native=_natives(USES))
    def use_natively(self, native: Native) -> None:
        self.read_natively(native)

    def read_natively(self, native: Native) -> None:
        """Seal what can be sealed, open a file to read it, and go on to use it, natively if that is what it is now."""
        if self.is_fifo(native.path):
            return
        if native.alone or len(self.open) >= OPEN_MOST:
            self.begin()
        if native.early is not None:
            self.make(native)
            self.opened(self.first, native.path, native.early | os.O_NONBLOCK, 0, 0)
        number, is_native = self.opened_when_sealed(native)
        if native.alone and native.early is None and not is_native:  # it is gone, or was sealed before a remount
            self.begin()
            self.make(native)
            number, is_native = self.opened_when_sealed(native)
        for use in native.uses:
            if number in self.open:
                new = self.next
                self.use(use, number, native)
                if is_native:
                    self.used[use] += 1
                if is_native and new in self.writing:
                    (answer, cid), _ = self.open[new].both("fget_xattr", new, "ipfs.cid")
                    assert answer == "failed", f"it is called {cid} while it is written past the daemon"

    def opened_when_sealed(self, native: Native) -> tuple[int, bool]:
        """The handle that a file gets when all is sealed that can be, and whether it is native."""
        self.pair.ask(seal.Question(self.root))
        before, number = self.pair.native_opens(), self.next
        self.opened(self.pair.actors[native.by_other], native.path, os.O_RDONLY | os.O_NONBLOCK, 0, 0)
        return number, self.pair.native_opens() > before

    def use(self, use: str, of: int, drawn: Native) -> None:
        """Do something with the file that was opened as `of`."""
        actor, new, path, seed = self.open[of], self.next, drawn.path, drawn.seed
        size, length = drawn.size, drawn.length
        match use:
            case "write" | "map to write" | "map to write and close" | "truncate":
                self.opened(actor, path, os.O_RDWR | os.O_NONBLOCK, 0, 0)
                if new in self.open and use == "write":
                    actor.same("pwrite", new, size, seed, [length])
                elif new in self.open and use == "truncate":
                    actor.same("ftruncate", new, size)
                elif new in self.open:
                    self.mapped(new, True, seed, length)
                    if use == "map to write and close":
                        self.close_handle(new)
            case "map":
                self.mapped(of, False, seed, length)
            case "truncate by name":
                self.truncate(path, size)
            case "append":
                self.opened(self.first, path, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK, 0, 0)
                if new in self.open:
                    self.first.same("write", new, seed, length)
            case "open to truncate":
                self.copy_in(path, seed, length)
            case "read and truncate":
                self.opened(self.first, path, os.O_RDONLY | os.O_TRUNC | os.O_NONBLOCK, 0, 0)
            case "replace":
                self.make(drawn)
            case "rename":
                self.rename(path, drawn.new_path)
            case "unlink":
                self.unlink(path)
            case "duplicate":
                actor.same("dup", new, of)
                self.open[new] = actor
                self.next += 1
            case "reopen to write":
                self.next += 1
                if actor.same("reopen", new, of, os.O_WRONLY)[0] == "done":
                    self.open[new] = actor
                    self.writing.add(new)
                    actor.same("pwrite", new, size, seed, [length])
            case "change mode":
                actor.same("fchmod", of, 0o600)
            case "close all but mappings":
                self.mapped(of, False, seed, length)
                self.close_handle(of)
        for number in (of, new):
            if number in self.open:
                self.open[number].same("pread", number, size, [length])

    def close_handle(self, number: int) -> None:
        self.open.pop(number).same("close", number)
        self.writing.discard(number)
        self.plainly.discard(number)

    def make(self, drawn: Native) -> None:
        """Make a file beside, and rename it to its name."""
        if drawn.path in PROMISED:
            self.download(PROMISED.index(drawn.path), True)
        else:
            self.first.same("copy_at", b"blobs/new.incomplete", drawn.seed, drawn.length)
            self.first.same("rename", b"blobs/new.incomplete", drawn.path, 0)

    def mapped(self, of: int, writable: bool, seed: int, length: int) -> None:
        """Map a file from its beginning, and touch it there."""
        if len(self.maps) > 3:
            return
        actor, number = self.open[of], self.next
        self.next += 1
        if writable:
            self.no_longer_timed(of)
        if actor.same("map_", number, of, 0, 300_000, True, writable)[0] == "done":
            self.maps[number] = (actor, writable)
            if writable:
                actor.same("map_write", number, 0, seed, length)
            actor.same("map_read", number, 0, length)
