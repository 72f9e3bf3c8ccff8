"""Promises: what gets the name `blobs/<sha256>` must have that sha256 (H23 to H25).

The key is the destination's name, whatever the source was called. A file that broke its promise goes to quarantine
*before* the rename fails: the client's next step, a copy, then meets ENOENT, and its retry starts afresh. A file that
is made or written under the name itself is only reported, for it may be a download that is not finished.
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_
import time
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.place import Place
from ipfsfs.errors import SealerLost, StoreError
from ipfsfs.identity import Identity
from ipfsfs.plain import entries
from ipfsfs.store.quarantine import Quarantine
from ipfsfs.store.seal import Seal
from ipfsfs.store.seals import Seals
from ipfsfs.store.tables.checks import Check
from ipfsfs.store.tables.findings import Finding
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.view.background import Background
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.upkeep.checking import LateChecks, promised_by
from ipfsfs.view.upkeep.downloads import Downloads
from ipfsfs.view.upkeep.quarantining import BrokenPromise, Name, Quarantining, name_at
from ipfsfs.view.upkeep.unfinished import Unfinished
from ipfsfs.workers.sealer.client import Sealer
from ipfsfs.workers.sealer.outcome import Digest

log = logging.getLogger(__name__)

_WAIT_S: Final = 1.0
"""A rename holds the lock of its directory: no create or lookup there meanwhile (H25)."""
_AGAIN_S: Final = 0.1
_AGAIN_MOST_S: Final = 600.0
"""How long, at first and at most, before a late check that could not be made is tried again."""
_MISSING_S: Final = 60.0
"""How long a late check looks for its file where it counts as promised."""


@dataclass(slots=True)
class Promises:
    """Judges what gets a name that is a promise."""

    nodes: NodeTable
    seals: Seals
    sealer: Sealer
    downloads: Downloads
    checks: LateChecks
    unfinished: Unfinished
    quarantining: Quarantining
    background: Background
    _kept: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    """For inodes that were found to keep their promise, until they are sealed: size, mtime, sha256."""
    _written: set[int] = field(default_factory=set)
    """Inodes of files made or opened for writing under a promised name, until they are sealed."""
    _deciding: trio.Lock = field(default_factory=trio.Lock)
    """Held while a late check has its consequences: sealing may come to the same verdict at the same time."""

    @classmethod
    def build(
        cls,
        nodes: NodeTable,
        files: OpenFiles,
        seals: Seals,
        sealer: Sealer,
        quarantine: Quarantine,
        background: Background,
    ) -> Promises:
        """Put the parts together."""
        return cls(
            nodes=nodes,
            seals=seals,
            sealer=sealer,
            downloads=Downloads(nodes, files, sealer),
            checks=LateChecks(nodes, seals),
            unfinished=Unfinished(nodes, seals),
            quarantining=Quarantining(nodes, files, seals, quarantine),
            background=background,
        )

    def take_up(self) -> None:
        """Go on with the checks that an earlier view of this directory began."""
        try:
            for check in self.checks.take_up():
                self.background.start(self._check_late, check)
        except StoreError as error:
            self.seals.fail(error)

    def is_unverified(self, st: os.stat_result) -> bool:
        """Whether a file's content was not compared with its name yet, or does not fit it: until then the kernel must
        not trust its name for long, nor that of a symlink which may lead to it."""
        ino = st.st_ino
        return (
            ino in self._written
            or self.unfinished.has(ino)
            or (self.checks.any and (stat_.S_ISLNK(st.st_mode) or bool(self.checks.of(ino))))
        )

    def made(self, node: Node, place: Place, name: bytes) -> None:
        """A file was made. In `blobs/` it is a download."""
        self._opened(node, place, name, 0)

    def reopened(self, node: Node, place: Place, size: int) -> None:
        """A file was opened for writing. In `blobs/` it is a download that goes on, from what is there."""
        self._opened(node, place, node.name, size)
        self._kept.pop(node.ino, None)

    def _opened(self, node: Node, place: Place, name: bytes, size: int) -> None:
        self.downloads.opened(node, place, name, size)
        if place.classify(name).promise is not None:
            self._written.add(node.ino)

    def written(self, node: Node, offset: int, length: int) -> None:
        """Bytes were written."""
        self._kept.pop(node.ino, None)
        self.downloads.written(node, offset, length)

    def truncated(self, ino: int, size: int) -> None:
        """A file was cut or extended to `size` bytes."""
        self.downloads.truncated(ino, size)

    def finished(self, ino: int) -> None:
        """A file was sealed or is gone: nothing more to watch."""
        self.downloads.ended(ino)
        self._written.discard(ino)
        self._kept.pop(ino, None)

    async def check(self, parent: Node, name: bytes, st: os.stat_result, new_parent: Node, new_name: bytes) -> None:
        """Before a rename: does the file keep what the new name promises? Raises IntegrityError when it does not.

        Waits at most a second; a file that needs longer gets its name, and loses it when the promise proves broken.
        """
        promised = self.nodes.place(new_parent).classify(new_name).promise
        if promised is None or self._is_known_to_keep(st, promised):
            return
        path, new_path = self.nodes.path_of(parent, name), self.nodes.path_of(new_parent, new_name)
        outcome: object = None
        with trio.move_on_after(_WAIT_S):
            outcome = await self._digest(path, st.st_ino, promised)
        if not isinstance(outcome, Digest):
            fd = entries.look(self.nodes.directory_fd(parent), name)
            try:
                await self._check_later(new_path, fd)
            finally:
                os.close(fd)
        elif outcome.sha256 == promised:
            self._keep(outcome)
        else:
            broken = BrokenPromise(new_path, promised, outcome.sha256, st.st_ino)
            if not await self._is_accepted(broken):
                await self._refuse(parent, path, broken)

    async def _refuse(self, parent: Node, path: bytes, broken: BrokenPromise) -> None:
        """Take a file away that is about to get a name whose promise it breaks. Raises IntegrityError, OSError."""
        # Descriptors of directories are kept for as long as nobody waits: this one is of our own.
        dir_fd = os.dup(self.nodes.directory_fd(parent))
        try:
            where = await self.quarantining.withdraw(Name(dir_fd, path), broken)
        except OSError as error:
            where = f"left at {os.fsdecode(path)}, from where it cannot be taken: {error.strerror}"
            log.error("%s: its sha256 is not what the name promises; it was %s", os.fsdecode(broken.path), where)
        finally:
            os.close(dir_fd)
        if where:
            self._withdrawn(broken.ino)
            raise broken.as_error(where)

    def _is_known_to_keep(self, st: os.stat_result, promised: bytes) -> bool:
        """Whether a file is sealed with the promised sha256, or is none that is ever sealed."""
        if st.st_dev != self.nodes.plain.dev or not stat_.S_ISREG(st.st_mode):
            return True
        seal = self.seals.agreeing(st)
        return seal is not None and seal.sha256 == promised

    async def named(self, parent: Node, name: bytes, fd: int) -> None:
        """The file that `fd` holds is about to get a name by a link or an exchange, which wait for no hashing: it is
        checked in the background."""
        promised = self.nodes.place(parent).classify(name).promise
        if promised is not None and not self._is_known_to_keep(os.fstat(fd), promised):
            await self._check_later(self.nodes.path_of(parent, name), fd)

    async def moved(self, st: os.stat_result, parent: Node, name: bytes) -> None:
        """A file was renamed: a check that is still to be made goes with it."""
        if self.checks.any and st.st_dev == self.nodes.plain.dev:
            await self.checks.moved(st.st_ino, self.nodes.path_of(parent, name))

    async def _check_later(self, path: bytes, fd: int) -> None:
        self.background.start(self._check_late, await self.checks.begin(path, fd))

    async def _digest(self, path: bytes, ino: int, promised: bytes) -> object:
        """What the sealer says of a file; once more, if it dies with the question. None where it cannot be asked."""
        for _ in range(2):
            try:
                return await self.sealer.digest(path, ino, promised)
            except SealerLost as error:
                log.warning("%s: %s", os.fsdecode(path), error)
        return None

    async def _check_late(self, check: Check) -> None:
        """Check what could not be checked before it got its name, until that is done or the file is gone."""
        pause_s, seen = _AGAIN_S, trio.current_time()
        while self.checks.is_open(check) and not self.seals.retired:
            found = None
            try:
                found = self.checks.find(check)
                if found is not None:
                    seen = trio.current_time()
                    outcome = await self._digest(found.path, check.ino, promised_by(check))
                    if isinstance(outcome, Digest) and await self._settle(check, outcome):
                        return
            except OSError as error:  # it may be there: as where no descriptor is left
                seen = trio.current_time()
                log.info("%s: not compared with its name yet: %s", os.fsdecode(check.path), error.strerror)
            if trio.current_time() > seen + _MISSING_S:
                await self.checks.end(check)
                return
            await trio.sleep(pause_s)
            pause_s = min(2 * pause_s, _AGAIN_MOST_S if found is not None else _MISSING_S / 10)

    async def _settle(self, check: Check, digest: Digest) -> bool:
        """Do what follows from a late check; whether that is all."""
        found, identity = self.checks.find(check), digest.identity
        if found is None or (found.size, found.mtime_ns) != (identity.size, identity.mtime_ns):
            return False  # moved, or written to meanwhile
        if digest.sha256 == promised_by(check):
            self._keep(digest)
            await self.checks.end(check)
            return True
        return await self._withdraw_late(check, digest.sha256)

    async def _withdraw_late(self, check: Check, actual: bytes) -> bool:
        """Take a file away that got a name whose promise it breaks; whether nothing is left to be checked."""
        async with self._deciding:
            if not self.checks.is_open(check):  # decided by whoever sealed the file, or the other way round
                return True
            broken = BrokenPromise(check.path, promised_by(check), actual, check.ino)
            if not await self._is_accepted(broken):
                try:
                    if not await self._withdraw_found(check, broken):
                        return False
                except OSError as error:
                    shown = os.fsdecode(check.path)
                    log.warning("%s: it broke its promise and was not withdrawn: %s", shown, error.strerror)
                    return False
            await self.checks.end(check)
            return True

    async def _withdraw_found(self, check: Check, broken: BrokenPromise) -> bool:
        """Take a file away, wherever it counts as promised; whether it was found there. Raises OSError."""
        found = self.checks.find(check)
        if found is None:
            return False
        link = self._link_at(check.path) if found.by_link else 0
        with name_at(self.nodes.plain.fd, found.path) as name:
            if not await self.quarantining.withdraw(name, broken):
                return False
        self._withdrawn(check.ino)
        if link:
            self.quarantining.remove_link(check.path, link)
        return True

    def _link_at(self, path: bytes) -> int:
        """The inode of a symlink. Raises OSError."""
        with name_at(self.nodes.plain.fd, path) as name:
            return entries.stat(name.dir_fd, name.last).st_ino

    def _withdrawn(self, ino: int) -> None:
        self.unfinished.forget(ino)
        self.finished(ino)

    async def _is_accepted(self, broken: BrokenPromise) -> bool:
        """Whether the same bytes came to the same name before, which proves that it is no promise (H24)."""
        try:
            had = self.seals.ledger.quarantined.had
            before = await trio.to_thread.run_sync(had, broken.path, broken.actual)
        except StoreError as error:
            self.seals.fail(error)
            return False
        if before:
            log.warning("%s: the same bytes came again: this name is no promise, accepted", os.fsdecode(broken.path))
        return before

    def _keep(self, digest: Digest) -> None:
        self.downloads.kept_bytes += digest.identity.size
        if not digest.lasting:
            return  # a write could come that its mtime does not show: sealing hashes the whole again
        identity = digest.identity
        self._kept[identity.ino] = (identity.size, identity.mtime_ns, digest.sha256)

    def knows(self, ino: int) -> bool:
        """Whether the sha256 of a file was computed at its rename."""
        return ino in self._kept

    def digest_of(self, identity: Identity) -> bytes:
        """The sha256 of a file, if it was computed at its rename and nobody has written since; else empty."""
        size, mtime_ns, sha256 = self._kept.get(identity.ino, (-1, -1, b""))
        return sha256 if (size, mtime_ns) == (identity.size, identity.mtime_ns) else b""

    def forget_digest(self, ino: int) -> None:
        """What was computed at a file's rename holds no longer."""
        self._kept.pop(ino, None)

    async def sealed(self, path: bytes, promised: bytes, seal: Seal) -> bool:
        """A file at a promised name was sealed. Returns False when it was withdrawn: it got that name unchecked."""
        if not seal.sha256:
            return True
        checks = [check for check in self.checks.of(seal.ino) if check.path == path]
        if seal.sha256 == promised:
            self.unfinished.forget(seal.ino)
            await self.seals.mended(path, "broken_promise")
            for check in checks:
                await self.checks.end(check)
            return True
        for check in checks:
            if await self._withdraw_late(check, seal.sha256) and self._is_gone(check):
                return False
        if self.unfinished.may_go_on_for(path, seal):
            self.background.start(self._judge_when_left_alone, path, seal)
        else:
            await self._judge(path, seal)
        return True

    def _is_gone(self, check: Check) -> bool:
        """Whether a file no longer counts as promised; where that cannot be told now, it is sealed another time."""
        try:
            return self.checks.find(check) is None
        except OSError:
            return True

    async def _judge_when_left_alone(self, path: bytes, seal: Seal) -> None:
        if await self.unfinished.outlast(path, seal):
            await self._judge(path, seal)

    async def _judge(self, path: bytes, seal: Seal) -> None:
        """Report a file that has not what its name promises, and can no longer be meant as unfinished."""
        await self.broken(path, seal.ino, f"its sha256 is {seal.sha256.hex()}", "")

    async def broken(self, path: bytes, ino: int, detail: str, who: str) -> None:
        """Note, for `status` and `verify`, that a file does not have the content its name promises."""
        log.warning("%s: broken promise: %s %s", os.fsdecode(path), detail, who)
        finding = Finding("broken_promise", path, ino, detail, who, time.time_ns())
        await self.seals.record(lambda ledger: ledger.findings.add(finding))

    async def keep_old(self, node: Node, seal: Seal, who: str) -> str:
        """Sealed content that keeps a promise is about to be changed in place: keep a copy. Returns its name in the
        quarantine, empty where nothing is kept."""
        try:
            return await self.quarantining.keep(node, seal, f"overwritten in place by {who}")
        except OSError as error:  # a worker's write goes first
            log.info("%s: the old content is not kept: %s", os.fsdecode(self.nodes.path(node)), error.strerror)
            return ""

    async def changed_in_place(self, node: Node, seal: Seal, kept_as: str, who: str) -> None:
        """Note that content which kept a promise was replaced in place, by whom, and where the old content is."""
        kept = f"went into quarantine as {kept_as}" if kept_as else "is not kept"
        detail = f"written in place; the old content {kept}, and was {_reference(seal)}"
        await self.broken(self.nodes.path(node), node.ino, detail, who)

    def drop_old(self, kept_as: str) -> None:
        """The content was not replaced after all: the copy is not needed."""
        if kept_as:
            self.quarantining.drop(kept_as)

    def keeps_promise(self, node: Node, seal: Seal) -> bool:
        """Whether what was sealed is what the file's name promises."""
        if node.parent is None or not seal.sha256:
            return False
        return self.nodes.place(node.parent).classify(node.name).promise == seal.sha256


def _reference(seal: Seal) -> str:
    """What a file held, in the words by which it can be had again (`ipfsfs.exchange.heal`)."""
    return reference.text(Reference(seal.root, seal.size)).decode()


def describe_process(pid: int) -> str:
    """A process by its name and number, as far as they can be told now."""
    return f"{_command(pid)} (process {pid})"


def _command(pid: int) -> str:
    """The program a process runs."""
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError as error:
        return "a process that is gone" if error.errno in (errno.ENOENT, errno.ESRCH) else "a process"
