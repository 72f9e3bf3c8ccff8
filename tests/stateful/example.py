"""One example: two directories that begin alike and must stay so, and what must hold after every step."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from typing import Any, ClassVar, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition

from tests.stateful.material import COMMIT, DOWNLOADED, FURNITURE, PROMISED, SKELETON
from tests.stateful.pair import Actor, Pair

OPEN_MOST: Final = 8
few_open = precondition(lambda self: len(self.open) < OPEN_MOST)
some_open = precondition(lambda self: self.open)
some_mapped = precondition(lambda self: self.maps)


class Example(RuleBasedStateMachine):
    """The view and plain disk, the files open in them, and what is known of both."""

    pair: ClassVar[Pair]

    def __init__(self) -> None:
        super().__init__()
        self.name = self.pair.next_example()
        self.open: dict[int, Actor] = {}
        self.writing: set[int] = set()
        self.plainly: set[int] = set()
        """Open for reading and writing and not for appending: glibc's own fallocate works with no other."""
        self.maps: dict[int, tuple[Actor, bool]] = {}
        self.next = 0
        self.steps = 0
        self.heavy_at = 10
        self.times: list[dict[bytes, Any]] = [{}, {}]
        self.untimed: list[set[int]] = [set(), set()]
        """Inodes whose times come about in another way: by writing to a mapping, and by glibc's own fallocate."""
        self.begin()
        for directory in SKELETON:
            self.first.same("makedirs", directory)
        for name, seed, length in FURNITURE:
            self.furnish(name, seed, length)
        self.first.same("link", b"a", b"d/b", False)
        self.first.same("symlink", b"d/e", b"m")
        self.download(3, True)

    @property
    def first(self) -> Actor:
        """The process that does all but what a second one has opened."""
        return self.pair.actors[0]

    @property
    def root(self) -> bytes:
        """Where the example is, from the mount point."""
        return self.name.encode()

    def furnish(self, name: bytes, seed: int, length: int) -> None:
        """Make a file that an example begins with."""
        self.first.same("copy_at", name, seed, length)

    def set_times(self, actor: Actor, *call: Any) -> None:
        """Set the times of a file; what they are then is the same on both sides."""
        actor.same(*call)

    def is_timed(self, side: int, about: tuple[Any, ...], number: int, which: str) -> bool:
        """Whether a time of what has this inode number on a side changes for calls only, which are made on both."""
        del about, which
        return number not in self.untimed[side]

    def begin(self) -> None:
        for actor in self.pair.actors:
            view, plain = (os.fsencode(root / self.name) for root in (self.pair.view.path, self.pair.plain))
            actor.same("begin", view, plain)
        self.open.clear()
        self.writing.clear()
        self.plainly.clear()
        self.maps.clear()

    def teardown(self) -> None:
        self.compare_contents()
        for actor in self.pair.actors:
            actor.same("close_all")
        log = self.pair.view.log()
        assert "Traceback" not in log, log
        assert "rot:" not in log, log

    def number(self, slot: int, among: Collection[int]) -> int:
        """One of the open handles or mappings, by a number that shrinks well."""
        known = sorted(among)
        return known[slot % len(known)]

    @invariant()
    def after_each_step(self) -> None:
        self.steps += 1
        self.trees_agree()

    def trees_agree(self) -> None:
        view, plain = self.first.both("tree")
        assert view[0] == plain[0] == "done", f"the view {view}, plain disk {plain}"
        for one, other in zip(view[1], plain[1], strict=False):
            assert one[:4] == other[:4], f"the view shows {one[:4]}, plain disk {other[:4]}"
        assert len(view[1]) == len(plain[1]), f"the view shows {view[1]}, plain disk {plain[1]}"
        found = (view[1], plain[1])
        # A number comes again when its file is gone, on either side: what either leaves out counts on neither.
        # And of what goes through a FIFO the kernel tells no filesystem that is served by a daemon.
        left_out = {
            (name, which)
            for side in (0, 1)
            for name, about, *_, stamps in found[side]
            for which in ("mtime", "ctime")
            if not self.is_timed(side, about, stamps[0], which) or stat.S_ISFIFO(int(about[0], 8))
        }
        changed = []
        for side in (0, 1):
            now = {name: stamps for name, *_, stamps in found[side]}
            before, self.times[side] = self.times[side], now
            changed.append(
                {
                    (name, which)
                    for name, stamps in now.items()
                    for at, which in ((1, "mtime"), (2, "ctime"))
                    if (name, which) not in left_out
                    and name in before
                    and before[name][0] == stamps[0]
                    and before[name][at] != stamps[at]
                }
            )
        assert changed[0] == changed[1], f"in the view these times changed: {changed[0]}, on plain disk: {changed[1]}"
        self.first.same("tick")

    def compare_contents(self) -> None:
        self.first.same("contents")

    def opened(self, actor: Actor, path: bytes, flags: int, mode: int, umask: int) -> None:
        number = self.next
        self.next += 1
        if actor.same("open_", number, path, flags, mode, umask)[0] == "done":
            self.open[number] = actor
            if flags & os.O_ACCMODE != os.O_RDONLY:
                self.writing.add(number)
            if flags & (os.O_ACCMODE | os.O_APPEND) == os.O_RDWR:
                self.plainly.add(number)

    def is_fifo(self, path: bytes) -> bool:
        try:
            return stat.S_ISFIFO((self.pair.plain / self.name / os.fsdecode(path)).stat().st_mode)
        except OSError:
            return False

    def no_longer_timed(self, of: int) -> None:
        for side, (_, found) in enumerate(self.open[of].both("inode", of)):
            self.untimed[side].add(found)

    def download(self, which: int, linked: bool) -> None:
        """As the hub client does: write beside, rename to what is promised, and link from the snapshot."""
        actor, number = self.first, self.next
        self.next += 1
        temporary = b"blobs/%d.part.incomplete" % which
        flags = os.O_CREAT | os.O_RDWR | os.O_TRUNC
        if actor.same("open_", number, temporary, flags, 0o666, 0o022)[0] != "done":
            return
        actor.same("close", number)
        seed, length = DOWNLOADED[which]
        actor.same("copy_at", temporary, seed, length)
        actor.same("rename", temporary, PROMISED[which], 0)
        if linked:
            actor.same("symlink", b"../../" + PROMISED[which], b"snapshots/" + COMMIT + b"/model.safetensors")
