"""What a path is, in facts: for `why`, with a daemon or without one."""

from __future__ import annotations

import os
import stat as stat_
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Final, Literal

from ipfsfs.caches.place import Kind, locate
from ipfsfs.caches.registry import root_place
from ipfsfs.errors import FormatError, StoreError
from ipfsfs.exchange import overview
from ipfsfs.exchange.findings import Recorded
from ipfsfs.exchange.paths import see
from ipfsfs.exchange.provenance import Provenance, Provenances, Refusal, Served
from ipfsfs.exchange.secrets import holds_secret
from ipfsfs.plain import held, links, syscalls
from ipfsfs.plain.checked import Checker, Checking
from ipfsfs.plain.directory import PlainDirectory
from ipfsfs.store.extents import Extents
from ipfsfs.store.index import Index
from ipfsfs.store.kept import Kept, bytes_in_store
from ipfsfs.store.ledger import Ledger
from ipfsfs.store.seal import Seal
from ipfsfs.store.tables.pins import PinnedFile
from ipfsfs.store.unsealable import Reason, Unsealable
from ipfsfs.unixfs import cid, reference
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.workers.fetcher.table import LeafTable

LeavesTold = Literal["first", "all"]
"""How many leaves of a file are told of: a few, or all of them, as far as an answer can be that long."""

_Leaf = tuple[int, bytes]
"""Length and CID."""

_LEAVES: Final[dict[LeavesTold, int]] = {"first": 16, "all": 65_536}

_WORDS: Final = {
    Kind.SECRET: "a secret: it never gets a CID and never leaves this machine",
    Kind.SCRATCH: "scratch: in use for a moment only, never sealed",
    Kind.PROMISE: "a promise: its name says what its sha256 must be",
    Kind.CONTENT: "content",
}


@dataclass(slots=True, frozen=True)
class FileIdentity:
    """What tells that a file is the same. Size in bytes; times in ns since the epoch, birth as 0 where it is not
    kept."""

    inode: int
    born_ns: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(slots=True, frozen=True)
class Leaf:
    """A block with bytes of a file: its CID as text, their number, and the origin that served it since the view was
    mounted, where one did."""

    cid: str
    length: int
    origin: str | None = None


@dataclass(slots=True, frozen=True)
class Why:
    """What a path is, in facts. Those from `kind` on are told of files that are neither directory nor symlink, those
    from `cid` on of files that are sealed; `promised_sha256` where the name promises one. The first leaves are told,
    and how many more there are.

    Of a directory, and of a file that is known by its CID and not wholly here, `size` and `here` say how many bytes it
    has, and how many of them are here; `origins`, who is asked for the rest of a file, in that order. `served`,
    `refused` and `failure` say where what was fetched came from since the view was mounted, which origins did not give
    it, and why what was asked for last did not come; they are None without a daemon that has origins.

    `checked_by`, `native` (the kernel reads the plain file past the daemon) and `native_why` say how a file that has
    content is read when it is opened now; without a daemon `native` is false.
    """

    path: str
    what: str
    sealed: bool
    kind: str | None = None
    promised_sha256: str | None = None
    why: str | None = None
    wrong: tuple[Recorded, ...] | None = None
    identity: FileIdentity | None = None
    cid: str | None = None
    chunker: Chunker | None = None
    sha256: str | None = None
    leased: bool | None = None
    settled: bool | None = None
    leaf_count: int | None = None
    leaves: tuple[Leaf, ...] | None = None
    leaves_not_shown: int | None = None
    size: int | None = None
    here: int | None = None
    origins: tuple[str, ...] | None = None
    served: tuple[Served, ...] | None = None
    refused: tuple[Refusal, ...] | None = None
    failure: str | None = None
    checked_by: Checker | None = None
    native: bool | None = None
    native_why: str | None = None

    @property
    def has_content(self) -> bool:
        """Whether it can be read: it is a regular file, or one that is known by its CID and not wholly here."""
        return self.native is not None or self.cid is not None


