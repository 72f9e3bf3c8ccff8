"""Canaries in everything that is secret: neither they nor any digest of them may be found in the store (H36)."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import cid, seal, status, verify, why
from ipfsfs.errors import UsageError
from ipfsfs.unixfs import cid as cids
from ipfsfs.unixfs import file
from tests.support.calls import exchange
from tests.support.filesystems import mounted_image, new_ext4_image
from tests.support.mounted import Mounted
from tests.support.processes import eventually

BY_NAME: Final = (
    "token", "token.tmp", "token~", ".token.swp", "stored_tokens", "stored_tokens.lock", ".stored_tokens", ".netrc",
    "_netrc", ".env", ".env.local", ".git-credentials", ".pypirc", "kaggle.json", "credentials", "credentials.json",
    "id_rsa", "id_ed25519", "id_ed25519_sk", "server.pem", "server.p12", "server.pfx", "vault.kdbx",
    "sandbox/pools/pool.json", "sandbox/pools/deeper/state", "accelerate/default_config.yaml",
    "accelerate/default_config.json", "hub/token", "hub/models--org--name/token",
)  # fmt: skip
"""One of each kind that `caches.huggingface` knows."""

BY_CONTENT: Final = {
    "notes.txt": "my token: hf_{}",
    "config/settings.json": '{{"key": "hf_{}"}}',
    "backup/oauth": "hf_oauth_{}",
    "backup/jwt": "hf_jwt_{}",
    "backup/stored.ini": "[me]\nrefresh_token = {}\n",
    "keys/key": "-----BEGIN OPENSSH PRIVATE KEY-----\n{}\n",
}
"""What gives itself away under any name."""

SCRATCH: Final = ("hub/.locks/x.lock", "hub/models--org--name/blobs/x.incomplete", "xet/logs/x.log", "tmpabcd1234")


def canary(name: str) -> str:
    """40 letters and digits, other ones for each name."""
    return "canary" + hashlib.sha256(name.encode()).hexdigest()[:34]


def forms(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Every form in which something of `data` could have been kept, each with what it is."""
    digest = hashlib.sha256(data).digest()
    leaf = cids.raw_cid(digest)
    root = file.build([(leaf, len(data))]).cid
    yield "sha256", digest
    yield "sha256 as text", digest.hex().encode()
    for what, raw in (("leaf", leaf), ("root", root)):
        yield f"CID of the {what}", raw
        yield f"CID of the {what} as text", cids.to_text(raw).encode()
    yield "git's sha1", hashlib.sha1(b"blob %d\0%b" % (len(data), data)).hexdigest().encode()


def assert_nowhere(mount: Mounted, contents: dict[str, bytes]) -> None:
    """Nothing of these contents is in any file of the store, in whatever form."""
    kept = {path: path.read_bytes() for path in mount.store.rglob("*") if path.is_file()}
    assert {"index", "ledger", "daemon.log"} <= {path.name for path in kept}
    for name, data in contents.items():
        for what, form in [("canary", canary(name).encode()), *forms(data)]:
            for path, held in kept.items():
                assert form not in held, f"{what} of {name} is in {path.relative_to(mount.store)}"


def write(root: Path, contents: dict[str, bytes]) -> None:
    for name, data in contents.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)


def secrets() -> dict[str, bytes]:
    contents = {name: canary(name).encode() for name in (*BY_NAME, *SCRATCH)}
    return contents | {name: text.format(canary(name)).encode() for name, text in BY_CONTENT.items()}


