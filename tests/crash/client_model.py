"""What must be there of the repositories that real clients work with, by what they said: one model for one repository.

Several workers may share a repository. What they did is held as spans of one clock, and what overlaps is doubtful.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any

from tests.crash import repository

MAKES = ("download", "map")
REMOVES = ("delete", "clear")


@dataclass(slots=True)
class Operation:
    """What a worker did, or is doing: then it has no end. `missing`: it failed because something was not there."""

    worker: int
    what: str
    begun: float
    ended: float = inf
    done: bool = False
    missing: bool = False
    reason: str = ""
    facts: Any = None

    def overlaps(self, begun: float, ended: float) -> bool:
        return self.begun < ended and begun < self.ended


@dataclass(slots=True)
class Model:
    """`folder` is the repository's below `hub/`, `etags` the blob of each file."""

    folder: Path
    commit: str
    files: dict[str, bytes]
    etags: dict[str, str]
    operations: list[Operation] = field(default_factory=list)

    def _made(self, since: float, until: float) -> Operation | None:
        """The operation that acknowledged, by `since`, what nobody has begun to remove until `until`.

        `map` acknowledges no download: it makes none while it finds the Arrow files that it made before.
        """
        made = [one for one in self.operations if one.what == "download" and one.done and one.ended <= since]
        if not made:
            return None
        last = max(made, key=lambda one: one.begun)
        removed = (one for one in self.operations if one.what in REMOVES and one.overlaps(last.begun, until))
        return None if any(removed) else last

    def _removed(self) -> Operation | None:
        """The operation that acknowledged that nothing is left, if nobody has begun to make it again.

        Nobody else may have been at it meanwhile: a deletion that meets another ends early, and says that it is done.
        """
        removed = [one for one in self.operations if one.what in REMOVES and one.done]
        if not removed:
            return None
        last = max(removed, key=lambda one: one.begun)
        others = (
            one
            for one in self.operations
            if one is not last and one.what in MAKES + REMOVES and one.overlaps(last.begun, inf)
        )
        return None if any(others) else last

    def unexplained(self, one: Operation, switches: list[tuple[float, float]], every: list[Operation]) -> str | None:
        """Why an operation must not have failed: nothing was switched meanwhile, and nobody was in its way.

        `every` operation, of all repositories: the scan before a deletion trips over what others delete.
        """
        said = f"worker {one.worker}: {one.what} of {self.folder.name} failed: {one.reason}"
        if one.what == "load" and one.missing and self._made(one.begun, one.ended):
            return f"lost: {said}"
        if any(one.overlaps(*switch) for switch in switches):
            return None
        near = every if one.what in REMOVES and one.missing else self.operations
        if any(other is not one and other.what != "load" and other.overlaps(one.begun, one.ended) for other in near):
            return None
        if one.missing and one.what not in MAKES and not self._made(one.begun, one.ended):
            return None
        return f"neither mounted nor killed meanwhile: {said}"

    def known(self) -> str:
        """What is sure of all files while every worker stands still."""
        return "present" if self._made(inf, inf) else "gone" if self._removed() else "doubtful"

    def differences(self) -> list[str]:
        """How the directory differs from what it must hold, while every worker stands still."""
        found: list[str] = []
        making = any(one.what in MAKES and one.ended == inf for one in self.operations)
        for name, data in self.files.items():
            blob = self.folder / "blobs" / self.etags[name]
            read = blob.read_bytes() if blob.exists() else data
            # Where renaming fails, as while the daemon dies, the client copies; it may stand still amid that.
            if read != data and not (making and data.startswith(read)):
                found.append(f"{self.folder.name}: blob of {name}: other bytes")
        ref = self.folder / "refs" / "main"
        if ref.exists() and ref.read_text() != self.commit:
            found.append(f"{self.folder.name}: refs/main holds {ref.read_text()!r}")
        if self.known() == "present":
            # The client puts a link anew that it could not see, as while the daemon dies.
            for name, data in self.files.items():
                places = [self.folder / "snapshots" / self.commit / name]
                places += [self.folder / "blobs" / self.etags[name]] if making else []
                there = [place.read_bytes() for place in places if place.exists()]
                if not there:
                    found.append(f"{self.folder.name}: {name}: lost")
                found += [f"{self.folder.name}: {name}: other bytes" for read in there if read != data]
        if self.known() == "gone" and self.folder.exists():
            left = sorted(str(path.relative_to(self.folder)) for path in self.folder.rglob("*"))
            found.append(f"{self.folder.name}: its deletion was acknowledged, and there is {left}")
        return found

    def forget(self) -> None:
        """Drop what can decide nothing any more."""
        for last in (self._made(inf, inf), self._removed()):
            if last is not None:
                self.operations = [one for one in self.operations if one.ended > last.begun]


@dataclass(slots=True)
class Derived:
    """The Arrow files that `datasets` made of one dataset, in `folder`, by the seed they were mapped with."""

    folder: Path
    repo_id: str
    files: dict[Path, int | None] = field(default_factory=dict)
    gone: bool = False

    def note(self, one: Operation) -> None:
        """An operation has begun, or has ended."""
        if one.what == "clear":
            self.files.clear()
            self.gone = one.done
        elif one.what == "map":
            self.gone = False
            if one.done:
                self.files[Path(one.facts["loaded"])] = None
                self.files[Path(one.facts["mapped"])] = one.facts["seed"]

    def differences(self) -> list[str]:
        """Which files are lost or hold other rows than they must."""
        from pyarrow import OSFile, ipc

        rows, found = repository.rows(self.repo_id), []
        if self.gone and self.folder.exists():
            found.append(f"{self.folder.name}: there, though its deletion was acknowledged")
        for path, seed in self.files.items():
            if not path.exists():
                found.append(f"{self.repo_id}: {path.name}: lost")
                continue
            with OSFile(str(path)) as file, ipc.open_stream(file) as stream:
                read = stream.read_all().to_pylist()
            if read != [row if seed is None else row | repository.mapped(row, seed) for row in rows]:
                found.append(f"{self.repo_id}: {path.name}: other rows")
        return found
