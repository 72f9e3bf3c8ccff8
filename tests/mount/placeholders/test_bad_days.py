"""Placeholders when nodes stop, daemons die, content lies, and the store is elsewhere."""

from __future__ import annotations

import hashlib
import mmap
import os
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from ipfsfs.unixfs import cid
from tests.support.dags import raw
from tests.support.elsewhere import Content, Elsewhere, eventually_resident, plain_link
from tests.support.gateways import FileOfLeaves, gateway
from tests.support.mounted import Mounted, ipfsfs
from tests.support.processes import eventually

pytestmark = pytest.mark.kubo

CONTENT = os.urandom(6_000_000)
PAGE = 4096


def test_h44_a_read_ends_in_eio_after_patience_and_the_log_says_why(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT, "second": CONTENT[::-1]}, "--patience", "4")
    (at / "local").write_bytes(b"local")
    elsewhere.node.stop()
    try:
        began = time.monotonic()
        with pytest.raises(OSError, match="Input/output error"):
            (at / "file").read_bytes()
        assert 3.5 < time.monotonic() - began < 14
        assert (at / "local").read_bytes() == b"local"
        began = time.monotonic()
        with pytest.raises(OSError, match="Input/output error"):
            (at / "second").read_bytes()
        assert time.monotonic() - began < 2, "that nothing answers is noticed once"
    finally:
        elsewhere.node.start()
    complaints = view.complaints()
    assert any("tree/file" in line and "127.0.0.1" in line for line in complaints), complaints
    view.expect_logged += ["tree/(file|second)"]
    deadline = time.monotonic() + 30
    while True:
        try:
            assert (at / "file").read_bytes() == CONTENT
            break
        except OSError:
            assert time.monotonic() < deadline, "it comes by itself when the node is back"
            time.sleep(0.2)


