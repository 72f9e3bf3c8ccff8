"""The attributes of a file as pyfuse3 takes them, and the changes as it gives them."""

from __future__ import annotations

import os
from typing import Final

import pyfuse3

from ipfsfs.view.attributes import Changes
from ipfsfs.view.names import SHORT_S, Entry
from ipfsfs.view.nodes import Node


def of_entry(entry: Entry) -> pyfuse3.EntryAttributes:
    """What LOOKUP and its kin answer."""
    return attributes(entry.node, entry.st, entry.timeout_s)


def attributes(node: Node, st: os.stat_result, timeout_s: float = SHORT_S) -> pyfuse3.EntryAttributes:
    """What GETATTR answers; the kernel may trust it for `timeout_s` seconds."""
    shown = pyfuse3.EntryAttributes()
    shown.st_ino = node.number
    shown.generation = 0
    shown.entry_timeout = shown.attr_timeout = timeout_s
    shown.st_mode = st.st_mode
    shown.st_nlink = st.st_nlink
    shown.st_uid = st.st_uid
    shown.st_gid = st.st_gid
    shown.st_rdev = st.st_rdev
    shown.st_size = st.st_size
    shown.st_blksize = st.st_blksize
    shown.st_blocks = st.st_blocks
    shown.st_atime_ns = st.st_atime_ns
    shown.st_mtime_ns = st.st_mtime_ns
    shown.st_ctime_ns = st.st_ctime_ns
    return shown


def absent() -> pyfuse3.EntryAttributes:
    """The answer to a LOOKUP of a name that is not there: the kernel may trust that for a moment too."""
    shown = pyfuse3.EntryAttributes()
    shown.st_ino = _NOTHING
    shown.entry_timeout = SHORT_S
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
