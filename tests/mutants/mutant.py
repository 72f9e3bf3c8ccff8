"""A mutant: the program with one promise broken on purpose."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Mutant:
    """What is changed in which file, and by which tests of docs/semantics.md that must be noticed."""

    promise: str
    """Its number on the page: S1."""
    breaks: str
    """What the mutated program does: the end of the sentence "in this program, ..."."""
    file: str
    old: str
    new: str
    tests: tuple[str, ...]

    @property
    def name(self) -> str:
        """For pytest's -k."""
        return f"{self.promise}-{self.breaks.replace(' ', '-')}"

    def mutated(self, tree: Path) -> str:
        """The text of the file with the change in it. Raises ValueError where it cannot be made any more."""
        text = (tree / self.file).read_text()
        if text.count(self.old) != 1:
            raise ValueError(f"{self.file} holds this {text.count(self.old)} times, not once:\n{self.old}")
        return text.replace(self.old, self.new)

    def apply(self, tree: Path) -> None:
        """Make the change in a copy of the program."""
        (tree / self.file).write_text(self.mutated(tree))


def promises(page: str) -> dict[str, list[str]]:
    """By number, the tests that docs/semantics.md names for each promise, as pytest is given them."""
    found = {}
    for section in re.split(r"^(?=\*\*S\d+\.)|^## ", page, flags=re.MULTILINE):
        if number := re.match(r"\*\*(S\d+)\.", section):
            found[number[1]] = re.findall(r"`(tests/[\w/]+\.py(?:::\w+)?)`", section)
    return found
