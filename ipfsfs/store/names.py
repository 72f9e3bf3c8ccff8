"""What a directory of the store holds."""

from __future__ import annotations

import os


def names_in(dir_fd: int) -> list[str]:
    """The names in a directory as it is now. Raises OSError.

    By a descriptor of its own: on Btrfs one lists what was there when it was opened, or last listed by.
    """
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        return os.listdir(fd)
    finally:
        os.close(fd)
