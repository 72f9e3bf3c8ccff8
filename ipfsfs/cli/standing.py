"""How it stands with a view, or with a directory that has none: for `status`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from ipfsfs.cli.aftermath import Aftermath, EndedFacts, LingeringFacts
from ipfsfs.cli.scripts import FLAT
from ipfsfs.cli.troubles import Trouble, troubles
from ipfsfs.daemon import mounts
from ipfsfs.daemon.questions.status import Answer
from ipfsfs.printed import command


@dataclass(slots=True, frozen=True)
class Living:
    """A view whose daemon has answered."""

    answer: Answer
    left: Aftermath

    @property
    def mountpoint(self) -> Path:
        """Where it is mounted."""
        return Path(self.answer.mountpoint)


@dataclass(slots=True, frozen=True)
class NotMounted:
    """A directory without a view, its store, if it has one, and the views that are mounted below it."""

    mountpoint: Path
    store: Path | None
    left: Aftermath
    views_below: tuple[Path, ...] = ()


@dataclass(slots=True, frozen=True)
class Dead:
    """A view whose daemon has ended, and which nothing has taken away."""

    mountpoint: Path
    store: str
    left: Aftermath


@dataclass(slots=True, frozen=True)
class Unasked:
    """A view whose daemon was not asked or does not answer: why, and what to do."""

    mountpoint: Path
    store: str
    why: str
    what_to_do: str
    left: Aftermath
    is_ours: bool


@dataclass(slots=True, frozen=True)
class Anothers:
    """Another user's view, and what that user's daemon says, which can be anything."""

    view: mounts.Mount
    says: Answer
    left: Aftermath

    @property
    def mountpoint(self) -> Path:
        """Where it is mounted, by the kernel's word."""
        return self.view.mountpoint


Found = Living | NotMounted | Dead | Unasked | Anothers


DIED: Final = "its daemon has ended, and so has its guardian"


def revive(at: Path) -> str:
    """What to do about that, in words."""
    return f"{command('mount', at)}   (or, to have the plain directory back: {command('umount', at)})"


def wrong(found: Found) -> tuple[Trouble, ...]:
    """What a user must hear of. Another user's view is that user's concern."""
    ended = found.left.ended
    match found:
        case Living():
            return tuple(troubles(found.answer))
        case NotMounted() if ended is not None:
            return (Trouble(f"the daemon {ended.in_words}", command("mount", found.mountpoint)),)
        case Dead():
            return (Trouble(DIED, revive(found.mountpoint)),)
        case Unasked() if found.is_ours:
            return (Trouble(found.why, found.what_to_do),)
    return ()


State = Literal["mounted", "not mounted", "daemon has ended", "no answer", "another user's"]


@dataclass(slots=True, frozen=True)
class Facts:
    """A view, or a directory without one. `wrong`: what is wrong, and the way out. `ended`: how its last daemon ended,
    if nobody asked it to; `lingering`: daemons that serve files of a view which was here. `user`, `says`: of another
    user's view, whose it is and what that user's daemon says, which can be anything. `views_below`: of a directory
    without a view, those mounted below it. All that its own daemon says, from `pid` on, is null where no such daemon
    answers."""

    mountpoint: Path
    state: State
    mounted: bool
    store: str | None
    degraded: str
    wrong: tuple[Trouble, ...]
    ended: EndedFacts | None
    lingering: tuple[LingeringFacts, ...]
    user: int | None
    says: Answer | None
    views_below: tuple[Path, ...]
    view: Answer | None = field(metadata={FLAT: Answer})


def facts_of(found: Found) -> Facts:
    """For scripts."""
    ended, lingering = found.left.as_facts()
    state: State = "mounted"
    store, degraded, user = "", "", None
    view = says = None
    match found:
        case Living():
            view, store, degraded = found.answer, found.answer.store, found.answer.degraded
        case NotMounted():
            state, store = "not mounted", str(found.store or "")
        case Dead():
            state, store, degraded = "daemon has ended", found.store, DIED
        case Unasked():
            state, store, degraded = "no answer", found.store, found.why
        case Anothers():
            state, store, user, says = "another user's", found.view.source, found.view.owner, found.says
    is_mounted = view.mounted if view is not None else state != "not mounted"
    below = found.views_below if isinstance(found, NotMounted) else ()
    return Facts(
        found.mountpoint, state, is_mounted, store or None, degraded, wrong(found), ended, lingering, user, says,
        below, view,
    )  # fmt: skip
