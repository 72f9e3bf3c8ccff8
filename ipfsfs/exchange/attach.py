"""Attaching: a tree that is known by its CID becomes directories, links and placeholders below a path in a view.

All that the tree says is looked at before anything is made: a tree that is refused leaves nothing behind. What is there
already and is the same stays, so that attaching again completes what was interrupted; what is there and is another is
named, and nothing is made. Names are made through the view, as a user's own program would: with the user's rights, and
so that no other program is told for a moment that they are not there. Those by which clients find the rest (`refs/`)
are made last.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import stat as stat_
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import trio

from ipfsfs.caches.place import Kind, Place, locate
from ipfsfs.errors import FormatError, IpfsfsError, UsageError
from ipfsfs.origins import dag
from ipfsfs.origins.origin import Origin
from ipfsfs.printed import printable
from ipfsfs.unixfs import cid, reading, reference
from ipfsfs.unixfs.reference import Reference
from ipfsfs.unixfs.tree_walk import TreeEntry

_SMALL: Final = 16 << 20
"""Bytes of a file that is fetched whole, because clients must find it where no placeholder may be."""
_NAMED_MOST: Final = 8
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_REPORTED: Final = 100


@dataclass(slots=True)
class Attached:
    """How far it is: names in the tree, and those that are there by now; bytes of all its files."""

    names: int = 0
    there: int = 0
    bytes: int = 0


@dataclass(slots=True, frozen=True)
class _Wanted:
    """A name to be made. `text`: of the link, be it a placeholder's. `promised`: its name says what its content is.
    `is_whole`: the file is to be a real one."""

    path: Path
    entry: TreeEntry
    text: bytes = b""
    promised: bool = False
    is_whole: bool = False


@dataclass(slots=True)
class Attach:
    """Attaches one root at an absolute path in a view, the directory above which has a `place`."""

    origin: Origin
    root: bytes
    at: Path
    place: Place
    report: Callable[[Attached], None]
    progress: Attached = field(default_factory=Attached)

    async def run(self) -> Attached:
        """Attach it. Raises UsageError where something is in the way, FormatError for a tree that is refused,
        OriginError where it cannot be had, and OSError."""
        wanted = [self._planned(entry) for entry in await self._entries()]
        missing = await self._missing(wanted)
        self.progress.there = len(wanted) - len(missing)
        whole = {want.path: await self._whole(want) for want in missing if want.is_whole}
        self._make(sorted(missing, key=_turn), whole)
        return self.progress

    async def _entries(self) -> list[TreeEntry]:
        found: list[TreeEntry] = []
        async for batch in dag.tree(self.origin, self.root):
            found += batch
            self.progress.names = len(found)
            self.report(self.progress)
        return found

    def _planned(self, entry: TreeEntry) -> _Wanted:
        """What is to be made of an entry. Raises FormatError where it may not be attached."""
        name = os.fsencode(self.at.name)
        path = self.at / os.fsdecode(entry.path) if entry.path else self.at
        if entry.kind == "directory":
            return _Wanted(path, entry)
        place, what = locate(name + b"/" + entry.path if entry.path else name, self.place)
        if what.kind is Kind.SECRET:
            raise self._refusal(entry, "which is a secret's name")
        if entry.kind == "symlink":
            self._refuse_what_leaves(entry)
            return _Wanted(path, entry, entry.target)
        if entry.size is None:
            raise self._refusal(entry, "of which it does not say how large it is")
        self.progress.bytes += entry.size
        promised = what.promise is not None
        if entry.size and place.may_be_elsewhere(os.fsencode(path.name)):
            root = cid.dag_pb_cid(cid.digest(entry.cid)) if cid.codec(entry.cid) == cid.DAG_PB else entry.cid
            text = reference.text(Reference(root, entry.size, entry.mode & 0o777, entry.tsize))
            return _Wanted(path, entry, text, promised)
        if entry.size > _SMALL:
            raise self._refusal(entry, "which has to be whole here, and is too large for that")
        return _Wanted(path, entry, promised=promised, is_whole=True)

    def _refuse_what_leaves(self, entry: TreeEntry) -> None:
        """Raises FormatError for a link that leads out of the tree."""
        at = entry.path.split(b"/")[:-1]
        leaves = entry.target.startswith(b"/") or not entry.path
        for part in entry.target.split(b"/"):
            if part == b"..":
                leaves = leaves or not at
                at = at[:-1]
            elif part not in (b"", b"."):
                at.append(part)
        if leaves:
            raise self._refusal(entry, "a link that leaves the tree")

    def _refusal(self, entry: TreeEntry, why: str) -> FormatError:
        shown = printable(os.fsdecode(entry.path))
        return FormatError(f"{cid.to_text(self.root)} holds {shown}, {why}", hint="Nothing was attached.")

    async def _missing(self, wanted: list[_Wanted]) -> list[_Wanted]:
        """What is not there yet. Raises UsageError where something else is; OriginError where that cannot be told."""
        missing: list[_Wanted] = []
        absent: set[Path] = set()  # below which nothing has to be looked for
        others: dict[Path, None] = {}
        for want in wanted:
            there: _There = "nothing" if want.path.parent in absent else _what_is_at(want)
            if there == "nothing":
                missing.append(want)
                if want.entry.kind == "directory":
                    absent.add(want.path)
            elif there == "perhaps it":
                if not await self._has_content(want):
                    others[want.path] = None
            elif there == "another" and others.keys().isdisjoint(want.path.parents):  # what is below one is not named
                others[want.path] = None
        if others:
            named = "\n".join(f"  {printable(str(path))}" for path in list(others)[:_NAMED_MOST])
            more = f"\n  and {len(others) - _NAMED_MOST} more" if len(others) > _NAMED_MOST else ""
            raise UsageError(
                f"something else is in the way of {cid.to_text(self.root)}:\n{named}{more}",
                hint="Nothing was changed. Move it away, or attach elsewhere.",
            )
        return missing

    async def _has_content(self, want: _Wanted) -> bool:
        """Whether a file has the content that is wanted, however it is cut into leaves: it is read, and compared."""
        walk = await dag.file(self.origin, want.entry.cid, want.entry.size)
        try:
            fd = await trio.to_thread.run_sync(os.open, want.path, _READ)
        except OSError:
            return False
        try:
            for leaf in walk.leaves():
                data = await trio.to_thread.run_sync(os.pread, fd, leaf.length, leaf.offset)
                if cid.codec(leaf.cid) == cid.RAW:
                    is_it = hashlib.sha256(data).digest() == cid.digest(leaf.cid)
                else:
                    is_it = data == reading.content(leaf.cid, await self.origin.block(leaf.cid))
                if not is_it:
                    return False
        except OSError:  # it cannot be read: what it is, is not known
            return False
        finally:
            os.close(fd)
        return True

    async def _whole(self, want: _Wanted) -> bytes:
        size = want.entry.size or 0
        return await dag.whole(self.origin, want.entry.cid, size) if size else b""

    def _make(self, wanted: list[_Wanted], whole: dict[Path, bytes]) -> None:
        self.at.parent.mkdir(parents=True, exist_ok=True)
        for count, want in enumerate(wanted):
            try:
                _make_one(want, whole)
            except FileExistsError as error:
                raise IpfsfsError(
                    f"{want.path} was made by another program meanwhile",
                    hint="Attach again: that completes what is missing.",
                ) from error
            self.progress.there += 1
            if count % _REPORTED == 0:
                self.report(self.progress)
        for directory in {want.path.parent for want in wanted}:
            _sync(directory)


_There = Literal["nothing", "it", "perhaps it", "another"]
"""What stands at a path where something is wanted. Perhaps it: a file of the right size with another CID, or none yet.
The same content has another CID where it is cut into other leaves."""


def _what_is_at(want: _Wanted) -> _There:
    try:
        st = os.lstat(want.path)
    except FileNotFoundError:
        return "nothing"
    except NotADirectoryError:
        return "another"
    if want.entry.kind == "directory":
        return "it" if stat_.S_ISDIR(st.st_mode) else "another"
    if want.entry.kind == "symlink":
        is_it = stat_.S_ISLNK(st.st_mode) and os.readlink(os.fsencode(want.path)) == want.text
        return "it" if is_it else "another"
    if want.promised and stat_.S_ISLNK(st.st_mode):  # into the clients' shared store: what it leads to is what counts
        try:
            st = os.stat(want.path)
        except OSError:
            return "another"
    if not stat_.S_ISREG(st.st_mode) or st.st_size != want.entry.size:
        return "another"
    return "it" if want.promised or not st.st_size or _has_root(want) else "perhaps it"


def _has_root(want: _Wanted) -> bool:
    """Whether a file is sealed as what is wanted."""
    try:
        root = cid.from_text(os.getxattr(want.path, cid.XATTR).decode("ascii", "replace"))
    except (OSError, FormatError):
        return False
    return cid.digest(root) == cid.digest(want.entry.cid)


def _turn(want: _Wanted) -> tuple[int, Path]:
    """When a name is made: directories, then content, then the links to it, then what clients look at first."""
    if want.entry.kind == "directory":
        return 0, want.path
    if want.is_whole:
        return 3, want.path
    return (2 if want.entry.kind == "symlink" else 1), want.path


def _make_one(want: _Wanted, whole: dict[Path, bytes]) -> None:
    """Make a name. Raises OSError; FileExistsError where there is one by now."""
    if want.entry.kind == "directory":
        want.path.mkdir()
    elif not want.is_whole:
        os.symlink(want.text, os.fsencode(want.path))
    else:
        beside = want.path.with_name(f".{want.path.name[:60]}.{secrets.token_hex(4)}.hydrating")
        try:
            with beside.open("xb") as file:
                file.write(whole[want.path])
                file.flush()
                os.fsync(file.fileno())
            os.link(beside, want.path)
        finally:
            beside.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
