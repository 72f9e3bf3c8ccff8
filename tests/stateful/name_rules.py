"""Rules: names, and the attributes of what they stand for."""

from __future__ import annotations

import os
import stat

from hypothesis import strategies as st
from hypothesis.stateful import rule

from tests.stateful.example import Example, some_open
from tests.stateful.material import (
    TARGETS,
    free_names,
    modes,
    names,
    owners,
    slots,
    times,
    umasks,
    xattr_names,
    xattr_values,
)


class NameRules(Example):
    """Names and attributes."""

    @rule(path=free_names, mode=modes, umask=umasks)
    def mkdir(self, path: bytes, mode: int, umask: int) -> None:
        self.first.same("mkdir", path, mode, umask)

    @rule(path=st.sampled_from([b"deep/" + b"/".join([b"x" * 40] * 20), b"m/e/f/g", b"d/e/f"]))
    def make_directories(self, path: bytes) -> None:
        self.first.same("makedirs", path)

    @rule(path=names)
    def rmdir(self, path: bytes) -> None:
        self.first.same("rmdir", path)

    @rule(path=names)
    def unlink(self, path: bytes) -> None:
        self.first.same("unlink", path)

    @rule(path=names, new_path=free_names)
    def rename(self, path: bytes, new_path: bytes) -> None:
        self.first.same("rename", path, new_path, 0)

    @rule(
        path=st.sampled_from([b"d", b"d/e", b"m", b"d/e/f"]),
        new_path=st.sampled_from([b"m", b"d/e", b"m/e", b"d", b"d/x"]),
    )
    def rename_directory(self, path: bytes, new_path: bytes) -> None:
        self.first.same("rename", path, new_path, 0)

    @rule(path=names, new_path=free_names)
    def rename_without_replacing(self, path: bytes, new_path: bytes) -> None:
        self.first.same("rename", path, new_path, 1)

    @rule(path=free_names, new_path=free_names)
    def exchange(self, path: bytes, new_path: bytes) -> None:
        self.first.same("rename", path, new_path, 2)

    @rule(path=names, new_path=free_names, follow=st.booleans())
    def link(self, path: bytes, new_path: bytes, follow: bool) -> None:
        self.first.same("link", path, new_path, follow)

    @some_open
    @rule(of=slots, new_path=free_names)
    def link_open(self, of: int, new_path: bytes) -> None:
        of = self.number(of, self.open)
        self.open[of].same("link_open", of, new_path)

    @rule(points_to=st.sampled_from(TARGETS), path=free_names)
    def symlink(self, points_to: bytes, path: bytes) -> None:
        self.first.same("symlink", points_to, path)

    @rule(path=names)
    def readlink(self, path: bytes) -> None:
        self.first.same("readlink", path)

    @rule(
        path=free_names, mode=modes, device=st.sampled_from([(stat.S_IFIFO, 0), (stat.S_IFREG, 0), (stat.S_IFSOCK, 0)])
    )
    def mknod(self, path: bytes, mode: int, device: tuple[int, int]) -> None:
        self.first.same("mknod", path, mode | device[0], device[1])

    @rule(path=names)
    def listdir(self, path: bytes) -> None:
        self.first.same("listdir", path)

    @some_open
    @rule(of=slots)
    def list_open(self, of: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("list_open", of)

    @some_open
    @rule(of=slots)
    def fstat(self, of: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("fstat", of)

    @rule(path=names, follow=st.booleans())
    def stat_of(self, path: bytes, follow: bool) -> None:
        self.first.same("stat_", path, follow)

    @rule(path=names, mode=st.integers(0, 7))
    def access(self, path: bytes, mode: int) -> None:
        self.first.same("access", path, mode)

    @rule(path=names, mode=modes)
    def chmod(self, path: bytes, mode: int) -> None:
        self.first.same("chmod", path, mode)

    @some_open
    @rule(of=slots, mode=modes)
    def fchmod(self, of: int, mode: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("fchmod", of, mode)

    @rule(path=names, uid=owners, gid=owners, follow=st.booleans())
    def chown(self, path: bytes, uid: int, gid: int, follow: bool) -> None:
        self.first.same("chown", path, uid, gid, follow)

    @some_open
    @rule(of=slots, uid=owners, gid=owners)
    def fchown(self, of: int, uid: int, gid: int) -> None:
        of = self.number(of, self.open)
        self.open[of].same("fchown", of, uid, gid)

    @rule(path=names, atime_ns=times, mtime_ns=times, follow=st.booleans())
    def utime(self, path: bytes, atime_ns: int, mtime_ns: int, follow: bool) -> None:
        self.set_times(self.first, "utime", path, atime_ns, mtime_ns, follow)

    @some_open
    @rule(of=slots, atime_ns=times, mtime_ns=times)
    def futime(self, of: int, atime_ns: int, mtime_ns: int) -> None:
        of = self.number(of, self.open)
        self.set_times(self.open[of], "futime", of, atime_ns, mtime_ns)

    @rule(path=names)
    def touch(self, path: bytes) -> None:
        self.first.same("touch", path)

    @rule(
        path=names, name=xattr_names, value=xattr_values, flags=st.sampled_from([0, os.XATTR_CREATE, os.XATTR_REPLACE])
    )
    def set_xattr(self, path: bytes, name: str, value: bytes, flags: int) -> None:
        self.first.same("set_xattr", path, name, value, flags)

    @some_open
    @rule(of=slots, name=xattr_names, value=xattr_values)
    def fset_xattr(self, of: int, name: str, value: bytes) -> None:
        of = self.number(of, self.open)
        self.open[of].same("fset_xattr", of, name, value)

    @rule(path=names, name=xattr_names)
    def get_xattr(self, path: bytes, name: str) -> None:
        self.first.same("get_xattr", path, name)
        self.first.same("list_xattrs", path)

    @rule(path=names, name=xattr_names)
    def remove_xattr(self, path: bytes, name: str) -> None:
        self.first.same("remove_xattr", path, name)

    @rule(path=names)
    def statvfs(self, path: bytes) -> None:
        self.first.same("statvfs", path)
