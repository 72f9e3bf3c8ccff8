"""The one bar of all commands that read many bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from ipfsfs.daemon.questions import seal
from ipfsfs.printed import counted


@dataclass(slots=True)
class Bar:
    """A bar on show. Numbers are totals so far, never steps: a report that is lost or comes twice does no harm."""

    _progress: Progress
    _task: TaskID
    _what: str

    def update(
        self,
        *,
        files: int,
        done_bytes: int,
        total_files: int | None = None,
        total_bytes: int | None = None,
    ) -> None:
        """Shows how far it is. Totals may be left out, or come later, or grow."""
        said = counted(files if total_files is None else total_files, self._what)
        of = "" if total_files is None else f"{files:,}/"
        self._progress.update(self._task, completed=done_bytes, total=total_bytes, files=f"{of}{said}")

    def sealing(self, progress: seal.Progress) -> None:
        """Shows what a daemon reports while it seals."""
        self.update(
            files=progress.files_done,
            done_bytes=progress.bytes_done,
            total_files=progress.files,
            total_bytes=progress.bytes,
        )


@contextmanager
def bar(title: str, what: str = "file") -> Iterator[Bar]:
    """A bar with files (or `what` else is counted, one of it), bytes, rate and time left, on stderr. Where that is no
    terminal, nothing."""
    console = Console(stderr=True)
    progress = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[files]}"),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    )
    with progress:
        yield Bar(progress, progress.add_task(title, total=None, files=counted(0, what)), what)
