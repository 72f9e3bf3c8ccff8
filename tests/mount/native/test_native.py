"""Files that the kernel reads itself: what is promised of every other file holds for them (H51).

`mounted` compares the view with the plain directory at the end of each test, and looks at the log.
"""

from __future__ import annotations

import fcntl
import json
import mmap
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from tests.support.calls import cid_of, plain_directory
from tests.support.mounted import Mounted
from tests.support.native import counted, read_by_the_kernel
from tests.support.processes import eventually
from tests.support.promised import RIGHT, blobs, download, is_sealed, quarantined, status

pytestmark = pytest.mark.root

DATA: Final = random.Random(51).randbytes(1_000_000)


def sealed(mount: Mounted, name: str = "file", data: bytes = DATA) -> Path:
    """A file that is sealed."""
    path = mount.path / name
    path.write_bytes(data)
    mount.seal()
    assert is_sealed(path)
    return path


def test_a_sealed_file_is_read_by_the_kernel_and_others_by_the_daemon(native: Mounted) -> None:
    large, small = sealed(native), sealed(native, "small", DATA[:1000])
    token = native.path / "token"
    token.write_bytes(b"hf_" + b"A" * 100_000)
    assert read_by_the_kernel(native, large)
    assert not read_by_the_kernel(native, small), "registering it would cost more than it brings"
    assert not read_by_the_kernel(native, token), "what is never sealed is served as before"
    assert large.read_bytes() == DATA


def test_h51_opens_of_both_kinds_never_meet(native: Mounted) -> None:
    """The kernel would answer EIO to the second kind."""
    path = native.path / "file"
    path.write_bytes(DATA)
    with path.open("rb") as early:  # before it is sealed: by the daemon
        native.seal()
        with path.open("rb") as later:
            assert later.read() == DATA
        with path.open("r+b") as writer:
            writer.write(b"x")
        assert early.read(1) == b"x"
    native.seal()
    assert read_by_the_kernel(native, path)
    with path.open("rb") as one, path.open("rb") as other, path.open("r+b") as writer:
        assert one.read() == other.read() == b"x" + DATA[1:]
        writer.seek(10)
        writer.write(b"y")
        writer.flush()
        with path.open("rb") as third:
            assert third.read(11)[10:] == b"y"
    native.seal()
    assert read_by_the_kernel(native, path)


