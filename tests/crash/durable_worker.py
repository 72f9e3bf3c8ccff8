"""A worker that has things put on disk, and notes from which moment on they must be there."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash.story import Story

SIZE = 300_000


@dataclass(slots=True)
class DurableWorker:
    """Works in `top`; `position` tells where in the disk's log we are."""

    top: Path
    position: Callable[[], int]
    chance: random.Random
    story: Story = field(default_factory=Story)

    def prepare(self, count: int) -> None:
        """Files to patch, and as many to leave alone."""
        names = [f"{what}{number}" for number in range(count) for what in ("patched", "kept")]
        for name in names:
            version = self.story.begin(name, "patched", self.position(), self.chance.randbytes(SIZE))
            assert version.data is not None
            self._write(name, version.data)
            version.durable = self.position()
        self._sync_directory()

    def work(self, seconds: float) -> None:
        """Do this and that."""
        end = time.monotonic() + seconds
        number = 0
        while time.monotonic() < end:
            number += 1
            self.chance.choice(
                [
                    *(self.patch, self.patch, self.append_and_patch, self.put_aside_and_patch),
                    *(self.replace, self.append, self.remove),
                ]
            )(number)

    def patch(self, number: int, name: str = "", at_path: Path | None = None) -> None:
        """Overwrite a part of a file in place; sometimes with fdatasync, which leaves the times behind."""
        name = name or self._patched()
        before = self.story.versions[name][-1].data
        assert before is not None
        at, new = self.chance.randrange(SIZE - 70_000), self.chance.randbytes(self.chance.choice([100, 9_000, 70_000]))
        version = self.story.begin(name, "patched", self.position(), before[:at] + new + before[at + len(new) :])
        fd = os.open(at_path or self.top / name, os.O_WRONLY)
        os.pwrite(fd, new, at)
        sync = self.chance.choice([os.fdatasync, os.fdatasync, os.fsync, None])
        if sync is not None:
            sync(fd)
            version.durable = self.position()
        os.close(fd)

    def append_and_patch(self, number: int) -> None:
        """Append a little and then overwrite: the first breaks the seal, the second changes what was sealed (H17)."""
        name = self._patched()
        before = self.story.versions[name][-1].data
        assert before is not None
        with (self.top / name).open("r+b", buffering=0) as file:
            new = self.chance.randbytes(self.chance.randrange(1, 3_000))
            self.story.begin(name, "patched", self.position(), before + new)
            file.seek(0, os.SEEK_END)
            file.write(new)
        self.patch(number, name)

    def put_aside_and_patch(self, number: int) -> None:
        """Overwrite under a name that is never sealed, as careful editors do: the seal is lost with the name (H17)."""
        name = self._patched()
        aside = self.top / f"{name}.incomplete"
        (self.top / name).rename(aside)
        try:
            self.patch(number, name, aside)
        finally:
            aside.rename(self.top / name)
            self._sync_directory()

    def _patched(self) -> str:
        return self.chance.choice([name for name in self.story.how if name.startswith("patched")])

    def replace(self, number: int) -> None:
        """Write beside, rename over: as downloads and careful editors do."""
        name = f"whole{number % 7}"
        data = self.chance.randbytes(self.chance.choice([0, 3_000, 200_000]))
        self._write(f"{name}.incomplete", data)
        version = self.story.begin(name, "whole", self.position(), data)
        (self.top / f"{name}.incomplete").rename(self.top / name)
        self._sync_directory()
        version.durable = self.position()

    def append(self, number: int) -> None:
        """Add to a log."""
        name = f"growing{number % 3}"
        before = self.story.versions[name][-1].data if name in self.story.versions else b""
        assert before is not None
        new = self.chance.randbytes(self.chance.randrange(1, 20_000))
        version = self.story.begin(name, "growing", self.position(), before + new)
        with (self.top / name).open("ab", buffering=0) as file:
            file.write(new)
            if self.chance.random() < 0.6:
                os.fsync(file.fileno())
                version.durable = self.position()

    def remove(self, number: int) -> None:
        """Remove a file that was renamed into place, if there is one."""
        name = f"whole{number % 7}"
        if not (self.top / name).exists():
            return
        version = self.story.begin(name, "whole", self.position(), None)
        (self.top / name).unlink()
        self._sync_directory()
        version.durable = self.position()

    def _write(self, name: str, data: bytes) -> None:
        with (self.top / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def _sync_directory(self) -> None:
        fd = os.open(self.top, os.O_RDONLY)
        os.fsync(fd)
        os.close(fd)
