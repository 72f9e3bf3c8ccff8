"""Mutants of the promises on eviction: S30 to S34, and S55 to S57 of what only the Hub has."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

EVICT: Final = "tests/mount/placeholders/test_evict.py::"
ROOM: Final = "tests/mount/placeholders/test_room.py::"
HUB: Final = "tests/mount/placeholders/test_evict_to_hub.py::"
EVICTING: Final = "ipfsfs/view/placeholder/evicting.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S30",
        "what a user made is evicted",
        EVICTING,
        "        if item.promise is None and came is None:\n",
        "        if item.promise is None and came is None and not seal.size:\n",
        (f"{EVICT}test_what_users_made_is_open_or_has_what_a_link_cannot_keep_stays",),
    ),
    Mutant(
        "S30",
        "no leaf is asked for",
        "ipfsfs/workers/fetcher/holding.py",
        "        if not await origin.has(leaf):\n",
        "        if not leaf:\n",
        (f"{EVICT}test_h33_what_no_origin_has_at_that_moment_stays",),
    ),
    Mutant(
        "S31",
        "an evicted file has another inode number",
        EVICTING,
        "            self.nodes.rebind(node, link)\n",
        "            self.nodes.detach(node)\n",
        (f"{EVICT}test_what_came_from_an_origin_goes_and_comes_back_as_the_same_file",),
    ),
    Mutant(
        "S32",
        "a file that an eviction left beside its link is removed",
        "ipfsfs/plain/vacating.py",
        "        if stat_.S_ISREG(left.st_mode) and _stands_for(",
        "        if stat_.S_ISREG(left.st_mode) and not _stands_for(",
        (
            "tests/crash/test_evictions.py::test_the_next_mount_has_the_file_that_a_killed_eviction_left_beside_its_link",
        ),
    ),
    Mutant(
        "S33",
        "what was used last goes first",
        "ipfsfs/view/placeholder/room.py",
        "key=lambda group: (group.used_ns, ",
        "key=lambda group: (-group.used_ns, ",
        (f"{ROOM}test_the_longest_unused_repository_goes_first_and_wholly",),
    ),
    Mutant(
        "S34",
        "files of an overlay are evicted",
        "ipfsfs/plain/vacating.py",
        "    if syscalls.filesystem_type(root_fd) == OVERLAY:\n",
        "    if syscalls.filesystem_type(root_fd) == -OVERLAY:\n",
        (f"{ROOM}test_without_exchange_all_but_eviction_works_and_says_so",),
    ),
    Mutant(
        "S55",
        "a file of that size is taken for that file",
        "ipfsfs/workers/fetcher/holding.py",
        "    if said.etag != sha256.hex():\n",
        "    if not said.etag:\n",
        (f"{HUB}test_what_the_hub_does_not_have_at_that_moment_stays",),
    ),
    Mutant(
        "S56",
        "a link is made before its table is kept",
        EVICTING,
        "        if back.table:\n",
        "        if not back.reference:\n",
        ("tests/crash/test_evictions.py::test_a_kill_at_a_line_of_an_eviction_leaves_file_or_link",),
    ),
    Mutant(
        "S56",
        "whatever the Hub has there is taken for what the link names",
        "ipfsfs/unixfs/recut.py",
        "        if cid.digest(file.build(found, way.profile).cid) == cid.digest(root):\n",
        "        if cid.digest(file.build(found, way.profile).cid) and cid.digest(root):\n",
        (f"{HUB}test_what_the_cid_does_not_name_is_never_taken_for_the_file",),
    ),
    Mutant(
        "S56",
        "a table goes with the extent",
        "ipfsfs/exchange/loads.py",
        "        self.extents.discard(*_key(load.reference))\n\n    async def leave_store",
        "        self.extents.discard(*_key(load.reference))\n"
        "        self.extents.discard_table(*_key(load.reference))\n\n    async def leave_store",
        (f"{HUB}test_a_table_stays_for_as_long_as_a_link_needs_it",),
    ),
    Mutant(
        "S57",
        "a shared file is held to no name",
        "ipfsfs/exchange/verify.py",
        "                    promised = name.promise or await trio.to_thread.run_sync(shared.of, found.path)\n",
        "                    promised = name.promise\n",
        ("tests/workload/test_shared_store.py::test_what_was_overwritten_is_healed_there_and_collected_as_before",),
    ),
)
