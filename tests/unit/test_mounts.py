"""The kernel's mount table, with names that others choose."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipfsfs.daemon.mounts import Mount


@pytest.mark.parametrize("name", ["a\rb", "a\vb", "a\fb", "a\x1cb", "a\x85b", "-", "\N{NO-BREAK SPACE}"])
def test_a_name_with_white_space_that_the_kernel_shows_as_it_is(name: str) -> None:
    path = f"/tmp/{name}".encode()
    mount = Mount.parse(b"36 35 0:45 / " + path + b" rw shared:1 master:2 - fuse.ipfsfs " + path + b" rw,user_id=0\n")
    assert (mount.mountpoint, mount.source) == (Path(f"/tmp/{name}"), f"/tmp/{name}")
    assert mount.is_view


def test_a_name_that_the_kernel_escapes() -> None:
    mount = Mount.parse(rb"36 35 0:45 / /tmp/a\040b\011c\012d\134e rw - fuse.ipfsfs /tmp/a\040store rw" + b"\n")
    assert mount.mountpoint == Path("/tmp/a b\tc\nd\\e")
    assert mount.source == "/tmp/a store"


def test_a_mount_without_a_device() -> None:
    mount = Mount.parse(b"36 35 0:45 / /tmp/a rw - fuse  rw,user_id=1000\n")
    assert (mount.filesystem, mount.source) == ("fuse", "")
