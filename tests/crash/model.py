"""What must be there after a crash: all that was acknowledged; what was under way may be there or not."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.crash.writer import content


@dataclass(slots=True)
class Model:
    """Replays what a writer said. `doubtful`: names that the operation under way may or may not have touched."""

    files: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    doubtful: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)
    acknowledged: int = 0

    @classmethod
    def of(cls, said: bytes) -> Model:
        """From all lines of a writer; a last one that is cut off was never said."""
        model = cls()
        under_way: list[Any] = []
        for line in said.split(b"\n")[:-1]:
            match json.loads(line):
                case ["begin", *operation]:
                    under_way = operation
                case ["done"]:
                    model._apply(under_way)
                    model.acknowledged += 1
                    under_way = []
                case ["wrong", name]:
                    model.wrong.append(name)
        if under_way:
            model.doubtful.update(str(word) for word in under_way[1:])
        return model

    def _apply(self, operation: list[Any]) -> None:
        match operation:
            case ["download", name, seed, size]:
                self.files[name] = content(seed, size)
            case ["append", name, number]:
                self.files[name] += content(number, 1000)
            case ["overwrite", name, number]:
                self.files[name] = content(number, 64) + self.files[name][64:]
            case ["symlink", name, target]:
                self.links[name] = target
            case ["remove", name]:
                del self.files[name]
            case ["rename", name, new]:
                self.files[new] = self.files.pop(name)

    def differences(self, top: Path) -> list[str]:
        """How a directory differs from what it must hold."""
        found = []
        for name, data in self.files.items():
            if name in self.doubtful:
                continue
            try:
                if (top / name).read_bytes() != data:
                    found.append(f"{name}: other bytes")
            except FileNotFoundError:
                found.append(f"{name}: lost")
        found += [
            f"{name}: link lost or changed"
            for name, target in self.links.items()
            if name not in self.doubtful and (not (top / name).is_symlink() or os.readlink(top / name) != target)
        ]
        known = self.files.keys() | self.links.keys() | self.doubtful
        for name in os.listdir(top):
            if name.removesuffix(".incomplete") not in known:
                found.append(f"{name}: should not be there")
        return found
