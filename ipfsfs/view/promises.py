"""Promises: what comes to stand at `blobs/<sha256>` must have that sha256 (H23 to H25).

The key is the destination's name, whatever the source was called. A hasher in the sealer follows a download while it
is written, so that the check at the rename finds little left to do. A file that broke its promise goes to quarantine
*before* the rename fails: the client's next step, a copy, then meets ENOENT, and its retry starts afresh.
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import trio

from ipfsfs.errors import IntegrityError, SealerLost, StoreError
from ipfsfs.hubcache.classify import Kind, Place, kind, promise
from ipfsfs.plain import entries, held, moving
from ipfsfs.plain.identity import Identity
from ipfsfs.sealer.client import Sealer
from ipfsfs.sealer.outcome import Digest
from ipfsfs.store import quarantine
from ipfsfs.store.ledger import Finding, Quarantined
from ipfsfs.store.seal import Seal
from ipfsfs.view.handles import OpenFile, carry_over
from ipfsfs.view.nodes import Node, NodeTable
from ipfsfs.view.progress import Progress
from ipfsfs.view.seals import Seals

log = logging.getLogger(__name__)

_WAIT_S: Final = 1.0
"""A rename holds the lock of its directory: no create or lookup there meanwhile (H25)."""
_STEP: Final = 4 * 1024 * 1024
"""The hasher is told of a download's growth in steps of this many bytes."""


@dataclass(slots=True)
class _Download:
    progress: Progress
    told: int = 0


