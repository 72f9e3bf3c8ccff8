"""The text of a placeholder: a symlink that stands for a file, and names its content.

    ipfs://<CIDv1 in base32>?size=<decimal>[&mode=<four octal digits>][&tsize=<decimal>]

A reference has one text: a field that says what is so by default is left out. Any other text is an ordinary symlink's,
for symlinks come from anywhere.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from typing import Final

from ipfsfs.errors import FormatError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import dagpb, file

TEXT_MAX: Final = 128
"""Bytes of the longest text. A symlink says its length (st_size): a longer one need not be read."""

SIZE_MAX: Final = (1 << 63) - 1
MODE: Final = 0o644
BY_NAME: Final = 0
"""What the tsize is of a file that no directory's link told: what others said of the sha256 that is its name."""

_TEXT: Final = re.compile(
    rb"ipfs://(?P<root>b[a-z2-7]{58})\?size=(?P<size>0|[1-9][0-9]{0,18})"
    rb"(?:&mode=(?P<mode>0[0-7]{3}))?(?:&tsize=(?P<tsize>0|[1-9][0-9]{0,19}))?"
)

_PACKED: Final = struct.Struct(f"={cids.V1_SIZE}sQHQ")
_USUAL: Final = 1 << 15
"""Beside the permission bits: there is no tsize."""


@dataclass(slots=True, frozen=True)
class Reference:
    """A file by its content: the root (CIDv1, sha2-256, raw or dag-pb), its bytes, its permission bits.

    `tsize` is what a directory's link to the file says (bytes of all its blocks), or None where that is
    `usual_tsize(root, size)`; `BY_NAME` where none told of the file. Nothing here is proven: `size` and `tsize` are
    what the symlink says.
    """

    root: bytes
    size: int
    mode: int = MODE
    tsize: int | None = None

    @property
    def is_by_name(self) -> bool:
        """Whether root and size are what other machines said of the sha256 that is the file's name: until all of it is
        here that is their word."""
        return self.tsize == BY_NAME and self.size > 0

    @classmethod
    def unpacked(cls, packed: bytes) -> Reference:
        """What was `packed`."""
        root, size, mode, tsize = _PACKED.unpack(packed)
        return cls(root, size, mode & ~_USUAL, None if mode & _USUAL else tsize)

    def packed(self) -> bytes:
        """In 54 bytes, for who keeps a million: as objects it takes twice as much memory."""
        if self.tsize is None:
            return _PACKED.pack(self.root, self.size, self.mode | _USUAL, 0)
        return _PACKED.pack(self.root, self.size, self.mode, self.tsize)

    def link_tsize(self) -> int:
        """What the link to this file says in the directory that it is in: `tsize`, or the usual one."""
        return usual_tsize(self.root, self.size) if self.tsize is None or self.is_by_name else self.tsize


def usual_tsize(root: bytes, size: int) -> int:
    """The tsize of a file of `size` bytes if `root` is a leaf, or a DAG as `ipfs add` makes it (unixfs-v1-2025)."""
    return size if cids.codec(root) == cids.RAW else file.fixed_tsize(size)


def parse(text: bytes) -> Reference | None:
    """The reference that `text` spells, or None: only what `text()` would give is one."""
    match = _TEXT.fullmatch(text)
    if match is None:
        return None
    try:
        root = cids.from_text(match["root"].decode("ascii"))
    except FormatError:
        return None
    mode, tsize = match["mode"], match["tsize"]
    reference = Reference(
        root,
        int(match["size"]),
        MODE if mode is None else int(mode, 8),
        None if tsize is None else int(tsize),
    )
    return reference if not _fault(reference) and _spelled(reference) == text else None


def text(reference: Reference) -> bytes:
    """The text of the symlink. Raises FormatError for a reference that has none: what it says cannot be so."""
    if fault := _fault(reference):
        raise FormatError(f"no placeholder can stand for {cids.to_text(reference.root)}: {fault}")
    return _spelled(reference)


def _fault(reference: Reference) -> str:
    """What makes the reference one of no file; empty where nothing does."""
    root, size, tsize = reference.root, reference.size, reference.tsize
    codec = cids.unixfs_codec(root)
    raw = codec == cids.RAW
    if codec is None or len(root) != cids.V1_SIZE:
        return "its root is not a CIDv1 of sha2-256, raw or dag-pb"
    if not 0 <= size <= SIZE_MAX:
        return f"its size is {size}"
    if reference.mode & ~0o777:
        return f"its mode is {reference.mode:#o}"
    if tsize is not None and not 0 <= tsize < 1 << 64:
        return f"its tsize is {tsize}"
    if raw and size > dagpb.BLOCK_MAX:
        return f"one raw block cannot have {size} bytes"
    if not raw and size == 0:
        return "it has no bytes, and a root with nodes has some"
    if raw and (root == cids.EMPTY) != (size == 0):
        return f"it has {size} bytes, and only the raw block without bytes has none"
    if raw and tsize not in (None, size, BY_NAME):
        return f"one raw block of {size} bytes cannot have a tsize of {tsize}"
    return ""


def _spelled(reference: Reference) -> bytes:
    root, size, mode, tsize = reference.root, reference.size, reference.mode, reference.tsize
    spelled = f"ipfs://{cids.to_text(root)}?size={size}"
    if mode != MODE:
        spelled += f"&mode={mode:04o}"
    if tsize is not None and tsize != usual_tsize(root, size):
        spelled += f"&tsize={tsize}"
    return spelled.encode("ascii")
