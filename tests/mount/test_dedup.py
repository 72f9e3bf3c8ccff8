"""The same content is kept once: by shared blocks where the filesystem can, else as names of one inode on request."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.beneath import content
from tests.support.elsewhere import eventually_resident
from tests.support.filesystems import mounted_image, new_image
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually
from tests.support.promised import download, is_sealed

pytestmark = pytest.mark.root

MIB: Final = 1 << 20
DATA: Final = content(1, 6 * MIB)
NAME: Final = hashlib.sha256(DATA).hexdigest()
SHARING: Final = ("xfs", "btrfs")
_FIEMAP: Final = 0xC020660B


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a directory on an image of a filesystem."""
    with ExitStack() as images:

        def make(kind: str) -> Path:
            at = images.enter_context(mounted_image(new_image(tmp_path / kind, kind, 512), tmp_path / "at"))
            (at / "cache").mkdir()
            return at / "cache"

        yield make


@pytest.fixture
def on(place: Callable[[str], Path], mounted: Callable[..., Mounted]) -> Iterator[Callable[[str], Mounted]]:
    """Mounts a view over a directory of an image of a filesystem."""
    made: list[Mounted] = []

    def mount(kind: str) -> Mounted:
        made.append(mounted(place(kind)))
        return made[-1]

    yield mount
    for view in made:
        if view.mounted:
            view.umount()


def _blobs(view: Mounted, repo: str) -> Path:
    directory = view.path / "hub" / repo / "blobs"
    directory.mkdir(parents=True)
    return directory


def _dedup(path: Path, *options: str) -> dict[str, Any]:
    (found,) = json.loads(ipfsfs("dedup", path, "--json", *options).stdout)
    return dict(found)


