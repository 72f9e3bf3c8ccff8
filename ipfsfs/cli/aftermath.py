"""What views that are gone have left: a daemon's end that nobody asked for, and daemons that serve open files still."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipfsfs.cli import stores
from ipfsfs.daemon import endings, lingering, outsiders
from ipfsfs.daemon.endings import Ended, How
from ipfsfs.daemon.lingering import Lingering
from ipfsfs.errors import StoreError
from ipfsfs.printed import command
from ipfsfs.store.directory import open_directory


@dataclass(slots=True, frozen=True)
class GoingOn:
    """A daemon whose view is gone from its path, and who holds it up, as far as we may see that. `places`: where the
    view is mounted still."""

    daemon: Lingering
    users: list[outsiders.Outsider]
    places: list[str]

    @classmethod
    def of(cls, daemon: Lingering) -> GoingOn:
        """As it is now."""
        mount_id, device = daemon.mount_id, daemon.device
        users = outsiders.users_of(mount_id, device, daemon.mountpoint)
        return cls(daemon, users, outsiders.other_places(mount_id, device))


@dataclass(slots=True, frozen=True)
class EndedFacts:
    """How a daemon ended without a command to: when (`at`, seconds since the epoch), how, in `words` too, its exit code
    or minus a signal (`status`), and why it is not started again (`gave_up`), empty while it may be."""

    pid: int
    at: int
    how: How
    status: int | None
    gave_up: str
    words: str


@dataclass(slots=True, frozen=True)
class LingeringFacts:
    """A daemon that serves open files of a view that is gone from its path, since when, and for whom; or because the
    view is `mounted_elsewhere`: at other paths, or in the mount namespaces of other processes."""

    pid: int
    since: int
    users: tuple[str, ...]
    mounted_elsewhere: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Aftermath:
    """What the notes in a store say."""

    ended: Ended | None = None
    going_on: list[GoingOn] = field(default_factory=list)

    @classmethod
    def of(cls, store: Path) -> Aftermath:
        """By the notes in a store of ours; of a store that is not there, or another user's, nothing is known."""
        with _opened(store) as fd:
            if fd < 0:
                return cls()
            return cls(endings.read(fd), [GoingOn.of(daemon) for daemon in lingering.find(fd)])

    def as_facts(self) -> tuple[EndedFacts | None, tuple[LingeringFacts, ...]]:
        """For scripts."""
        ended = None
        if (last := self.ended) is not None:
            ended = EndedFacts(last.pid, last.at, last.how, last.status, last.gave_up, last.in_words)
        return ended, tuple(
            LingeringFacts(one.daemon.pid, one.daemon.since, tuple(map(str, one.users)), tuple(one.places))
            for one in self.going_on
        )

    def in_words(self, at: Path) -> dict[str, Any]:
        """For a person: what to do, and who keeps which daemon; nothing where there is nothing to say."""
        shown: dict[str, Any] = {}
        if self.ended is not None:
            shown["what to do"] = (
                f"{command('mount', at)}   (with the options it had; or, to forget this: {command('umount', at)})"
            )
            if self.ended.gave_up:
                shown["not started again"] = self.ended.gave_up
        if self.going_on:
            shown["still open"] = [line for one in self.going_on for line in _lines(one)]
        return shown


def forget_end(at: Path) -> Ended | None:
    """The user has seen to a view that ended: its note is taken away, and what it said returned. A guardian that was to
    start the daemon again then does not."""
    with _opened(stores.of(at).store) as fd:
        if fd >= 0 and (ended := endings.read(fd)) is not None:
            with suppress(OSError):
                endings.forget(fd)
            return ended
    return None


def _lines(one: GoingOn) -> list[str]:
    daemon, is_root = one.daemon, os.geteuid() == 0
    nobody = "by nobody that /proc shows" if is_root else "by processes that you may not look into"
    known = [*map(str, one.users), *(f"the view is still mounted at {place}" for place in one.places)]
    return [
        f"process {daemon.pid} serves files of the view that was unmounted at {daemon.when}, until they are closed:",
        *(f"  {line}" for line in known or [nobody]),
    ]


@contextmanager
def _opened(store: Path) -> Iterator[int]:
    """A descriptor of a store of ours while the block runs; -1 where there is none."""
    fd = -1
    with suppress(OSError, StoreError):
        fd = open_directory(store)
    try:
        yield fd if fd >= 0 and os.fstat(fd).st_uid == os.geteuid() else -1
    finally:
        if fd >= 0:
            os.close(fd)
