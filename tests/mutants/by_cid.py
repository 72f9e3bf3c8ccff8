"""Mutants of the promises on commands that are given a CID: S38 to S40."""

from __future__ import annotations

from typing import Final

from tests.mutants.mutant import Mutant

_TESTS: Final = "tests/mount/placeholders/"
IMPORTING: Final = "tests/unit/test_importing.py"
COLLECT: Final = f"{_TESTS}test_collect.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "S38",
        "a leaf of another length than its file says is written out",
        "ipfsfs/exchange/reading_out.py",
        "            if len(data) != leaf.length:\n",
        "            if len(data) > leaf.length + 1:\n",
        ("tests/unit/test_naming.py",),
    ),
    Mutant(
        "S38",
        "content that is here is asked for elsewhere",
        "ipfsfs/exchange/here.py",
        "            self._learn_parts(sealed.path, leaves)\n",
        "            self._learn_parts(sealed.path, [])\n",
        (f"{_TESTS}test_by_cid_commands.py",),
    ),
    Mutant(
        "S39",
        "a CAR that lacks a block is taken",
        "ipfsfs/exchange/importing.py",
        "                    await self._check(root)\n",
        "                    await self.here.learn([root])\n",
        (IMPORTING,),
    ),
    Mutant(
        "S39",
        "what a refused CAR brought stays",
        "ipfsfs/exchange/importing.py",
        "                self._give_up(added)\n",
        "                added.seek(0)\n",
        (IMPORTING,),
    ),
    Mutant(
        "S39",
        "what is in a block's file is believed",
        "ipfsfs/store/blocks.py",
        "            cids.check(cid, block)\n",
        "            cids.digest(cid)\n",
        ("tests/store/test_blocks.py",),
    ),
    Mutant(
        "S40",
        "what is attached can be collected meanwhile",
        "ipfsfs/store/blocks.py",
        "self._locked(fcntl.LOCK_SH,",
        "self._locked(fcntl.LOCK_UN,",
        ("tests/mount/placeholders/test_collect.py",),
    ),
    Mutant(
        "S40",
        "what moves during the walk is missed",
        "ipfsfs/exchange/collect.py",
        "        if moving.moves == before:\n",
        "        if moving.moves >= before:\n",
        ("tests/unit/test_collect.py",),
    ),
    Mutant(
        "S40",
        "the blocks of placeholders are removed",
        "ipfsfs/cli/collect.py",
        "(*found.pinned, *found.placeholders)",
        "found.pinned",
        (COLLECT,),
    ),
    Mutant(
        "S40",
        "the extents of placeholders are removed",
        "ipfsfs/daemon/questions/collect.py",
        "lambda root: root in placeholders or pins.holds(root)",
        "lambda root: pins.holds(root)",
        (COLLECT,),
    ),
    Mutant(
        "S40",
        "rm says nothing of what a pin holds",
        "ipfsfs/daemon/questions/discard.py",
        "        pinned = sorted(cid.to_text(root) for root in roots if pins.holds(root))\n",
        "        pinned: list[str] = []\n",
        (COLLECT,),
    ),
)
