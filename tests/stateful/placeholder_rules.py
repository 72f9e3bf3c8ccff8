"""Rules: files of the view that are known by their CID and not (wholly) here, while plain disk has them."""

from __future__ import annotations

import os
import stat
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ipfsfs.unixfs import cid, reference
from tests.stateful.failing_rules import ALL, WRITING
from tests.stateful.material import DOWNLOADED, FURNITURE, PROMISED, names
from tests.stateful.pair import Actor, eventually
from tests.stateful.side import content, digest
from tests.stateful.view_rules import ViewRules, computed_cid
from tests.support.block_server import BlockServer

LARGE: Final = (21, 2_500_000)
"""Seed and length of a file of three leaves and a node."""
CONTENTS: Final = [LARGE, (22, 0), *[(seed, length) for _, seed, length in FURNITURE]]
PLACES: Final = [b"d/a", b"d/b", b"d/e/a", b"d/e/f", b"d/e/f/a", b"m/a", b"blobs/small"]
"""Names at which a placeholder can stand, whatever its content."""
ONCE: Final = {"append", "unlink"}
"""Calls that do more when they are made again."""


class PlaceholderRules(ViewRules):
    """Placeholders are made, met by all other rules, and met while nobody has their content."""

    server: ClassVar[BlockServer]

    def __init__(self) -> None:
        self.restamped: list[set[int]] = [set(), set()]
        """Inodes of what began as placeholders: they get a new ctime when they become files."""
        super().__init__()

    def furnish(self, name: bytes, seed: int, length: int) -> None:
        if name in PLACES:
            self.place(name, seed, length, 0o644)
        else:
            super().furnish(name, seed, length)

    def place(self, path: bytes, seed: int, length: int, mode: int) -> None:
        text = self.server.add(content(seed, length), mode).encode()
        answers = self.first.both("stand_for", path, text, seed, length, mode)
        assert answers[0][0] == answers[1][0], f"the view answers {answers[0]}, plain disk {answers[1]}"
        for side, (came, what) in enumerate(answers):
            if came == "done":
                self.restamped[side].add(what)
            else:
                assert answers[0] == answers[1]

    @rule(path=st.sampled_from(PLACES), what=st.sampled_from(CONTENTS), mode=st.sampled_from([0o644, 0o600, 0o444]))
    def stand_for(self, path: bytes, what: tuple[int, int], mode: int) -> None:
        self.place(path, *what, mode)

    @rule(which=st.integers(0, len(PROMISED) - 1))
    def stand_for_what_is_promised(self, which: int) -> None:
        self.place(PROMISED[which], *DOWNLOADED[which], 0o644)

    @rule(path=names, what=st.sampled_from([*sorted(ALL), "read_file"]))
    def call_while_nobody_has_it(self, path: bytes, what: str) -> None:
        """What needs content that is nowhere fails with EIO and changes nothing; all else succeeds as ever."""
        if self.is_fifo(path):
            return
        at = self.pair.plain / self.name / os.fsdecode(path)
        size = at.stat().st_size if at.is_file() else 0
        arguments = ALL.get(what, ())
        self.server.is_empty = True
        try:
            view, plain = self.first.both(what, path, *arguments)
        finally:
            self.server.is_empty = False
        if view != plain:
            assert (view, plain[0]) == (("failed", "EIO"), "done"), f"{what}{arguments}: {view}, plain disk {plain}"
            assert what not in ONCE or what in WRITING, "to remove a file needs none of its content"
            again: tuple[Any, ...] = ("truncate", path, size) if what == "append" else (what, path, *arguments)
            eventually(lambda: self.come_to_the_same(*again), within_s=30)
        self.times = [{}, {}]

    def come_to_the_same(self, what: str, *arguments: Any) -> None:
        self.first.same(what, *arguments)

    def set_times(self, actor: Actor, *call: Any) -> None:
        """The access time of a placeholder is not kept."""
        view, plain = actor.both(*call)
        assert view[0] == plain[0], f"{call}: the view answers {view}, plain disk {plain}"
        assert view == plain or (view[0] == "done" and view[1][1] == plain[1][1]), f"{call}: {view}, plain disk {plain}"

    def is_timed(self, side: int, about: tuple[Any, ...], number: int, which: str) -> bool:
        """Not the ctime of what becomes a file, and no time of a directory in which that happens."""
        return (
            super().is_timed(side, about, number, which)
            and not stat.S_ISDIR(int(about[0], 8))
            and (which == "mtime" or number not in self.restamped[side])
        )

    def trees_agree(self) -> None:
        before = self.times
        super().trees_agree()
        for name, stamps in self.times[1].items():
            if name in before[0] and name in before[1] and before[1][name][0] == stamps[0]:
                was, now = before[0][name][0], self.times[0][name][0]
                assert was == now, f"{name!r} had inode number {was} in the view, and has {now}"

    def compare_beneath(self) -> None:
        """Each file is beneath as it is on plain disk, or as a link that names what plain disk has."""
        assert not self.pair.view.mounted
        self.times = [{}, {}]
        plain, beneath = (os.fsencode(root / self.name) for root in (self.pair.plain, self.pair.view.path))
        self.begin()
        for name, about, *_ in self.first.both("tree")[1][1]:
            if stat.S_ISREG(int(about[0], 8)):
                at = beneath + b"/" + name
                if os.path.islink(at):
                    found = reference.parse(os.readlink(at))
                    assert found is not None, f"{name!r} is a link to {os.readlink(at)!r}"
                    named = cid.to_text(found.root).encode(), found.size, oct(stat.S_IFREG | found.mode)
                    assert named == (computed_cid(plain + b"/" + name), about[5], about[0])
                else:
                    with open(at, "rb") as one, open(plain + b"/" + name, "rb") as other:
                        assert digest(one.read()) == digest(other.read()), name

    def change_beneath(self) -> None:
        """Not a rule here: beneath, what the view shows as a file is a link."""
