"""Mutants of the promises on what machines say to each other: S67 to S69."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_PEER: Final = "ipfsfs/origins/peer.py"
_HOSTILE: Final = "tests/workers/test_hostile_peers.py::"
_DIRECTORY: Final = "ipfsfs/workers/server/directory.py"
_UNIT: Final = "tests/unit/test_site_directory.py::"
_SITE: Final = "tests/workers/test_peers.py::"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S67",
        "what a peer gives is not compared",
        _PEER,
        "            await trio.to_thread.run_sync(_compare, expected, blocks)\n",
        "            await trio.lowlevel.checkpoint()\n",
        (f"{_HOSTILE}test_h45_a_load_ends_right_whatever_a_peer_does",),
    ),
    Mutant(
        "S67",
        "what comes behind the first leaf is not compared",
        _PEER,
        "    for cid, block in zip(expected, blocks, strict=True):\n",
        "    for cid, block in [(expected[0], blocks[0])]:\n",
        (f"{_HOSTILE}test_h45_what_comes_in_a_run_is_what_was_asked_for",),
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
        "S68",
        "one machine that asks all the time locks all others out",
        "ipfsfs/origins/signing.py",
        "        if self._by[host] >= self.most - self._count:\n",
        "        if self._count >= self.most // 2:\n",
        ("tests/unit/test_signing.py::test_who_asks_all_the_time_locks_out_nobody_and_nothing_is_taken_twice",),
    ),
    Mutant(
        "S68",
        "what was forgotten is taken again when a clock is set back",
        "ipfsfs/origins/signing.py",
        "        if seconds <= self._forgotten or (",
        "        if (",
        ("tests/unit/test_signing.py::test_what_was_forgotten_is_not_taken_when_the_clock_is_set_back",),
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
    Mutant(
        "S69",
        "a host votes once for each port on what a blob is",
        _DIRECTORY,
        "            votes = len({host_of(holder) for holder in told})\n",
        "            votes = len(told)\n",
        (f"{_UNIT}test_a_host_has_one_vote_however_many_ports_it_announces",),
    ),
    Mutant(
        "S69",
        "of too many announcements anyone's go",
        _DIRECTORY,
        "        host = max(self._hosts.values(), key=lambda host: host.entries)\n",
        "        host = next(iter(self._hosts.values()))\n",
        (f"{_UNIT}test_a_host_that_announces_too_much_loses_its_own",),
    ),
    Mutant(
        "S69",
        "one host may have all holders that are known of a blob",
        _DIRECTORY,
        "            self._remove(blob.sha256, root, _one_of_most(holders))\n",
        "            self._remove(blob.sha256, root, next(iter(holders)))\n",
        (f"{_UNIT}test_a_host_crowds_out_no_other_holder_of_a_blob",),
    ),
    Mutant(
        "S69",
        "roots of one host leave no room for that of another",
        _DIRECTORY,
        "            if sum(name in names for names in hosts.values()) > 1:\n",
        "            if sum(name in names for names in hosts.values()) > 99:\n",
        (f"{_UNIT}test_a_host_crowds_out_no_other_root_of_a_blob",),
    ),
    Mutant(
        "S69",
        "one machine says of all holders that they are gone",
        _DIRECTORY,
        "_DOUBTS: Final = 2\n",
        "_DOUBTS: Final = 1\n",
        (f"{_UNIT}test_one_machine_cannot_say_of_all_holders_that_they_are_gone",),
    ),
    Mutant(
        "S69",
        "who asks for all leases has all",
        "ipfsfs/workers/server/leases.py",
        "        if len(self._by[most]) <= len(self._by.get(by, ())) + 1:\n",
        "        if self._by:\n",
        ("tests/unit/test_site_leases.py::test_who_asks_for_all_leaves_room_for_the_others",),
    ),
)
