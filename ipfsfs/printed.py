"""How names of files and commands are printed: on a terminal, in the log, and as words to be copied into a shell; and
how many of something there are."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

CALLED_AS: Final = "IPFSFS_CALLED_AS"
"""The variable in which the launcher says how it was called, as words for a shell. A daemon is told what holds in every
directory."""
LAUNCHER: Final = "IPFSFS_LAUNCHER"
"""The variable in which the launcher says where it lies."""


def printable(text: str) -> str:
    """The text with all that is not printable escaped: names of files can hold anything, terminal commands included."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def shell(path: str | os.PathLike[str]) -> str:
    """A path as a word for a shell that is printable: with what is not printable as bash, zsh and POSIX.1-2024 quote
    it."""
    text = os.fspath(path)
    if text.isprintable():
        return shlex.quote(text)
    quoted = "".join(
        chr(byte) if 32 <= byte < 127 and chr(byte) not in "'\\" else f"\\{byte:03o}" for byte in os.fsencode(text)
    )
    return f"$'{quoted}'"


def command(words: str, *paths: str | os.PathLike[str]) -> str:
    """A command of ours as it can be pasted into the shell that this program was called from: `command("umount", at)`.
    The words are for a shell already, the paths after them need not be."""
    return " ".join([program(), words, *map(shell, paths)])


def program() -> str:
    """How this program is called, as words for a shell: where it is on PATH, by its name alone."""
    return os.environ.get(CALLED_AS) or _program(sys.argv[0])


def lasting_program() -> str:
    """The same for another directory, another time, and another user."""
    called = program()
    if called == _NAME:
        return called
    launcher = os.environ.get(LAUNCHER)
    return shell(launcher) if launcher else _program(os.path.abspath(sys.argv[0]))


_NAME: Final = "ipfsfs"


def _program(started: str) -> str:
    """By the file that was started."""
    if Path(started).name != _NAME:
        return f"{shell(sys.executable)} -m {_NAME}"
    found = shutil.which(_NAME)
    return _NAME if found is not None and os.path.realpath(found) == os.path.realpath(started) else shell(started)


def counted(count: int, one: str, several: str = "") -> str:
    """A number of things in words: `1 block`, `1,234 blocks`. `several`: where that is not `one` with an s."""
    return f"1 {one}" if count == 1 else f"{count:,} {several or one + 's'}"
