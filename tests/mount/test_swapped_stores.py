"""Root's view of a directory whose parent another user owns: nothing of root's can be led elsewhere."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon import mounts
from ipfsfs.errors import MountError
from ipfsfs.fuse import mountpoint
from tests.support.mounted import Mounted, clear, environment, ipfsfs
from tests.support.processes import eventually, guardians_of
from tests.support.users import User

pytestmark = pytest.mark.root

ANNA: Final = User(4_001)
SWAP: Final = "do(lambda: os.rename({store!r}, {away!r}))\ndo(lambda: os.symlink({victim!r}, {store!r}))"


def _victim(at: Path) -> Path:
    """A directory of root's, closed to others, with all the names that a store has."""
    victim = at / "victim"
    (victim / "log").mkdir(parents=True)
    victim.chmod(0o700)
    for name in ("index", "index-wal", "index-journal", "ledger", "ledger-wal", "lock", "log/daemon.log"):
        (victim / name).write_text("something of root's")
    return victim


def _contents(directory: Path) -> dict[str, str]:
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def test_the_store_of_roots_view_lies_where_the_user_cannot_replace_it(open_to_all: Path, tmp_path: Path) -> None:
    home = open_to_all / "home"
    cache = home / "cache"
    cache.mkdir(parents=True)
    for path in (home, cache):
        os.chown(path, ANNA.uid, ANNA.uid)
    env = environment(XDG_STATE_HOME=str(tmp_path / "state"))
    try:
        ipfsfs("mount", cache, "--allow-other", env=env)
        view = mounts.view_at(cache)
        assert view is not None
        assert view.store.parent == tmp_path / "state" / "ipfsfs"
        assert os.listdir(home) == ["cache"]
        assert "sealed" in ipfsfs("status", cache, env=env).stdout
        ipfsfs("umount", cache, env=env)
        assert ipfsfs("fsck", cache, env=env).returncode == 0, "commands find it there again"
    finally:
        clear(cache)


def test_a_store_that_another_user_could_replace_is_refused_with_what_to_do(open_to_all: Path) -> None:
    home = open_to_all / "home"
    (home / "cache").mkdir(parents=True)
    os.chown(home, ANNA.uid, ANNA.uid)
    try:
        done = ipfsfs("mount", home / "cache", "--store", home / "store", check=False)
    finally:
        clear(home / "cache")
    assert done.returncode == 6
    assert f"user {ANNA.uid} owns {home}, and could put something else in its place" in done.stderr
    assert "--store" in done.stderr
    assert os.listdir(home) == ["cache"]


@pytest.mark.parametrize("end", ["umount", "kill"])
def test_a_store_that_is_replaced_while_mounted_leads_to_no_other_directory(
    open_to_all: Path, mounted: Callable[..., Mounted], end: str
) -> None:
    """Even where root lets others write to the parent after mounting: index, ledger, log, lock and socket stay those of
    the store that was opened, and commands refuse to follow."""
    shared, victim = open_to_all / "shared", _victim(open_to_all)
    for directory in (shared, shared / "cache"):
        directory.mkdir()
        directory.chmod(0o755)
    before = _contents(victim)
    mount = mounted(shared / "cache", "--allow-other")
    (mount.path / "file").write_bytes(b"content")
    mount.seal()
    shared.chmod(0o777)
    away = shared / "away"
    swap = SWAP.format(store=str(mount.store), away=str(away), victim=str(victim))
    assert ANNA.run(swap, open_to_all) == [None, None]

    (mount.path / "file").write_bytes(b"other content")
    refused = mount.run("seal", mount.path, check=False)
    assert refused.returncode == 6
    assert "could put something else in its place" in refused.stderr
    mount.expect_logged += ["the guardian was ended", "the view goes on without checks and seals"]
    for guardian in guardians_of(mount.pid):
        os.kill(guardian, signal.SIGKILL)
    log = away / "log" / "daemon.log"
    eventually(lambda: "the guardian was ended" in log.read_text(), "the log goes on where it was")
    eventually(lambda: guardians_of(mount.pid) != [], "there is another guardian")
    (away / "index").unlink()
    (mount.path / "file").write_bytes(b"something new to seal")
    eventually(lambda: "index was deleted" in log.read_text(), "the index is discarded")
    if end == "kill":
        mount.kill()
    else:
        os.kill(mount.pid, signal.SIGTERM)
        eventually(lambda: not mount.mounted, "the path is the plain directory")
    eventually(lambda: guardians_of(mount.pid) == [], "the guardian is gone")
    assert _contents(victim) == before

    mount.store.unlink()
    away.rename(mount.store)
    shared.chmod(0o755)


def test_a_view_is_put_over_the_directory_that_was_found_and_no_other(open_to_all: Path) -> None:
    """A user who swaps a directory above it for a symlink does not get a mount over something of root's."""

    theirs, roots = open_to_all / "theirs", open_to_all / "roots"
    for above in (theirs, roots):
        (above / "cache").mkdir(parents=True)
    found = os.open(theirs / "cache", os.O_PATH)
    try:
        theirs.rename(open_to_all / "away")
        theirs.symlink_to(roots)
        device = mountpoint.mount(theirs / "cache", "nothing", allow_other=False, read_only=True, directory=found)
    finally:
        os.close(found)
    try:
        assert mounts.view_at(open_to_all / "away" / "cache") is not None
        assert mounts.view_at(roots / "cache") is None
        with pytest.raises(MountError, match="Too many levels of symbolic links"):
            mountpoint.unmount(theirs / "cache", lazy=True)
        mountpoint.unmount(open_to_all / "away" / "cache", lazy=True)
    finally:
        os.close(device)
