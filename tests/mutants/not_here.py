"""Mutants of the promises on files that are not here: S23 to S28."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_TESTS: Final = "tests/mount/placeholders/"
SKELETON: Final = f"{_TESTS}test_skeleton.py::"
BAD_DAYS: Final = f"{_TESTS}test_bad_days.py::"
EXTENTS: Final = f"{_TESTS}test_extents.py::"
PUBLISH: Final = f"{_TESTS}test_publish.py"
BESIDE: Final = "tests/origins/test_beside.py"
HYDRATING: Final = "ipfsfs/view/placeholder/hydrating.py"
_OPENED: Final = """\
                self._load = await self.serving.loads.open(self.reference, self.serving.nodes.path(self.node))
                self.serving.hydrating.is_for(self._load, self.node)
            return """

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S23",
        "a link that leaves the tree is attached",
        "ipfsfs/exchange/attach.py",
        "        if leaves:\n            raise",
        "        if leaves is None:\n            raise",
        (f"{SKELETON}test_h37_a_tree_with_a_link_that_leaves_it_is_refused",),
    ),
    Mutant(
        "S23",
        "what is in the way is found when it is met",
        "ipfsfs/exchange/attach.py",
        "        if others:\n",
        "        if others and not missing:\n",
        (f"{SKELETON}test_what_is_in_the_way_is_named_and_nothing_is_made",),
    ),
    Mutant(
        "S24",
        "who had it open when it was hydrated is refused its attributes",
        "ipfsfs/view/resident/xattrs.py",
        "        if node.own >= 0 and self.files.of(node) is not None:\n",
        "        if node.own >= 0:\n",
        ("tests/mount/placeholders/test_as_files.py",),
    ),
    Mutant(
        "S24",
        "a write goes to an empty file",
        "ipfsfs/view/placeholder/content.py",
        "        await self.node.backing.resident(self.node)\n",
        "        await self.node.backing.open(self.node, Access.parse(512), self.caller)\n",
        (f"{_TESTS}test_as_files.py",),
    ),
    Mutant(
        "S24",
        "a file that was hydrated has another inode number",
        HYDRATING,
        "            self.nodes.rebind(node, after)\n",
        "            self.nodes.detach(node)\n",
        (f"{_TESTS}test_as_files.py",),
    ),
    Mutant(
        "S25",
        "what was read from the store is not compared",
        "ipfsfs/exchange/load.py",
        "        if xxhash.xxh3_64_intdigest(data) != self._sums[index]:\n",
        "        if self._sums[index] is None:\n",
        (f"{EXTENTS}test_what_rots_in_an_extent_is_not_served_and_is_fetched_again",),
    ),
    Mutant(
        "S25",
        "a name is filled whatever it promises",
        HYDRATING,
        "        if promise is not None and promise != sha256 and (node.has_name or said.is_by_name):\n",
        "        if promise is not None and not sha256:\n",
        (f"{BAD_DAYS}test_a_name_that_promises_other_content_is_not_filled",),
    ),
    Mutant(
        "S26",
        "that nothing answers is found out by each reader",
        "ipfsfs/exchange/loads.py",
        "                self._is_offline = not in_vain\n",
        "                self._is_offline = False\n",
        (f"{BAD_DAYS}test_h44_a_read_ends_in_eio_after_patience_and_the_log_says_why",),
    ),
    Mutant(
        "S26",
        "what came before is not looked at where nothing answers",
        "ipfsfs/exchange/loads.py",
        "        return await load.change(began + _ATTEMPT_S if self._is_offline",
        "        return await load.change(began if self._is_offline",
        (f"{BAD_DAYS}test_what_came_before_is_read_where_nothing_answers",),
    ),
    Mutant(
        "S26",
        "a leaf that was here says that an origin answers",
        "ipfsfs/exchange/loads.py",
        "self._is_offline and not leaf.is_given",
        "self._is_offline and leaf.is_copied",
        (f"{BAD_DAYS}test_what_came_before_is_read_where_nothing_answers",),
    ),
    Mutant(
        "S27",
        "what is wholly here stays in the store",
        HYDRATING,
        "            if self._is_over or load.is_retired",
        "            if not self._is_over or load.is_retired",
        (f"{BAD_DAYS}test_umount_leaves_links_for_what_is_not_here_and_a_new_mount_has_it",),
    ),
    Mutant(
        "S27",
        "umount waits for nothing that is put in place",
        "ipfsfs/daemon/lifecycle.py",
        "        if not lazy:\n",
        "        if lazy:\n",
        ("tests/mount/placeholders/test_as_files.py::test_what_was_read_to_its_end_is_a_file_when_the_view_is_gone",),
    ),
    Mutant(
        "S27",
        "a read goes on with a new load where the file became resident",
        "ipfsfs/view/placeholder/content.py",
        "None and not self.node.backing.is_settled:\n"
        + _OPENED
        + "None if self.node.backing.is_settled else self._load",
        "None:\n" + _OPENED + "self._load",
        ("tests/mount/placeholders/test_in_common.py::test_what_is_read_while_it_is_put_in_place_is_fetched_once",),
    ),
    Mutant(
        "S28",
        "what is not known to be public is published",
        "ipfsfs/cli/publish.py",
        "        if not private_too:\n",
        "        if private_too is None:\n",
        (PUBLISH,),
    ),
    Mutant(
        "S28",
        "a leaf is sent as it is by now",
        "ipfsfs/exchange/publish.py",
        "        if hashlib.sha256(data).digest() != cid.digest(block_cid):\n",
        "        if len(data) != length:\n",
        (PUBLISH,),
    ),
    Mutant(
        "S51",
        "a handle reads what has the name by now",
        "ipfsfs/view/placeholder/content.py",
        "                self.serving.links.lose_name(self.node)\n",
        "                raise\n",
        (f"{_TESTS}test_two_views.py::test_what_the_other_replaces_is_not_overwritten",),
    ),
    Mutant(
        "S52",
        "names on two filesystems are taken to change places",
        "ipfsfs/plain/links.py",
        "_NO_EXCHANGE: Final = (errno.EXDEV, errno.EINVAL, errno.ENOSYS",
        "_NO_EXCHANGE: Final = (errno.ENOSYS",
        (f"{_TESTS}test_no_exchange.py",),
    ),
    Mutant(
        "S53",
        "a seal counts for a file that was changed since",
        "ipfsfs/cli/sealed_leaves.py",
        "        return found if is_same and sum(",
        "        return found if sum(",
        (f"{PUBLISH}::test_what_is_sealed_is_not_hashed_again_while_it_is_the_same",),
    ),
    Mutant(
        "S53",
        "what a node has is sent again",
        "ipfsfs/exchange/publish.py",
        "        if len(lacking) == len(sample):\n",
        "        if lacking:\n",
        (f"{PUBLISH}::test_of_what_a_node_has_nothing_is_sent_again",),
    ),
    Mutant(
        "S54",
        "a gateway beside a node is asked to search",
        "ipfsfs/origins/gateway.py",
        "        return await self.gateway.block_at_hand(cid)\n",
        "        return await self.gateway.block(cid)\n",
        (BESIDE,),
    ),
    Mutant(
        "S54",
        "what a gateway beside a node gives is not compared",
        "ipfsfs/origins/registry.py",
        "    quick = [Paused(Checked(AtHand(",
        "    quick = [Paused((AtHand(",
        (BESIDE,),
    ),
)
