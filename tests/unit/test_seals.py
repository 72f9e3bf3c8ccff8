"""What the view knows of seals, and when it is in the index."""

from __future__ import annotations

from pathlib import Path

import trio

from ipfsfs.store.index import Index
from ipfsfs.store.ledger import Ledger
from ipfsfs.view.seals import Seals
from tests.support.seals import seal_of


def test_waiting_for_the_index_ends_while_sealing_goes_on(tmp_path: Path) -> None:
    """`status` waits so: while a million files are sealed, something is always still on its way to the index."""
    index = Index.open(tmp_path / "index", plain_root=(2, 3))
    ledger = Ledger.open(tmp_path / "ledger")
    seals = Seals(1, index, ledger)

    async def go_on_sealing() -> None:
        ino = 1000
        while True:
            seals.put(seal_of(b"x", ino))
            ino += 1
            await trio.lowlevel.checkpoint()

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(seals.run)
            nursery.start_soon(go_on_sealing)
            await trio.sleep(0.1)
            for ino in (7, 8):
                seals.put(seal_of(b"x", ino))
                with trio.fail_after(20):
                    await seals.flush()
                found = index.get(ino)
                assert found is not None
                assert found.ino == ino
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
        assert seals.degraded == ""
    finally:
        index.close()
        ledger.close()
