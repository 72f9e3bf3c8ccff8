"""Putting healed files in place: the new file and the damaged one change places, and the view goes on with the new.

Who has the damaged file open keeps it, as with any file that is replaced by a rename: its bytes are in the quarantine
by then. Who opens the name has the healed one, under another inode number.
"""

from __future__ import annotations

import errno
import logging
import os
import stat as stat_
import time
from contextlib import suppress
from dataclasses import dataclass, field

import trio

from ipfsfs.caches.beside import unfinished_marks
from ipfsfs.caches.place import locate
from ipfsfs.errors import InUse
from ipfsfs.exchange.heal import Content, Damaged, Placed
from ipfsfs.exchange.keeping import Keeping
from ipfsfs.plain import entries, held, moving, replacing, tree
from ipfsfs.plain.links import Replaced, beside_name, cannot_exchange, sync_directory
from ipfsfs.store import quarantine
from ipfsfs.store.extents import Extents
from ipfsfs.store.tables.quarantined import Quarantined
from ipfsfs.view.upkeep.quarantining import Name, Quarantining, name_at
from ipfsfs.view.upkeep.upkeep import Upkeep

log = logging.getLogger(__name__)

_BLOCK = 512
"""The unit of `st_blocks`."""
_SHARED_MODE = 0o444
"""The mode of files in the client's shared store."""


