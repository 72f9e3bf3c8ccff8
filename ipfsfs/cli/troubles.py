"""What is wrong with a view by its daemon's word, and the way out of it: for `status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ipfsfs.daemon.questions.status import Answer
from ipfsfs.printed import command, counted, printable
from ipfsfs.store.full import WAITS


@dataclass(slots=True, frozen=True)
class Trouble:
    """Something that is wrong, and what to do about it, both in words."""

    what: str
    what_to_do: str

    @property
    def line(self) -> str:
        """Both, in one line."""
        return printable(f"{self.what}: {self.what_to_do}")


def troubles(found: Answer) -> Iterator[Trouble]:
    """Of a view that is ours: files that are not as they should be, and a store that cannot be used."""
    at = Path(found.mountpoint)
    damaged = {item.path for item in (*found.rot, *found.broken_promises)}
    if damaged:
        wrong = f"{counted(len(damaged), 'file has', 'files have')} wrong content"
        yield Trouble(wrong, command("restore", at / min(damaged) if len(damaged) == 1 else at))
    if found.withdrawn:
        hidden = counted(len(found.withdrawn), "file lies under a hidden name", "files lie under hidden names")
        yield Trouble(f"{hidden}, which promised another content", "keep or remove each, as above")
    if WAITS in found.degraded:
        kept = command("collect --dry-run")
        yield Trouble(
            "the disk of the store is full, and new files are not sealed for good",
            f"make room on the disk of {found.store}; to see what in it nothing needs: {kept}",
        )
    elif found.degraded:
        mended = [command(words, at) for words in ("umount", "fsck --repair", "mount")]
        yield Trouble(
            "files are neither sealed nor checked",
            f"`{command('log', at)}` says more; if it stays so: {' && '.join(mended)}",
        )
