"""How names of files are printed: on a terminal, in the log, and as words of a command to be copied into a shell; and
how many of something there are."""

from __future__ import annotations

import os
import shlex


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


def counted(count: int, one: str, several: str = "") -> str:
    """A number of things in words: `1 block`, `1,234 blocks`. `several`: where that is not `one` with an s."""
    return f"1 {one}" if count == 1 else f"{count:,} {several or one + 's'}"
