"""What was found wrong with files, for people: in which words, and what to do."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ipfsfs.printed import command, printable, shell
from ipfsfs.store.tables.findings import Finding, FindingKind


@dataclass(slots=True, frozen=True)
class Recorded:
    """A finding, for people: what is wrong with which file (by its path from the plain root), which program did it as
    far as that is known, and when it was found, in seconds since the epoch."""

    kind: FindingKind
    path: str
    detail: str
    who: str
    when: int

    @classmethod
    def of(cls, finding: Finding) -> Recorded:
        """A finding of the ledger."""
        return cls(
            finding.kind, os.fsdecode(finding.path), finding.detail, finding.who, finding.when_ns // 1_000_000_000
        )

    @property
    def what(self) -> str:
        """What is wrong, and the program that did it as far as that is known."""
        return f"{self.detail}; program: {self.who}" if self.who else self.detail

    def line(self, root: Path) -> str:
        """What is wrong and what to do about it, in one line, of a file below `root` (an absolute path)."""
        return printable(f"{self.path}: {self.what}. {remedy(self.kind, root / self.path)}")


def remedy(kind: FindingKind, path: Path) -> str:
    """What to do about a file, by its absolute path. All of it is printable, and its commands can be copied into a
    shell."""
    word = shell(path)
    if kind == "withdrawn":
        return f"To keep it: mv {word} NEW-NAME. To remove it: rm {word}"
    return f"Put it back: {command('restore')} {word}"
