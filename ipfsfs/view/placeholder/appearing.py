"""Names that appear: a LOOKUP of a promised name that is absent makes a placeholder where another machine has the blob.

huggingface_hub asks whether `blobs/<sha256>` exists before it downloads, and when it has the lock. "Yes" is said only
where that is right as on plain disk, and where a machine says now that it has the content (H40, H50).
"""

from __future__ import annotations

import os
import stat as stat_
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.caches.registry import repository_over
from ipfsfs.errors import FormatError
from ipfsfs.exchange.site import Site
from ipfsfs.origins.peer_messages import Found
from ipfsfs.plain import entries, syscalls
from ipfsfs.plain.ownership import groups_of
from ipfsfs.unixfs import reference
from ipfsfs.unixfs.reference import BY_NAME, MODE, Reference
from ipfsfs.view.backing import Caller, Node
from ipfsfs.view.names import Entry, Names
from ipfsfs.view.placeholder.ahead import Ahead

_AT_ONCE: Final = 4
"""LOOKUPs that wait for others at the same time; one more finds nothing."""
_BURST: Final = 256
_A_SECOND: Final = 64.0
"""How many questions to others a user's LOOKUPs may bring at once, and in a second."""
_USERS_MOST: Final = 1_024


@dataclass(slots=True)
class _Allowance:
    """How many questions a user has left, and when that was so."""

    left: float
    at: float


@dataclass(slots=True)
class Appearing:
    """Makes placeholders of what other machines have."""

    names: Names
    site: Site
    is_read_only: bool
    ahead: Ahead
    _waiting: int = 0
    _allowances: OrderedDict[int, _Allowance] = field(default_factory=OrderedDict)

    async def look(self, parent: Node, name: bytes, caller: Caller) -> Entry | None:
        """What stands under an absent name, once others were asked, if it promises a content. Raises OSError."""
        promise = self.names.nodes.place(parent).classify(name).promise
        if promise is None:
            return None
        path = self.names.nodes.path_of(parent, name)
        if not self.site.is_wanted(promise):
            self.site.looked_for(promise, path)
            return None
        if not self._may_be(parent, path, promise, caller) or not self._may_ask(promise, caller):
            return None
        self._waiting += 1
        try:
            found = await self.site.sought(promise)
        finally:
            self._waiting -= 1
        if found is None or not self._may_be(parent, path, promise, caller):
            return None
        return self._made(parent, name, found)

    def _may_be(self, parent: Node, path: bytes, promise: bytes, caller: Caller) -> bool:
        """Whether a placeholder may be made at a name."""
        return not (
            self.is_read_only
            or self.site.was_removed(promise)
            or self.site.is_ours(promise)
            or self.site.is_downloaded(promise)
            or self._is_in_xet_store(path, promise)
            or not self._may_write(parent, caller)
        )

    def _is_in_xet_store(self, path: bytes, promise: bytes) -> bool:
        """Whether the client has the content in its own store, and is about to make a link to it (H49)."""
        over = repository_over(path)
        at = self.site.xet_entry(over[0], promise) if over is not None else None
        if at is None:
            return False
        try:
            os.close(syscalls.open_beneath(self.names.nodes.plain.fd, at, os.O_PATH | os.O_NOFOLLOW))
        except OSError:
            return False
        return True

    def _may_write(self, parent: Node, caller: Caller) -> bool:
        """Whether the caller could make the file itself."""
        st = self.names.nodes.stat(parent)
        if caller.uid == 0:
            return True
        if caller.uid == st.st_uid:
            needed = stat_.S_IWUSR | stat_.S_IXUSR
        elif caller.gid == st.st_gid or st.st_gid in groups_of(caller.pid):
            needed = stat_.S_IWGRP | stat_.S_IXGRP
        else:
            needed = stat_.S_IWOTH | stat_.S_IXOTH
        return st.st_mode & needed == needed

    def _may_ask(self, promise: bytes, caller: Caller) -> bool:
        """Whether a LOOKUP may wait for others; nobody is asked where they have said just now who has the blob."""
        if self.site.is_fresh(promise):
            return True
        if self._waiting >= _AT_ONCE:
            return False
        now = trio.current_time()
        allowance = self._allowances.get(caller.uid)
        if allowance is None:
            if len(self._allowances) >= _USERS_MOST:
                self._allowances.popitem(last=False)
            allowance = self._allowances[caller.uid] = _Allowance(_BURST, now)
        allowance.left = min(_BURST, allowance.left + (now - allowance.at) * _A_SECOND)
        allowance.at = now
        if allowance.left < 1:
            return False
        allowance.left -= 1
        return True

    def _made(self, parent: Node, name: bytes, found: Found) -> Entry | None:
        """Make the placeholder: as root with the directory's group; its owner gets the file once all is here (H41)."""
        dir_fd = self.names.nodes.directory_fd(parent)
        directory = os.fstat(dir_fd)
        try:
            text = reference.text(Reference(found.root, found.size, MODE, BY_NAME))
        except FormatError:  # what they say cannot be
            return None
        try:
            entries.symlink(text, dir_fd, name)
        except FileExistsError:
            return self.names.lookup(parent, name)
        if os.geteuid() == 0:
            os.chown(name, -1, directory.st_gid, dir_fd=dir_fd, follow_symlinks=False)
        self.ahead.bring(self.names.nodes.path_of(parent, name), found.size)
        return self.names.found(parent, name, entries.stat(dir_fd, name))
