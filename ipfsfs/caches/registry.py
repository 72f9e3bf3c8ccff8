"""Which cache a directory belongs to.

A cache is a module of this room with a class that fills `Place`. One is known, that of Hugging Face, which is looked
for in every path. A second one is chosen here, by names on the way to the mount point, or by a place of its own that
`enter` of the first leads to.
"""

from __future__ import annotations

from ipfsfs.caches import huggingface
from ipfsfs.caches.place import Place


def root_place(path: bytes) -> Place:
    """What the directory at an absolute path is, as the root of a mount."""
    return huggingface.root_place(path)


def cache_over(path: bytes) -> bytes | None:
    """The directory of the cache that an absolute path lies in, by the names on the way; None where no name tells."""
    return huggingface.cache_over(path)


def is_loaded_dataset(path: bytes) -> bool:
    """Whether an absolute path lies in a cache whose client takes for granted that all files are there (H30)."""
    return huggingface.is_loaded_dataset(path)


def repository_over(path: bytes) -> tuple[bytes, str, str] | None:
    """The repository that an absolute path lies in, or is: the path up to it, its kind in the plural, and its name."""
    return huggingface.repository_over(path)


def shared_blob(repository: bytes, xet_hash: str) -> bytes:
    """Where the clients' shared store has what came by Xet, beside a repository at a path."""
    return huggingface.shared_blob(repository, xet_hash)
