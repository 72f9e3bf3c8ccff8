"""Opening the store's directory: nobody else can lead us to another one."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.errors import StoreError
from ipfsfs.store.directory import UnsafePlace, is_safe, open_directory
from ipfsfs.store.layout import Store

ANNA: Final = 4_001


def _opened(path: Path, *, create: bool = False) -> Path:
    """The directory that is found at a path."""
    fd = open_directory(path, create=create)
    try:
        return Path(os.readlink(f"/proc/self/fd/{fd}"))
    finally:
        os.close(fd)


def test_a_path_leads_where_the_kernel_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "c").symlink_to("a/../a/./b")
    (tmp_path / "d").symlink_to(tmp_path / "c")
    monkeypatch.chdir(tmp_path / "a")
    for path in (tmp_path / "a" / "b", tmp_path / "c", tmp_path / "d", Path("b"), Path("../d/../b"), Path("/proc/..")):
        assert _opened(path) == path.resolve()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "file").touch()
    for name, error in (("loop", "Too many levels"), ("file", "Not a directory"), ("none/x", "No such file")):
        with pytest.raises(OSError, match=error):
            open_directory(tmp_path / name)


def test_what_is_missing_is_made_for_us_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        assert _opened(tmp_path / "a" / "b" / "c", create=True) == tmp_path / "a" / "b" / "c"
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700] * 2


def _owned_by_anna(path: Path) -> None:
    os.chown(path, ANNA, ANNA)


def _sticky_and_owned_by_anna(path: Path) -> None:
    path.chmod(0o1777)
    os.chown(path, ANNA, ANNA)


def _linked_by_anna(path: Path) -> None:
    path.rename(path.with_name("real"))
    path.symlink_to("real")
    path.parent.chmod(0o1777)
    os.chown(path, ANNA, ANNA, follow_symlinks=False)


@pytest.mark.root
@pytest.mark.parametrize(
    "spoil",
    [
        _owned_by_anna,
        _linked_by_anna,
        lambda path: path.chmod(0o777),
        lambda path: path.chmod(0o770),
        _sticky_and_owned_by_anna,
        lambda path: subprocess.run(["setfacl", "-m", f"u:{ANNA}:rwx", path], check=True),
    ],
    ids=["owned", "linked", "world-writable", "group-writable", "sticky-but-owned", "acl"],
)
@pytest.mark.parametrize("there", [False, True], ids=["new", "there"])
def test_roots_store_does_not_lie_where_another_user_could_replace_it(
    tmp_path: Path, spoil: Callable[[Path], object], there: bool
) -> None:
    above = tmp_path / "above"
    store = above / "below" / "store"
    (store if there else above).mkdir(parents=True)
    spoil(above)
    assert not is_safe(store)
    with pytest.raises(UnsafePlace, match="root's store cannot lie at") as caught:
        Store.open(store)
    assert (
        str(above.resolve()) in str(caught.value) or "real" in str(caught.value) or str(tmp_path) in str(caught.value)
    )
    assert "/var/lib/ipfsfs" in caught.value.hint
    assert (above / "below").exists() == there, "nothing was made"


@pytest.mark.root
def test_a_sticky_directory_is_good_enough(tmp_path: Path) -> None:
    above = tmp_path / "above"
    above.mkdir()
    above.chmod(0o777)
    with pytest.raises(UnsafePlace) as caught:
        open_directory(above / "store")
    assert f"chmod +t {above}" in caught.value.hint
    above.chmod(0o1777)
    assert is_safe(above / "store")
    Store.open(above / "store").close()
    os.chown(above / "store", ANNA, ANNA)
    with pytest.raises(StoreError):
        Store.open(above / "store")


@pytest.mark.root
def test_an_ordinary_users_store_may_lie_where_a_group_writes() -> None:
    """What it could be led to is that user's own."""
    with tempfile.TemporaryDirectory(prefix="ipfsfs-shared-") as name:
        shared = Path(name)
        shared.chmod(0o777)
        os.seteuid(ANNA)
        try:
            Store.open(shared / "store").close()
        finally:
            os.seteuid(0)
        assert (shared / "store" / "format").stat().st_uid == ANNA