@dataclass(slots=True)
class PlacingInView:
    """Fills `Placing` for a view."""

    quarantining: Quarantining
    upkeep: Upkeep
    keeping: Keeping
    extents: Extents
    _limiter: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def put(self, damaged: Damaged, content: Content, fd: int) -> Placed:
        """As `Placing`."""
        with name_at(self.quarantining.nodes.plain.fd, damaged.path) as name:
            if damaged.identity is None:
                await self._put_new(name, content, fd)
                placed = Placed()
            else:
                placed = await self._replace(name, damaged, content, fd)
            await trio.to_thread.run_sync(sync_directory, name.dir_fd, limiter=self._limiter)
        return placed

    async def _put_new(self, name: Name, content: Content, fd: int) -> None:
        """Where nothing stands. Raises OSError: EEXIST where something does by now."""
        directory = os.fstat(name.dir_fd)
        place = locate(name.path, self.quarantining.nodes.root_place)[0]
        mode = _SHARED_MODE if place.holds_shared_content else stat_.S_IMODE(directory.st_mode) & 0o666
        _own(fd, directory.st_uid, directory.st_gid, mode)
        await trio.to_thread.run_sync(os.fsync, fd, limiter=self._limiter)
        try:
            moving.move(self.extents.fd, os.fsencode(content.extent), name.dir_fd, name.last)
        except OSError as error:
            if not cannot_exchange(error):
                raise
            copied = replacing.copy_beside
            beside, copy = await trio.to_thread.run_sync(copied, fd, name.dir_fd, name.last, limiter=self._limiter)
            try:
                _own(copy, directory.st_uid, directory.st_gid, mode)
                moving.move(name.dir_fd, beside, name.dir_fd, name.last)
            except BaseException:
                with suppress(OSError):
                    os.unlink(beside, dir_fd=name.dir_fd)
                raise
            finally:
                os.close(copy)

    async def _replace(self, name: Name, damaged: Damaged, content: Content, fd: int) -> Placed:
        assert damaged.identity is not None
        _require_finished(name)
        old = entries.look(name.dir_fd, name.last)
        try:
            _require_untouched(old, damaged)
            replacing.give_attributes(fd, old, times=damaged.is_of_disk)
            await trio.to_thread.run_sync(os.fsync, fd, limiter=self._limiter)
            item = self._item(damaged)
            others = (
                os.fstat(old).st_nlink - 1 - self.keeping.has_second_name(damaged.identity.dev, damaged.identity.ino)
            )
            try:
                kept = await self._exchange(name, damaged, content, old, item)
            except OSError as error:
                if isinstance(error, Replaced) or not cannot_exchange(error):
                    raise
                kept = await self._copy(name, damaged, fd, old, item)
            also = await self._replace_other_names(name, damaged, content, old) if others > 0 else []
            if damaged.seal is not None:  # else it is not known that a pin holds what it is now
                await self.keeping.replaced(os.fstat(old), fd)
            return Placed(kept, tuple(also))
        finally:
            os.close(old)

    async def _exchange(self, name: Name, damaged: Damaged, content: Content, old: int, item: Quarantined) -> str:
        """By one exchange between the plain directory and the quarantine. Raises as `replacing.exchange`."""
        assert damaged.identity is not None
        directory, before = self.quarantining.quarantine, os.fstat(old)
        kept = await self._make_room(damaged, before)
        stored_as = os.fsencode(item.stored_as)
        try:
            os.rename(content.extent, stored_as, src_dir_fd=self.extents.fd, dst_dir_fd=directory.fd)
            quarantine.write_note(directory.fd, item)
            _require_untouched(old, damaged)
            replacing.exchange(directory.fd, stored_as, name.dir_fd, name.last, damaged.identity)
        except BaseException:
            with suppress(OSError):  # so that it can be copied, or another try begins with it
                os.rename(stored_as, content.extent, src_dir_fd=directory.fd, dst_dir_fd=self.extents.fd)
            quarantine.clear_away(directory.fd, item.stored_as)
            raise
        self._replaced(name, old, before)
        if not kept:
            quarantine.clear_away(directory.fd, item.stored_as)
            return ""
        await trio.to_thread.run_sync(os.fsync, directory.fd, limiter=self._limiter)
        return item.stored_as

    async def _copy(self, name: Name, damaged: Damaged, fd: int, old: int, item: Quarantined) -> str:
        """By copies, where the store is on another filesystem."""
        assert damaged.identity is not None
        before = os.fstat(old)
        if kept := await self._make_room(damaged, before):
            try:
                await self.quarantining.copy_in(old, item)
            except OSError as error:
                if not damaged.is_of_disk:
                    raise
                log.warning("what was damaged of %s is not kept: %s", os.fsdecode(damaged.path), error.strerror)
                kept = False
        try:
            copied = replacing.copy_beside
            beside, copy = await trio.to_thread.run_sync(copied, fd, name.dir_fd, name.last, limiter=self._limiter)
            try:
                replacing.give_attributes(copy, old, times=damaged.is_of_disk)
                _require_untouched(old, damaged)
                replacing.replace_from_beside(beside, name.dir_fd, name.last, damaged.identity)
            finally:
                os.close(copy)
                with suppress(OSError):
                    os.unlink(beside, dir_fd=name.dir_fd)
        except BaseException:
            quarantine.clear_away(self.quarantining.quarantine.fd, item.stored_as)
            raise
        self._replaced(name, old, before)
        return item.stored_as if kept else ""

    async def _replace_other_names(self, name: Name, damaged: Damaged, content: Content, old: int) -> list[bytes]:
        """Have other names of the damaged file, which `old` holds, stand for the healed one too: hard links, such as
        `dedup` makes. Returns their paths. One that cannot be replaced keeps the damaged file, and is logged."""
        done: list[bytes] = []
        new = entries.look(name.dir_fd, name.last)
        try:
            for path in await trio.to_thread.run_sync(self._other_names, old, limiter=self._limiter):
                promise = locate(path, self.quarantining.nodes.root_place)[1].promise
                if promise != content.sha256 and (promise is not None or not damaged.is_of_disk):
                    continue
                try:
                    with name_at(self.quarantining.nodes.plain.fd, path) as other:
                        _require_finished(other)
                        await self._have_it_too(other, damaged, new, old)
                except (OSError, InUse) as error:
                    log.warning("%s is another name of it, and stays damaged: %s", os.fsdecode(path), error)
                else:
                    done.append(path)
        finally:
            os.close(new)
        return done

    def _other_names(self, old: int) -> list[bytes]:
        """The names that a file has in the plain directory, in all of which they are looked for. Raises OSError."""
        ino = os.fstat(old).st_ino
        return [found.path for found in tree.files(self.quarantining.nodes.plain.fd) if found.ino == ino]

    async def _have_it_too(self, other: Name, damaged: Damaged, new: int, old: int) -> None:
        """Have a name of the damaged file stand for the healed one, which `new` holds. Raises OSError."""
        assert damaged.identity is not None
        before = os.fstat(old)
        # In the store, where what a kill leaves is removed by the next mount; beside the name, where that is elsewhere.
        beside = os.fsencode(self.extents.aside_name())
        directory = self.extents.fd
        source = f"/proc/self/fd/{new}"
        try:
            os.link(source, beside, dst_dir_fd=directory, follow_symlinks=True)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            directory, beside = other.dir_fd, beside_name(other.last)
            os.link(source, beside, dst_dir_fd=directory, follow_symlinks=True)
        try:
            replacing.exchange(directory, beside, other.dir_fd, other.last, damaged.identity)
            self._replaced(other, old, before)
        finally:
            with suppress(OSError):
                os.unlink(beside, dir_fd=directory)
        await trio.to_thread.run_sync(sync_directory, other.dir_fd, limiter=self._limiter)

    async def _make_room(self, damaged: Damaged, st: os.stat_result) -> bool:
        """Whether the quarantine takes the damaged file. What a user may have written is not replaced otherwise; what
        rotted was written by nobody. Raises OSError."""
        room = self.quarantining.quarantine.make_room
        try:
            await trio.to_thread.run_sync(room, st.st_blocks * _BLOCK, st.st_uid)
        except OSError as error:
            if not damaged.is_of_disk:
                why = "it would be lost: the quarantine has no room for it"
                raise OSError(errno.EFBIG, f"{why} (mount --quarantine-size)") from error
            return False
        return True

    @staticmethod
    def _item(damaged: Damaged) -> Quarantined:
        now = time.time_ns()
        promised = bytes.fromhex(damaged.digest) if len(damaged.digest) == 64 else b""
        why = {"rot": "rotten", "unreadable": "unreadable in part"}.get(damaged.damage, "not what its name promises")
        stored_as = quarantine.name_for(damaged.path, now)
        return Quarantined(damaged.path, promised, b"", stored_as, now, f"{why}; replaced by the right content")

    def _replaced(self, name: Name, old: int, before: os.stat_result) -> None:
        self.quarantining.note_unnamed(name, old, before)
        self.upkeep.promises.unfinished.forget(before.st_ino)
        self.upkeep.promises.finished(before.st_ino)


def _require_untouched(old: int, damaged: Damaged) -> None:
    """Raises InUse where a file was changed since it was found damaged, or may be written."""
    assert damaged.identity is not None
    if not replacing.is_untouched(old, damaged.identity):
        raise InUse(
            "it was changed meanwhile, or a program has it open for writing",
            hint="It is not replaced: end that program, and run this again.",
        )


def _require_finished(name: Name) -> None:
    """Raises InUse where a program is to go on with downloading to a name."""
    for mark in unfinished_marks(name.last):
        with suppress(FileNotFoundError):
            entries.stat(name.dir_fd, mark)
            raise InUse(f"a program is to go on with downloading it: {os.fsdecode(mark)} lies beside it")


def _own(fd: int, uid: int, gid: int, mode: int) -> None:
    st = os.fstat(fd)
    if (st.st_uid, st.st_gid) != (uid, gid):
        os.fchown(fd, uid, gid)
    held.chmod(fd, mode)
