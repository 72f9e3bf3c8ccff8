"""`collect`: remove what is in the store of content that nobody needs.

The daemon reads no blocks: it removes extents and their tables, and says which of the blocks' roots are needed. Blocks
came from elsewhere, and are read and removed by the process of the command.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ipfsfs.daemon.questions.question import Asked, NoProgress, in_thread
from ipfsfs.errors import StoreError
from ipfsfs.exchange.collect import Collecting, roots_of_placeholders
from ipfsfs.store.blocks import Blocks
from ipfsfs.unixfs import cid

if TYPE_CHECKING:
    from ipfsfs.daemon.lifecycle import Running


@dataclass(slots=True, frozen=True)
class Answer:
    """What was removed, or would be, of extents, their tables, and what pins left: how many files, and the bytes that
    they took on the disk. `pinned` and `placeholders`: roots (CIDs as text) that a pin holds or that were
    published, or that a placeholder stands for, and that the store has blocks of."""

    files: int
    bytes: int
    pinned: tuple[str, ...]
    placeholders: tuple[str, ...]


@dataclass(slots=True, frozen=True)
class Question(Asked[Answer, NoProgress]):
    """Remove the extents that nobody needs; with `dry_run`, say what would be removed. With `extents` false, say only
    what is needed."""

    command: ClassVar[str] = "collect"

    dry_run: bool = True
    extents: bool = True

    @staticmethod
    def replies() -> tuple[type[Answer], type[NoProgress]]:
        """See `Asked`."""
        return Answer, NoProgress

    async def answer(self, running: Running, report: Callable[[NoProgress], None]) -> Answer:
        """See `Asked`. Raises IpfsfsError where the plain directory or the store cannot be read."""
        async with running.view.room.nothing_goes():
            return await self._collected(running)

    async def _collected(self, running: Running) -> Answer:
        view = running.view
        pins = view.seals.ledger.pins
        placeholders = await roots_of_placeholders(view.plain, view.nodes)
        pinned = await in_thread(lambda: {pin.root for pin in pins.all()} | {file.root for file in pins.all_files()})
        published = await in_thread(view.seals.ledger.published.all)
        files = taken = 0
        if self.extents:
            collecting = Collecting(
                view.hydrating.loads.extents,
                view.hydrating.loads,
                lambda root: root in placeholders or pins.holds(root),
            )
            try:
                removed = await collecting.run(dry_run=self.dry_run)
                unpinned = await view.pinning.collect(dry_run=self.dry_run)
            except OSError as error:
                raise StoreError(f"the store's extents cannot be removed: {error.strerror}") from error
            files, taken = removed.files + unpinned.files, removed.size + unpinned.size
        blocks = Blocks(running.store.blocks_fd)
        return Answer(
            files, taken, _stored(blocks, pinned | {one.root for one in published}), _stored(blocks, placeholders)
        )


def _stored(blocks: Blocks, roots: set[bytes]) -> tuple[str, ...]:
    return tuple(sorted(cid.to_text(root) for root in roots if blocks.has(root)))
