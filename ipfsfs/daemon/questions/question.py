"""What every question has: the type of its answer and of the progress that is reported meanwhile, and how it is
answered."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar, TypeVarTuple

from ipfsfs.daemon.codec import Dataclass

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running

AnswerT = TypeVar("AnswerT", bound=Dataclass)
ProgressT = TypeVar("ProgressT", bound=Dataclass)
_T = TypeVar("_T")
_Ts = TypeVarTuple("_Ts")


@dataclass(slots=True, frozen=True)
class NoProgress:
    """For questions that are answered at once."""


@dataclass(slots=True, frozen=True)
class Asked(ABC, Generic[AnswerT, ProgressT]):
    """A question to a running daemon. Its subclasses are frozen dataclasses that `ipfsfs.daemon.codec` knows to encode;
    their fields come from outside and are checked for their types only."""

    command: ClassVar[str]
    """The name of the command that asks it, which is its name on the wire too."""

    @staticmethod
    @abstractmethod
    def replies() -> tuple[type[AnswerT], type[ProgressT]]:
        """The classes of the answer and of a report of progress."""

    @abstractmethod
    async def answer(self, running: Running, report: Callable[[ProgressT], None]) -> AnswerT:
        """Find the answer, in the daemon. `report` never waits; a report may be lost. Raises IpfsfsError."""


async def in_thread(function: Callable[[*_Ts], _T], *arguments: *_Ts) -> _T:
    """Call what blocks in a thread, in the daemon.

    trio is loaded here and no earlier: commands load the modules of their questions, and most do without it.
    """
    import trio

    return await trio.to_thread.run_sync(function, *arguments)