def test_h36_nothing_of_a_secret_is_kept_whatever_is_asked(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """Of those that were there before, and of those that are made in the view, by every command there is."""
    before = tmp_path / "cache"
    contents = secrets()
    write(before, contents)
    (before / "config.json").write_text("content")
    mount = mounted(before)
    write(mount.path / "again", contents)
    contents |= {f"again/{name}": data for name, data in contents.items()}
    ask(mount.store, seal.Question())
    assert os.getxattr(mount.path / "config.json", "ipfs.cid"), "what is no secret is sealed"

    tree = ask(mount.store, cid.Question()).cid
    for name in contents:
        path = mount.path / name
        assert path.read_bytes() == contents[name]
        assert "ipfs.cid" not in os.listxattr(path)
        assert _cid_of(path) is None
        with pytest.raises(UsageError, match="never gets a CID"):
            ask(mount.store, cid.Question(os.fsencode(name)))
        assert ask(mount.store, why.Question(os.fsencode(name))).cid is None
    ask(mount.store, verify.Question())
    ask(mount.store, status.Question())
    assert_nowhere(mount, contents)

    for name in contents:
        (mount.path / name).write_bytes(contents[name] + b"changed")
    assert ask(mount.store, cid.Question()).cid == tree, "the tree's CID tells nothing of them"
    for name, data in contents.items():
        (mount.path / name).write_bytes(data)
    mount.umount()
    for command in ("verify", "fsck"):
        mount.run(command, mount.path)
    assert_nowhere(mount, contents)


def test_h36_what_becomes_a_secret_loses_its_seal_and_every_trace_of_it(mounted: Callable[..., Mounted]) -> None:
    """By a rename, by its directory's new name, by a change beneath, by its content."""
    mount = mounted()
    contents = {name: canary(name).encode() for name in ("renamed", "exchanged", "pools/inside", "beneath")}
    write(mount.path, contents)
    write(mount.path, {"content": canary("content").encode()})
    ask(mount.store, seal.Question())
    assert all(_cid_of(mount.path / name) for name in contents), "until then it is content"

    (mount.path / "renamed").rename(mount.path / "token")
    (mount.path / ".netrc").write_bytes(b"")
    exchange(mount.path / ".netrc", mount.path / "exchanged")
    (mount.path / "sandbox").mkdir()
    (mount.path / "pools").rename(mount.path / "sandbox" / "pools")
    with (mount.path / "content").open("ab") as file:
        file.write(b"\nhf_" + canary("content").encode())
    assert _cid_of(mount.path / "token") is None
    time.sleep(0.5)
    ask(mount.store, seal.Question())
    mount.umount()
    (mount.path / "beneath").rename(mount.path / "id_rsa")
    mount.mount()
    assert ask(mount.store, seal.Question()).failed == 0
    for name in ("token", "sandbox/pools/inside", "id_rsa", "content"):
        assert _cid_of(mount.path / name) is None, name
    mount.umount()
    assert_nowhere(mount, contents)


def _tree(mount: Mounted) -> str | None:
    return ask(mount.store, cid.Question()).cid


def test_h36_a_file_that_holds_no_secret_any_more_is_content(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    """The secret was taken out beneath the view, where nobody tells of it."""
    (tmp_path / "cache").mkdir()
    plain = os.open(tmp_path / "cache", os.O_RDONLY)
    mount = mounted(tmp_path / "cache")
    write(mount.path, {"notes.txt": b"my token: hf_" + canary("notes").encode(), "config.json": b"{}"})
    without = _tree(mount)
    beneath = os.open("notes.txt", os.O_WRONLY | os.O_TRUNC, dir_fd=plain)
    os.write(beneath, b"no token")
    os.close(beneath)
    assert _tree(mount) not in (None, without), "it is part of its directory's CID"
    assert _cid_of(mount.path / "notes.txt")
    os.close(plain)


@pytest.fixture
def own_disk(tmp_path: Path) -> Iterator[Path]:
    """An ext4 on which nobody else makes files: it gives an inode that is free to the next file."""
    with mounted_image(new_ext4_image(tmp_path / "image"), tmp_path / "disk") as disk:
        yield disk


@pytest.mark.root
def test_h36_an_inode_that_held_a_secret_says_nothing_of_the_next_file_that_has_it(
    own_disk: Path, mounted: Callable[..., Mounted]
) -> None:
    (own_disk / "cache").mkdir()
    plain = os.open(own_disk / "cache", os.O_RDONLY)
    mount = mounted(own_disk / "cache")
    write(mount.path, {"notes.txt": b"my token: hf_" + canary("notes").encode()})
    without = _tree(mount)
    ino = (mount.path / "notes.txt").stat().st_ino
    os.unlink("notes.txt", dir_fd=plain)
    eventually(lambda: _made_with(plain, ino), "its inode is given to another file")
    assert _tree(mount) not in (None, without)
    os.close(plain)


def _made_with(plain: int, ino: int) -> bool:
    """Make a file; it stays if it has this inode."""
    os.close(os.open("config.json", os.O_WRONLY | os.O_CREAT, dir_fd=plain))
    if os.stat("config.json", dir_fd=plain).st_ino == ino:
        return True
    os.unlink("config.json", dir_fd=plain)
    return False


def test_h36_a_secret_stays_one_over_what_does_not_change_its_content(mounted: Callable[..., Mounted]) -> None:
    """Its directory has a CID all the while: the file is not looked at again."""
    mount = mounted()
    write(mount.path, {"notes.txt": b"my token: hf_" + canary("notes").encode(), "config.json": b"{}"})
    without = _tree(mount)
    (mount.path / "notes.txt").chmod(0o600)
    assert _cid_of(mount.path) == without
    (mount.path / "notes.txt").rename(mount.path / "other.txt")
    assert _cid_of(mount.path) == without
    os.setxattr(mount.path / "other.txt", "user.note", b"x")
    (mount.path / "link.txt").hardlink_to(mount.path / "other.txt")
    assert _cid_of(mount.path) == without


def _cid_of(path: Path) -> str | None:
    try:
        return os.getxattr(path, "ipfs.cid").decode()
    except OSError:
        return None
