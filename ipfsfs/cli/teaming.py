"""What `mount --team` says, and what it does about files that were made without it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ipfsfs.caches.registry import root_place
from ipfsfs.cli import render
from ipfsfs.daemon.team import group_number
from ipfsfs.errors import MountError, UsageError
from ipfsfs.plain import adopting
from ipfsfs.plain.adopting import Misfits
from ipfsfs.printed import command, counted, printable, shell

TOKEN_ELSEWHERE: Final = "export HF_TOKEN_PATH=~/.config/huggingface/token"  # noqa: S105  a path
_LOOK_S: Final = 10.0
"""How long is looked for files that do not fit, where they are not to be mended."""
_LOOK_FIRST_S: Final = 3.0
"""The same where the mount waits for it."""
_NEW: Final = 0o2770


@dataclass(slots=True, frozen=True)
class Teaming:
    """A mount for a group: its name as it was given, its number, and whether files that do not fit are mended."""

    group: str
    gid: int
    at: Path
    adopts: bool

    @classmethod
    def of(cls, group: str | None, at: Path, *, adopts: bool) -> Teaming | None:
        """None where no group is asked for. Raises UsageError, MountError."""
        if group is not None:
            return cls(group, group_number(group), at, adopts)
        if adopts:
            raise UsageError("--adopt gives files to a team, and there is none", hint="Add --team GROUP.")
        return None

    def prepare(self, *, made: bool) -> None:
        """A directory that was made for the mount, or is empty, is the group's from the start; nobody else is let into
        one that was made. Raises MountError."""
        try:
            if made:
                os.chown(self.at, -1, self.gid)
                os.chmod(self.at, _NEW)
            elif not os.listdir(self.at):
                self.adopt()
        except OSError as error:
            raise MountError(f"{self.at} cannot be given to the group {self.group}: {error.strerror}") from error

    @contextmanager
    def beneath(self) -> Iterator[int]:
        """A descriptor of the directory as it is now, by which it can be looked at when a view covers it. Raises
        MountError."""
        try:
            fd = os.open(self.at, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise MountError(f"{self.at} cannot be looked through: {error.strerror}") from error
        try:
            yield fd
        finally:
            os.close(fd)

    def look(self, fd: int) -> Misfits:
        """What does not fit, as far as there is time to look, in the directory of a descriptor."""
        return self._look(fd, _LOOK_S, mend=False)

    def before_serving(self) -> Misfits:
        """Look, or mend, while nothing is mounted and the mount waits. Raises MountError."""
        with self.beneath() as fd:
            return self._look(fd, None if self.adopts else _LOOK_FIRST_S, mend=self.adopts)

    def adopt(self) -> Misfits:
        """Mend what does not fit: through the view where one is mounted, so that seals hold. Raises MountError."""
        with self.beneath() as fd:
            return self._look(fd, None, mend=True)

    def _look(self, fd: int, within_s: float | None, *, mend: bool) -> Misfits:
        return adopting.look(fd, root_place(os.fsencode(self.at)), self.gid, within_s=within_s, mend=mend)

    def words(self, found: Misfits) -> list[str]:
        """What users are told: the rules in short, and what was found."""
        name = self.group if self.group.isdecimal() else f"{self.group} ({self.gid})"
        return [
            f"Shared by the group {printable(name)}: what one member makes, all of them can use, update and remove.",
            "  Secrets are their owner's alone: for others they are not there. Each member keeps the token elsewhere:",
            f"  {TOKEN_ELSEWHERE}",
            *self._of_misfits(found),
            *self._of_secrets(found),
        ]

    def _of_misfits(self, found: Misfits) -> list[str]:
        lines = []
        if found.misfits and not self.adopts:
            of = (
                "of "
                + counted(found.looked + 1, "file or directory", "files and directories")
                + ("" if found.is_whole else " that there was time to look at")
            )
            lines = [
                "",
                f"{found.misfits:,} {of} were made without --team: the group cannot use, or cannot change, them. They "
                "stay so:",
                *self._named(found.named, found.misfits),
                "To give them to the group, but for secrets and links (this can be repeated at any time):",
                f"  {command('mount --team', self.group)} --adopt {shell(self.at)}",
            ]
        elif self.adopts:
            lines = [
                "",
                f"{counted(found.mended, 'file or directory was', 'files and directories were')} given to the group.",
            ]
        if found.failures:
            what = "given to it" if self.adopts else "looked at"
            lines += [f"{render.files(found.failures)} could not be {what}:"]
            lines += [f"  {self._path(path)}: {why}" for path, why in found.failed]
            lines += [f"  and {found.failures - len(found.failed):,} more"] * (found.failures > len(found.failed))
        return lines

    def _of_secrets(self, found: Misfits) -> list[str]:
        if not found.open_secrets:
            return []
        return [
            "",
            f"{render.files(found.open_secrets)} with secrets can be read by others while nothing is mounted; to close "
            "them, chmod 600:",
            *self._named(found.secrets, found.open_secrets),
        ]

    def _named(self, paths: list[bytes], count: int) -> list[str]:
        more = [f"  and {count - len(paths):,} more"] * (count > len(paths))
        return [*(f"  {self._path(path)}" for path in paths), *more]

    def _path(self, path: bytes) -> str:
        return shell(self.at / os.fsdecode(path))
