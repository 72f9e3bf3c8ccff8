"""A placeholder behaves as the file it stands for."""

from __future__ import annotations

import errno
import mmap
import os
import stat
import subprocess
import time
from pathlib import Path

import pytest

from ipfsfs.daemon.client import ask
from ipfsfs.daemon.questions import umount
from tests.support.elsewhere import Elsewhere, eventually_resident, plain_link
from tests.support.mounted import Mounted

pytestmark = [pytest.mark.kubo, pytest.mark.filesystem]

CONTENT = os.urandom(2_500_000)


@pytest.fixture
def view_and_file(elsewhere: Elsewhere) -> tuple[Mounted, Path]:
    view, at = elsewhere.attached({"file": CONTENT, "other": b"x"})
    return view, at / "file"


def test_h29_it_looks_like_a_file(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    st = os.lstat(path)
    assert stat.S_ISREG(st.st_mode)
    assert (st.st_size, st.st_nlink, st.st_mode & 0o777) == (len(CONTENT), 1, 0o644)
    assert st.st_blocks == -(-len(CONTENT) // 512)
    with pytest.raises(OSError, match="Invalid argument") as caught:
        os.readlink(path)
    assert caught.value.errno == errno.EINVAL
    with os.scandir(path.parent) as found:
        assert {entry.name: entry.is_file(follow_symlinks=False) for entry in found} == {"file": True, "other": True}
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    os.close(fd)
    assert plain_link(view, path) is not None, "none of this fetches it"


def test_reads_of_any_part_are_right_and_it_keeps_its_number(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    number = path.stat().st_ino
    fd = os.open(path, os.O_RDONLY)
    try:
        for offset, length in ((0, 10), (1_048_570, 20), (2_499_990, 100), (2_500_000, 5), (1_000_000, 1_400_000)):
            assert os.pread(fd, length, offset) == CONTENT[offset : offset + length]
        eventually_resident(view, path)
        assert os.pread(fd, 100, 1_048_500) == CONTENT[1_048_500:1_048_600], "an open handle goes on"
        assert (os.fstat(fd).st_ino, path.stat().st_ino) == (number, number)
    finally:
        os.close(fd)
    assert path.read_bytes() == CONTENT


def test_what_was_read_to_its_end_is_a_file_when_the_view_is_gone(elsewhere: Elsewhere) -> None:
    content = os.urandom(60_000_000)
    view, at = elsewhere.attached({"file": content})
    assert (at / "file").read_bytes() == content
    ask(view.store, umount.Question())  # as `ipfsfs umount` does, and earlier than that process can be there
    assert (at / "file").read_bytes() == content


def test_who_had_it_open_asks_for_attributes_when_it_is_hydrated(view_and_file: tuple[Mounted, Path]) -> None:
    """As `cp -a` does, after it has read all."""
    view, path = view_and_file
    with path.open("rb") as file:
        for whole in (False, True):
            if whole:
                assert file.read() == CONTENT
                eventually_resident(view, path)
            for name in ("user.none", "system.posix_acl_access"):
                with pytest.raises(OSError, match="No data available"):
                    os.getxattr(file.fileno(), name)
            assert os.listxattr(file.fileno()) == []
        os.fchmod(file.fileno(), 0o600)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_mapping_is_right_before_and_after_it_is_hydrated(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        assert mapped[2_000_000:2_000_010] == CONTENT[2_000_000:2_000_010]
        assert mapped[:] == CONTENT
        eventually_resident(view, path)
        assert mapped[:] == CONTENT


def test_times_mode_and_name_change_without_fetching(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    number = path.stat().st_ino
    path.chmod(0o400)
    os.utime(path, ns=(1_000_000_001, 2_000_000_002))
    os.chown(path, -1, 34)
    moved = path.rename(path.with_name("moved"))
    st = moved.stat()
    assert (st.st_mode & 0o777, st.st_mtime_ns) == (0o400, 2_000_000_002)
    assert (st.st_uid, st.st_gid, st.st_ino) == (0, 34, number)
    assert (plain_link(view, moved) or "").startswith("ipfs://")
    assert moved.read_bytes() == CONTENT
    eventually_resident(view, moved)
    st = moved.stat()
    assert (st.st_mode & 0o777, st.st_mtime_ns, st.st_uid, st.st_gid) == (0o400, 2_000_000_002, 0, 34)


def test_appending_fetches_the_rest_first(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    with path.open("ab") as file:
        file.write(b"end")
    assert path.read_bytes() == CONTENT + b"end"


def test_writing_amid_it_keeps_the_rest(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    with path.open("r+b") as file:
        file.seek(1_000_000)
        file.write(b"changed")
        file.seek(0)
        assert file.read(4) == CONTENT[:4]
    assert path.read_bytes() == CONTENT[:1_000_000] + b"changed" + CONTENT[1_000_007:]


def test_truncating_to_nothing_fetches_nothing(elsewhere: Elsewhere, view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    number = path.stat().st_ino
    elsewhere.node.stop()
    try:
        path.write_bytes(b"new")
        os.truncate(path.with_name("other"), 0)
        assert path.read_bytes() == b"new"
        assert path.stat().st_ino == number
        assert path.with_name("other").read_bytes() == b""
        assert plain_link(view, path) is None
    finally:
        elsewhere.node.start()


def test_cutting_it_keeps_what_is_left(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    os.truncate(path, 1_500_000)
    assert path.read_bytes() == CONTENT[:1_500_000]


def test_a_hard_link_and_an_attribute_make_it_resident(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    os.link(path, path.with_name("second"))
    assert (path.stat().st_nlink, path.with_name("second").read_bytes()) == (2, CONTENT)
    os.setxattr(path.with_name("other"), "user.mine", b"value")
    assert os.getxattr(path.with_name("other"), "user.mine") == b"value"
    assert plain_link(view, path) is None


def test_it_goes_on_being_readable_after_it_was_removed(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    with path.open("rb") as file:
        path.unlink()
        assert not path.exists()
        assert file.read() == CONTENT


def test_its_cid_is_known_without_fetching(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    text = os.getxattr(path, "ipfs.cid").decode()
    assert text in (plain_link(view, path) or "")


def test_rename_over_it_and_exchange_with_it(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    other = path.with_name("mine")
    other.write_bytes(b"mine")
    subprocess.run(["mv", "--exchange", "--no-copy", path, other], check=False, capture_output=True)
    new = path.with_name("new")
    new.write_bytes(b"new")
    new.rename(path)
    assert path.read_bytes() == b"new"
    assert sorted(os.listdir(path.parent)) == ["file", "mine", "other"]


def test_a_name_that_only_files_have_makes_it_one(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    locked = path.rename(path.with_name("file.lock"))
    assert locked.read_bytes() == CONTENT
    assert plain_link(view, locked) is None
    assert locked.rename(path).read_bytes() == CONTENT


def test_another_owner_makes_it_a_file(view_and_file: tuple[Mounted, Path]) -> None:
    view, path = view_and_file
    os.chown(path, 12, 34)
    assert plain_link(view, path) is None
    assert (path.stat().st_uid, path.stat().st_gid, path.read_bytes()) == (12, 34, CONTENT)


def test_who_empties_it_does_not_come_to_own_it(view_and_file: tuple[Mounted, Path]) -> None:
    _, path = view_and_file
    os.chown(path, -1, 34)
    path.chmod(0o640)
    path.write_bytes(b"new")
    st = path.stat()
    assert (st.st_uid, st.st_gid, st.st_mode & 0o777) == (0, 34, 0o640)


def test_what_is_replaced_while_it_is_put_in_place_keeps_its_own_content(
    view_and_file: tuple[Mounted, Path],
) -> None:
    """A handle reads the file it opened, whatever its name has become."""
    view, path = view_and_file
    text = plain_link(view, path) or ""
    for round_ in range(10):
        fd = os.open(path, os.O_RDONLY)
        try:
            assert os.pread(fd, len(CONTENT), 0) == CONTENT
            time.sleep(0.01 * round_)  # before, while and after it is put in place
            local = path.with_name("local")
            local.write_bytes(b"local")
            local.replace(path)
            assert os.pread(fd, 100, 1_000_000) == CONTENT[1_000_000:1_000_100]
            assert path.read_bytes() == b"local"
        finally:
            os.close(fd)
        path.unlink()
        os.symlink(text, path)


def test_names_that_come_and_go_while_their_content_is_put_in_place(view_and_file: tuple[Mounted, Path]) -> None:
    """One root under a name that is opened, removed and made again: what was removed is neither fetched nor missed."""
    view, path = view_and_file
    text = plain_link(view, path) or ""
    for round_ in range(150):
        fd = os.open(path, os.O_RDONLY)
        assert os.pread(fd, 100, 2_000_000) == CONTENT[2_000_000:2_000_100]
        if round_ % 3:
            assert os.pread(fd, 100, 0) == CONTENT[:100]
        os.close(fd)
        path.unlink()
        os.symlink(text, path)
    assert path.read_bytes() == CONTENT
    eventually_resident(view, path)


def test_what_lost_its_name_is_written_cut_and_emptied_like_a_file(view_and_file: tuple[Mounted, Path]) -> None:
    """Whoever has it open goes on with it, as with any file."""
    view, path = view_and_file
    text = plain_link(view, path) or ""
    for change in ("write", "cut", "empty", "mode"):
        fd = os.open(path, os.O_RDWR)
        try:
            number = os.fstat(fd).st_ino
            path.unlink()
            os.symlink(text, path)
            match change:
                case "write":
                    assert os.pwrite(fd, b"changed", 1_000_000) == 7
                    assert (
                        os.pread(fd, 20, 999_995) == CONTENT[999_995:1_000_000] + b"changed" + CONTENT[1_000_007:][:8]
                    )
                case "cut":
                    os.ftruncate(fd, 1_500_000)
                    assert os.pread(fd, len(CONTENT), 0) == CONTENT[:1_500_000]
                case "empty":
                    os.ftruncate(fd, 0)
                    assert (os.pwrite(fd, b"new", 0), os.pread(fd, 10, 0)) == (3, b"new")
                case "mode":
                    os.fchmod(fd, 0o600)
                    assert stat.S_IMODE(os.fstat(fd).st_mode) == 0o600
                    assert os.pread(fd, 10, 0) == CONTENT[:10]
            after = os.fstat(fd)
            assert (after.st_ino, after.st_nlink, after.st_uid) == (number, 0, 0)
        finally:
            os.close(fd)
        assert path.stat().st_ino != number
    assert path.read_bytes() == CONTENT
    eventually_resident(view, path)
    left = os.listdir(view.store / "extents")
    assert [name for name in left if name != "pinned" and not name.endswith(".leaves")] == []
