"""Whether a file is a secret by what it holds, whatever its name is (H36)."""

from __future__ import annotations

import os
import stat as stat_

from ipfsfs.caches.secret import SEARCH_MAX, looks_secret
from ipfsfs.plain import quiet


def holds_secret(root_fd: int, path: bytes, st: os.stat_result) -> bool:
    """Whether the file at a path below `root_fd`, whose attributes are `st`, holds a secret, as far as is looked for
    one. It may wait for the disk. Raises OSError."""
    if not stat_.S_ISREG(st.st_mode) or st.st_size > SEARCH_MAX:
        return False
    with open(quiet.open_regular(root_fd, path), "rb") as file:
        return looks_secret(file.read(SEARCH_MAX))