def test_what_came_before_is_read_where_nothing_answers(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    file = FileOfLeaves([os.urandom(300_000), os.urandom(200_000), os.urandom(100_000)])
    (tmp_path / "view").mkdir()
    with gateway(file.blocks(0)) as origin:
        view = mounted(tmp_path / "view", "--gateway", origin, "--hub", "none", "--patience", "3")
        at = view.path / "file"
        at.symlink_to(file.link)
        assert _part(at, 0) == file.content[:10]
        eventually(lambda: "ipfsfs_loading_files 0" in ipfsfs("metrics", view.path).stdout, "nothing is fetched")
    view.expect_logged += ["file"]
    with pytest.raises(OSError, match="Input/output error"):
        _part(at, 350_000)
    eventually(lambda: "ipfsfs_loading_files 0" in ipfsfs("metrics", view.path).stdout, "nothing is fetched")
    began = time.monotonic()
    assert _page(at, 286_720) == file.content[286_720 : 286_720 + PAGE]
    with pytest.raises(OSError, match="Input/output error"):
        _part(at, 550_000)
    assert time.monotonic() - began < 2, "a leaf that was here is no sign that an origin is back"
    view.umount()


def test_where_no_origin_is_set_a_read_fails_at_once(mounted: Callable[..., Mounted], tmp_path: Path) -> None:
    (tmp_path / "view").mkdir()
    view = mounted(tmp_path / "view", "--hub", "none")
    view.expect_logged += ["small: ", "large: "]
    (view.path / "small").symlink_to(f"ipfs://{cid.to_text(raw(b'small'))}?size=5")
    (view.path / "large").symlink_to(FileOfLeaves([b"1" * 300, b"2" * 300]).link)
    began = time.monotonic()
    for name in ("small", "large"):
        with pytest.raises(OSError, match="Input/output error"):
            (view.path / name).read_bytes()
    assert time.monotonic() - began < 5
    assert "none is set" in view.log()
    view.umount()


def _page(file: Path, offset: int) -> bytes:
    """A page, by one request: what the kernel reads into its cache it asks for twice where that fails."""
    fd = os.open(file, os.O_RDONLY | os.O_DIRECT)
    try:
        with mmap.mmap(-1, PAGE) as data:
            assert os.preadv(fd, [data], offset) == PAGE
            return data[:]
    finally:
        os.close(fd)


def _part(file: Path, offset: int) -> bytes:
    """Ten bytes, by an open of their own."""
    with file.open("rb") as opened:
        return os.pread(opened.fileno(), 10, offset)


def test_a_node_that_comes_back_within_patience_costs_no_error(elsewhere: Elsewhere) -> None:
    _, at = elsewhere.attached({"file": CONTENT})
    elsewhere.node.stop()
    back = threading.Timer(2.0, elsewhere.node.start)
    back.start()
    try:
        assert (at / "file").read_bytes() == CONTENT
    finally:
        back.join()


def test_lookups_and_other_reads_go_on_while_reads_wait(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({f"file{n}": CONTENT[n:] for n in range(30)}, "--patience", "8")
    view.expect_logged += ["tree/file"]
    (at / "local").write_bytes(b"local")
    elsewhere.node.stop()
    waiting = [threading.Thread(target=_read_in_vain, args=(at / f"file{n}",)) for n in range(30)]
    try:
        for thread in waiting:
            thread.start()
        time.sleep(0.5)
        for n in range(50):
            began = time.monotonic()
            assert (at / "local").read_bytes() == b"local"
            (at / f"new{n}").write_bytes(b"new")
            assert len(os.listdir(at)) == 32 + n
            assert time.monotonic() - began < 1
        for thread in waiting:
            thread.join(30)
        assert not any(thread.is_alive() for thread in waiting)
    finally:
        elsewhere.node.start()


def _read_in_vain(path: Path) -> None:
    with pytest.raises(OSError, match="Input/output error"):
        path.read_bytes()


def test_a_killed_daemon_leaves_links_and_the_next_view_goes_on(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT, "second": CONTENT[::-1]})
    fd = os.open(at / "file", os.O_RDONLY)
    os.read(fd, 10)
    view.kill()
    with suppress(OSError):
        os.close(fd)
    for name in ("file", "second"):
        there = at / name
        assert there.is_symlink() or there.read_bytes() in (CONTENT, CONTENT[::-1])
    view.mount()
    assert (at / "file").read_bytes() == CONTENT
    assert (at / "second").read_bytes() == CONTENT[::-1]


def test_what_has_come_is_not_fetched_again_after_a_remount(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": os.urandom(40 << 20)}, "--patience", "2")
    with (at / "file").open("rb") as file:
        start = file.read(100_000)
    time.sleep(0.5)
    view.remount()
    elsewhere.node.stop()
    try:
        if plain_link(view, at / "file") is not None:
            with (at / "file").open("rb") as file:
                assert file.read(100_000) == start
            view.expect_logged.append("tree/file")
    finally:
        elsewhere.node.start()


def test_with_the_store_on_another_filesystem_files_are_copied_into_place(elsewhere: Elsewhere, tmp_path: Path) -> None:
    store = Path("/dev/shm") / f"ipfsfs-{os.getpid()}-{tmp_path.name}"
    view, at = elsewhere.attached({"file": CONTENT}, "--store", str(store))
    assert (at / "file").read_bytes() == CONTENT
    eventually_resident(view, at / "file")
    assert (at / "file").read_bytes() == CONTENT
    assert os.listdir(at) == ["file"]


def test_a_name_that_promises_other_content_is_not_filled(elsewhere: Elsewhere) -> None:
    promised = hashlib.sha256(b"what the name promises").hexdigest()
    root = elsewhere.publish({f"models--o--n/blobs/{promised}": CONTENT})
    view = elsewhere.view()
    at = view.path / "hub"
    ipfsfs("attach", root, at)
    view.expect_logged.append("its name promises another")
    blob = at / "models--o--n" / "blobs" / promised
    with blob.open("rb") as file:
        file.read()
    deadline = time.monotonic() + 10
    while "its name promises another" not in view.log():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    with pytest.raises(OSError, match="Input/output error"):
        blob.read_bytes()
    assert plain_link(view, blob) is not None


def test_umount_leaves_links_for_what_is_not_here_and_a_new_mount_has_it(elsewhere: Elsewhere) -> None:
    view, at = elsewhere.attached({"file": CONTENT, "second": b"second"})
    assert (at / "second").read_bytes() == b"second"
    eventually_resident(view, at / "second")
    view.umount()
    assert os.readlink(at / "file").startswith("ipfs://")
    assert (at / "second").read_bytes() == b"second"
    other = elsewhere.view()
    other.umount()
    os.rename(at, other.path / "tree")
    other.mount()
    assert (other.path / "tree" / "file").read_bytes() == CONTENT


def test_rsync_carries_the_links_and_a_view_over_the_copy_has_the_files(elsewhere: Elsewhere) -> None:
    content: Content = {"file": CONTENT, "below/second": b"second", "link": "below/second"}
    view, at = elsewhere.attached(content)
    (at / "own").write_bytes(b"own")
    view.umount()
    other = elsewhere.view()
    other.umount()
    subprocess.run(["rsync", "-a", f"{view.path}/", other.path], check=True)
    copy = other.path / "tree"
    assert os.readlink(copy / "file") == os.readlink(at / "file")
    other.mount()
    assert (copy / "file").read_bytes() == CONTENT
    assert (copy / "link").read_bytes() == (copy / "below" / "second").read_bytes() == b"second"
    assert (copy / "own").read_bytes() == b"own"
