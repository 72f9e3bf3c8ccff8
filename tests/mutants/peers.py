"""Mutants of the promises on what machines say to each other: S67 to S69."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_PEER: Final = "ipfsfs/origins/peer.py"
_HOSTILE: Final = "tests/workers/test_hostile_peers.py::"
_SITE: Final = "tests/workers/test_peers.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S67",
        "what a peer gives is not compared",
        _PEER,
        "            await trio.to_thread.run_sync(cids.check, cid, answer.body)\n",
        "            await trio.lowlevel.checkpoint()\n",
        (f"{_HOSTILE}test_h45_a_load_ends_right_whatever_a_peer_does",),
    ),
    Mutant(
        "S67",
        "a peer that lied is asked again at once",
        "ipfsfs/origins/standing.py",
        "        self._asked_again_at = now + DISTRUST_S\n",
        "        self._asked_again_at = now\n",
        ("tests/origins/test_peers.py::test_a_peer_that_lied_is_left_alone_for_a_minute_and_why_is_kept",),
    ),
    Mutant(
        "S67",
        "nobody else is asked while a machine is silent",
        "ipfsfs/origins/race.py",
        "            with trio.move_on_after(patience_s):\n",
        "            with trio.move_on_after(3600):\n",
        (f"{_HOSTILE}test_h45_a_peer_at_a_tenth_of_the_speed_holds_nothing_up",),
    ),
    Mutant(
        "S68",
        "an answer without a signature is believed",
        _PEER,
        "        if not is_signed:\n",
        "        if not is_signed and self.token is None:\n",
        (f"{_HOSTILE}test_h52_an_answer_that_is_not_signed_is_not_believed",),
    ),
    Mutant(
        "S68",
        "a machine that is not of the site hears of private blobs",
        "ipfsfs/workers/server/directory.py",
        "                and (entry.public or not only_public)\n",
        "",
        ("tests/unit/test_site_directory.py::test_what_is_not_public_is_told_to_the_site_alone",),
    ),
    Mutant(
        "S69",
        "the second owner decides without the first",
        "ipfsfs/workers/server/site_endpoints.py",
        "        if not wish.first:\n",
        "        if False:\n",
        (f"{_HOSTILE}test_h46_two_owners_do_not_both_grant",),
    ),
    Mutant(
        "S69",
        "a lease that is not renewed goes on",
        "ipfsfs/workers/server/leases.py",
        "        if lease is not None and lease.until <= now:\n",
        "        if False and lease is not None:\n",
        ("tests/unit/test_site_leases.py::test_one_machine_has_it_until_it_is_silent",),
    ),
    Mutant(
        "S69",
        "what an owner says is elsewhere is believed without asking a holder",
        "ipfsfs/workers/fetcher/peer_jobs.py",
        "                    has = await self.peers.holder(at).has(blob.root, within_s)\n",
        "                    has = True\n",
        (f"{_SITE}test_h40_a_lease_is_granted_where_who_was_said_to_have_the_blob_is_gone",),
    ),
)
