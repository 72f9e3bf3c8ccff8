"""Whether what is about to be given away is public: the Hub is asked, without a token, for each revision."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from ipfsfs.caches.registry import repository_over
from ipfsfs.errors import OriginError, UsageError
from ipfsfs.origins.hub import Hub
from ipfsfs.printed import command

_COMMIT: Final = re.compile(r"[0-9a-f]{40}")
_COMMIT_SIZE: Final = 40
_WHO: Final = {"publish": "may learn its CID", "export": "will have the CAR"}
_Repositories = dict[bytes, tuple[str, str, list[bytes]]]
"""By its directory, the kind and the name of a repository, and paths in it."""


@dataclass(slots=True, frozen=True)
class Publicity:
    """Asks the Hub at `endpoint` of the repositories in a tree at a path. `command`: which gives it away."""

    endpoint: str
    at: Path
    command: Literal["publish", "export"]

    async def require(self, names: Iterable[bytes]) -> None:
        """Raises UsageError where one of these is not known to be public: absolute paths of files and links, and, with
        a slash behind them, of directories, whose names count where they are a repository's."""
        repositories, others = _repositories(names)
        if others:
            raise self._refusal(f"{os.fsdecode(others[0])} is in no repository of the Hub")
        if not repositories:
            raise self._refusal("there is no repository of the Hub in it")
        await self._require(repositories)

    async def require_of_repositories(self, names: Iterable[bytes]) -> None:
        """As `require`, for what lies in repositories of the Hub: all else is the user's own."""
        await self._require(_repositories(names)[0])

    async def _require(self, repositories: _Repositories) -> None:
        hub = Hub(self.endpoint)
        for directory, (kind, name, paths) in repositories.items():
            commits = _commits(directory)
            if not commits:
                raise self._refusal(f"no revision of {name} is in the cache, so that none can be asked for")
            for commit in commits:
                await self._require_public(hub, kind, name, commit)
            self._require_part_of(directory, commits, paths)

    async def _require_public(self, hub: Hub, kind: str, name: str, commit: str) -> None:
        try:
            is_public = await hub.is_public(kind, name, commit)
        except OriginError as error:
            raise self._refusal(f"whether {name} is public cannot be found out ({error})") from error
        if not is_public:
            raise self._refusal(f"{name} at {commit[:8]} is not public, says {self.endpoint}")

    def _require_part_of(self, directory: bytes, commits: list[str], paths: list[bytes]) -> None:
        """Raises UsageError for a file that belongs to none of these revisions: what it is of is not known."""
        led_to = _led_to(directory, commits)
        listed = {directory + b"/trees/" + commit.encode() + b".json" for commit in commits}
        for path in paths:
            if path.endswith(b"/") or path in listed or os.path.realpath(path) in led_to or _is_told(path, commits):
                continue
            raise self._refusal(f"{os.fsdecode(path)} belongs to no revision in the cache")

    def _refusal(self, why: str) -> UsageError:
        return UsageError(
            f"{self.at} is not {self.command}ed: {why}",
            hint=f"If all who {_WHO[self.command]} may have it: {command(self.command + ' --private-too', self.at)}",
        )


def _repositories(names: Iterable[bytes]) -> tuple[_Repositories, list[bytes]]:
    """Absolute paths by the repository they lie in, and files that lie in none."""
    repositories: _Repositories = {}
    others: list[bytes] = []
    for path in names:
        found = repository_over(path.rstrip(b"/"))
        if found is not None:
            directory, kind, name = found
            repositories.setdefault(directory, (kind, name, []))[2].append(path)
        elif not path.endswith(b"/"):
            others.append(path)
    return repositories, others


def _commits(directory: bytes) -> list[str]:
    """The revisions whose files are in a repository's cache: of each must be known that it is public."""
    snapshots = Path(os.fsdecode(directory)) / "snapshots"
    try:
        found = sorted(name for name in os.listdir(snapshots) if _COMMIT.fullmatch(name))
    except FileNotFoundError:
        found = []
    return found


def _led_to(directory: bytes, commits: list[str]) -> set[bytes]:
    """What the links of revisions lead to."""
    return {
        os.path.realpath(os.path.join(above, name))
        for commit in commits
        for above, _, names in os.walk(os.path.join(directory, b"snapshots", commit.encode()))
        for name in names
        if os.path.islink(os.path.join(above, name))
    }


def _is_told(path: bytes, commits: list[str]) -> bool:
    """Whether a file tells no more than which revisions there are: it is empty, as clients' notes of files that a
    revision does not have, or holds the commit of one, as `refs/`."""
    try:
        with open(path, "rb") as file:
            return file.read(_COMMIT_SIZE + 1).decode("ascii", "replace").strip() in ("", *commits)
    except OSError:
        return False
