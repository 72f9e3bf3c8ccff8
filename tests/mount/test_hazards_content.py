"""Hazards of content, users and places (H21 to H39): rules of docs/semantics.md that no other test holds, by real
mounts."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ipfsfs.daemon import placing
from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import cid, seal, verify, why
from ipfsfs.errors import UsageError
from tests.support.calls import cid_of, download, plain_directory, refuses
from tests.support.mounted import Mounted
from tests.support.processes import eventually

pytestmark = pytest.mark.filesystem


def test_h21_an_open_of_what_another_process_has_open_counts_as_access(mounted: Callable[..., Mounted]) -> None:
    """Of which the filesystem judges the next open anew, for its mode was changed meanwhile."""
    path = mounted().path / "model"
    path.write_bytes(b"content")
    time.sleep(0.02)  # times are as coarse as that
    with path.open("rb") as other:
        assert other.read() == b"content"
        eventually(lambda: path.stat().st_atime_ns > path.stat().st_mtime_ns, "the first access is noted")
        path.chmod(0o600)
        changed = path.stat().st_ctime_ns
        assert path.stat().st_atime_ns <= changed
        time.sleep(0.02)
        os.close(os.open(path, os.O_RDONLY))
        eventually(lambda: path.stat().st_atime_ns > changed, "the access time follows")


def test_h23_what_breaks_its_promise_is_gone_before_the_rename_fails(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    name = hashlib.sha256(b"as promised").hexdigest()
    mount.expect_logged += [f"{name}: sha256 is", f"{name}: broken promise"]
    blobs = mount.path / "hub" / "models--a--b" / "blobs"
    refuses(errno.EIO, lambda: download(mount, "models--a--b", name, b"not as promised"))
    assert os.listdir(blobs) == [], "a client that copies instead finds nothing to copy"
    (kept,) = mount.status()["quarantine"]
    assert (mount.store / "quarantine" / kept["stored_as"]).read_bytes() == b"not as promised"
    assert download(mount, "models--a--b", name, b"as promised").read_bytes() == b"as promised"


def test_h24_what_only_looks_like_a_promise_is_none(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    digest = hashlib.sha256(b"x").hexdigest()
    mount.expect_logged += [f"{digest}: sha256 is", "the same bytes came again", f"{digest}: broken promise"]
    download(mount, "models--a--b", digest[:40], b"a mirror's sha1")
    for place, content in (("hub/blobs/ab", b"by its Xet hash"), ("datasets/downloads", b"by its address")):
        (mount.path / place).mkdir(parents=True)
        unfinished = mount.path / place / f"{digest}.incomplete"
        unfinished.write_bytes(content)
        unfinished.rename(mount.path / place / digest)
        assert (mount.path / place / digest).read_bytes() == content
    mount.seal()
    refuses(errno.EIO, lambda: download(mount, "models--a--b", digest, b"a proxy's hash"))
    again = download(mount, "models--a--b", digest, b"a proxy's hash")
    mount.seal()
    assert again.read_bytes() == b"a proxy's hash", "the same bytes a second time: the name is no promise"
    assert len(mount.status()["quarantine"]) == 1


@pytest.mark.root
def test_h34_files_belong_to_who_makes_them_and_permissions_hold(
    open_to_all: Path, mounted: Callable[..., Mounted]
) -> None:
    cache = open_to_all / "cache"
    cache.mkdir()
    cache.chmod(0o777)
    mount = mounted(cache, "--allow-other")

    def shell(script: str, uid: int, *groups: int, umask: int = 0o027) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["/bin/sh", "-c", script],
            cwd=mount.path, user=uid, group=uid, extra_groups=groups, umask=umask,
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    made = shell("mkdir mine && echo private >mine/file && ln -s file mine/link && mkfifo mine/fifo", 1001)
    assert made.returncode == 0, made.stderr
    for name, mode in (("mine", 0o750), ("mine/file", 0o640), ("mine/fifo", 0o640)):
        st = (cache / name).lstat()
        assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (1001, 1001, mode), name
    assert (cache / "mine" / "link").lstat().st_uid == 1001
    assert shell("cat mine/file", 1002).returncode != 0
    assert shell("cat mine/file", 1002, 1001).stdout == "private\n", "by a supplementary group"
    assert shell("echo x >mine/file", 1002, 1001).returncode != 0

    (cache / "shared").mkdir()
    os.chown(cache / "shared", 0, 1003)
    (cache / "shared").chmod(0o2775)
    assert shell("mkdir shared/below && echo >shared/below/file", 1002, 1003, umask=0o002).returncode == 0
    for name, mode in (("shared/below", 0o2775), ("shared/below/file", 0o664)):
        st = (cache / name).stat()
        assert (st.st_uid, st.st_gid, st.st_mode & 0o7777) == (1002, 1003, mode), name

    setuid = "cp /bin/true suid && chmod 4755 suid && test -u suid && echo >>suid && ! test -u suid"
    assert shell(setuid, 1001).returncode == 0, "who writes sees that set-user-id is gone"
    assert not (cache / "suid").stat().st_mode & 0o4000, "a write takes set-user-id away"
    status = Path(f"/proc/{mount.pid}/status").read_text()
    effective = int(re.findall(r"CapEff:\s+(\w+)", status)[0], 16)
    assert not effective & (1 << 24 | 1 << 4), "neither past quota (CAP_SYS_RESOURCE) nor keeping bits (CAP_FSETID)"


def test_h35_a_directory_swapped_for_a_link_takes_the_daemon_nowhere(
    tmp_path: Path, mounted: Callable[..., Mounted]
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"not of this tree")
    with plain_directory(tmp_path / "cache") as beneath:
        mount = mounted(tmp_path / "cache")
        (mount.path / "folder").mkdir()
        (mount.path / "folder" / "file").write_bytes(b"of this tree")
        mount.seal()
        os.rename("folder", "aside", src_dir_fd=beneath, dst_dir_fd=beneath)
        os.symlink(outside, "folder", dir_fd=beneath)
        with pytest.raises(UsageError):
            ask(mount.store, why.Question(b"folder/file"))
        with pytest.raises(UsageError):
            ask(mount.store, cid.Question(b"folder/file"))
        assert ask(mount.store, seal.Question(b"folder")).files == 0
        assert ask(mount.store, verify.Question((b"folder",))).files == 0
        for path in (b"folder/file", b"../outside", b"/etc"):
            with pytest.raises(UsageError):
                ask(mount.store, verify.Question((path,)))
            with pytest.raises(UsageError):
                ask(mount.store, seal.Question(path))
        assert mount.status()["sealed"] == 1
        os.unlink("folder", dir_fd=beneath)
        time.sleep(1.5)  # the kernel may believe in a name for a second


def test_h36_nothing_of_a_secret_is_in_the_store_or_the_log(mounted: Callable[..., Mounted]) -> None:
    mount = mounted()
    token = b"hf_" + b"c4n4ry" * 6
    secret = {
        "token": token,
        "stored_tokens": b"[a]\nhf_token = " + token,
        "notes.txt": b"mine: " + token,
        "sandbox/pools/lease": b"canary of a machine" * 40,
        "accelerate/default_config.yaml": b"canary: an address\n" * 40,
        "id_ed25519": b"canary of a key" * 40,
        "hub/.locks/models--a--b/x.lock": b"canary of a lock" * 40,
        "hub/models--a--b/blobs/abc.incomplete": b"canary of a download" * 4_000,
        "xet/logs/xet.log": b"canary of a log" * 40,
    }
    for name, content in secret.items():
        (mount.path / name).parent.mkdir(parents=True, exist_ok=True)
        (mount.path / name).write_bytes(content)
    (mount.path / "content").write_bytes(b"no secret")
    os.rename(mount.path / "token", mount.path / "token.tmp")
    os.rename(mount.path / "token.tmp", mount.path / "token")
    mount.seal()
    assert cid_of(mount.path / "content")
    assert [name for name in secret if cid_of(mount.path / name)] == []
    mount.run("verify", mount.path)
    mount.umount()
    kept = b"".join(path.read_bytes() for path in mount.store.rglob("*") if path.is_file())
    assert hashlib.sha256(b"no secret").digest() in kept, "this test would not notice a digest"
    for name, content in secret.items():
        assert hashlib.sha256(content).digest() not in kept, name
        assert content[:40] not in kept, name
    assert token not in kept


@pytest.mark.root
def test_h39_where_the_store_cannot_be_beside_it_lies_elsewhere_and_everything_goes_on(
    volume: Path, tmp_path: Path, mounted: Callable[..., Mounted], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over the root of a filesystem: quarantine is then a copy. And over one that is read-only."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    store = placing.default_store(volume)
    assert store.parent == tmp_path / "state" / "ipfsfs"
    mount = mounted(volume, "--store", str(store))
    assert not (volume / ".ipfsfs").exists()
    name = hashlib.sha256(b"as promised").hexdigest()
    mount.expect_logged.append(f"{name}: sha256 is")
    refuses(errno.EIO, lambda: download(mount, "models--a--b", name, b"not as promised"))
    (kept,) = mount.status()["quarantine"]
    assert (store / "quarantine" / kept["stored_as"]).read_bytes() == b"not as promised"
    download(mount, "models--a--b", name, b"as promised")
    mount.umount()

    subprocess.run(["mount", "-o", "remount,ro", volume], check=True)
    mount.mount()
    assert (volume / "hub" / "models--a--b" / "blobs" / name).read_bytes() == b"as promised"
    refuses(errno.EROFS, lambda: (volume / "new").touch())
    mount.umount()
    subprocess.run(["mount", "-o", "remount,rw", volume], check=True)
