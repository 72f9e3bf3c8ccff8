"""When files are sealed: soon after their last writer has gone, and, for what was there before, when nobody is waiting.

The work is the sealer's; here it is decided what is due, and whose turn it is among files of one size (`lanes`). What a
file's states are, and which follows which, is in `life`.
"""

from __future__ import annotations

import logging
import math
import os
import stat as stat_
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import trio

from ipfsfs.exchange.site import Site
from ipfsfs.printed import command
from ipfsfs.store.seals import Seals
from ipfsfs.unixfs.chunk import Chunker
from ipfsfs.view.backing import Node
from ipfsfs.view.nodes import NodeTable
from ipfsfs.view.open_files import OpenFiles
from ipfsfs.view.upkeep import life
from ipfsfs.view.upkeep.entering import Entering
from ipfsfs.view.upkeep.lanes import WIDTHS, lane_of
from ipfsfs.view.upkeep.life import Event, State
from ipfsfs.view.upkeep.promises import Promises
from ipfsfs.view.upkeep.scrubbing import Scrubbing
from ipfsfs.view.upkeep.settling import Settling
from ipfsfs.view.upkeep.sharing import Sharing
from ipfsfs.view.upkeep.walking import TreeProgress, Walking
from ipfsfs.workers.sealer.client import Sealer, Urgency
from ipfsfs.workers.sealer.outcome import Busy, Changed, Failed, Gone, Sealed, Secret, Unfit

log = logging.getLogger(__name__)

_QUIET_S: Final = 0.3
"""How long a file must have been left alone before it is sealed; the sealer asks for more where times are coarse."""
_BURST_S: Final = 5.0
"""While files are made one after the other, as by tar, how long the first of them waits: sealing takes from whoever
makes them a quarter of two cores."""
_WAY_S: Final = 1.0
"""How long sealing rests after a worker has opened a file to read."""
_AGAIN_S: Final = 1.0
_AGAIN_MOST_S: Final = 60.0
_OPENED_MAX: Final = 1_000
"""Files that are due because they were opened without a seal; of more, the walk that goes on meanwhile takes care."""


@dataclass(slots=True, eq=False)
class _Task:
    """A file that is due, waits for its lane, or is being hashed. `at`: when it has rested. `again_s`: how long it
    waits after it was put off."""

    node: Node
    at: float = 0.0
    again_s: float = _AGAIN_S
    state: State = State.UNSEALED

    def on(self, event: Event) -> State:
        """Something happened to the file; returns its state from now on."""
        self.state = life.after(self.state, event)
        return self.state


@dataclass(slots=True)
class _Lane:
    """Files of one size that wait to be hashed."""

    give: trio.MemorySendChannel[_Task]
    take: trio.MemoryReceiveChannel[_Task]


