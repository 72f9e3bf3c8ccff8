"""Rules: calls that fail. They fail as on plain disk, and what was sealed before is sealed after them."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Any, ClassVar, Final

from hypothesis import strategies as st
from hypothesis.stateful import rule

from ipfsfs.daemon.questions import seal, status
from tests.stateful.material import names
from tests.stateful.pair import eventually
from tests.stateful.troubles import Disk
from tests.stateful.view_rules import ViewRules

GROWTH: Final = 300_000
"""More than is left over in the last block of a file, or in the metadata of a full disk."""
SEALED_AGAIN_S: Final = 20.0
SHOWN_S: Final = 5.0
OTHER: Final = 4_001
"""A user who owns nothing."""

# What each call takes after the path. Those that write need room, or are refused for another reason.
WRITING: Final[dict[str, tuple[Any, ...]]] = {"append": (17, GROWTH), "overwrite": (19, 5_000)}
CHANGING: Final[dict[str, tuple[Any, ...]]] = {
    "open_and_close": (os.O_WRONLY,),
    "open_and_truncate": (),
    "truncate": (3,),
    "chmod": (0o640,),
    "utime": (1, 2, False),
    "set_xattr": ("user.c", b"value", 0),
    "unlink": (),
}
ALL: Final = {**WRITING, **CHANGING}


class FailingRules(ViewRules):
    """Calls on a filesystem that has a trouble for as long as they take."""

    disk: ClassVar[Disk]

    @rule(path=names, what=st.sampled_from(sorted(ALL)), trouble=st.sampled_from(["immutable", "read-only"]))
    def call_on_what_cannot_be_changed(self, path: bytes, what: str, trouble: str) -> None:
        if self.is_plain_file(path) and not self.open and not self.maps:
            self.fail(trouble, path, what, *ALL[what])

    @rule(path=names, what=st.sampled_from(sorted(WRITING)), trouble=st.sampled_from(["full", "quota"]))
    def write_without_room(self, path: bytes, what: str, trouble: str) -> None:
        if self.is_plain_file(path) and not self.open and not self.maps and trouble in self.disk.troubles():
            self.fail(trouble, path, what, *WRITING[what])

    @rule(path=names, what=st.sampled_from(sorted(ALL)))
    def call_of_one_who_may_not(self, path: bytes, what: str) -> None:
        if self.is_plain_file(path) and not self.writing and not self.maps:
            self.check_seals_after(self.first.same("as_user", OTHER, what, path, *ALL[what]), self.cids())

    def fail(self, trouble: str, path: bytes, what: str, *arguments: Any) -> None:
        """Make a call while there is trouble; it may succeed all the same, and then does on both sides."""
        self.pair.ask(seal.Question(self.root))
        before, said = self.cids(), self.said()
        here = [self.pair.beneath_path(self.root) + b"/" + path, os.fsencode(self.pair.plain / self.name) + b"/" + path]
        size = os.lstat(here[1]).st_size
        with self.disk.troubles()[trouble](here):
            view, plain = self.first.both(what, path, *arguments)
        self.wait_until_shown(path)
        if view[0] == plain[0] == "failed":
            assert view == plain, f"{what}{arguments} of {path!r}: the view answers {view}, plain disk {plain}"
            self.check_seals_after(view, before)
            assert self.said() == said, "status tells of something that did not happen"
        elif what == "overwrite":
            self.first.same(what, path, *arguments)
        elif what == "append":
            self.first.same("truncate", path, size)
        else:
            assert view == plain, f"{what}{arguments} of {path!r}: the view answers {view}, plain disk {plain}"
        self.times = [{}, {}]

    def wait_until_shown(self, path: bytes) -> None:
        """Return when the view shows that a file was made immutable beneath it and is so no longer: within a second,
        and of what is not supposed to change at the next open (S6)."""
        beneath = self.pair.beneath_path(self.root) + b"/" + path
        view = os.fsencode(self.pair.view.path / self.name) + b"/" + path

        def shown() -> None:
            with suppress(FileNotFoundError):
                os.close(os.open(view, os.O_RDONLY))
                assert os.lstat(view).st_ctime_ns == os.lstat(beneath).st_ctime_ns

        eventually(shown, within_s=SHOWN_S)

    def cids(self) -> dict[bytes, bytes]:
        """The files that are sealed now, and their CIDs."""
        found = {}
        view = os.fsencode(self.pair.view.path / self.name)
        for name, about, *_ in self.first.both("tree")[0][1]:
            if stat.S_ISREG(int(about[0], 8)) and (cid := sealed_as(view + b"/" + name)):
                found[name] = cid
        return found

    def check_seals_after(self, came: tuple[str, Any], before: dict[bytes, bytes]) -> None:
        """After a call that failed, without being asked to, the daemon has all sealed that was sealed before."""
        if came[0] != "failed":
            return

        def all_sealed() -> None:
            now = self.cids()
            assert now == before, f"lost its seal: {sorted(before.items() - now.items())}"

        eventually(all_sealed, within_s=SEALED_AGAIN_S)

    def said(self) -> tuple[Any, ...]:
        """What `status` tells of things that went wrong."""
        now = self.pair.ask(status.Question())
        assert not now.degraded
        return now.broken_promises, now.quarantine, now.rot

    def is_plain_file(self, path: bytes) -> bool:
        """Whether a path is that of a regular file, with no symlink on the way."""
        at = os.fsencode(self.pair.plain / self.name) + b"/" + path
        return os.path.isfile(at) and os.path.realpath(at) == at


def sealed_as(path: bytes) -> bytes:
    """The CID of a file; empty where it has none."""
    try:
        return os.getxattr(path, "ipfs.cid")
    except OSError:
        return b""
