"""What `doctor` says of native reads: whether this machine can have them, and who checks what is read where."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from ipfsfs.cli.diagnosis import Diagnosis
from ipfsfs.daemon import mounts
from ipfsfs.plain.checked import why_never
from ipfsfs.plain.syscalls import CAP_SYS_ADMIN, has_effective
from ipfsfs.printed import command

# linux/fuse.h: fuse_in_header, then of fuse_init_in major, minor, max_readahead, flags and flags2
_INIT: Final = struct.Struct("=40xIIIII")
_FUSE_INIT_EXT: Final = 1 << 30
_FUSE_PASSTHROUGH: Final = 1 << 37 - 32
"""In `flags2`."""
_NOTHING_TO_DO: Final = "nothing to do: the daemon reads and checks files itself"
_BY_CHOICE: Final = (
    "nothing to do; or, where native reads are possible, mount --check native, which has files verified from time to "
    "time instead"
)
_EVERYONE: Final = "4294967295"


def possible(first: bytes) -> Diagnosis:
    """Whether the kernel can read files past the daemon, by the first message that it sent to a mount (INIT)."""
    name = "native reads"
    if not _offers(first):
        return Diagnosis(
            name,
            None,
            "not possible: this kernel does not offer FUSE passthrough",
            f"Linux 6.9 or newer with CONFIG_FUSE_PASSTHROUGH has it; else {_NOTHING_TO_DO}",
        )
    if not has_effective(CAP_SYS_ADMIN):
        return Diagnosis(
            name,
            None,
            "not possible for this user: the kernel gives them to root alone (CAP_SYS_ADMIN)",
            f"have root mount it (mount --allow-other, or --team); else {_NOTHING_TO_DO}",
        )
    if not _is_first_namespace():
        return Diagnosis(
            name,
            None,
            "not possible in this container: its root is not the machine's (user namespace)",
            f"mount on the host, and give the view to the container; else {_NOTHING_TO_DO}",
        )
    return Diagnosis(name, True, "possible: the kernel offers FUSE passthrough, and this user may have it")


def who_checks(directories: Iterable[Path]) -> Diagnosis:
    """Who checks what is read of each directory, by the filesystem that it lies on, be a view over it or not."""
    table = mounts.all_mounts()
    lines, by_daemon = [], False
    for directory in dict.fromkeys(directories):
        beneath = _beneath(table, directory)
        never = why_never(beneath)
        by_daemon = by_daemon or bool(never)
        lines.append(
            f"{directory}: the daemon checks each read, for {never}"
            if never
            else f"{directory}: {beneath.filesystem} checks what it reads (but for files without checksums, see "
            f"`{command('why PATH')}`), and is left to do so where native reads are possible"
        )
    is_choice = by_daemon and has_effective(CAP_SYS_ADMIN) and _is_first_namespace()
    return Diagnosis("reads", True, "\n".join(lines), _BY_CHOICE if is_choice else "")


def _offers(first: bytes) -> bool:
    if len(first) < _INIT.size:
        return False
    _, _, _, flags, more_flags = _INIT.unpack_from(first)
    return bool(flags & _FUSE_INIT_EXT and more_flags & _FUSE_PASSTHROUGH)


def _is_first_namespace() -> bool:
    try:
        return Path("/proc/self/uid_map").read_text().split() == ["0", "0", _EVERYONE]
    except OSError:
        return True


def _beneath(table: Iterable[mounts.Mount], directory: Path) -> mounts.Mount:
    """The mount that a directory lies in, views left aside; of several at one place the last is the one to be seen."""
    holding = [mount for mount in table if not mount.is_view and directory.is_relative_to(mount.mountpoint)]
    return max(enumerate(holding), key=lambda numbered: (len(numbered[1].mountpoint.parts), numbered[0]))[1]
