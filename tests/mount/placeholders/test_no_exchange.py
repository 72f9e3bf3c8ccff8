"""Where two names cannot change places, by a flag or between store and plain directory, all works by the slower way."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ipfsfs.plain import links, syscalls
from tests.support.block_server import BlockServer, block_server
from tests.support.elsewhere import eventually_resident, plain_link
from tests.support.filesystems import mounted_image, new_image
from tests.support.flagless import mounted_flagless
from tests.support.mounted import Mounted

pytestmark = pytest.mark.root

CONTENT = os.urandom(2_500_000)


@pytest.fixture
def server() -> Iterator[BlockServer]:
    with block_server() as found:
        yield found


@pytest.fixture(params=["a Btrfs subvolume between", "no flags of rename"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory for the plain root, and a name for the store, which cannot change places with what is in it."""
    if request.param == "no flags of rename":
        with mounted_flagless(tmp_path) as at:
            yield at
        return
    with mounted_image(new_image(tmp_path / "image", "btrfs", 400), tmp_path / "disk") as at:
        subprocess.run(["btrfs", "subvolume", "create", at / "cache"], check=True, capture_output=True)
        yield at


def test_attach_link_chmod_and_hydration(place: Path, server: BlockServer, mounted: Callable[..., Mounted]) -> None:
    (place / "cache").mkdir(exist_ok=True)
    (place / "cache.ipfsfs").mkdir()
    _refuses_exchange(place / "cache", place / "cache.ipfsfs")
    view = mounted(place / "cache", "--gateway", server.url, "--patience", "5")
    path = view.path / "file"
    text = server.add(CONTENT)
    os.symlink(text, path)
    number = path.stat().st_ino
    path.chmod(0o600)
    assert (plain_link(view, path) or "").endswith("&mode=0600")
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    moved = path.rename(path.with_name("moved"))
    assert moved.read_bytes() == CONTENT
    eventually_resident(view, moved)
    st = moved.stat()
    assert (st.st_ino, st.st_mode & 0o777, st.st_mtime_ns) == (number, 0o600, 2_000_000_002)

    for name in ("emptied", "written"):
        os.symlink(text, view.path / name)
    os.truncate(view.path / "emptied", 0)
    with (view.path / "written").open("r+b") as file:
        file.write(b"changed")
    assert (view.path / "emptied").read_bytes() == b""
    assert (view.path / "written").read_bytes() == b"changed" + CONTENT[7:]
    assert sorted(os.listdir(view.path)) == ["emptied", "moved", "written"]
    view.umount()
    assert (view.path / "moved").read_bytes() == CONTENT
    assert sorted(os.listdir(view.path)) == ["emptied", "moved", "written"]


def _refuses_exchange(directory: Path, store: Path) -> None:
    """That the place is what the test is about."""
    one, other = directory / "one", store / "other"
    for path in (one, other):
        path.write_bytes(b"")
    with pytest.raises(OSError, match="Invalid") as caught:
        syscalls.renameat2(-100, os.fsencode(one), -100, os.fsencode(other), syscalls.RENAME_EXCHANGE)
    assert links.cannot_exchange(caught.value)
    for path in (one, other):
        path.unlink()
