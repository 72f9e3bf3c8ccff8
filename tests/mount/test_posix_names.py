"""Names through the view behave as on plain disk: every byte, every length, links, renames, directories."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.twins import Twins, outcome, shown

pytestmark = pytest.mark.filesystem


def test_names_of_every_byte(twins: Twins) -> None:
    """Alone, in the middle of a name, and of directories; created, listed, looked up and removed."""
    bytes_of_names = [bytes([value]) for value in range(1, 256) if value != ord("/")]

    def work(root: Path) -> Any:
        at = os.fsencode(root) + b"/"
        for byte in bytes_of_names:
            for name in (byte, b"x" + byte + b"y"):
                if name != b"." and len(name) == 1 + 2 * (byte < b"@"):
                    with open(at + name, "wb") as file:
                        file.write(name)
            os.mkdir(at + b"d" + byte)
            os.symlink(b"to" + byte, at + b"l" + byte)
        listed = sorted(os.listdir(at))
        read = [os.readlink(at + b"l" + byte) for byte in bytes_of_names]
        for byte in bytes_of_names[::2]:
            os.rename(at + b"l" + byte, at + b"d" + byte + b"/" + byte + b"z")
        for byte in bytes_of_names[1::2]:
            os.rmdir(at + b"d" + byte)
        return listed, read

    listed, _ = twins.same(work)
    assert len(listed) == 254 * 3
    twins.mount.seal()
    twins.mount.run("status", twins.mount.path)


@pytest.mark.parametrize("length", [254, 255, 256, 4_000])
def test_long_names(twins: Twins, length: int) -> None:
    def work(root: Path) -> Any:
        at = os.fsencode(root) + b"/"
        name = ("ü" * length).encode()[: length - length % 2] + b"x" * (length % 2)
        calls: list[Callable[[], Any]] = [
            lambda: os.close(os.open(at + name, os.O_CREAT | os.O_WRONLY)),
            lambda: os.stat(at + name).st_size,
            lambda: os.rename(at + name, at + b"y" * length),
            lambda: os.symlink(name, at + b"link"),
            lambda: os.readlink(at + b"link"),
            lambda: os.mkdir(at + b"d" * length),
            lambda: os.link(at + b"y" * length, at + b"z" * length),
            lambda: os.unlink(at + b"y" * length),
        ]
        return [outcome(call) for call in calls]

    twins.same(work)


def test_deep_trees_and_paths_of_four_thousand_bytes(twins: Twins) -> None:
    """Made, read, renamed at the top and walked; beyond 4,096 bytes the path itself is refused.

    The file's name takes what the directories leave of the 4,000 bytes, and is never empty, wherever the tests run.
    """

    def work(root: Path) -> Any:
        start = os.fsencode(root)
        path = start
        while len(path) + 41 + len("/f") <= 4_000:
            path += b"/" + b"n" * 40
            os.mkdir(path)
        path += b"/" + b"f" * (4_000 - len(path) - len("/"))
        with open(path, "wb") as file:
            file.write(b"deep")
        os.rename(start + b"/" + b"n" * 40, start + b"/" + b"m" * 40)
        moved = path.replace(b"/" + b"n" * 40, b"/" + b"m" * 40, 1)
        with open(moved, "rb") as file:
            read = file.read()
        too_long = outcome(lambda: os.stat(moved + b"/" + b"g" * 100))
        at = os.open(start, os.O_RDONLY)
        for step in range(120):  # far deeper than any path reaches, one step at a time
            os.mkdir(b"d", dir_fd=at)
            below = os.open(b"d", os.O_RDONLY, dir_fd=at)
            os.close(at)
            at = below
            if step % 50 == 0:
                os.close(os.open(b"file", os.O_CREAT | os.O_WRONLY, dir_fd=at))
        listed = os.listdir(at)
        os.close(at)
        return read, too_long, listed, len(list(os.walk(start)))

    assert twins.same(work)[:2] == (b"deep", "ENAMETOOLONG")


def test_symlinks_relative_chained_dangling_looped_and_out_of_the_tree(twins: Twins, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_bytes(b"out there")

    def work(root: Path) -> Any:
        (root / "blobs").mkdir()
        (root / "blobs" / "b").write_bytes(b"content")
        (root / "snapshots" / "c" / "below").mkdir(parents=True)
        links = {
            "snapshots/c/one": "../../blobs/b",
            "snapshots/c/two": "one",
            "snapshots/c/below/three": "../two",
            "dangling": "nowhere",
            "loop": "loop",
            "to-fro": "fro-to",
            "fro-to": "to-fro",
            "folder": "snapshots/c/below",
            "out": str(outside / "file"),
            "out-folder": str(outside),
            "long": "x" * 1_023,  # XFS has none that are longer
            "up": ".." + "/.." * 300 + str(outside / "file"),
        }
        for name, target in links.items():
            os.symlink(target, root / name)
        for n in range(45):
            os.symlink(f"c{n}", root / f"c{n + 1}")
        (root / "c0").write_bytes(b"end of the chain")
        found = []
        for name in [*links, "folder/three", "out-folder/file", *(f"c{n}" for n in (1, 39, 40, 41, 45))]:
            path = root / name
            found += [
                (name, outcome(lambda path=path: path.read_bytes())),  # type: ignore[misc]
                outcome(lambda path=path: os.readlink(path)),  # type: ignore[misc]
                outcome(lambda path=path: os.close(os.open(path, os.O_RDONLY | os.O_NOFOLLOW))),  # type: ignore[misc]
                outcome(lambda path=path: os.lstat(path).st_size),  # type: ignore[misc]
            ]
        return (
            found,
            outcome(lambda: os.symlink("x" * 4_095, root / "longest")),
            outcome(lambda: os.symlink("x" * 4_096, root / "too-long")),
            outcome(lambda: os.symlink("", root / "e")),
        )

    twins.same(work)


def test_a_symlink_that_is_replaced_by_a_rename_is_followed_anew_at_once(twins: Twins) -> None:
    """The kernel keeps what a link says."""

    def work(root: Path) -> Any:
        commit = root / "snapshots" / ("0" * 40)
        commit.mkdir(parents=True)
        found: list[object] = []
        for step in range(20):
            (root / f"b{step}").write_bytes(b"%d" % step)
            os.symlink(f"../../b{step}", commit / "new")
            os.rename(commit / "new", commit / "config.json")
            found.append(((commit / "config.json").read_bytes(), os.readlink(commit / "config.json")))
        os.unlink(commit / "config.json")
        (commit / "config.json").write_bytes(b"a file now")
        found.append((commit / "config.json").read_bytes())
        return found

    twins.same(work)


def test_a_directory_that_was_removed_while_it_is_open(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "d").mkdir()
        fd = os.open(root / "d", os.O_RDONLY)
        os.rmdir(root / "d")
        return [
            os.listdir(fd),
            os.fstat(fd).st_nlink,
            outcome(lambda: os.open("x", os.O_CREAT | os.O_WRONLY, dir_fd=fd)),
            outcome(lambda: os.mkdir("x", dir_fd=fd)),
            outcome(lambda: os.stat("..", dir_fd=fd).st_size > 0),
            outcome(lambda: os.fchmod(fd, 0o700)),
            outcome(lambda: os.close(fd)),
        ]

    twins.same(work)


def test_hard_links_are_one_file_whichever_goes_first(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "d").mkdir()
        (root / "a").write_bytes(b"content")
        os.link(root / "a", root / "d" / "b")
        os.link(root / "d" / "b", root / "c")
        found: list[object] = [len({(root / name).stat().st_ino for name in ("a", "d/b", "c")})]
        found.append((root / "a").stat().st_nlink)
        with (root / "d" / "b").open("r+b") as file:
            file.write(b"C")
        os.unlink(root / "d" / "b")
        (root / "a").chmod(0o600)
        os.rename(root / "c", root / "d" / "e")
        os.unlink(root / "a")
        found += [shown((root / "d" / "e").stat()), (root / "d" / "e").read_bytes()]
        (root / "link").symlink_to("d/e")
        os.link(root / "link", root / "link2", follow_symlinks=False)
        found += [
            os.readlink(root / "link2"),
            (root / "link").lstat().st_nlink,
            outcome(lambda: os.link(root / "d", root / "x")),
        ]
        return found

    twins.same(work)


def test_many_names_in_one_directory_listed_once_each(twins: Twins) -> None:
    """Over many READDIRs, some of them read while names come and go."""

    def work(root: Path) -> Any:
        for number in range(1_000):
            os.close(os.open(root / f"file-{number:05d}-{'x' * (number % 200)}", os.O_CREAT | os.O_WRONLY))
        seen = []
        with os.scandir(root) as listing:
            for at, entry in enumerate(listing):
                seen.append(entry.name)
                assert entry.inode() == entry.stat().st_ino
                assert entry.is_file()
                if at % 10 == 0:
                    os.unlink(entry.path)
        assert len(seen) == len(set(seen)) == 1_000
        return sorted(os.listdir(root)) == sorted(name for at, name in enumerate(seen) if at % 10)

    assert twins.same(work, compare_trees=False)


def test_the_root_of_the_mount_itself(twins: Twins) -> None:
    """`hf auth login` sets the mode of HF_HOME."""
    root = twins.mount.path
    for mode in (0o700, 0o755):
        root.chmod(mode)
        assert stat.S_IMODE(root.stat().st_mode) == mode
    os.utime(root, ns=(1_000_000_000, 2_000_000_001))
    assert root.stat().st_mtime_ns == 2_000_000_001
    os.setxattr(root, "user.root", b"1")
    assert os.getxattr(root, "user.root") == b"1"
    os.removexattr(root, "user.root")
    assert outcome(lambda: os.rmdir(root)) == "EBUSY"
    assert outcome(lambda: os.rename(root, root.with_name("elsewhere"))) == "EBUSY"
    assert sorted(os.listdir(root)) == sorted(entry.name for entry in os.scandir(root))
    names = {".": os.stat(root / "."), "..": os.stat(root / "..")}
    assert (names["."].st_ino, names[".."].st_ino) == (root.stat().st_ino, root.parent.stat().st_ino)


def test_a_name_appears_and_goes_at_once_for_who_made_it(twins: Twins) -> None:
    """What the kernel keeps of absence must not outlive a create."""

    def work(root: Path) -> Any:
        found = []
        for _ in range(50):
            found.append((root / "x").exists())
            (root / "x").write_bytes(b"1")
            found.append((root / "x").exists())
            os.rename(root / "x", root / "y")
            found += [(root / "x").exists(), (root / "y").exists()]
            os.unlink(root / "y")
            os.mkdir(root / "y")
            found.append((root / "y").is_dir())
            os.rmdir(root / "y")
        return found

    twins.same(work)


def test_lock_files_keep_their_identity(twins: Twins) -> None:
    """filelock compares (st_dev, st_ino) of the path with those of the descriptor it holds, for as long as it waits."""
    path = twins.mount.path / "hub-x.lock"
    fd = os.open(path, os.O_RDWR | os.O_CREAT)
    first = os.fstat(fd).st_dev, os.fstat(fd).st_ino
    deadline = time.monotonic() + 2.5
    while time.monotonic() < deadline:
        st = os.stat(path)
        assert (st.st_dev, st.st_ino) == first
        assert st.st_nlink == 1
        time.sleep(0.1)
    os.close(fd)


def test_extended_attributes(twins: Twins) -> None:
    def work(root: Path) -> Any:
        (root / "file").write_bytes(b"x")
        (root / "folder").mkdir()
        (root / "link").symlink_to("file")
        came = []
        for name in ("file", "folder", "link"):
            path = root / name
            for follow in (True, False):
                calls: list[Callable[[], Any]] = [
                    lambda path=path, follow=follow: os.setxattr(path, "user.a", b"1", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(
                        path, "user.a", b"2", os.XATTR_CREATE, follow_symlinks=follow
                    ),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(
                        path, "user.b", b"2", os.XATTR_REPLACE, follow_symlinks=follow
                    ),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(
                        path, "trusted.t", b"\0" * 2000, follow_symlinks=follow
                    ),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.getxattr(path, "user.a", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.getxattr(path, "user.none", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: sorted(os.listxattr(path, follow_symlinks=follow)),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.removexattr(path, "trusted.t", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.removexattr(path, "trusted.t", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(path, "nonsense", b"1", follow_symlinks=follow),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(
                        path, "user.big", b"1" * 70_000, follow_symlinks=follow
                    ),  # type: ignore[misc]
                    lambda path=path, follow=follow: os.setxattr(
                        path, "user." + "n" * 251, b"1", follow_symlinks=follow
                    ),  # type: ignore[misc]
                ]
                came += [outcome(call) for call in calls]
        return came

    twins.same(work)
