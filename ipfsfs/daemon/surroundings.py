"""What a daemon finds around it: limits of the process, and what the filesystem beneath can do."""

from __future__ import annotations

import errno
import gc
import os
import resource
from contextlib import suppress

from ipfsfs.plain.directory import PlainDirectory


def raise_descriptor_limit() -> int:
    """Have as many descriptors as the system allows; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return hard
    return soft


def read_only(plain: PlainDirectory) -> bool:
    """Whether the filesystem beneath is mounted read-only."""
    return bool(plain.statvfs().f_flag & os.ST_RDONLY)


def has_acl(plain: PlainDirectory) -> bool:
    """Whether the filesystem beneath keeps POSIX ACLs."""
    try:
        os.getxattr(f"/proc/self/fd/{plain.fd}", "system.posix_acl_access")
    except OSError as error:
        return error.errno == errno.ENODATA
    return True


def collect_seldom() -> None:
    """Tell Python's collector that what stands now stays, and to look for cycles seldom.

    A million nodes take half a second to look through, during which nobody is answered; they hold no cycles.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