@dataclass(slots=True)
class Sealing:
    """Decides what to seal, and enters what was sealed."""

    nodes: NodeTable
    files: OpenFiles
    seals: Seals
    promises: Promises
    sealer: Sealer
    chunker: Chunker
    boot: str
    scrubbing: Scrubbing
    entering: Entering = field(init=False)
    settling: Settling = field(init=False)
    sharing: Sharing = field(init=False)
    walking: Walking = field(init=False)
    _due: dict[int, _Task] = field(default_factory=dict)
    _in_hand: dict[int, _Task] = field(default_factory=dict)
    """By the node's number, which it keeps when it is withdrawn: files whose state is DUE, and those that are QUEUED,
    HASHING or OVERTAKEN."""
    _changed_at: float = -math.inf
    _made_way: float = -math.inf
    _wake: trio.Event = field(default_factory=trio.Event)
    _lanes: list[_Lane] = field(init=False)

    def __post_init__(self) -> None:
        self.settling = Settling(self.nodes, self.seals, self.sealer)
        self.sharing = Sharing(self.nodes, self.seals, self.sealer)
        self.entering = Entering(
            self.nodes, self.files, self.seals, self.promises, self.sealer, self.settling, self.sharing, self.scrubbing,
            self.chunker, self.boot,
        )  # fmt: skip
        self.walking = Walking(self.nodes, self.seals, self.promises, self.sealer, self.entering)
        self._lanes = [_Lane(*trio.open_memory_channel[_Task](math.inf)) for _ in WIDTHS]

    @property
    def unsealed(self) -> int:
        """How many files still wait for their seal, as far as is known; those that are being hashed are among them."""
        return self.walking.waiting + len(self._due) + len(self._in_hand)

    @property
    def walked(self) -> bool:
        """Whether everything that was there at mounting has been looked at once."""
        return self.walking.walked

    def why_not_yet(self, st: os.stat_result) -> str:
        """Why a file that is to have a seal has none that holds, in words. From memory, and from any thread."""
        node = self.nodes.find(st.st_dev, st.st_ino)
        file = self.files.of(node) if node is not None else None
        if file is not None and file.writers:
            return "a program has it open for writing"
        task = None if node is None else self._due.get(node.number) or self._in_hand.get(node.number)
        if task is None:
            if not self.walked:
                return "its turn has not come: what was here before the view is being looked through"
            return f"nothing is planned: `{command('seal')}` seals it"
        match task.state:
            case State.DUE if task.again_s > _AGAIN_S:
                return "it was in use when it was to be sealed, and is tried again"
            case State.DUE:
                return "it was changed just now, and is sealed once it rests"
            case State.QUEUED:
                return "its turn has not come: others are being sealed"
        return "it is being read for its seal now"

    def changed(self, node: Node) -> None:
        """A file was made, written, renamed or found changed: seal it when it has been left alone for a moment."""
        self._changed_at = trio.current_time()
        self._make_due(node, _QUIET_S, _AGAIN_S)

    def opened_unsealed(self, node: Node, st: os.stat_result) -> None:
        """A file without a seal was opened, or asked for its CID: it was made beneath, or its turn has not come."""
        if (
            node.number in self._due
            or node.number in self._in_hand
            or len(self._due) >= _OPENED_MAX
            or self.seals.index is None
            or not stat_.S_ISREG(st.st_mode)
            or self.seals.unsealable.reason(st) is not None
            or not self.entering.is_wanted(node)
        ):
            return
        self._make_due(node, _QUIET_S, _AGAIN_S)

    def make_way(self, site: Site | None) -> None:
        """A worker opens files, and is about to load them: two busy processors are each slower than one. What the
        machines of the site wait for does not rest: they have it once it is sealed."""
        now = trio.current_time()
        if now > self._made_way + _WAY_S / 2:
            self._made_way = now
            if site is None or not site.blobs.is_seal_awaited:
                self.sealer.make_way(_WAY_S)

    async def seal_tree(
        self, prefix: bytes, *, background: bool, report: Callable[[TreeProgress], None] = lambda _: None
    ) -> TreeProgress:
        """As `Walking.seal_tree`."""
        return await self.walking.seal_tree(prefix, background=background, report=report)

    async def seal_below(self, prefix: bytes) -> None:
        """Seal what has no seal below a directory that was moved. Raises SealerLost."""
        await self.seal_tree(prefix, background=False)

    async def seal_what_was_there(self) -> None:
        """Seal, when the machine has nothing better to do, what was there at mounting, and from time to time what was
        made beneath since; until cancelled."""
        await self.walking.run()

    async def run(self) -> None:
        """Seal what becomes due, until cancelled."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.settling.run)
            nursery.start_soon(self.sharing.run)
            for lane, width in zip(self._lanes, WIDTHS, strict=True):
                for _ in range(width.at_once):
                    nursery.start_soon(self._serve, lane)
            while True:
                now = trio.current_time()
                for task in [task for task in self._due.values() if task.at <= now]:
                    if task.state is State.DUE and self._due.get(task.node.number) is task:
                        self._rested(task)
                    await trio.lowlevel.checkpoint()  # there may be many, and requests wait for the loop
                await self._until_due()

    def _make_due(self, node: Node, wait_s: float, again_s: float) -> None:
        if node.dev != self.nodes.plain.dev or node.parent is None:
            return
        task = self._due.get(node.number) or self._in_hand.get(node.number)
        if task is None or task.node is not node:  # another file, which has got the number of one that is gone
            task = _Task(node)
        task.at, task.again_s = trio.current_time() + wait_s, again_s
        if task.on(Event.CHANGED) is State.DUE:
            self._in_hand.pop(node.number, None)
            self._due[node.number] = task
            self._wake.set()

    def _rested(self, task: _Task) -> None:
        """A file was left alone for a moment: it waits for its lane, if there is something to do."""
        node = task.node
        del self._due[node.number]
        if not self.entering.is_wanted(node) or self.seals.index is None:
            task.on(Event.DROPPED)
            return
        try:
            st = self.nodes.stat(node)
        except OSError:
            task.on(Event.DROPPED)
            return
        if not stat_.S_ISREG(st.st_mode):
            task.on(Event.DROPPED)
        elif self.seals.agreeing(st) is not None:
            task.on(Event.UP_TO_DATE)
            self.seals.seen_at(st.st_ino, self.nodes.path(node))  # it may have been renamed
        elif self.seals.unsealable.reason(st) is not None:
            task.on(Event.REFUSED)
        else:
            task.on(Event.RESTED)
            self._in_hand[node.number] = task
            self._lanes[lane_of(st.st_size)].give.send_nowait(task)

    async def _until_due(self) -> None:
        """Wait until something is due and no more is being made, or the first of it has waited long enough."""
        while True:
            earliest = min((task.at for task in self._due.values()), default=math.inf)
            begin = min(max(earliest, self._changed_at + _QUIET_S), earliest + _BURST_S)
            now = trio.current_time()
            if begin <= now:
                return
            if begin <= now + _QUIET_S:  # nothing that is changed meanwhile can be due earlier
                await trio.sleep_until(begin)
                continue
            self._wake = trio.Event()
            with trio.move_on_at(begin):
                await self._wake.wait()

    async def _serve(self, lane: _Lane) -> None:
        """Have the files of a lane hashed, one after the other."""
        async for task in lane.take:
            if task.state is not State.QUEUED or self._in_hand.get(task.node.number) is not task:
                continue  # it is due anew
            task.on(Event.STARTED)
            try:
                event = await self._seal(task)
            except Exception:  # a bug met with one file must not end the view
                log.exception("a bug in sealing %s", os.fsdecode(self.nodes.path(task.node)))
                event = Event.DROPPED
            self._ended(task, event)

    def _ended(self, task: _Task, event: Event) -> None:
        node = task.node
        if self._in_hand.get(node.number) is not task:
            return  # the number is another file's by now
        del self._in_hand[node.number]
        if task.on(event) is State.DUE:
            task.at = max(task.at, trio.current_time())
            self._due[node.number] = task
            self._wake.set()

    async def _seal(self, task: _Task) -> Event:
        """Have a file hashed and enter its seal; returns what came of it."""
        node = task.node
        file = self.files.of(node)
        if file is not None and file.writers:
            file.written = True  # its last writer's going makes it due again
            return Event.DROPPED
        if not self.entering.is_wanted(node):
            return Event.DROPPED
        path = self.nodes.path(node)
        outcome = await self.entering.hash(path, node.ino, Urgency.SOON)
        match outcome:
            case Sealed():
                await self.entering.enter(path, outcome)
                return Event.HASHED
            case Busy(rest_s=rest_s) if rest_s:
                self._put_off(task, rest_s)
                return Event.POSTPONED
            case Busy() | Changed() | None:
                self._put_off(task, task.again_s)
                task.again_s = min(2 * task.again_s, _AGAIN_MOST_S)
                return Event.POSTPONED
            case Secret() | Unfit():
                return Event.REFUSED
            case Gone() | Failed():
                return Event.DROPPED

    @staticmethod
    def _put_off(task: _Task, seconds: float) -> None:
        task.at = max(task.at, trio.current_time() + seconds)