@dataclass(slots=True)
class Promises:
    """Watches downloads, and judges what gets a name that is a promise. `start_soon` runs a check in the background."""

    nodes: NodeTable
    seals: Seals
    sealer: Sealer
    quarantine_fd: int
    start_soon: Callable[..., None]
    _kept: dict[int, tuple[int, int, bytes]] = field(default_factory=dict)
    """For inodes that were found to keep their promise, until they are sealed: size, mtime, sha256."""
    _downloads: dict[int, _Download] = field(default_factory=dict)
    _open: set[int] = field(default_factory=set)
    _in_place: set[int] = field(default_factory=set)

    def open(self, st: os.stat_result) -> bool:
        """Whether a file's promise is still to be checked: until then the kernel must not trust its name for long."""
        return st.st_ino in self._open

    def made(self, node: Node, place: Place, name: bytes) -> None:
        """A file was made. In `blobs/` it is a download, or, under a promised name, a promise to be checked."""
        if place is Place.BLOBS and node.dev == self.nodes.plain.dev:
            self._downloads[node.ino] = _Download(Progress())
            if kind(place, name) is Kind.PROMISE:
                self._open.add(node.ino)
                self._in_place.add(node.ino)

    def reopened(self, node: Node, place: Place, size: int) -> None:
        """A file was opened for writing. In `blobs/` it is a download that goes on, from what is there."""
        if place is Place.BLOBS and node.dev == self.nodes.plain.dev and node.ino not in self._downloads:
            self._downloads[node.ino] = _Download(Progress(size))
        self._kept.pop(node.ino, None)

    def written(self, file: OpenFile, offset: int, length: int) -> None:
        """Bytes were written."""
        download = self._downloads.get(file.node.ino)
        if download is None:
            return
        if download.progress.add(offset, offset + length) and offset < download.told:
            self.sealer.restart(file.node.ino)
            download.told = 0
        if download.progress.prefix - download.told >= _STEP:
            download.told = download.progress.prefix
            self.sealer.follow(file.node.ino, self.nodes.path(file.node), download.told)

    def truncated(self, ino: int, size: int) -> None:
        """A file was cut or extended to `size` bytes."""
        download = self._downloads.get(ino)
        if download is not None and download.progress.cut(size):
            self.sealer.restart(ino)
            download.told = min(download.told, 0)

    def finished(self, ino: int) -> None:
        """A file was sealed or is gone: nothing more to watch."""
        if self._downloads.pop(ino, None) is not None:
            self.sealer.unfollow(ino)
        self._open.discard(ino)
        self._in_place.discard(ino)
        self._kept.pop(ino, None)

    async def check(self, parent: Node, name: bytes, st: os.stat_result, new_parent: Node, new_name: bytes) -> None:
        """Before a rename: does the file keep what the new name promises? Raises IntegrityError when it does not.

        Waits at most a second; a file that needs longer gets its name, and loses it when the promise proves broken.
        """
        promised = promise(self.nodes.place(new_parent), new_name)
        if promised is None or st.st_dev != self.nodes.plain.dev:
            return
        seal = self.seals.agreeing(st)
        if seal is not None and seal.sha256 == promised:
            return
        path = self._path(parent, name)
        outcome: object = None
        with trio.move_on_after(_WAIT_S):
            outcome = await self._digest(path, st.st_ino, promised)
        if not isinstance(outcome, Digest):
            self._open.add(st.st_ino)
            self.start_soon(self._check_late, new_parent, new_name, st.st_ino, promised)
            return
        if outcome.sha256 == promised:
            self._keep(outcome)
            return
        if await self._condemn(parent, name, new_parent, new_name, st.st_ino, promised, outcome.sha256):
            raise IntegrityError(
                f"{os.fsdecode(self._path(new_parent, new_name))}: the download has sha256 {outcome.sha256.hex()}, "
                "which is not what its name promises",
                hint="The file is in quarantine (see `ipfsfs status`). Download it again.",
            )

    def named(self, parent: Node, name: bytes, st: os.stat_result) -> None:
        """A file has got a name by a link or an exchange, which wait for nothing: checked as soon as may be."""
        promised = promise(self.nodes.place(parent), name)
        if promised is None or st.st_dev != self.nodes.plain.dev or not stat_.S_ISREG(st.st_mode):
            return
        seal = self.seals.agreeing(st)
        if seal is None or seal.sha256 != promised:
            self._open.add(st.st_ino)
            self.start_soon(self._check_late, parent, name, st.st_ino, promised)

    async def _digest(self, path: bytes, ino: int, promised: bytes) -> object:
        """What the sealer says of a file; once more, if it dies with the question. None where it cannot be asked."""
        for _ in range(2):
            try:
                return await self.sealer.digest(path, ino, promised)
            except SealerLost as error:
                log.warning("%s: %s", os.fsdecode(path), error)
        return None

    async def _check_late(self, parent: Node, name: bytes, ino: int, promised: bytes) -> None:
        """Check what could not be checked before its rename. Where it cannot be now either, sealing will."""
        outcome = await self._digest(self._path(parent, name), ino, promised)
        if not isinstance(outcome, Digest):
            return
        if outcome.sha256 == promised:
            self._keep(outcome)
            self._open.discard(ino)
            return
        try:
            await self._condemn(parent, name, parent, name, ino, promised, outcome.sha256)
        except FileNotFoundError:
            return  # gone meanwhile, or withdrawn by whoever sealed it
        except OSError as error:
            log.warning("%s: it broke its promise and was not withdrawn: %s", os.fsdecode(name), error.strerror)

    def _keep(self, digest: Digest) -> None:
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

    async def sealed(self, path: bytes, place: Place, seal: Seal) -> bool:
        """A promised file was sealed. Returns False when it was withdrawn: made under that name, and never kept it."""
        name = path.rpartition(b"/")[2]
        promised = promise(place, name)
        if promised is None or not seal.sha256:
            return True
        if seal.sha256 == promised:
            await self.seals.mended(path, "broken_promise")
            return True
        node = self.nodes.find(self.nodes.plain.dev, seal.ino)
        unchecked = seal.ino in self._in_place or seal.ino in self._open
        if unchecked and node is not None and node.parent is not None and self.nodes.path(node) == path:
            above, name = node.parent, node.name
            try:
                return not await self._condemn(above, name, above, name, seal.ino, promised, seal.sha256)
            except FileNotFoundError:
                return False  # gone meanwhile, or withdrawn by the check of its rename
            except OSError as error:
                log.warning("%s: it broke its promise and was not withdrawn: %s", os.fsdecode(name), error.strerror)
        await self.broken(path, seal.ino, f"its sha256 is {seal.sha256.hex()}", "")
        return True

    async def broken(self, path: bytes, ino: int, detail: str, who: str) -> None:
        """Note, for `status` and `verify`, that a file no longer has the content its name promises."""
        log.warning("%s: broken promise: %s %s", os.fsdecode(path), detail, who)
        finding = Finding("broken_promise", path, ino, detail, who, time.time_ns())
        await self.seals.record(lambda ledger: ledger.add_finding(finding))

    async def overwritten(self, node: Node, seal: Seal, pid: int) -> None:
        """Sealed content is about to be replaced in place. Where it is promised: keep it, and note who does it."""
        promised = promise(self.nodes.place(node.parent), node.name) if node.parent is not None else None
        if promised is None:
            return
        path, now = self.nodes.path(node), time.time_ns()
        who = f"{_command(pid)} (process {pid})"
        kept = Quarantined(
            path, promised, seal.sha256, quarantine.name_for(node.name, now), now, f"overwritten in place by {who}"
        )
        detail = "written in place"
        try:
            source = self._readable(node)
            try:
                if await trio.to_thread.run_sync(_keep, source, self.quarantine_fd, kept):
                    detail += f"; the old content is kept as {kept.stored_as}"
            finally:
                os.close(source)
        except (OSError, StoreError) as error:  # a worker's write goes first
            log.warning("%s: the old content is not kept: %s", os.fsdecode(path), error)
        await self.broken(path, node.ino, detail, who)

    def _readable(self, node: Node) -> int:
        fd = self.nodes.look(node)
        try:
            return held.reopen(fd, os.O_RDONLY)
        finally:
            os.close(fd)

    async def _condemn(
        self, parent: Node, name: bytes, new_parent: Node, new_name: bytes, ino: int, promised: bytes, actual: bytes
    ) -> bool:
        """Put a file that broke its promise into quarantine. False when the name proved to be no promise (H24), or
        stands for another file by now."""
        path = self._path(new_parent, new_name)
        shown = os.fsdecode(path)
        came_before = await self._came_before(path, actual)
        dir_fd = self.nodes.directory_fd(parent)
        fd = entries.look(dir_fd, name)
        try:
            if os.fstat(fd).st_ino != ino:
                return False
            if came_before:
                log.warning("%s: the same bytes came again: this name is no promise, accepted", shown)
                return False
            now = time.time_ns()
            why = "not what its name promises"
            item = Quarantined(path, promised, actual, quarantine.name_for(new_name, now), now, why)
            try:
                quarantine.write_note(self.quarantine_fd, item)
            except StoreError as error:
                log.warning("%s", error)
            before = os.fstat(fd)
            kept = moved = moving.move_out(dir_fd, name, self.quarantine_fd, os.fsencode(item.stored_as))
            if not kept:
                kept = await self._copy_out(fd, item)
                dir_fd = self.nodes.directory_fd(parent)
                if entries.stat(dir_fd, name).st_ino != ino:
                    return False
                entries.unlink(dir_fd, name)
            st = os.fstat(fd)
            node = self.nodes.find(st.st_dev, st.st_ino)
            if node is not None and node.parent is parent and node.name == name:
                self.nodes.unnamed(node, os.dup(fd))
                # The kernel remembers the old name for a moment; the client's copy must not find the file by it.
                node.withdrawn = True
            if st.st_nlink > int(moved):  # it goes on by other names, which may be right
                self.seals.restamp(before, st)
                if node is not None:
                    carry_over(node, before, st)
                self._open.discard(st.st_ino)
            else:
                self.seals.drop(st.st_ino)
                self.finished(st.st_ino)
        finally:
            os.close(fd)
        log.error(
            "%s: sha256 is %s, not what the name promises: %s. Download it again.",
            shown, actual.hex(),
            f"moved to quarantine as {item.stored_as}" if kept else "removed, the quarantine has no room for it",
        )  # fmt: skip
        await self.seals.record(lambda ledger: ledger.add_quarantined(item))
        return True

    async def _copy_out(self, fd: int, item: Quarantined) -> bool:
        """The quarantine lies on another filesystem: copy there what `fd` holds; whether there was room for it."""
        source = held.reopen(fd, os.O_RDONLY)
        try:
            open_new = partial(quarantine.open_new, self.quarantine_fd, item.stored_as)
            kept = await trio.to_thread.run_sync(moving.copy_out, source, open_new)
        finally:
            os.close(source)
        if not kept:
            _clear_away(self.quarantine_fd, item.stored_as)
        return kept

    async def _came_before(self, path: bytes, actual: bytes) -> bool:
        try:
            return await trio.to_thread.run_sync(self.seals.ledger.was_quarantined, path, actual)
        except StoreError as error:
            self.seals.fail(error)
            return False

    def _path(self, parent: Node, name: bytes) -> bytes:
        above = self.nodes.path(parent)
        return above + b"/" + name if above else name


def _keep(source: int, quarantine_fd: int, item: Quarantined) -> bool:
    """Keep the content of an open file in the quarantine, with its note; whether that could be done. Raises StoreError
    where not even the note can be written."""
    quarantine.write_note(quarantine_fd, item)
    if moving.keep_copy(source, partial(quarantine.open_new, quarantine_fd, item.stored_as)):
        return True
    _clear_away(quarantine_fd, item.stored_as)
    return False


def _clear_away(quarantine_fd: int, name: str) -> None:
    """Remove what was begun in the quarantine and could not be completed."""
    for part in (name, name + quarantine.NOTE_SUFFIX):
        with suppress(StoreError):
            quarantine.remove(quarantine_fd, part)


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as comm:
            return comm.read().strip()
    except OSError as error:
        return "a process that is gone" if error.errno in (errno.ENOENT, errno.ESRCH) else "somebody"