@dataclass(slots=True, frozen=True)
class Known:
    """Where to look up what is known of a path."""

    plain: PlainDirectory
    root: Path
    index: Index | None
    ledger: Ledger
    degraded: str = ""
    extents: Extents | None = None
    origins: tuple[str, ...] | None = None
    """Their names; None without a daemon."""
    provenance: Provenances | None = None
    """None without a daemon that has origins."""
    unsealable: Unsealable = field(default_factory=Unsealable)
    not_yet: Callable[[os.stat_result], str] = lambda _: "nothing is mounted that would seal it"
    """Why a file without a seal that holds has none."""
    checking: Checking | None = None
    """Which files the filesystem checks; None where there is a daemon, which knows more."""


def why(known: Known, path: bytes, leaves: LeavesTold = "first") -> Why:
    """What a path below the plain root is, whether it is sealed or why not, what was found wrong with it, its identity,
    CID and leaves. It may wait for the databases and the disk.

    Raises as `see` does, and StoreError where the ledger cannot be read.
    """
    plain, root = known.plain, known.root
    shown = os.fsdecode(path)
    fd = see(plain, root, path)
    try:
        st = os.fstat(fd)
        born_ns = syscalls.birth_time_ns(fd)
        if stat_.S_ISLNK(st.st_mode):
            return _of_link(known, path, st, os.readlink(b"", dir_fd=fd), leaves)
        if stat_.S_ISDIR(st.st_mode):
            return _of_directory(known, path, fd)
        checked_by, native_why = _checker(known.checking, fd, st)
    finally:
        os.close(fd)
    name = locate(path, root_place(os.fsencode(root)))[1]
    kind = name.kind
    with suppress(OSError):  # what cannot be read is told of by its name
        if holds_secret(plain.fd, path, st):
            kind = Kind.SECRET
    seal, reason = _seal_of(known, kind, st)
    facts = Why(
        shown,
        _WORDS[kind],
        sealed=seal is not None,
        kind=kind.value,
        promised_sha256=name.promise.hex() if name.promise is not None else None,
        why=reason,
        wrong=tuple(Recorded.of(found) for found in known.ledger.findings.all() if found.path == path),
        identity=FileIdentity(st.st_ino, born_ns, st.st_size, st.st_mtime_ns, st.st_ctime_ns),
        checked_by=checked_by,
        native=False if checked_by is not None else None,
        native_why=native_why,
    )
    if seal is None:
        came = known.provenance.find_file(st) if known.provenance is not None else None
        return _with_leaves(facts, None, came, _LEAVES[leaves])
    table = [(length, cid.raw_cid(digest)) for length, digest in seal.iter_leaves()]
    return _with_leaves(_with_seal(facts, seal), table, _provenance(known, (seal.root, seal.size), st), _LEAVES[leaves])


def _of_directory(known: Known, path: bytes, fd: int) -> Why:
    """What a directory is, and how much lies below it."""
    counted = overview.Known(bytes_in_store(known.extents) if known.extents is not None else {})
    found = overview.overview(fd, bytes(known.root / os.fsdecode(path)), counted)
    what = "a directory: its files have seals and origins of their own"
    return Why(os.fsdecode(path), what, sealed=False, size=found.size, here=found.here)


def _of_link(known: Known, path: bytes, st: os.stat_result, text: bytes, leaves: LeavesTold) -> Why:
    """What a link is: one, or a placeholder."""
    shown = os.fsdecode(path)
    place, name = locate(path, root_place(os.fsencode(known.root)))
    may_be_one = links.may_be_placeholder(st) and place.may_be_elsewhere(path.rpartition(b"/")[2])
    stands_for = reference.parse(text) if may_be_one else None
    if stands_for is None:
        return Why(shown, f"a symlink to {os.fsdecode(text)}", sealed=False)
    key = stands_for.root, stands_for.size
    facts = Why(
        shown,
        "a file that is known by its CID and not wholly here: its bytes come when it is read",
        sealed=False,
        promised_sha256=name.promise.hex() if name.promise is not None else None,
        cid=cid.to_text(stands_for.root),
        size=stands_for.size,
        here=_here(known.extents, *key) if known.extents is not None else None,
        origins=known.origins,
    )
    return _with_leaves(facts, _table(known.extents, *key), _provenance(known, key, st), _LEAVES[leaves])


