"""`umount`: take the view away. It is answered when the path is the plain directory again; the daemon is gone soon
after, unless something of the view is still in use."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.config import OriginConfig, SiteConfig
from ipfsfs.daemon.questions.question import Asked, NoProgress

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """Which path was unmounted, and the processes that served and guarded it.

    `origins`, `site`: what the view had content from that was not here. It ends now if `over`. Else it goes on: for
    `open_files`, which `users` hold as far as the daemon may see that; and for `places`, other paths and mount
    namespaces in which the view is mounted.
    """

    unmounted: str
    pid: int
    guardian: int
    over: bool
    open_files: int
    users: tuple[str, ...]
    places: tuple[str, ...]
    origins: tuple[OriginConfig, ...] = ()
    site: SiteConfig | None = None


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Unmount; with `lazy`, although files are open."""

    command: ClassVar[str] = "umount"

    lazy: bool = False

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises InUse where files are open, MountError where the kernel refuses."""
        await running.unmount(lazy=self.lazy)
        used = await running.still_used()
        users = tuple(str(user) for user in used.users)
        return Answer(
            unmounted=str(running.config.mountpoint),
            pid=os.getpid(),
            guardian=running.guarding.pid,
            over=used.over,
            open_files=used.open_files,
            users=users,
            places=tuple(used.places),
            origins=running.config.asked,
            site=running.config.site,
        )
