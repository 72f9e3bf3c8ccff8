"""Mutants of the promises on clients that wait for other machines: S74 and S75."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_LOCKING: Final = "ipfsfs/view/locking.py"
_TESTS: Final = "tests/mount/test_locking.py::"
_KEEPER: Final = "tests/mount/test_keeper.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S74",
        "the lock is not held when the client asks for it",
        _LOCKING,
        "            await kept.decided.wait()\n",
        "            await trio.lowlevel.checkpoint()\n",
        (f"{_TESTS}test_h46_a_client_waits_while_another_machine_downloads",),
    ),
    Mutant(
        "S74",
        "a client waits when the other machine is done",
        _LOCKING,
        "    await leasing.until_free(kept.guarded.sha256)\n",
        "    await trio.sleep_forever()\n",
        ("tests/workload/test_waiting.py",),
    ),
    Mutant(
        "S74",
        "a client waits to link to what is here",
        _LOCKING,
        "        os.close(found)\n        return None\n",
        "        os.close(found)\n        return guarded\n",
        (f"{_TESTS}test_h46_a_blob_that_is_here_is_not_waited_for",),
    ),
    Mutant(
        "S75",
        "a lock is held when no client asks for it any more",
        _LOCKING,
        "        if left_s <= 0:\n",
        "        if left_s <= -3600:\n",
        (f"{_KEEPER}test_h46_another_program_can_unmount_soon_after_the_last_client",),
    ),
    Mutant(
        "S75",
        "locks are held while the view is unmounted",
        "ipfsfs/daemon/lifecycle.py",
        "            await self.view.locking.stop()\n            await self._off",
        "            await self._off",
        (f"{_KEEPER}test_h46_unmounting_is_immediate_while_locks_are_held",),
    ),
    Mutant(
        "S75",
        "a keeper that hangs is not ended",
        "ipfsfs/workers/keeper/client.py",
        "        return not self.awaited.any\n",
        "        return True\n",
        (f"{_KEEPER}test_h46_clients_go_on_when_the_keeper_hangs",),
    ),
    Mutant(
        "S75",
        "a name that was removed is held on to",
        "ipfsfs/workers/keeper/program.py",
        "                os.lstat(path)\n",
        "                os.fsencode(path)\n",
        (f"{_KEEPER}test_a_lock_file_that_was_removed_is_let_go_of",),
    ),
    Mutant(
        "S75",
        "the keeper's handles count as files that are open",
        "ipfsfs/view/view.py",
        "self.handles.add_ours(node, KeptContent())",
        "self.handles.add(node, Opened(KeptContent(), True))",
        (f"{_KEEPER}test_the_keeper_is_no_reader",),
    ),
)
