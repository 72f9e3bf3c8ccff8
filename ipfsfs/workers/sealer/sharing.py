"""The job of having two files of one content share their blocks."""

from __future__ import annotations

from collections.abc import Generator
from typing import Literal

from ipfsfs.plain import sharing
from ipfsfs.plain.identities import identity_of
from ipfsfs.plain.lease import Writers, writers_of
from ipfsfs.plain.sharing import Differs
from ipfsfs.plain.tree import Found
from ipfsfs.workers.sealer.jobs import Root, failure, opened
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Shared


def share(
    root: Root, kept: Found, other: Found, do: Literal["share", "tell"]
) -> Generator[int, None, Shared | Busy | Changed | Gone | Failed]:
    """Have `other` share the blocks of `kept`, or "tell" how many bytes that would save: two quiet files that are as
    they were sealed. Whatever happens meanwhile, the kernel compares, and no content changes."""
    yield 0
    try:
        with opened(root, kept.path, kept.ino) as source, opened(root, other.path, other.ino) as target:
            if (identity_of(source), identity_of(target)) != (kept.identity, other.identity):
                return Changed()
            if Writers.SOME in (writers_of(source), writers_of(target)):
                return Busy("it is open for writing")
            if do == "tell":
                return Shared(sharing.apart(source, target, other.size))
            return Shared((yield from sharing.share(source, target, other.size)))
    except Differs:
        return Changed()
    except BlockingIOError:
        return Busy("somebody holds a lease on it")
    except OSError as error:
        return failure(error)
