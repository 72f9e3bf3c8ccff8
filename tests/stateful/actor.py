"""A process that makes system calls in two directories, first through the view, then on plain disk, and says what came
of each.

It is a process of its own so that a call that hangs can be seen to, and so that locks have somebody to exclude. A
request is a line, `repr((operation, arguments))`; the answer is one too. What is long is answered by its hash.
"""

from __future__ import annotations

import ast
import errno
import inspect
import os
import stat
import sys
import time
from collections.abc import Callable
from typing import Any, Final

from tests.stateful import calls, mappings
from tests.stateful.side import Side, content, digest
from tests.support.twins import shown

_CLOCK_REALTIME_COARSE: Final = 5

Result = tuple[str, Any]


def tree(side: Side) -> list[tuple[Any, ...]]:
    """Each name as (name, what is compared, target, the first name of the same file, inode and times)."""
    found: list[tuple[Any, ...]] = []
    first: dict[tuple[int, int], bytes] = {}
    pending = [b""]
    while pending:
        above = pending.pop()
        with os.scandir(side.path(above)) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
        for entry in entries:
            name = above + b"/" + entry.name if above else entry.name
            st = os.lstat(side.path(name))
            if entry.inode() != st.st_ino:
                raise OSError(errno.EPROTO, f"{name!r} is listed as inode {entry.inode()}, and is {st.st_ino}")
            if entry.is_dir(follow_symlinks=False) != stat.S_ISDIR(st.st_mode):
                raise OSError(errno.EPROTO, f"{name!r} is listed as another type than it is")
            target = os.readlink(side.path(name)) if stat.S_ISLNK(st.st_mode) else b""
            key = (st.st_dev, st.st_ino)
            one = first.setdefault(key, name)
            found.append((name, shown(st), target, one, (st.st_ino, st.st_mtime_ns, st.st_ctime_ns)))
            if stat.S_ISDIR(st.st_mode):
                pending.append(name)
    return sorted(found)


def contents(side: Side) -> list[tuple[bytes, tuple[int, str]]]:
    """The content of every regular file, through a new descriptor."""
    found = []
    for name, about, *_ in tree(side):
        if stat.S_ISREG(int(about[0], 8)):
            with open(side.path(name), "rb") as file:
                found.append((name, digest(file.read())))
    return found


def tick(side: Side) -> None:
    """Wait for the next tick of the clock that files are stamped by."""
    began = time.clock_gettime_ns(_CLOCK_REALTIME_COARSE)
    while time.clock_gettime_ns(_CLOCK_REALTIME_COARSE) == began:
        time.sleep(0.0005)


def copy_at(side: Side, path: bytes, seed: int, length: int) -> None:
    """Make or overwrite a file, as `cp` does: by several writes."""
    data = content(seed, length)
    with open(side.path(path), "wb", buffering=0) as file:
        for at in range(0, length, 100_000):
            file.write(data[at : at + 100_000])


def stand_for(side: Side, path: bytes, text: bytes, seed: int, length: int, mode: int) -> int:
    """Make a file that is known by its CID in the view, and an ordinary one of that content on plain disk. Returns its
    inode number."""
    if side.name == "view":
        os.symlink(text, side.path(path))
    else:
        fd = os.open(side.path(path), os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with open(fd, "wb", buffering=0) as file:
            os.fchmod(fd, mode)
            file.write(content(seed, length))
    return os.lstat(side.path(path)).st_ino


def read_file(side: Side, path: bytes) -> tuple[int, str]:
    """All of a file, through a new descriptor."""
    with open(side.path(path), "rb", buffering=0) as file:
        return digest(file.read())


def as_user(side: Side, uid: int, operation: str, *arguments: Any) -> Any:
    """Another operation, done by an ordinary user who is in no group but one of the same number."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        return OPERATIONS[operation](side, *arguments)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    name: function
    for module in (calls, mappings, sys.modules[__name__])
    for name, function in vars(module).items()
    if inspect.isfunction(function) and function.__module__ == module.__name__ and not name.startswith("_")
}


def attempt(operation: str, side: Side, arguments: tuple[Any, ...]) -> Result:
    """One operation on one side: ("done", value) or ("failed", the name of the errno)."""
    try:
        return "done", OPERATIONS[operation](side, *arguments)
    except OSError as error:
        detail = error.strerror if error.errno == errno.EPROTO else ""
        return "failed", f"{errno.errorcode.get(error.errno or 0, error.errno)}{detail}"


def main() -> None:
    sides = (Side("view"), Side("plain"))
    for line in sys.stdin:
        operation, arguments = ast.literal_eval(line)
        answers = [attempt(operation, side, arguments) for side in sides]
        print(repr(answers), flush=True)


if __name__ == "__main__":
    main()
