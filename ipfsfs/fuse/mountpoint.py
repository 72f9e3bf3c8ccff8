"""Putting a FUSE connection over a directory, and taking it away again: as root by the system call, else by
`fusermount3`."""

from __future__ import annotations

import array
import ctypes
import errno
import os
import shutil
import socket
import stat
import subprocess
from pathlib import Path
from typing import Final

from ipfsfs.errors import InUse, MountError
from ipfsfs.fuse import permitted
from ipfsfs.plain import syscalls
from ipfsfs.plain.mount_table import FILESYSTEM, SUBTYPE
from ipfsfs.printed import command

_libc = ctypes.CDLL(None, use_errno=True)

_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_RDONLY: Final = 1
_MNT_FORCE: Final = 1
_MNT_DETACH: Final = 2
_UMOUNT_NOFOLLOW: Final = 8
_AT_FDCWD: Final = -100
_FOR_OTHERS: Final = ",allow_other,default_permissions"
"""Where others come in, the kernel has to check permissions: the daemon may do more than they. Where only our own user
does, the filesystem beneath checks them as it always has, and the kernel need not ask for a directory's attributes
again before each change in it."""


def mount(mountpoint: Path, source: str, *, allow_other: bool, read_only: bool, directory: int | None = None) -> int:
    """Mount, and return the descriptor the kernel speaks on. `source` is what the mount table shows as the device.

    `directory`, where given, is a descriptor of what was found at `mountpoint`: root mounts over that and nothing else,
    for another user may have put something else at the path. Raises MountError, which says what is missing.
    """
    if os.geteuid() == 0:
        return _mount_as_root(mountpoint, source, allow_other, read_only, directory)
    return _mount_as_user(mountpoint, source, allow_other, read_only)


def _mount_as_root(mountpoint: Path, source: str, allow_other: bool, read_only: bool, directory: int | None) -> int:
    try:
        fd = os.open(permitted.DEVICE, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise MountError(f"cannot open {permitted.DEVICE}: {error.strerror}", hint=permitted.fix()) from error
    over = os.fspath(mountpoint) if directory is None else f"/proc/self/fd/{directory}"
    root_mode = stat.S_IFMT(os.stat(over).st_mode)
    options = f"fd={fd},rootmode={root_mode:o},user_id=0,group_id=0"
    if allow_other:
        options += _FOR_OTHERS
    flags = _MS_NOSUID | _MS_NODEV | (_MS_RDONLY if read_only else 0)
    if _libc.mount(os.fsencode(source), os.fsencode(over), FILESYSTEM.encode(), flags, options.encode()) != 0:
        code = ctypes.get_errno()
        os.close(fd)
        raise MountError(f"cannot mount over {mountpoint}: {os.strerror(code)}", hint=permitted.fix())
    return fd


def _mount_as_user(mountpoint: Path, source: str, allow_other: bool, read_only: bool) -> int:
    helper = shutil.which(permitted.HELPER)
    if helper is None:
        raise MountError("fusermount3 is not installed", hint=permitted.fix())
    escaped = source.replace("\\", "\\\\").replace(",", "\\,")
    options = f"{'ro' if read_only else 'rw'},nosuid,nodev,fsname={escaped},subtype={SUBTYPE}"
    if allow_other:
        options += _FOR_OTHERS
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        done = subprocess.run(
            [helper, "-o", options, "--", os.fspath(mountpoint)],
            env={**os.environ, "_FUSE_COMMFD": str(theirs.fileno())},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            said = done.stderr.strip().removeprefix("fusermount3: ")
            hint = permitted.fix()
            if "user_allow_other" in said:
                hint = "Have root add the line user_allow_other to /etc/fuse.conf, or leave --allow-other out."
            elif not hint and ("no write access" in said or os.strerror(errno.EACCES) in said):
                hint = "A user may mount over a directory that this user may write to; root over any."
            raise MountError(f"cannot mount over {mountpoint}: {said}", hint=hint)
        _, ancillary, _, _ = ours.recvmsg(1, socket.CMSG_SPACE(4))
    received = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            received.frombytes(data[:4])
    if not received:
        raise MountError(f"fusermount3 mounted {mountpoint} but handed over no descriptor")
    os.set_inheritable(received[0], False)
    return received[0]


def unmount(mountpoint: Path, *, lazy: bool, forced: bool = False, mount_id: int = 0) -> None:
    """Take the topmost mount at `mountpoint` away; `lazy`: at once, while open files keep what they have. `forced`:
    whoever waits for its daemon gets an error, of which root alone can see to it. `mount_id`: of the mount that is
    meant. Root, who could unmount anything, then takes no other away that lies beneath it, where it is to be `lazy`.

    Raises MountError; InUse where files are open.
    """
    if os.geteuid() == 0:
        _unmount_as_root(mountpoint, _MNT_DETACH * lazy | _MNT_FORCE * forced, mount_id if lazy else 0)
        return
    helper = shutil.which("fusermount3")
    if helper is None:
        raise MountError("fusermount3 is not installed", hint="Install the package fuse3.")
    done = subprocess.run(
        [helper, "-u", *(["-z"] if lazy else []), "--", os.fspath(mountpoint)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise _not_unmounted(mountpoint, done.stderr.strip().removeprefix("fusermount3: "))


def _not_unmounted(mountpoint: Path, why: str) -> MountError:
    said = f"cannot unmount {mountpoint}: {why}"
    if why.endswith(os.strerror(errno.EBUSY)):  # the words are all that fusermount3 tells
        return InUse(said, hint=f"To unmount it nevertheless: {command('umount --lazy', mountpoint)}")
    return MountError(said)


def _unmount_as_root(mountpoint: Path, flags: int, mount_id: int) -> None:
    """The path of a mount has no symlinks. Where it has one now, another user has put it there.

    A mount that is named is unmounted by a descriptor of its root, which stays what it is. Any other is not, for that
    descriptor would be a use of it.
    """
    at = mountpoint if mount_id else mountpoint.parent
    fd = -1
    try:
        fd = syscalls.openat2(_AT_FDCWD, os.fsencode(at), os.O_PATH, 0, syscalls.RESOLVE_NO_SYMLINKS)
        target = b"/proc/self/fd/%d" % fd
        if not mount_id:
            target, flags = target + b"/" + os.fsencode(mountpoint.name), flags | _UMOUNT_NOFOLLOW
        elif f"mnt_id:\t{mount_id}\n" not in Path(f"/proc/self/fdinfo/{fd}").read_text("ascii"):  # which asks no daemon
            raise MountError(f"cannot unmount {mountpoint}: the view there is gone, or is covered by another mount")
        if _libc.umount2(target, flags) != 0:
            raise _not_unmounted(mountpoint, os.strerror(ctypes.get_errno()))
    except OSError as error:
        raise MountError(f"cannot unmount {mountpoint}: {error.strerror}") from error
    finally:
        if fd >= 0:
            os.close(fd)