def _here(extents: Extents, root: bytes, size: int) -> int:
    """How many bytes of a file the store has: in an extent, or for a pin."""
    kept = Kept.open(extents.fd)
    try:
        return size if kept.holds(PinnedFile(root, size)) else min(size, extents.bytes_here(root, size))
    finally:
        kept.close()


def _provenance(known: Known, key: tuple[bytes, int], st: os.stat_result) -> Provenance | None:
    """Where content came from, or a file that it became; None where that is never known, or it came from no origin."""
    if known.provenance is None:
        return None
    found = known.provenance.find(*key) or known.provenance.find_file(st)
    if found is None and stat_.S_ISREG(st.st_mode):
        row = known.ledger.brought.get(st.st_ino)
        return Provenance() if row is not None and row.size == st.st_size else None
    return found if found is not None else Provenance()


def _table(extents: Extents | None, root: bytes, size: int) -> list[_Leaf] | None:
    """The length and CID of each leaf of a file that is not here; None where that is not known."""
    if cid.codec(root) == cid.RAW:
        return [(size, root)] if size else []
    kept = extents.read_table(root, size) if extents is not None else None
    if kept is None:
        return None
    try:
        return [(leaf.length, leaf.cid) for leaf in LeafTable(kept)]
    except FormatError:
        return None


_NEVER: Final = {Kind.SECRET: "a secret", Kind.SCRATCH: "scratch"}


def _seal_of(known: Known, kind: Kind, st: os.stat_result) -> tuple[Seal | None, str]:
    if kind in (Kind.SECRET, Kind.SCRATCH):
        return None, f"{_NEVER[kind]} is never sealed"
    if not stat_.S_ISREG(st.st_mode):
        return None, "only regular files are sealed"
    if st.st_dev != known.plain.dev:
        return None, "it lies on another filesystem than the directory's own"
    if known.unsealable.reason(st) is Reason.UNFIT:
        return None, "no seal can hold it: it is larger than some 700 GB, or has a time beyond the year 2262"
    if known.index is None:
        return None, known.degraded or "there is no index"
    try:
        seal = known.index.get(st.st_ino)
    except StoreError as error:
        return None, str(error)
    if seal is None:
        return None, f"not yet: {known.not_yet(st)}"
    if not seal.identity.agrees(st):
        return None, f"it was changed since it was sealed: {known.not_yet(st)}"
    return seal, "sealed" if seal.leased else "sealed, though nobody could tell whether it was being written meanwhile"


def _checker(checking: Checking | None, fd: int, st: os.stat_result) -> tuple[Checker | None, str | None]:
    """Who checks a regular file that `fd` holds where nothing is mounted, and why it is not read natively; None of
    other files."""
    if not stat_.S_ISREG(st.st_mode):
        return None, None
    if checking is None:
        return "read", ""
    try:
        opened = held.reopen(fd, os.O_RDONLY)
    except OSError as error:
        return "nothing", f"nothing is mounted, and it cannot be opened: {error.strerror}"
    try:
        why_not = checking.why_not(opened, st)
    finally:
        os.close(opened)
    return ("nothing", f"nothing is mounted, and {why_not}") if why_not else ("filesystem", "nothing is mounted")


def _with_seal(facts: Why, seal: Seal) -> Why:
    return replace(
        facts,
        cid=cid.to_text(seal.root),
        chunker=seal.chunker,
        sha256=seal.sha256.hex(),
        leased=seal.leased,
        settled=seal.settled,
    )


def _with_leaves(facts: Why, table: list[_Leaf] | None, provenance: Provenance | None, most: int) -> Why:
    """With the first leaves of a file, as far as they are known, and where they came from."""
    origins = provenance.by_leaf() if provenance is not None else []
    if table is not None:
        by = origins if len(origins) == len(table) else [""] * len(table)
        facts = replace(
            facts,
            leaf_count=len(table),
            leaves=tuple(
                Leaf(cid.to_text(leaf_cid), length, origin or None)
                for (length, leaf_cid), origin in islice(zip(table, by, strict=True), most)
            ),
            leaves_not_shown=max(0, len(table) - most),
        )
    if provenance is None:
        return facts
    return replace(
        facts,
        served=tuple(provenance.served()),
        refused=tuple(provenance.refusals),
        failure=provenance.failure or None,
    )