def test_h51_many_open_and_close_at_once(native: Mounted) -> None:
    path = sealed(native)
    failed = []

    def go(number: int) -> None:
        drawn = random.Random(number)
        for _ in range(150):
            try:
                if drawn.random() < 0.2:
                    with path.open("r+b") as file:
                        file.seek(drawn.randrange(len(DATA)))
                        file.write(b"z")
                else:
                    with path.open("rb") as file:
                        assert len(file.read()) == len(DATA)
            except OSError as error:
                failed.append(error)

    threads = [threading.Thread(target=go, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    native.seal()
    for thread in threads:
        thread.join()
    assert not failed
    native.seal()
    assert is_sealed(path)


def test_h17_the_seal_is_broken_on_disk_before_a_writer_of_a_native_file_can_write(native: Mounted) -> None:
    """Its writes do not pass the daemon, which is killed before it could see them; nor do those to mapped pages."""
    path = sealed(native)
    with path.open("rb") as reader, path.open("r+b") as writer, mmap.mmap(writer.fileno(), 0) as mapped:
        assert reader.read() == DATA
        native.kill()
        assert not json.loads(native.run("why", path, "--json").stdout)["sealed"], "nothing was written yet"
        mapped[500_000] ^= 1  # the file goes on, without the daemon
        os.write(writer.fileno(), b"w")
    changed = b"w" + DATA[1:500_000] + bytes([DATA[500_000] ^ 1]) + DATA[500_001:]
    assert path.read_bytes() == changed
    native.mount()
    assert path.read_bytes() == changed, "no seal says that this is rot"
    native.seal()
    assert path.read_bytes() == changed


@pytest.mark.parametrize("how", ["write", "map", "truncate", "open"])
def test_a_promise_that_is_broken_in_place_is_reported_and_its_content_kept(native: Mounted, how: str) -> None:
    native.expect_logged += ["broken promise: written in place"]
    path = download(blobs(native), RIGHT)
    native.seal()
    with path.open("rb") as reader:
        assert reader.read() == RIGHT
        with path.open("r+b") as writer:
            if how == "write":
                writer.write(b"wrong")
            elif how == "map":
                with mmap.mmap(writer.fileno(), 0) as mapped:
                    mapped[0] ^= 1
            elif how == "truncate":
                writer.truncate(5)
    if how == "open":
        native.seal()
        assert not status(native)["broken_promises"]
        assert not quarantined(native)
        assert is_sealed(path)
        return
    eventually(lambda: bool(status(native)["broken_promises"]), "the broken promise is reported")
    (kept,) = quarantined(native)
    assert (native.store / "quarantine" / kept).read_bytes() == RIGHT
    path.unlink()
    native.run("collect", check=False)
    (native.store / "quarantine" / kept).unlink()
    (native.store / "quarantine" / f"{kept}.json").unlink()


def test_h22_size_and_times_are_those_of_the_moment_while_a_native_file_is_written(native: Mounted) -> None:
    """A blob's attributes are trusted for a day, and writes to mapped pages tell nobody of theirs."""
    native.expect_logged += ["broken promise: written in place"]
    path = download(blobs(native), RIGHT)
    native.seal()
    with path.open("rb"), path.open("r+b") as writer, mmap.mmap(writer.fileno(), 0) as mapped:
        before = path.stat()  # the kernel asks once more after a file is mapped
        mapped[0] ^= 1
        mapped.flush()
        assert path.stat().st_mtime_ns > before.st_mtime_ns
        assert path.stat() == os.stat(f"/proc/self/fd/{writer.fileno()}")
        writer.seek(0, os.SEEK_END)
        writer.write(b"more")
        writer.flush()
        assert path.stat().st_size == before.st_size + 4
    assert path.stat().st_size == before.st_size + 4
    path.unlink()
    for kept in quarantined(native):
        (native.store / "quarantine" / kept).unlink()
        (native.store / "quarantine" / f"{kept}.json").unlink()


def test_a_native_file_that_is_renamed_over_removed_or_linked_stays_what_it_was(native: Mounted) -> None:
    path = sealed(native)
    with path.open("rb") as held, mmap.mmap(held.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        os.link(path, native.path / "second")
        (native.path / "new").write_bytes(b"new")
        (native.path / "new").rename(path)
        assert path.read_bytes() == b"new"
        assert (native.path / "second").read_bytes() == DATA
        (native.path / "second").unlink()
        assert mapped[:] == DATA
        assert held.read() == DATA
        assert os.fstat(held.fileno()).st_nlink == 0


def test_a_native_file_that_is_cut_by_its_name_or_opened_to_be_cut_is_cut_for_all(native: Mounted) -> None:
    path = sealed(native)
    with path.open("rb") as held:
        os.truncate(path, 500_000)
        assert len(held.read()) == 500_000
        path.write_bytes(b"short")  # O_TRUNC, beside a handle that is native
        assert os.pread(held.fileno(), 10, 0) == b"short"
        os.close(os.open(path, os.O_RDONLY | os.O_TRUNC))
        assert os.pread(held.fileno(), 10, 0) == b""
    assert path.read_bytes() == b""


def test_what_the_daemon_was_asked_for_while_a_native_file_was_written_is_not_kept(native: Mounted) -> None:
    """The kernel reads ahead by way of the daemon where it is advised to, natively opened or not."""
    path = sealed(native)
    with path.open("rb"), path.open("r+b") as writer, mmap.mmap(writer.fileno(), 0) as mapped:
        mapped[0] = ord("1")
        time.sleep(0.1)  # from here on no time of the file hides that it may change
        with path.open("rb") as reader:
            before = counted(native, "ipfsfs_reads_total")
            os.posix_fadvise(reader.fileno(), 0, len(DATA), os.POSIX_FADV_WILLNEED)
            eventually(lambda: counted(native, "ipfsfs_reads_total") > before, "the daemon is asked for pages")
            mapped[0] = ord("2")  # the page is dirty, and the file's times stay as they are
    assert path.read_bytes() == b"2" + DATA[1:]


def test_what_is_written_natively_is_sealed_as_it_is_then(native: Mounted) -> None:
    path = sealed(native)
    before = cid_of(path)
    with path.open("rb"), path.open("r+b") as writer:
        writer.write(b"other")
        assert cid_of(path) is None, "no CID is told of what is being written"
    native.seal()
    assert cid_of(path) not in (None, before)
    native.remount()
    assert path.read_bytes() == b"other" + DATA[5:]


def test_h51_nothing_holds_a_native_file_once_it_is_closed(btrfs: Path, mounted: Callable[..., Mounted]) -> None:
    """The kernel's hold of it would keep it from being evicted. Sealing and verifying go on while it is open."""
    with plain_directory(btrfs / "let-go") as beneath:
        mount = mounted(btrfs / "let-go")
        path = sealed(mount)
        with path.open("rb") as held:
            held.read()
            mount.run("verify", path)
        fd = os.open("file", os.O_RDWR, dir_fd=beneath)
        try:
            eventually(lambda: may_be_evicted(fd), "nobody else has the file open")
        finally:
            os.close(fd)
    assert read_by_the_kernel(mount, path)


def may_be_evicted(fd: int) -> bool:
    """Whether nobody else has the file open."""
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_WRLCK)
    except BlockingIOError:
        return False
    fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return True


def test_h34_a_native_write_takes_set_user_id_away(native: Mounted) -> None:
    """Whoever writes: the kernel writes with the daemon's rights, among which keeping such bits is not."""
    path = sealed(native)
    path.chmod(0o4755)
    native.seal()
    with path.open("rb"), path.open("r+b") as writer:
        writer.write(b"x")
    assert path.read_bytes()[:1] == b"x"
    assert not path.stat().st_mode & 0o4000


def test_a_daemon_that_is_killed_takes_no_native_file_from_its_readers(native: Mounted) -> None:
    path = sealed(native)
    with path.open("rb") as held:
        assert held.read(10) == DATA[:10]
        native.kill()
        assert held.read() == DATA[10:]
    native.mount()


def test_files_that_are_too_small_for_it_are_read_by_the_daemon(native: Mounted) -> None:
    path = sealed(native)
    native.umount()
    native.arguments = ("--native-from", "1TB")
    native.mount()
    assert not read_by_the_kernel(native, path)
