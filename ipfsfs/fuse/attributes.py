"""The attributes of a file as pyfuse3 takes them, and the changes as it gives them."""

from __future__ import annotations

from typing import Final

import pyfuse3

from ipfsfs.view.attributes import Attributes, Changes
from ipfsfs.view.backing import Node
from ipfsfs.view.names import SHORT_S, Entry


def of_entry(entry: Entry) -> pyfuse3.EntryAttributes:
    """What LOOKUP and its kin answer."""
    return attributes(entry.node, entry.attributes, entry.timeout_s)


def attributes(node: Node, of: Attributes, timeout_s: float = SHORT_S) -> pyfuse3.EntryAttributes:
    """What GETATTR answers; the kernel may trust it for `timeout_s` seconds."""
    if node.cache.written_unseen:
        timeout_s = 0.0
    shown = pyfuse3.EntryAttributes()
    shown.st_ino = node.number
    shown.generation = 0
    shown.entry_timeout = shown.attr_timeout = timeout_s
    shown.st_mode = of.st_mode
    shown.st_nlink = of.st_nlink
    shown.st_uid = of.st_uid
    shown.st_gid = of.st_gid
    shown.st_rdev = of.st_rdev
    shown.st_size = of.st_size
    shown.st_blksize = of.st_blksize
    shown.st_blocks = of.st_blocks
    shown.st_atime_ns = of.st_atime_ns
    shown.st_mtime_ns = of.st_mtime_ns
    shown.st_ctime_ns = of.st_ctime_ns
    return shown


def absent(timeout_s: float) -> pyfuse3.EntryAttributes:
    """The answer to a LOOKUP of a name that is not there; the kernel may trust it for `timeout_s` seconds."""
    shown = pyfuse3.EntryAttributes()
    shown.st_ino = _NOTHING
    shown.entry_timeout = timeout_s
    return shown


_NOTHING: Final = pyfuse3.InodeT(0)


def changes(attr: pyfuse3.EntryAttributes, fields: pyfuse3.SetattrFields) -> Changes:
    """What a SETATTR asks for."""
    return Changes(
        mode=attr.st_mode if fields.update_mode else None,
        uid=attr.st_uid if fields.update_uid else None,
        gid=attr.st_gid if fields.update_gid else None,
        size=attr.st_size if fields.update_size else None,
        atime_ns=attr.st_atime_ns if fields.update_atime else None,
        mtime_ns=attr.st_mtime_ns if fields.update_mtime else None,
    )
