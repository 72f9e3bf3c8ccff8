"""Downloads whose sha2-256 is computed while they are written: little is left to do when they get their name."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Generator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from ipfsfs.identity import Identity
from ipfsfs.plain.identities import TICK_NS, granularity_ns, hides_changes, identity_of
from ipfsfs.workers.sealer import jobs
from ipfsfs.workers.sealer.outcome import Changed, Digest, Failed, Gone

if TYPE_CHECKING:
    from hashlib import _Hash

FOLLOWED_MAX: Final = 32
"""Files that are followed at a time, each with an open descriptor; beyond that the one least recently heard of goes."""

RESTARTS_MAX: Final = 3
"""After so many restarts a file is written out of order, and following it is wasted."""


@dataclass(slots=True)
class _Followed:
    fd: int
    target: int = 0
    hashed: int = 0
    restarts: int = 0
    turn: int = 0
    """When it was last advanced: a count of all steps."""
    wanted: bool = False
    """Whether somebody asked for it to be followed, so that it is kept after its digest was given."""
    hasher: _Hash = field(default_factory=sha256)

    def advance(self, end: int, buffer: memoryview) -> int:
        """Hash up to one buffer, not beyond `end`; returns the bytes done, 0 where nothing is left or to be had."""
        view = buffer[: max(0, end - self.hashed)]
        count = os.preadv(self.fd, [view], self.hashed) if len(view) else 0
        self.hasher.update(view[:count])
        self.hashed += count
        return count

    def begin_again(self) -> None:
        self.hasher, self.hashed, self.target = sha256(), 0, 0


@dataclass(slots=True)
class Following:
    """All followed files, by inode."""

    root: jobs.Root
    _files: OrderedDict[int, _Followed] = field(default_factory=OrderedDict)
    _turn: int = 0

    def follow(self, ino: int, path: bytes, prefix: int) -> None:
        """The first `prefix` bytes of a file have been written. A file that cannot be opened is not followed."""
        try:
            file = self._file(ino, path)
        except OSError:
            return
        file.wanted = True
        if file.restarts <= RESTARTS_MAX:
            file.target = max(file.target, prefix)

    def restart(self, ino: int) -> None:
        """What was hashed so far of a file counts no longer."""
        if (file := self._files.get(ino)) is not None:
            file.begin_again()
            file.restarts += 1

    def unfollow(self, ino: int) -> None:
        """A file is of no more interest."""
        if (file := self._files.pop(ino, None)) is not None:
            os.close(file.fd)

    @property
    def is_behind(self) -> bool:
        """Whether there is something to hash that nobody has asked a digest of yet."""
        return any(file.hashed < file.target for file in self._files.values())

    def advance(self, buffer: memoryview) -> int:
        """Hash a step of the file that has waited longest of those with more to hash; returns the bytes done, 0 where
        none has."""
        behind = (file for file in self._files.values() if file.hashed < file.target)
        for file in sorted(behind, key=attrgetter("turn")):
            self._turn += 1
            file.turn = self._turn
            try:
                if count := file.advance(file.target, buffer):
                    return count
            except OSError:
                pass
            file.target = file.hashed
        return 0

    def digest(
        self, path: bytes, ino: int, expected: bytes, buffer: memoryview
    ) -> Generator[int, None, Digest | Changed | Gone | Failed]:
        """The sha2-256 of a whole file, from what was hashed already; from the start, if that is not as expected."""
        try:
            file = self._file(ino, path)
            followed = file.hashed
            outcome = yield from self._rest(ino, file, buffer)
            if followed and isinstance(outcome, Digest) and outcome.sha256 != expected and expected:
                # Somebody may have written what was hashed already, and not through the view.
                file.begin_again()
                outcome = yield from self._rest(ino, file, buffer)
                followed = 0
        except OSError as error:
            return jobs.failure(error)
        if not file.wanted:
            self.unfollow(ino)
        if isinstance(outcome, Digest):
            return replace(outcome, followed=followed)
        return outcome

    def _rest(self, ino: int, file: _Followed, buffer: memoryview) -> Generator[int, None, Digest | Changed]:
        identity = identity_of(file.fd)
        while file.hashed < identity.size:
            if not (count := file.advance(identity.size, buffer)):
                return Changed()
            yield count
            if self._files.get(ino) is not file:
                return Changed()  # unfollowed meanwhile: its descriptor is closed
        if file.hashed > identity.size or identity_of(file.fd) != identity:
            file.begin_again()
            return Changed()
        return Digest(identity, file.hasher.digest(), 0, _is_lasting(identity))

    def _file(self, ino: int, path: bytes) -> _Followed:
        """The followed file of an inode, followed from now on if it was not. Raises OSError."""
        file = self._files.get(ino)
        if file is None:
            with jobs.opened(self.root, path, ino) as fd:
                file = self._files[ino] = _Followed(os.dup(fd))
        self._files.move_to_end(ino)
        while len(self._files) > FOLLOWED_MAX:
            os.close(self._files.popitem(last=False)[1].fd)
        return file


def _is_lasting(identity: Identity) -> bool:
    """Whether a write that comes now shows in the mtime, which a rename leaves as it is. Of writes within one tick of a
    fine clock the view itself knows: those of whoever made the file."""
    return granularity_ns(identity.mtime_ns) <= TICK_NS or not hides_changes(identity.mtime_ns)