def _places(path: Path) -> list[tuple[int, int]]:
    """Where the blocks of a plain file lie on disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        buffer = bytearray(struct.pack("=QQIIII", 0, 1 << 40, 0, 0, 200, 0)) + bytes(200 * 56)
        fcntl.ioctl(file, _FIEMAP, buffer)
        count = struct.unpack_from("=QQIIII", buffer)[3]
        return [struct.unpack_from("=QQQ", buffer, 32 + 56 * i)[1:] for i in range(count)]


def test_on_ext4_blobs_of_one_sha256_become_one_inode_on_request(on: Callable[[str], Mounted]) -> None:
    view = on("ext4")
    one, two = (download(_blobs(view, f"models--o--{n}"), DATA, NAME) for n in "ab")
    (view.path / "mine").write_bytes(DATA)
    view.seal()
    told = _dedup(view.path, "--dry-run")
    assert (told["copies"], told["linked"], told["saved"]) == (2, 1, len(DATA))
    assert one.stat().st_ino != two.stat().st_ino
    free = os.statvfs(view.path).f_bavail
    with two.open("rb") as reader:
        assert reader.read(10) == DATA[:10]
        done = _dedup(view.path)
        assert (done["linked"], done["shared"], done["saved"]) == (1, 0, len(DATA))
        assert [item["path"] for item in done["left"]] == [str(view.path / "mine")], (
            "what a user made stays a file of its own"
        )
        assert reader.read() == DATA[10:]
    for path in (one, two):
        with path.open("rb") as file:
            assert file.read() == DATA
            assert os.fstat(file.fileno()).st_nlink == 2
    assert one.stat().st_ino == two.stat().st_ino
    assert is_sealed(one)
    assert is_sealed(two)
    eventually(lambda: os.statvfs(view.path).f_bavail > free, "the blocks are given back", 5)
    assert _dedup(view.path)["saved"] == 0
    one.unlink()
    assert two.read_bytes() == DATA
    view.seal()
    assert ipfsfs("verify", view.path).returncode == 0
    view.umount()
    assert two.read_bytes() == DATA
    assert not [name for name in os.listdir(two.parent) if name != NAME]


def test_what_is_open_for_writing_or_differs_stays(on: Callable[[str], Mounted]) -> None:
    view = on("ext4")
    one, two = (download(_blobs(view, f"models--o--{n}"), DATA, NAME) for n in "ab")
    view.seal()
    with two.open("r+b") as writer:
        found = _dedup(view.path)
        assert found["linked"] == 0
        writer.write(b"changed")
    assert one.read_bytes() == DATA
    assert two.read_bytes() == b"changed" + DATA[7:]
    two.chmod(0o600)
    two.write_bytes(DATA)
    view.seal()
    found = _dedup(view.path)
    assert [item["why"] for item in found["left"]] == ["its owner, group or mode is another"]
    assert two.stat().st_nlink == 1
    view.expect_logged.append("broken promise")


@pytest.mark.parametrize("kind", SHARING)
def test_where_blocks_can_be_shared_files_of_one_content_share_theirs_by_themselves(
    on: Callable[[str], Mounted], kind: str
) -> None:
    view = on(kind)
    one, two = view.path / "one", download(_blobs(view, "models--o--n"), DATA, NAME)
    one.write_bytes(DATA)
    view.seal()
    before = one.stat(), two.stat()
    eventually(lambda: _dedup(view.path, "--dry-run")["saved"] == 0, "they share their blocks", 30)
    assert _dedup(view.path)["saved"] == 0
    assert (one.stat().st_mtime_ns, two.stat().st_mtime_ns) == (before[0].st_mtime_ns, before[1].st_mtime_ns)
    assert is_sealed(one), "no seal was touched"
    assert is_sealed(two), "no seal was touched"
    with one.open("r+b") as file:
        file.write(b"mine")
    assert two.read_bytes() == DATA
    view.umount()
    assert one.read_bytes() == b"mine" + DATA[4:]
    places = _places(one), _places(two)
    assert set(places[0]) & set(places[1]) or _overlap(*places) > 5 * MIB


def _overlap(one: list[tuple[int, int]], two: list[tuple[int, int]]) -> int:
    return sum(max(0, min(a + n, b + m) - max(a, b)) for a, n in one for b, m in two)


@pytest.mark.parametrize("kind", SHARING)
def test_dedup_shares_what_was_there_before(on: Callable[[str], Mounted], kind: str) -> None:
    view = on(kind)
    view.umount()
    (view.path / "one").write_bytes(DATA)
    (view.path / "two").write_bytes(DATA)
    (view.path / "other").write_bytes(DATA[: 4 * MIB] + content(2, 3 * MIB))
    view.mount()
    view.seal()
    found = _dedup(view.path)
    assert (found["copies"], found["shared"], found["linked"]) == (1, 1, 0)
    assert found["below"] == 4 * MIB
    view.umount()
    assert _overlap(_places(view.path / "one"), _places(view.path / "two")) == len(DATA)
    assert (view.path / "two").read_bytes() == DATA


@pytest.mark.parametrize("kind", SHARING)
def test_placeholders_of_content_that_is_here_share_its_blocks(on: Callable[[str], Mounted], kind: str) -> None:
    view = on(kind)
    one, copies = view.path / "one", [view.path / "first", view.path / "second"]
    one.write_bytes(DATA)
    view.seal()
    with ExitStack() as readers:
        for copy in copies:
            os.symlink(f"ipfs://{os.getxattr(one, 'ipfs.cid').decode()}?size={len(DATA)}", copy)
            readers.enter_context(copy.open("rb")).read(10)
        for copy in copies:
            assert copy.read_bytes() == DATA
            eventually_resident(view, copy)
    view.umount()
    compared = sum(int(count) for count in re.findall(r"shares (\d+) bytes with", view.log()))
    assert compared < MIB, "they were written once only"
    for copy in copies:
        assert _overlap(_places(one), _places(copy)) > 5 * MIB
        assert copy.read_bytes() == DATA


def test_what_was_done_in_one_view_is_told_though_the_next_cannot_be_asked(
    mounted: Callable[..., Mounted], tmp_path: Path
) -> None:
    first = mounted()
    second = mounted(tmp_path / "second", "--store", str(tmp_path / "store of second"))
    (first.path / "file").write_bytes(DATA)
    first.seal()
    socket = second.store / "control.sock"
    socket.rename(second.store / "aside")
    try:
        done = ipfsfs("dedup", check=False)
    finally:
        (second.store / "aside").rename(socket)
    assert done.returncode != 0
    assert done.stdout.startswith(f"{first.path}:\n1 file, ")
    assert str(second.store) in done.stderr
