"""One file in the place of another: whole at each step, and never in the way of who writes."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from ipfsfs.identity import Identity
from ipfsfs.plain import linking
from ipfsfs.plain.linking import Refused
from ipfsfs.plain.tree import Found, regular_files

CONTENT: Final = os.urandom(300_000)
BESIDE: Final = b".b.00112233.linking"
DONE: Final = 77


def _found(root: int, name: bytes) -> Found:
    (found,) = [item for batch in regular_files(root, name) for item in batch if isinstance(item, Found)]
    return found


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "a").write_bytes(CONTENT)
    (tmp_path / "b").write_bytes(CONTENT)
    return tmp_path


def _in_a_child(place: Path, hook: Callable[[str, tuple[object, ...]], None]) -> int:
    """Link `b` to `a` in a process that calls `hook` at each step; its exit code, or minus a signal's number."""
    child = os.fork()
    if not child:
        with suppress(BaseException):
            signal.signal(signal.SIGIO, signal.SIG_IGN)
            root = os.open(place, os.O_PATH)
            kept, other = _found(root, b"a"), _found(root, b"b")
            sys.addaudithook(hook)
            try:
                linking.replace(root, kept, other, BESIDE)
            except Refused:
                os._exit(1)
            os._exit(DONE)
        os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_two_names_become_one_inode(place: Path) -> None:
    assert _in_a_child(place, lambda *_: None) == DONE
    assert sorted(os.listdir(place)) == ["a", "b"]
    assert (place / "a").stat().st_ino == (place / "b").stat().st_ino
    assert (place / "b").read_bytes() == CONTENT


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_whenever_it_is_killed_both_names_have_all_of_their_content(place: Path) -> None:
    left_over = 0
    for step in range(1, 200):
        for name in os.listdir(place):
            (place / name).unlink()
        (place / "a").write_bytes(CONTENT)
        (place / "b").write_bytes(CONTENT)
        sealed = _identity(place / "b")
        steps = [0]

        def kill(*_: object, steps: list[int] = steps, last: int = step) -> None:
            steps[0] += 1
            if steps[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)

        end = _in_a_child(place, kill)
        assert (place / "a").read_bytes() == (place / "b").read_bytes() == CONTENT
        root = os.open(place, os.O_PATH)
        for name in set(os.listdir(place)) - {"a", "b"}:
            left_over += 1
            linking.remove_left_over(root, _found(root, os.fsencode(name)), sealed)
        os.close(root)
        assert sorted(os.listdir(place)) == ["a", "b"]
        assert (place / "a").read_bytes() == (place / "b").read_bytes() == CONTENT
        if end == DONE:
            break
        assert end == -signal.SIGKILL
    assert end == DONE
    assert left_over >= 2, "killed before and after the names change places"


def _identity(path: Path) -> Identity:
    return Identity.with_stat(path.stat(), 0)


def test_who_wants_to_write_meanwhile_finds_the_file_in_its_place(place: Path) -> None:
    held = os.open(place / "b", os.O_PATH)

    def write(event: str, arguments: tuple[object, ...]) -> None:
        if event == "fcntl.fcntl" and arguments[1] == fcntl.F_GETLEASE:
            with suppress(BlockingIOError):
                os.open(f"/proc/self/fd/{held}", os.O_WRONLY | os.O_NONBLOCK)

    before = (place / "b").stat().st_ino
    assert _in_a_child(place, write) == 1
    os.close(held)
    assert (place / "b").stat().st_ino == before
    assert sorted(os.listdir(place)) == ["a", "b"]


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.chmod(0o600),
        lambda path: os.setxattr(path, "user.mine", b"1"),
        lambda path: os.link(path, path.with_name("c")),
    ],
)
def test_nothing_but_content_is_given_up(place: Path, change: Callable[[Path], None]) -> None:
    change(place / "b")
    assert _in_a_child(place, lambda *_: None) == 1
    assert (place / "a").stat().st_ino != (place / "b").stat().st_ino


@pytest.mark.parametrize("name", ["a", "b"])
def test_a_file_that_is_open_for_writing_stays(place: Path, name: str) -> None:
    with (place / name).open("r+b"):
        assert _in_a_child(place, lambda *_: None) == 1


def test_a_left_over_file_that_somebody_wrote_to_stays(place: Path) -> None:
    root = os.open(place, os.O_PATH)
    sealed = _identity(place / "b")
    (place / "b").rename(place / BESIDE.decode())
    (place / BESIDE.decode()).write_bytes(b"newer")
    linking.remove_left_over(root, _found(root, BESIDE), sealed)
    os.close(root)
    assert (place / BESIDE.decode()).read_bytes() == b"newer"
